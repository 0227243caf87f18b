package compact_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// file is a segment with its bytes.
type file struct {
	base core.Offset
	data []byte
}

// history is a log and what brokers know of it.
type history struct {
	sealed    []file
	next      core.Offset       // where the active segment begins
	aborted   []compact.Aborted // all there ever were
	index     []compact.Aborted // those of the transaction index
	producers []compact.Producer
}

func (h *history) plan(from core.Offset, at core.Wall) compact.Plan {
	p := compact.Plan{Decision: compact.Decision{From: from, To: h.next, At: at, Retention: 1000, SegmentBytes: 1 << 20,
		IndexBytes: 1 << 20, Memory: 1 << 20}, Aborted: h.index, Producers: h.producers, Unzip: unzip}
	for _, f := range h.sealed {
		p.Segments = append(p.Segments, compact.Segment{Base: f.base, Size: int64(len(f.data))})
	}
	return p
}

func unzip(codec record.Codec, payload []byte) ([]byte, error) {
	if codec == record.LZ4 {
		return io.ReadAll(lz4.NewReader(bytes.NewReader(payload)))
	}
	return unzstd.DecodeAll(payload, nil)
}

var unzstd, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
var enzstd, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

// zstdOf makes a zstd batch of a plain one.
func zstdOf(b record.Batch) record.Batch {
	packed := enzstd.EncodeAll(b.Payload(), bytes.Clone(b[:record.HeaderSize]))
	binary.BigEndian.PutUint32(packed[8:], uint32(len(packed)-12))
	packed[22] |= byte(record.Zstd)
	return reseal(packed)
}

