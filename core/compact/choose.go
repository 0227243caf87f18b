package compact

import (
	"math/bits"

	"github.com/karst-stream/karst/core"
)

// Sealed is what the choice knows of a segment that is not written any more.
type Sealed struct {
	Base   core.Offset
	Size   int64     // bytes
	First  core.Wall // the largest timestamp of its first batch; 0 or less: unknown
	Newest core.Wall // its largest timestamp
}

// Log is a partition as the choice sees it.
type Log struct {
	Start  core.Offset // of the log
	Clean  core.Offset // what the last decision covered; -1: there was none
	Stable core.Offset // the last stable one: below it everything is committed, and no transaction that is open has begun
	Active core.Offset // base of the segment that is written
	End    core.Offset // of the log
	Sealed []Sealed    // below Active, in order
}

// Policy is when a topic wants to be compacted.
type Policy struct {
	MinLag, MaxLag int64 // min.compaction.lag.ms, max.compaction.lag.ms
	MinDirty       int64 // min.cleanable.dirty.ratio in millionths
}

// Million is a ratio of one.
const Million = 1_000_000

// Choice is a range that may be compacted.
type Choice struct {
	From, To     core.Offset
	Dirty, Clean int64 // bytes of the segments from From to To, and of those that begin before From
	Overdue      int64 // ms by which the oldest dirty record is older than max.compaction.lag.ms, or 0
}

// Choose says what of a log would be compacted now, and whether it is worth while (LogCleanerManager.java:
// cleanableOffsets, calculateCleanableBytes, maxCompactionDelay). What is active, not stable, or younger than
// MinLag is left alone: whole segments, for a record is moved with its segment only.
func Choose(l Log, p Policy, now core.Wall) (c Choice, ok bool) {
	c.From = l.Clean
	if c.From < l.Start || c.From > l.End {
		c.From = l.Start // never compacted, or from before the log was cut
	}
	dirty := l.from(c.From)
	to := min(l.Stable, l.Active)
	if p.MinLag > 0 {
		for _, s := range dirty {
			if s.Newest > now-core.Wall(min(p.MinLag, int64(now))) {
				to = min(to, s.Base)
				break
			}
		}
	}
	to = max(to, c.From)
	c.To = l.Active
	if left := l.from(to); len(left) > 0 {
		c.To = left[0].Base
	}
	for _, s := range l.Sealed {
		if s.Base < c.From {
			c.Clean += s.Size
		}
	}
	for _, s := range dirty {
		if s.Base < c.To {
			c.Dirty += s.Size
		}
	}
	c.Overdue = overdue(dirty, p.MaxLag, now)
	if c.To <= c.From || c.Dirty == 0 {
		return c, false
	}
	return c, c.Overdue > 0 || c.above(p.MinDirty)
}

// from are the sealed segments from the one that holds offset on.
func (l *Log) from(offset core.Offset) []Sealed {
	if offset >= l.Active {
		return nil
	}
	all := l.Sealed
	for len(all) > 1 && all[1].Base <= offset {
		all = all[1:]
	}
	return all
}

func overdue(dirty []Sealed, maxLag int64, now core.Wall) int64 {
	oldest := core.Wall(-1)
	for _, s := range dirty {
		if s.First > 0 && (oldest < 0 || s.First < oldest) {
			oldest = s.First
		}
	}
	if limit := now - core.Wall(min(maxLag, int64(now))); oldest >= 0 && oldest < limit {
		return int64(limit - oldest)
	}
	return 0
}

// above says that more than so many millionths of the log are dirty.
func (c *Choice) above(millionths int64) bool {
	return less(millionths, c.Clean+c.Dirty, c.Dirty, Million)
}

// Dirtier says that a larger share of c than of d is dirty: the dirtiest log comes first.
func (c *Choice) Dirtier(d *Choice) bool {
	return less(d.Dirty, c.Clean+c.Dirty, c.Dirty, d.Clean+d.Dirty)
}

// less is a*b < x*y for numbers that are not negative.
func less(a, b, x, y int64) bool {
	h1, l1 := bits.Mul64(uint64(a), uint64(b))
	h2, l2 := bits.Mul64(uint64(x), uint64(y))
	return h1 < h2 || h1 == h2 && l1 < l2
}
