package seg

import (
	"sort"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

const (
	firstInterval = 4096 // bytes between points, Kafka's index.interval.bytes
	maxPoints     = 2048 // 48 KiB; a 1 GiB segment ends with a point each 512 KiB to 1 MiB
)

// Index finds batches of one segment by offset and by time. It keeps the first batch and then one at
// least each interval bytes; the interval doubles when there are too many. The zero value is empty.
type Index struct {
	points   []point
	interval int64
	end      int64
	next     int64 // where Continue goes on
}

// point is a batch. maxTime is the largest timestamp of all batches before the next point: it never
// falls from a point to the next.
type point struct {
	offset  core.Offset
	pos     int64
	maxTime core.Wall
}

// Add tells of the batch at pos, with its base offset and largest timestamp. Batches come in order.
// Extend tells of its end.
func (x *Index) Add(offset core.Offset, pos int64, maxTime core.Wall) {
	if len(x.points) == 0 {
		x.interval = max(x.interval, firstInterval)
		x.points = append(x.points, point{offset, pos, maxTime})
		x.end = max(x.end, pos)
		return
	}
	last := &x.points[len(x.points)-1]
	det.That(offset > last.offset, "seg: an index grows by offset")
	det.That(pos > last.pos && pos >= x.end, "seg: an index grows by position")
	x.end = pos
	if pos-last.pos < x.interval {
		last.maxTime = max(last.maxTime, maxTime)
		return
	}
	x.points = append(x.points, point{offset, pos, max(last.maxTime, maxTime)})
	if len(x.points) > maxPoints {
		x.thin()
	}
}

// thin drops every other point; its batches then belong to the point before.
func (x *Index) thin() {
	kept := x.points[:0]
	for i := 0; i < len(x.points); i += 2 {
		p := x.points[i]
		if i+1 < len(x.points) {
			p.maxTime = x.points[i+1].maxTime
		}
		kept = append(kept, p)
	}
	x.points = kept
	x.interval *= 2
}

// Extend says that the segment ends at end.
func (x *Index) Extend(end int64) {
	det.That(end >= x.end, "seg: a segment does not shrink by growing")
	x.end = end
}

// End is the position where the segment ends, as far as was told.
func (x *Index) End() int64 { return x.end }

// Lookup is the last point at or before offset: where a walk for it begins. False when the segment is
// empty or begins later.
func (x *Index) Lookup(offset core.Offset) (at core.Offset, pos int64, ok bool) {
	i := sort.Search(len(x.points), func(i int) bool { return x.points[i].offset > offset })
	if i == 0 {
		return 0, 0, false
	}
	return x.points[i-1].offset, x.points[i-1].pos, true
}

// ByTime is the point from which a walk for the first batch with a timestamp of ts or later begins.
// False when the segment has none. After a Truncate such a walk may end without one.
func (x *Index) ByTime(ts core.Wall) (at core.Offset, pos int64, ok bool) {
	i := sort.Search(len(x.points), func(i int) bool { return x.points[i].maxTime >= ts })
	if i == len(x.points) {
		return 0, 0, false
	}
	return x.points[i].offset, x.points[i].pos, true
}

// MaxTime is the largest timestamp of the segment, or after a Truncate an upper bound of it; -1 when
// the segment is empty.
func (x *Index) MaxTime() core.Wall {
	if len(x.points) == 0 {
		return -1
	}
	return x.points[len(x.points)-1].maxTime
}

// Truncate forgets the batches at pos and after; pos is the end of a batch.
func (x *Index) Truncate(pos int64) {
	i := sort.Search(len(x.points), func(i int) bool { return x.points[i].pos >= pos })
	x.points = x.points[:i]
	x.end = min(x.end, pos)
	x.next = min(x.next, pos)
}
