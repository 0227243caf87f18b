package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// times are the timestamps of a stretch at the beginning of a segment: what decides when it is closed and how
// long it is kept. They are exact, over truncations and restarts too: the checkpoint knows those of its segments.
type times struct {
	first core.Wall // the largest timestamp of the first batch
	max   core.Wall // the largest of all batches
}

// noTimes are those of an empty segment, and of batches without timestamps.
var noTimes = times{-1, -1}

// add tells of a batch at pos.
func (t *times) add(pos int64, max core.Wall) {
	if pos == 0 {
		*t = times{max, max}
	}
	if max > t.max {
		t.max = max
	}
}

// timesAt are the times of the segment that entry i leaves the log in, up to that entry; i is in [first-1, last].
func (w *window) timesAt(i uint64) times {
	base := w.after(i).seg
	t := noTimes
	if w.at0.seg == base {
		t = w.time0
	}
	from := w.first
	for k := i; k >= w.first && k > 0; k-- {
		if w.note(k).at.seg != base {
			from = k + 1
			break
		}
	}
	for k := from; k <= i; k++ {
		if n := w.note(k); n.batch {
			t.add(n.at.pos, n.stub.MaxTime)
		}
	}
	return t
}

// wrote tells a segment of a batch that was appended to it.
func (s *segment) wrote(stub *journal.Stub, pos int64, now core.Wall) {
	s.times.add(pos, stub.MaxTime)
	s.touched = now
}

// newest is the time from which the age of a segment counts: its largest timestamp, or where it has none, when
// it was written to (LogSegment.largestTimestamp; the time of a file is not kept over a restart here, so it
// begins anew).
func (s *segment) newest() core.Wall {
	if s.times.max >= 0 {
		return s.times.max
	}
	return s.touched
}

// retime takes the times of the last segment from the window: some of what it knew was cut.
func (r *Replica) retime(i uint64) {
	if s := r.segment(r.log.after(i).seg); s != nil {
		s.times = r.log.timesAt(i)
	}
}
