package seg

import (
	"sort"

	"github.com/karst-stream/karst/core"
)

// Before is the position of the last point at or before pos: an edge of a batch. False when there is
// none.
func (x *Index) Before(pos int64) (int64, bool) {
	i := sort.Search(len(x.points), func(i int) bool { return x.points[i].pos > pos })
	if i == 0 {
		return 0, false
	}
	return x.points[i-1].pos, true
}

// Continue is Add for a walk over a part of the segment that is indexed for the first time: batches
// that are known, or that leave a gap to what is known, are passed over.
func (x *Index) Continue(offset core.Offset, pos, end int64, maxTime core.Wall) {
	if pos != x.next {
		return
	}
	x.Add(offset, pos, maxTime)
	x.next = end
}
