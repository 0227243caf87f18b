package replica

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
)

// What a checkpoint says of a catch-up is read back, by itself and in the state; what is cut off is refused.
func TestAheadIsReadBack(t *testing.T) {
	a := &ahead{entry: 7, term: 3, low: 90, at: place{100, 4000}, next: 140,
		last:  tailBatch{place{100, 3000}, 120, 1000, 2, 1<<32 - 1},
		times: times{5, 9}, mid: times{-1, 8}}
	for _, want := range []*ahead{nil, a} {
		b := want.encode([]byte("x"))[1:]
		got, rest, ok := decodeAhead(append(b, "rest"...))
		if !ok || string(rest) != "rest" || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became %+v, %q, %v", want, got, rest, ok)
		}
		for n := range len(b) {
			if _, _, ok := decodeAhead(b[:n]); ok {
				t.Errorf("%d of %d bytes were taken", n, len(b))
			}
		}
	}
	if _, _, ok := decodeAhead([]byte{2}); ok {
		t.Error("an unknown kind was taken")
	}
}

// A window counts the bytes of the batches that it names, through all that happens to it.
func TestAWindowIsWeighed(t *testing.T) {
	w := &window{first: 5}
	add := func(n int, size int32) {
		for range n {
			w.notes = append(w.notes, note{batch: true, end: w.end(w.last()) + 1})
			w.ents = append(w.ents, raftpb.Entry{})
			w.notes[len(w.notes)-1].stub.Len = size
			w.bytes += int64(size)
		}
	}
	add(10, 100)
	w.drop(3)
	w.keep(5)
	if w.bytes != 500 || w.first != 8 || w.last() != 12 || w.end0 != core.Offset(3) {
		t.Errorf("%d bytes in [%d, %d] after %d", w.bytes, w.first, w.last(), w.end0)
	}
}

// The window lets go of what is committed while a catch-up compares: what lies below it contradicts nothing.
func TestACatchUpBelowTheWindowProvesNothingDead(t *testing.T) {
	batch := func(base core.Offset) record.Batch {
		var b record.Builder
		b.Append(record.Record{Value: []byte("x")})
		raw := bytes.Clone(b.Build())
		binary.BigEndian.PutUint64(raw, uint64(base)) // its checksum does not cover that
		return raw
	}
	size := int64(len(batch(0)))
	r := &Replica{commit: 4, log: &window{first: 5, end0: 7, at0: place{0, 7 * size}}}
	for i := range 3 {
		r.log.ents = append(r.log.ents, raftpb.Entry{Term: 1})
		r.log.notes = append(r.log.notes, note{batch: true, end: core.Offset(8 + i), at: place{0, (7 + int64(i)) * size},
			stub: journal.Stub{Base: core.Offset(7 + i), Len: int32(size)}})
	}
	for _, c := range []struct {
		base core.Offset
		same bool
		dead uint64
	}{{5, true, 0}, {6, true, 0}, {7, false, 5}, {10, false, 0}} { // these are other batches than those of the window
		b := batch(c.base)
		if same, dead := r.ours(b, batchAt(b, place{0, int64(c.base) * size})); same != c.same || dead != c.dead {
			t.Errorf("a batch at %d: ours %v, and entry %d is dead; want %v and %d", c.base, same, dead, c.same, c.dead)
		}
	}
}
