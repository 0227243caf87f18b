package record_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sample has every shape a record can take: null, empty, long, headers, times that go back.
func sample() []record.Record {
	return []record.Record{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: 1_700_000_000_000},
		{Timestamp: 1_700_000_000_500},
		{Key: []byte{}, Value: []byte{}, Timestamp: 1_699_999_999_000},
		{Value: bytes.Repeat([]byte("x"), 300), Timestamp: 1_700_000_000_001, Headers: []record.Header{
			{Key: "a", Value: []byte("1")}, {Key: "", Value: nil}, {Key: "b", Value: []byte{}}}},
	}
}

func build(recs ...record.Record) record.Batch {
	var w record.Builder
	for _, r := range recs {
		w.Append(r)
	}
	return w.Build()
}

func reseal(b record.Batch) record.Batch {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

func TestKmsgReadsWhatBuilderWrote(t *testing.T) {
	var w record.Builder
	w.At(77, 5)
	w.Producer(123456789012, 7, 41)
	w.Transactional()
	for _, r := range sample() {
		w.Append(r)
	}
	b := w.Build()
	var k kmsg.RecordBatch
	if err := k.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	want := kmsg.RecordBatch{FirstOffset: 77, Length: int32(len(b) - 12), PartitionLeaderEpoch: 5, Magic: 2,
		CRC: int32(crc32.Checksum(b[21:], castagnoli)), Attributes: 0x10, LastOffsetDelta: 3,
		FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_500, ProducerID: 123456789012,
		ProducerEpoch: 7, FirstSequence: 41, NumRecords: 4, Records: b[61:]}
	if !reflect.DeepEqual(k, want) {
		t.Errorf("kmsg read\n%+v\nwant\n%+v", k, want)
	}
	if int32(b.CRC()) != k.CRC || b.BaseOffset() != 77 || b.Size() != int32(len(b)) || b.LeaderEpoch() != 5 ||
		b.Magic() != 2 || b.Attributes() != 0x10 || b.LastOffsetDelta() != 3 || b.LastOffset() != 80 ||
		int64(b.BaseTimestamp()) != k.FirstTimestamp || int64(b.MaxTimestamp()) != k.MaxTimestamp ||
		b.ProducerID() != k.ProducerID || b.ProducerEpoch() != 7 || b.BaseSequence() != 41 || b.Count() != 4 ||
		!b.Transactional() || b.Control() || b.LogAppendTime() || b.Codec() != record.None {
		t.Errorf("the accessors of %x disagree with kmsg", b[:61])
	}
	if p := b.Check(); p != record.Fine {
		t.Error(p)
	}
}

func TestBuilderReadsItselfAndIsReusable(t *testing.T) {
	var w record.Builder
	for round := range 3 {
		w.Reset()
		w.At(core.Offset(100*round), 1)
		want := sample()
		for i := range want {
			w.Append(want[i])
			want[i].Offset = core.Offset(100*round + i)
		}
		if w.Count() != 4 || w.Size() != len(w.Build()) {
			t.Fatalf("count %d, size %d", w.Count(), w.Size())
		}
		var got []record.Record
		if err := w.Build().Records(func(r record.Record) bool { got = append(got, r); return true }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("round %d: got %+v\nwant %+v", round, got, want)
		}
	}
	w.Reset()
	w.Control()
	w.Append(record.Record{Key: []byte{0, 0, 0, 1}})
	if b := w.Build(); !b.Control() || b.Check() != record.Invalid || b.ProducerID() != -1 || b.LeaderEpoch() != -1 {
		t.Errorf("a control batch passed as a client's: %v", b.Check())
	}
}

// kgo's own fetch path judges the bytes: it checks the CRC and decodes each record.
func TestFranzGoFetchesWhatBuilderWrote(t *testing.T) {
	b := build(sample()...)
	b.Patch(1000, 3)
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.LastStableOffset, p.RecordBatches = 1004, 1004, b
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t", Offset: 1000},
		&p, kgo.DefaultDecompressor(), nil)
	if got.Err != nil || next != 1004 || len(got.Records) != 4 {
		t.Fatalf("err %v, next %d, %d records", got.Err, next, len(got.Records))
	}
	for i, want := range sample() {
		r := got.Records[i]
		if !bytes.Equal(r.Key, want.Key) || (r.Key == nil) != (want.Key == nil) || !bytes.Equal(r.Value, want.Value) ||
			(r.Value == nil) != (want.Value == nil) || !r.Timestamp.Equal(time.UnixMilli(int64(want.Timestamp))) ||
			len(r.Headers) != len(want.Headers) || r.Offset != int64(1000+i) || r.LeaderEpoch != 3 {
			t.Errorf("record %d: kgo has %+v, want %+v", i, r, want)
		}
	}
}

