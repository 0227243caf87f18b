package shard

import (
	"encoding/binary"
	"fmt"

	"github.com/karst-stream/karst/core/det"
)

// A start counter tells an old disk from a newer one only until the old disk has started as often. So every start
// draws a random mark as well, and a disk keeps the marks of its starts: its lineage. Who has met start 7
// with mark x believes a later start only if its lineage says x at 7: what grew out of a copy that was taken
// before start 7 says something else there, however often it started since
// (docs/decisions/0013-a-mark-for-every-start.md).
//
// A disk keeps its newest starts, and the one that each peer is known to have met: what a peer says in its
// hello that it remembers.

const (
	lineageKept = 64   // newest starts that a disk keeps
	lineageMost = 1024 // entries that a hello or an identity may have
)

var (
	markForked = det.NewMark("birth: a disk of another lineage was refused")
	markUntold = det.NewMark("birth: a disk whose lineage does not reach back was refused")
	markAware  = det.NewMark("birth: a node learned from a peer that its own disk is old")
)

// Past is a start of a disk and the mark that it drew. Mark 0 is of a version that drew none.
type Past struct {
	Start uint32
	Mark  uint64
}

// begun adds a start to the lineage and drops what nobody can ask for.
func (id *Identity) begun(start uint32, mark uint64) {
	id.Start, id.Mark = start, mark
	var kept []Past // the shards were given one copy
	old := len(id.Past) + 1 - lineageKept
	for k, p := range id.Past {
		if p.Start < start && (k >= old || id.metAt(p.Start)) {
			kept = append(kept, p)
		}
	}
	id.Past = append(kept, Past{start, mark})
}

// metAt says that a peer is known to have met a start, and none later.
func (id *Identity) metAt(start uint32) bool {
	for i := range id.Seen {
		if id.Seen[i].Met == start {
			return true
		}
	}
	return false
}

// markAt is what a lineage says of a start; false: nothing.
func markAt(past []Past, start uint32) (uint64, bool) {
	for _, p := range past {
		if p.Start == start {
			return p.Mark, true
		}
	}
	return 0, false
}

// descends says why a disk that shows this lineage cannot be what k was, or what became of it; "" when it can.
func (k *Seen) descends(incarnation, start uint32, past []Past) string {
	switch {
	case incarnation < k.Incarnation, incarnation == k.Incarnation && start < k.Start:
		return fmt.Sprintf("an old disk (start %d, a newer one with start %d is known)", start, k.Start)
	case incarnation > k.Incarnation || k.Mark == 0:
		return ""
	}
	switch mark, ok := markAt(past, k.Start); {
	case !ok:
		markUntold.Hit()
		return fmt.Sprintf("a disk that does not remember its start %d, which is known", k.Start)
	case mark != k.Mark:
		markForked.Hit()
		return fmt.Sprintf("an old disk (its start %d is not the one that is known; it has begun %d times)", k.Start, start)
	}
	return ""
}

func putPast(b []byte, past []Past) []byte {
	b = binary.AppendUvarint(b, uint64(len(past)))
	for _, p := range past {
		b = binary.AppendUvarint(b, uint64(p.Start))
		b = binary.LittleEndian.AppendUint64(b, p.Mark)
	}
	return b
}

// scan reads the fields of a hello or an identity; bad once something is missing.
type scan struct {
	b   []byte
	bad bool
}

func (s *scan) num() uint64 {
	v, n := binary.Uvarint(s.b)
	if n <= 0 {
		s.bad = true
		return 0
	}
	s.b = s.b[n:]
	return v
}

func (s *scan) mark() uint64 {
	if len(s.b) < 8 {
		s.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint64(s.b)
	s.b = s.b[8:]
	return v
}

func (s *scan) text(most uint64) string {
	n := s.num()
	if s.bad || n > uint64(len(s.b)) || n > most {
		s.bad = true
		return ""
	}
	t := string(s.b[:n])
	s.b = s.b[n:]
	return t
}

func (s *scan) past() (out []Past) {
	n := s.num()
	if n > lineageMost {
		s.bad = true
	}
	for ; n > 0 && !s.bad; n-- {
		out = append(out, Past{uint32(s.num()), s.mark()})
	}
	return out
}
