package record_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

func raws(t *testing.T, b record.Batch) (all []record.Raw) {
	t.Helper()
	if err := b.RawsIn(b.Payload(), func(r *record.Raw) { all = append(all, *r) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func records(t *testing.T, b record.Batch) (all []record.Record) {
	t.Helper()
	if err := b.Records(func(r record.Record) bool { all = append(all, r); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRawsAreTheRecords(t *testing.T) {
	b := build(sample()...)
	b.Patch(50, 2)
	want := records(t, b)
	for i, r := range raws(t, b) {
		w := want[i]
		if r.Offset != w.Offset || r.Timestamp != w.Timestamp || !bytes.Equal(r.Key, w.Key) || (r.Key == nil) != (w.Key == nil) || r.Null != (w.Value == nil) {
			t.Errorf("record %d: %+v, want %+v", i, r, w)
		}
	}
	plain := b.Payload()
	for i := range plain {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[record.HeaderSize+i] ^= 1 << bit
			x := record.Batch(bad)
			one := x.Records(func(record.Record) bool { return true })
			two := x.RawsIn(x.Payload(), func(*record.Raw) {})
			if (one == nil) != (two == nil) {
				t.Fatalf("byte %d, bit %d: %v, but %v", i, bit, one, two)
			}
		}
	}
}

func TestARewrittenBatchKeepsItsNumbersAndItsRecords(t *testing.T) {
	var w record.Builder
	w.At(77, 5)
	w.Producer(9, 3, 40)
	w.Transactional()
	for _, r := range sample() {
		w.Append(r)
	}
	b := w.Build()
	all, want := raws(t, b), records(t, b)
	for keep := 1; keep < 1<<len(all); keep++ {
		for _, horizon := range []core.Wall{-1, 5} {
			var x record.Rewriter
			x.Begin([]byte("before"), b, horizon)
			var left []record.Record
			for i := range all {
				if keep&(1<<i) != 0 {
					x.Keep(&all[i])
					left = append(left, want[i])
				}
			}
			out := x.End()
			got := record.Batch(out[6:])
			if string(out[:6]) != "before" || got.Check() == record.Corrupt || !reflect.DeepEqual(records(t, got), left) {
				t.Fatalf("keep %b: %v", keep, records(t, got))
			}
			if h, ok := got.DeleteHorizon(); ok != (horizon >= 0) || h != horizon {
				t.Errorf("horizon %d, %v", h, ok)
			}
			if got.BaseOffset() != 77 || got.LastOffset() != 80 || got.BaseSequence() != 40 || got.ProducerID() != 9 || got.ProducerEpoch() != 3 ||
				got.LeaderEpoch() != 5 || !got.Transactional() || got.Control() || int(got.Count()) != len(left) {
				t.Errorf("the header became %x", out[6:67])
			}
		}
	}
	empty := record.Batch(record.AppendEmpty(nil, b))
	if len(empty) != record.HeaderSize || !empty.CRCValid() || empty.LastOffset() != 80 || empty.BaseTimestamp() != -1 ||
		empty.MaxTimestamp() != b.MaxTimestamp() || empty.Count() != 0 || len(records(t, empty)) != 0 {
		t.Errorf("%x", []byte(empty))
	}
	if again := record.AppendEmpty(nil, empty); !bytes.Equal(again, empty) {
		t.Error("an empty batch changes")
	}
}