func TestCheckNamesTheProblem(t *testing.T) {
	set16 := func(at int, v int16) func(record.Batch) {
		return func(b record.Batch) { binary.BigEndian.PutUint16(b[at:], uint16(v)) }
	}
	set32 := func(at int, v int32) func(record.Batch) {
		return func(b record.Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
	}
	set8 := func(at int, v byte) func(record.Batch) { return func(b record.Batch) { b[at] = v } }
	firstRecord := 61
	tests := []struct {
		name   string
		break_ func(record.Batch)
		reseal bool
		want   record.Problem
	}{
		{"untouched", func(record.Batch) {}, false, record.Fine},
		{"base offset may be anything", set8(0, 1), false, record.Fine},
		{"old magic", set8(16, 1), false, record.WrongMagic},
		{"length too small", set32(8, 40), false, record.Corrupt},
		{"length of another batch", set32(8, 4000), false, record.Corrupt},
		{"negative length", set32(8, -1), false, record.Corrupt},
		{"length that wraps", set32(8, math.MaxInt32), false, record.Corrupt},
		{"flipped crc", set8(17, 0x5a), false, record.Corrupt},
		{"flipped payload", set8(70, 0x5a), false, record.Corrupt},
		{"control", set16(21, 0x20), true, record.Invalid},
		{"no such codec", set16(21, 5), true, record.Invalid},
		{"count 0", set32(57, 0), true, record.Invalid},
		{"count -1", set32(57, -1), true, record.Invalid},
		{"count too large", set32(57, math.MaxInt32), true, record.Invalid},
		{"last delta lies", set32(23, 9), true, record.Invalid},
		{"count and delta agree on a lie", func(b record.Batch) { set32(57, 3)(b); set32(23, 2)(b) }, true, record.Invalid},
		{"both say one more", func(b record.Batch) { set32(57, 5)(b); set32(23, 4)(b) }, true, record.Invalid},
		{"idempotent without sequence", func(b record.Batch) { b[43], b[50] = 0, 9; clear(b[43:50]); set16(51, 0)(b) }, true, record.Invalid},
		{"transactional without producer", set16(21, 0x10), true, record.Invalid},
		{"first offset delta 1", set8(firstRecord+3, 2), true, record.Invalid},
		{"record longer than the batch", func(b record.Batch) { b[firstRecord], b[firstRecord+1] = 0xff, 0x7f }, true, record.Invalid},
		{"record of no bytes", set8(firstRecord, 0), true, record.Invalid},
		{"key longer than the record", set8(firstRecord+4, 0x7e), true, record.Invalid},
		{"key of length -2", set8(firstRecord+4, 3), true, record.Invalid},
		{"headers that are not there", set8(firstRecord+8, 6), true, record.Invalid},
	}
	for _, test := range tests {
		b := build(sample()...)
		test.break_(b)
		if test.reseal {
			reseal(b)
		}
		if got := b.Check(); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if got := append(build(sample()...), 0).Check(); got != record.Corrupt {
		t.Errorf("a byte behind the batch: %v", got)
	}
	b := reseal(append(build(sample()...), 0))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	if got := b.Check(); got != record.Invalid {
		t.Errorf("a byte behind the records: %v", got)
	}
	for n := range 61 {
		if got := build(sample()...)[:n].Check(); got != record.Corrupt {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}

func TestNextCutsBatchesAndRefusesTheRest(t *testing.T) {
	one, two := bytes.Clone(build(sample()[0])), bytes.Clone(build(sample()...))
	b, rest, err := record.Next(append(bytes.Clone(one), two...))
	if err != nil || !bytes.Equal(b, one) || !bytes.Equal(rest, two) || cap(b) != len(b) {
		t.Fatalf("%v: %d bytes, %d left", err, len(b), len(rest))
	}
	for n := range len(two) {
		if _, rest, err := record.Next(two[:n]); err != record.ErrShort || len(rest) != n {
			t.Fatalf("%d bytes of a batch: %v", n, err)
		}
		if size, ok := record.SizeAt(two[:n]); ok != (n >= 12) || ok && size != len(two) {
			t.Fatalf("SizeAt of %d bytes: %d %v", n, size, ok)
		}
	}
	for _, length := range []int32{-1, 0, 48, math.MinInt32, math.MaxInt32} {
		binary.BigEndian.PutUint32(two[8:], uint32(length))
		if _, _, err := record.Next(two); err != record.ErrSize {
			t.Errorf("length %d: %v", length, err)
		}
	}
	old := bytes.Clone(one)
	old[16] = 0
	if _, _, err := record.Next(old[:26]); err != record.ErrMagic {
		t.Errorf("a v0 message: %v", err)
	}
}

func TestPatchLeavesTheCRCTrueAndPrefixDerivesIt(t *testing.T) {
	b := build(sample()...)
	before := bytes.Clone(b)
	b.Patch(math.MaxInt64-10, math.MaxInt32)
	if !b.CRCValid() || b.BaseOffset() != math.MaxInt64-10 || b.LeaderEpoch() != math.MaxInt32 {
		t.Errorf("patched to %d, %d; crc valid %v", b.BaseOffset(), b.LeaderEpoch(), b.CRCValid())
	}
	for i := range b {
		if patched := i < 8 || i >= 12 && i < 16; !patched && b[i] != before[i] {
			t.Errorf("byte %d changed", i)
		}
	}
	if p := record.Prefix(b.BaseOffset(), b.Size(), b.LeaderEpoch(), b.CRC()); !bytes.Equal(p[:], b[:record.Unchecked]) {
		t.Errorf("derived %x, is %x", p, b[:record.Unchecked])
	}
	b.Stamp(42)
	if b.Check() != record.Fine || !b.LogAppendTime() || b.MaxTimestamp() != 42 {
		t.Errorf("stamped: %v", b.Check())
	}
	b.Records(func(r record.Record) bool {
		if r.Timestamp != 42 {
			t.Errorf("offset %d has time %d", r.Offset, r.Timestamp)
		}
		return true
	})
}

func TestRecordsStopsWhenTold(t *testing.T) {
	n := 0
	if err := build(sample()...).Records(func(record.Record) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("visited %d: %v", n, err)
	}
	b := build(sample()...)
	b[22] |= byte(record.Zstd)
	if err := b.Records(nil); err != record.ErrCompressed {
		t.Error(err)
	}
}

func TestRandomBatchesRoundTripThroughKmsg(t *testing.T) {
	rnd := det.New(1, "record test")
	for range 300 {
		var w record.Builder
		n := int(rnd.Between(1, 40))
		var want []record.Record
		for i := range n {
			r := record.Record{Timestamp: core.Wall(rnd.Between(-1, 1<<45)), Offset: core.Offset(i)}
			if rnd.Chance(2, 3) {
				r.Key = make([]byte, rnd.N(200))
			}
			if rnd.Chance(2, 3) {
				r.Value = make([]byte, rnd.N(9000))
			}
			for range rnd.N(3) {
				r.Headers = append(r.Headers, record.Header{Key: "h", Value: make([]byte, rnd.N(70))})
			}
			w.Append(r)
			want = append(want, r)
		}
		b := w.Build()
		if p := b.Check(); p != record.Fine {
			t.Fatal(p)
		}
		left := b.Payload()
		for _, r := range want {
			var k kmsg.Record
			size, used := binary.Varint(left)
			if err := k.ReadFrom(left[:used+int(size)]); err != nil {
				t.Fatal(err)
			}
			left = left[used+int(size):]
			if int(k.OffsetDelta) != int(r.Offset) || int64(b.BaseTimestamp())+k.TimestampDelta64 != int64(r.Timestamp) ||
				!bytes.Equal(k.Key, r.Key) || (k.Key == nil) != (r.Key == nil) || !bytes.Equal(k.Value, r.Value) ||
				len(k.Headers) != len(r.Headers) {
				t.Fatalf("kmsg read %+v, want %+v", k, r)
			}
		}
		if len(left) != 0 {
			t.Fatalf("%d bytes left", len(left))
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(build(sample()...)))
	f.Add([]byte(build(sample()[0])))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := b
		for {
			batch, rest, err := record.Next(b)
			if err != nil {
				break
			}
			if len(batch)+len(rest) != len(b) || int(batch.Size()) != len(batch) {
				t.Fatalf("%d + %d of %d bytes", len(batch), len(rest), len(b))
			}
			b = rest
			judge(t, batch)
		}
		record.Batch(whole).Check()
		if len(whole) >= record.HeaderSize { // behind the checksum, where a random input hardly comes
			fixed := record.Batch(bytes.Clone(whole))
			binary.BigEndian.PutUint32(fixed[8:], uint32(len(fixed)-12))
			fixed[16] = 2
			judge(t, reseal(fixed))
		}
	})
}

// judge holds Check and Records to each other: what the one accepts, the other reads in full.
func judge(t *testing.T, b record.Batch) {
	problem, n, next := b.Check(), int32(0), b.BaseOffset()
	err := b.Records(func(r record.Record) bool {
		if problem == record.Fine && r.Offset != next {
			t.Fatalf("offset %d, want %d", r.Offset, next)
		}
		next++
		n++
		return true
	})
	if problem == record.Fine && b.Codec() == record.None && (err != nil || n != b.Count()) {
		t.Fatalf("checked batch: %d of %d records, %v", n, b.Count(), err)
	}
	var k kmsg.RecordBatch
	if kerr := k.ReadFrom(b); problem == record.Fine && (kerr != nil || !bytes.Equal(k.Records, b.Payload())) {
		t.Fatalf("kmsg disagrees: %v", kerr)
	}
}
