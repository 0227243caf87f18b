package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// When a segment is closed. The leader decides it batch by batch and logs it as a flag in the batch's stub, so
// the files of all replicas are cut at the same places. Followers, boots and catch-up only obey.

var markAged = det.NewMark("roll: a segment was closed because of its age")

// tail is the segment that the next proposal goes to, while it holds nothing but proposals of this step.
type tail struct {
	base  core.Offset
	first core.Wall // see times
	made  core.Wall
}

// jitter is what the leader takes off segment.ms for one segment.
type jitter struct {
	rng   *det.Rand
	base  core.Offset // of the segment
	drawn bool
	by    core.Wall
}

// tailSegment is how many bytes the last segment will hold once all proposals are in it.
func (r *Replica) tailSegment() int64 {
	if r.rolled {
		return r.proposedSize
	}
	return r.log.after(r.log.last()).pos + r.proposedSize
}

// beginTail says that what is proposed from here on goes to a new segment.
func (r *Replica) beginTail(base core.Offset, first core.Wall) {
	r.proposedSize, r.rolled = 0, true
	r.tail = tail{base, first, r.h.Now().Wall}
}

// beginsSegment says whether a batch that is about to be proposed must not go to the last segment. One of which
// nothing is left of the log is closed too: its file can go once another follows it.
func (r *Replica) beginsSegment(s *journal.Stub) bool {
	at := r.log.after(r.log.last())
	size := r.tailSegment()
	if size == 0 {
		if !r.rolled {
			r.tail = tail{at.seg, 0, r.h.Now().Wall}
		}
		r.tail.first = s.MaxTime
		return false
	}
	t := r.tail
	if x := r.segment(at.seg); !r.rolled && at.pos > 0 && x != nil {
		t = tail{x.base, x.times.first, x.made}
	}
	set := &r.cfg.Settings
	if size+int64(s.Len) > set.SegmentBytes || r.start >= s.Base || r.indexFull(s) {
		return true
	}
	if t.waited(s.MaxTime, r.h.Now().Wall) > set.SegmentMs-r.jitterOf(t.base) {
		markAged.Hit()
		return true
	}
	return false
}

// waited is how long a segment has been open when a batch comes: by their timestamps, or by the clock where the
// first batch had none (LogSegment.timeWaitedForRoll).
func (t *tail) waited(batch, now core.Wall) core.Wall {
	if t.first >= 0 {
		return batch - t.first
	}
	return now - t.made
}

// jitterOf is drawn once for a segment (LogConfig.randomSegmentJitter), by each leader anew.
func (r *Replica) jitterOf(base core.Offset) core.Wall {
	set, j := &r.cfg.Settings, &r.jitter
	if !j.drawn || j.base != base {
		j.base, j.drawn, j.by = base, true, 0
		if n := min(set.SegmentJitter, set.SegmentMs); n > 0 {
			j.by = core.Wall(j.rng.N(int64(n)))
		}
	}
	return min(j.by, set.SegmentMs)
}
