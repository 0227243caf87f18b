package compact_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

// small is a log of two segments with two batches each.
func small() *history {
	h := &history{}
	for base := core.Offset(0); base < 8; base += 4 {
		f := file{base: base}
		for b := base; b < base+4; b += 2 {
			var w record.Builder
			w.At(b, 1)
			w.Append(record.Record{Key: []byte("a"), Value: []byte("1")})
			w.Append(record.Record{Key: []byte("b"), Value: []byte("2")})
			f.data = append(f.data, w.Build()...)
		}
		h.sealed = append(h.sealed, f)
	}
	h.next = 8
	return h
}

func TestPlansThatContradictThemselvesAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*compact.Plan){
		"segments out of order": func(p *compact.Plan) { p.Segments[0], p.Segments[1] = p.Segments[1], p.Segments[0] },
		"segment above":         func(p *compact.Plan) { p.To = 4 },
		"empty segment":         func(p *compact.Plan) { p.Segments[0].Size = 0 },
		"range":                 func(p *compact.Plan) { p.From = 9 },
		"negative":              func(p *compact.Plan) { p.From = -1 },
		"no memory":             func(p *compact.Plan) { p.Memory = 31 },
		"no time":               func(p *compact.Plan) { p.At = -1 },
		"retention":             func(p *compact.Plan) { p.Retention = -1 },
		"aborted": func(p *compact.Plan) {
			p.Aborted = []compact.Aborted{{PID: 1, First: 5, Last: 6}, {PID: 1, First: 4, Last: 6}}
		},
		"aborted backwards": func(p *compact.Plan) { p.Aborted = []compact.Aborted{{PID: 1, First: 5, Last: 4}} },
		"producers":         func(p *compact.Plan) { p.Producers = []compact.Producer{{PID: 5}, {PID: 5}} },
	} {
		h := small()
		p := h.plan(0, 1)
		spoil(&p)
		if _, err := compact.New(p); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestMarksOfOtherPlansAreRefused(t *testing.T) {
	h := small()
	p := h.plan(0, 1)
	p.SegmentBytes = 1
	res := run(t, p, h.sealed)
	if len(res.groups) != 2 {
		t.Fatalf("%d groups", len(res.groups))
	}
	m := res.groups[0].Mark
	if m.Next() != 4 || m.Upto() != 8 {
		t.Errorf("the mark says %d, %d", m.Next(), m.Upto())
	}
	if _, err := compact.Resume(p, m); err == nil {
		t.Error("a segment that was replaced is read again")
	}
	p.Segments = p.Segments[1:]
	p.To, p.Segments[0].Size = 6, 70
	if _, err := compact.Resume(p, m); err == nil {
		t.Error("the mark of a longer log is taken")
	}
	p.Segments, p.To = nil, 8
	if r, err := compact.Resume(p, res.groups[1].Mark); err != nil {
		t.Error(err)
	} else if _, _, n := r.Want(); n != 0 || r.Upto() != 8 {
		t.Error("a finished run wants more")
	}
}

// Every bit of a log is looked at: when one is wrong the run says where, and never goes on.
func TestEveryBitIsChecked(t *testing.T) {
	clean := small()
	for i := range clean.sealed {
		for at := range clean.sealed[i].data {
			if size := len(clean.sealed[i].data) / 2; at%size >= 12 && at%size < 16 {
				continue // the epoch: no checksum covers it, raft's stub vouches for it
			}
			for bit := range 8 {
				h := small()
				h.sealed[i].data[at] ^= 1 << bit
				r, err := compact.New(h.plan(0, 1))
				if err != nil {
					t.Fatal(err)
				}
				size := len(h.sealed[i].data) / 2
				_, err = drive(r, h.sealed, whole)
				var failed *compact.Failed
				if !errors.As(err, &failed) || !errors.Is(err, compact.ErrBatch) || failed.Base != h.sealed[i].base || failed.Pos != int64(at/size*size) {
					if at%size < 8 && errors.As(err, &failed) { // another offset: the batch, or the one behind it
						continue
					}
					t.Fatalf("segment %d, byte %d, bit %d: %v", i, at, bit, err)
				}
				if _, _, n := r.Want(); n != 0 {
					t.Fatal("a failed run wants more")
				}
			}
		}
	}
}

func TestWhatCannotBeUnpackedEndsTheRun(t *testing.T) {
	h := small()
	h.sealed[0].data = append(zstdOf(h.sealed[0].data[:len(h.sealed[0].data)/2]), h.sealed[0].data[len(h.sealed[0].data)/2:]...)
	p := h.plan(0, 1)
	for name, f := range map[string]compact.Unzip{"no codec": nil, "failure": func(record.Codec, []byte) ([]byte, error) { return nil, errors.New("bomb") }} {
		p.Unzip = f
		r, _ := compact.New(p)
		if _, err := drive(r, h.sealed, whole); !errors.Is(err, compact.ErrUnzip) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]compact.Unzip{
		"too short": func(record.Codec, []byte) ([]byte, error) { return nil, nil },
		"trailing":  func(c record.Codec, b []byte) ([]byte, error) { b, err := unzip(c, b); return append(b, 0), err },
		"lengths":   func(c record.Codec, b []byte) ([]byte, error) { b, err := unzip(c, b); b[0] ^= 2; return b, err },
	} {
		p.Unzip = f
		r, _ := compact.New(p)
		if _, err := drive(r, h.sealed, whole); !errors.Is(err, record.ErrRecords) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Control batches that are no markers, such as those of KRaft, stay as they are.
func TestOtherControlBatchesStay(t *testing.T) {
	for name, key := range map[string][]byte{"leader change": {0, 0, 0, 2}, "short": {0, 0}, "none": nil} {
		var w record.Builder
		w.At(0, 1)
		w.Control()
		w.Append(record.Record{Key: key, Value: []byte("x")})
		h := small()
		h.next = 9
		f := file{data: bytes.Clone(w.Build())}
		for i := range h.sealed {
			h.sealed[i].base++
			for _, b := range batches(t, h.sealed[i:i+1]) {
				b.Patch(b.BaseOffset()+1, 1)
			}
		}
		h.sealed = append([]file{f}, h.sealed...)
		p := h.plan(0, 1<<50)
		p.SegmentBytes = 1
		res := run(t, p, h.sealed)
		if !res.groups[0].Same || !bytes.Equal(res.files[0].data, f.data) {
			t.Errorf("%s: %x became %x", name, f.data, res.files[0].data)
		}
	}
}

func TestAHundredThousandEmptyRecords(t *testing.T) {
	var w record.Builder
	w.At(0, 1)
	for range 100_000 {
		w.Append(record.Record{Key: []byte{}})
	}
	h := &history{next: 100_000, sealed: []file{{0, bytes.Clone(w.Build())}}}
	p := h.plan(0, 1)
	p.Memory = compact.KeyBytes
	res := run(t, p, h.sealed)
	if res.stats.Kept != 1 || res.stats.Keys != 1 || res.upto != 100_000 {
		t.Errorf("%+v up to %d", res.stats, res.upto)
	}
}

func TestTimesAndOffsetsAtTheirEnds(t *testing.T) {
	const end = 1<<63 - 1
	var w record.Builder
	w.At(end-3, 1)
	w.Producer(end, 1<<15-1, 1<<31-1)
	for _, ts := range []core.Wall{-1, end} {
		w.Append(record.Record{Key: []byte("k"), Timestamp: ts})
	}
	h := &history{next: end - 1, sealed: []file{{end - 3, bytes.Clone(w.Build())}}}
	p := h.plan(end-3, end)
	p.Retention = end
	after := replaced(h.sealed, run(t, p, h.sealed))
	got := entries(t, after)
	if len(got) != 1 || got[0].Offset != end-2 || got[0].Timestamp != end || got[0].batch.ProducerID() != end {
		t.Errorf("%+v", got)
	}
	if h, ok := got[0].batch.DeleteHorizon(); !ok || h != end {
		t.Errorf("horizon %d", h)
	}
}

func TestMemoryIsThirtyTwoBytesAKey(t *testing.T) {
	const n = 200_000
	f, base := file{}, core.Offset(0)
	for range n / 500 {
		var w record.Builder
		w.At(base, 1)
		for i := range 500 {
			w.Append(record.Record{Key: strconv.AppendInt(nil, int64(base)+int64(i), 10)})
		}
		f.data, base = append(f.data, w.Build()...), base+500
	}
	h := &history{sealed: []file{f}, next: n}
	p := h.plan(0, 1)
	p.Memory = compact.KeyBytes * n * 3 / 4
	res := run(t, p, h.sealed)
	if res.stats.Keys != n*3/4 || res.upto != n*3/4 || res.memory > compact.KeyBytes*res.stats.Keys {
		t.Errorf("%d bytes for %d keys, up to %d", res.memory, res.stats.Keys, res.upto)
	}
}

func FuzzRun(f *testing.F) {
	h := small()
	f.Add(append(bytes.Clone(h.sealed[0].data), h.sealed[1].data...), uint16(292), uint8(0), uint8(8), uint8(9))
	m := newMaker(5)
	m.grow(2)
	f.Add(append(bytes.Clone(m.h.sealed[0].data), m.h.sealed[1].data...), uint16(len(m.h.sealed[0].data)), uint8(m.h.sealed[1].base), uint8(m.h.next), uint8(3))
	f.Add(bytes.Clone(h.sealed[0].data), uint16(0), uint8(3), uint8(4), uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, base, to, seed uint8) {
		for rest := data; len(rest) > record.HeaderSize; { // so that the fuzzer gets behind the checksum
			n, ok := record.SizeAt(rest)
			if !ok || n > len(rest) {
				break
			}
			reseal(rest[:n])
			rest = rest[n:]
		}
		at := min(int(cut), len(data))
		h := &history{next: core.Offset(to), sealed: []file{{0, data[:at]}, {core.Offset(base), data[at:]}}}
		if at == 0 || at == len(data) {
			h.sealed = []file{{0, data}}
		}
		rnd := det.New(uint64(seed), "fuzz")
		p := h.plan(core.Offset(rnd.N(int64(to)+1)), core.Wall(rnd.N(1<<40)))
		p.Memory = compact.KeyBytes * rnd.Between(1, 5)
		p.Aborted = []compact.Aborted{{PID: 100, First: core.Offset(rnd.N(5)), Last: core.Offset(rnd.Between(5, 30))}}
		p.Producers = []compact.Producer{{PID: 101, Last: core.Offset(rnd.N(20))}}
		p.Unzip = func(_ record.Codec, b []byte) ([]byte, error) { return b, nil }
		r, err := compact.New(p)
		if err != nil {
			return
		}
		res, err := drive(r, h.sealed, whole)
		again, _ := compact.New(p)
		twice, err2 := drive(again, h.sealed, func() int { return int(rnd.N(100)) })
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, and then %v", err, err2)
		}
		if err != nil {
			return
		}
		equalResults(t, res, twice)
		last := core.Offset(-1)
		for _, b := range batches(t, replaced(h.sealed, res)) {
			if b.BaseOffset() <= last || binary.BigEndian.Uint32(b[8:]) != uint32(len(b)-12) {
				t.Fatalf("batch %d after %d", b.BaseOffset(), last)
			}
			last = b.LastOffset()
		}
	})
}

// BenchmarkCompact is a log of 1 KiB records in batches of 16, of which half are overwritten; it is read once more than it
// would be without a map.
func BenchmarkCompact(b *testing.B) {
	const size, perBatch = 64 << 20, 16
	value, rnd := make([]byte, 1000), det.New(1, "bench")
	h := &history{}
	for s := range 4 {
		f := file{base: h.next}
		for len(f.data) < size/4 {
			var w record.Builder
			w.At(h.next, 1)
			for range perBatch {
				w.Append(record.Record{Key: strconv.AppendInt([]byte("user-"), rnd.N(size/1024/2), 10), Value: value, Timestamp: core.Wall(s)})
			}
			h.next += perBatch
			f.data = append(f.data, w.Build()...)
		}
		h.sealed = append(h.sealed, f)
	}
	p := h.plan(0, 1)
	p.Memory, p.SegmentBytes = 128<<20, size
	b.SetBytes(4 * int64(len(h.sealed[0].data)))
	b.ResetTimer()
	var kept int64
	for b.Loop() {
		r, err := compact.New(p)
		if err != nil {
			b.Fatal(err)
		}
		for {
			base, pos, n := r.Want()
			if n == 0 {
				break
			}
			data := at(h.sealed, base)[pos:]
			if _, _, err := r.Feed(data[:min(len(data), 512<<10)]); err != nil {
				b.Fatal(err)
			}
		}
		kept = r.Stats().Kept * 100 / r.Stats().Records
	}
	b.ReportMetric(float64(kept), "%kept")
}