func reseal(b record.Batch) record.Batch {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// result is what a run gave.
type result struct {
	files  []file
	groups []compact.Group
	upto   core.Offset
	stats  compact.Stats
	memory int64
}

func at(files []file, base core.Offset) []byte {
	for _, f := range files {
		if f.base == base {
			return f.data
		}
	}
	return nil
}

// drive feeds a run to its end; extra says how many bytes more than wanted come with each piece.
func drive(r *compact.Run, files []file, extra func() int) (res result, err error) {
	var out []byte
	for {
		base, pos, n := r.Want()
		if n == 0 {
			res.upto, res.stats, res.memory = r.Upto(), r.Stats(), r.Memory()
			return res, nil
		}
		data := at(files, base)[pos:]
		piece, done, err := r.Feed(data[:min(len(data), n+extra())])
		if err != nil {
			return res, err
		}
		out = append(out, piece...)
		if done != nil {
			res.files = append(res.files, file{done.Base, out})
			res.groups = append(res.groups, *done)
			out = nil
		}
	}
}

func whole() int { return 1 << 30 }

func run(t testing.TB, p compact.Plan, files []file) result {
	t.Helper()
	r, err := compact.New(p)
	if err != nil {
		t.Fatal(err)
	}
	res, err := drive(r, files, whole)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// replaced is the log with what a run gave in place of what it read.
func replaced(files []file, res result) (after []file) {
	i := 0
	for k, g := range res.groups {
		if g.Size > 0 {
			after = append(after, res.files[k])
		}
		i += g.Segments
	}
	return append(after, files[i:]...)
}

// reindex is the transaction index of the log in which a run put its groups in place.
func (h *history) reindex(p compact.Plan, res result) (index []compact.Aborted) {
	i := 0
	for _, g := range res.groups {
		index = append(index, g.Aborted...)
		i += g.Segments
	}
	rest := p.To
	if i < len(p.Segments) {
		rest = p.Segments[i].Base
	}
	for _, a := range p.Aborted {
		if a.Last >= rest {
			index = append(index, a)
		}
	}
	slices.SortFunc(index, func(a, b compact.Aborted) int { return int(a.First - b.First) })
	return index
}

// entry is a record as a reader sees it.
type entry struct {
	record.Record
	batch record.Batch
}

func batches(t testing.TB, files []file) (all []record.Batch) {
	t.Helper()
	for _, f := range files {
		for rest := f.data; len(rest) > 0; {
			b, more, err := record.Next(rest)
			if err != nil || !b.CRCValid() {
				t.Fatalf("segment %d: %v", f.base, err)
			}
			all, rest = append(all, b), more
		}
	}
	return all
}

func entries(t testing.TB, files []file) (all []entry) {
	t.Helper()
	for _, b := range batches(t, files) {
		plain := b.Payload()
		if b.Codec() != record.None && b.Count() > 0 {
			var err error
			if plain, err = unzip(b.Codec(), plain); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.RecordsIn(plain, func(r record.Record) bool { all = append(all, entry{r, b}); return true }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// maker writes a log as producers would, with transactions, and keeps the books of a broker.
type maker struct {
	rnd  *det.Rand
	h    history
	now  core.Wall
	pids []*producer
	keys int64
}

type producer struct {
	id    int64
	epoch int16
	seq   int32
	last  core.Offset
	first core.Offset // of the transaction that is open, or -1
}

func newMaker(seed uint64) *maker {
	m := &maker{rnd: det.New(seed, "compact log"), now: 1_000_000}
	m.keys = m.rnd.Between(1, 40)
	for i := range m.rnd.Between(1, 5) {
		m.pids = append(m.pids, &producer{id: 100 + i, last: -1, first: -1})
	}
	return m
}

// grow adds n segments and leaves none of their transactions open.
func (m *maker) grow(n int64) {
	for i := range n {
		f := file{base: m.h.next}
		for range m.rnd.Between(1, 12) {
			f.data = append(f.data, m.batch()...)
		}
		if i == n-1 {
			for _, p := range m.pids {
				if p.first >= 0 {
					f.data = append(f.data, m.end(p)...)
				}
			}
		}
		m.h.sealed = append(m.h.sealed, f)
	}
	slices.SortFunc(m.h.index, func(a, b compact.Aborted) int { return int(a.First - b.First) })
	m.h.producers = nil
	for _, p := range m.pids {
		if m.rnd.Chance(5, 6) && (p.last >= 0 || p.epoch > 0) { // the others are expired
			m.h.producers = append(m.h.producers, compact.Producer{PID: p.id, Last: p.last, Epoch: p.epoch})
		}
	}
}

func (m *maker) batch() record.Batch {
	m.now += core.Wall(m.rnd.N(200))
	p := m.pids[m.rnd.N(int64(len(m.pids)))]
	if p.first >= 0 && m.rnd.Chance(1, 3) {
		return m.end(p)
	}
	var w record.Builder
	w.At(m.h.next, core.Epoch(m.h.next/100))
	n := int32(m.rnd.Between(1, 9))
	mine := m.rnd.Chance(2, 3)
	if mine {
		w.Producer(p.id, p.epoch, p.seq)
		p.seq, p.last = p.seq+n, m.h.next+core.Offset(n)-1
		if p.first >= 0 || m.rnd.Chance(1, 3) {
			w.Transactional()
			if p.first < 0 {
				p.first = m.h.next
			}
		}
	}
	for range n {
		w.Append(m.record())
	}
	m.h.next += core.Offset(n)
	b := record.Batch(bytes.Clone(w.Build()))
	switch {
	case m.rnd.Chance(1, 6):
		return zstdOf(b)
	case m.rnd.Chance(1, 8):
		b.Stamp(m.now)
	}
	return b
}

func (m *maker) record() (r record.Record) {
	r.Timestamp = m.now - core.Wall(m.rnd.N(50))
	if m.rnd.Chance(29, 30) {
		r.Key = []byte("key " + strconv.FormatInt(m.rnd.N(m.keys), 10))
	}
	if m.rnd.Chance(3, 4) {
		r.Value = bytes.Repeat([]byte{byte(m.rnd.N(256))}, int(m.rnd.N(200)))
	}
	if m.rnd.Chance(1, 5) {
		r.Headers = []record.Header{{Key: "h", Value: []byte{1}}, {Key: "", Value: nil}}
	}
	return r
}

// end writes the marker of a transaction.
func (m *maker) end(p *producer) record.Batch {
	commit := m.rnd.Chance(1, 2)
	b := marker(m.h.next, p.id, p.epoch, commit, m.now)
	if !commit {
		m.h.aborted = append(m.h.aborted, compact.Aborted{PID: p.id, First: p.first, Last: m.h.next})
		m.h.index = append(m.h.index, m.h.aborted[len(m.h.aborted)-1])
	}
	p.first = -1
	m.h.next++
	if m.rnd.Chance(1, 2) { // as KIP-890 does
		p.epoch, p.seq = p.epoch+1, 0
	}
	return b
}

func marker(base core.Offset, pid int64, epoch int16, commit bool, now core.Wall) record.Batch {
	var w record.Builder
	w.At(base, 3)
	w.Producer(pid, epoch, -1)
	w.Transactional()
	w.Control()
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	w.Append(record.Record{Key: key, Value: []byte{0, 0, 0, 0, 0, 7}, Timestamp: now})
	return bytes.Clone(w.Build())
}
