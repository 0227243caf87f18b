package compact

import (
	"encoding/binary"
	"strconv"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// built is a batch of n records, whose keys are their numbers.
func built(n int, set func(w *record.Builder)) record.Batch {
	var w record.Builder
	set(&w)
	for i := range n {
		w.Append(record.Record{Key: binary.BigEndian.AppendUint32(nil, uint32(i))})
	}
	return w.Build()
}

// No batch fits behind the last whole one: to wait for more of it would be to wait for ever.
func TestARestThatIsTooShortForABatchIsRefused(t *testing.T) {
	s := &Segment{Size: 1000}
	for rest, want := range map[int64]error{0: ErrBatch, 1: ErrBatch, record.HeaderSize - 1: ErrBatch, record.HeaderSize: nil} {
		r := &Run{pos: s.Size - rest}
		if n, err := r.cut(s, make([]byte, min(rest, record.HeaderSize-1))); n != 0 || err != want {
			t.Errorf("%d bytes are left: %d, %v, want %v", rest, n, err, want)
		}
	}
}

// Each record of a batch is kept or dropped by its own bit, however many there are.
func TestABatchOfManyRecordsKeepsTheChosen(t *testing.T) {
	const many = 1000
	b := built(many, func(*record.Builder) {})
	for _, kept := range []int{0, 1, 63, 64, 65, 127, 128, 129, 130, 640, many - 1} {
		r := &Run{keep: make([]uint64, (many+63)/64)}
		r.keep[kept/64] |= 1 << (kept % 64)
		r.rewrite(b, b.Payload(), -1)
		var got []string
		if err := record.Batch(r.out).Records(func(x record.Record) bool {
			got = append(got, strconv.Itoa(int(binary.BigEndian.Uint32(x.Key))))
			return true
		}); err != nil || len(got) != 1 || got[0] != strconv.Itoa(kept) {
			t.Errorf("record %d was chosen: %v, %v", kept, got, err)
		}
	}
}

// A transaction whose marker is still to come at an offset has not ended before it.
func TestATransactionEndsWithItsMarker(t *testing.T) {
	all := []Aborted{{PID: 1, First: 2, Last: 9}, {PID: 2, First: 3, Last: 10}, {PID: 3, First: 4, Last: 11}}
	for offset, want := range map[core.Offset]int{9: 3, 10: 2, 11: 1, 12: 0} {
		if left := after(all, offset); len(left) != want || want > 0 && left[0] != all[3-want] {
			t.Errorf("at %d: %v, want the last %d", offset, left, want)
		}
	}
}

// The first record of a control batch says what it is; what follows says nothing.
func TestTheFirstRecordIsTheMarker(t *testing.T) {
	for n := range 3 {
		want := otherControl
		if n > 0 {
			want = 0
		}
		if got := controlType(built(n, (*record.Builder).Control)); int(got) != want {
			t.Errorf("%d records: type %d, want %d", n, got, want)
		}
	}
}
