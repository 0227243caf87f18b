package replica

import (
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/seg"
)

// ScrubBytes is how much of a segment one look takes.
const ScrubBytes = 256 << 10

var (
	markScrubbed = det.NewMark("scrub: a segment was verified to its end")
	markForeign  = det.NewMark("scrub: a segment holds whole batches that were not written to it")
	markRot      = det.NewMark("scrub: a segment does not hold what was written to it")
)

// scrub verifies segments again and again, a piece at a time: fetches are served without a look at the bytes, so
// rot in an old segment would be found by clients, or when the last good copy elsewhere is gone. The index of a closed
// segment is made again on the way: when it is not the one that was written, the file holds batches that are whole but
// of another log. Then the index files are read.
type scrub struct {
	seg  core.Offset
	pos  int64 // what was read
	scan *seg.Scanner
	made *seg.Index // what its index must be, when it is read from its begin
	busy bool
	sick *hole // was found by a leader, which hands over before it mends
	heal det.Timer

	urgent  bool      // seg is read without a pause, because a report of it was true
	probing bool      // a report is looked at
	deaf    core.Mono // until then reports are not
}

// healEvery is how often a leader that found rot looks whether somebody else leads. The time between a
// hand-over and the return of a preferred leadership is longer.
const healEvery = 50 * core.Millisecond

// Scrub looks at the next piece. It says whether it asked the disk for something.
func (r *Replica) Scrub() bool {
	x := &r.scrub
	if r.offline != "" || r.opening > 0 || !r.began || x.busy || x.sick != nil || r.cut != nil || r.lame() {
		return false
	}
	end := r.sound()
	s := r.segment(x.seg)
	if s == nil || s.base > end.seg {
		s = r.segs[0]
		r.scrubFrom(s.base, 0, s.base)
	}
	if x.scan == nil {
		x.scan = s.scanner(s.base, 0)
	}
	if x.pos == 0 && x.made == nil && s.done && s.again == nil {
		x.made = seg.NewIndex(s.base, s.x.Interval)
	}
	limit := s.size
	if s.base == end.seg {
		limit = end.pos
	}
	if x.pos >= limit {
		x.urgent = false
		r.scrubIndex(s)
		if x.sick == nil {
			r.scrubNext(s, end)
		}
		return false
	}
	x.busy = true
	at, n := x.pos, min(limit-x.pos, ScrubBytes)
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		x.busy = false
		if r.offline != "" || r.opening > 0 || x.seg != s.base || x.pos != at || ev.Err == core.ErrGone || r.segment(s.base) != s {
			if x.urgent {
				r.Scrub()
			}
			return
		}
		if ev.Err == core.OK && x.scan.Feed(ev.Body.Bytes(), x.indexed) {
			x.pos += n
			if x.pos < limit || !x.scan.Open() {
				if x.urgent {
					r.Scrub()
				}
				return
			}
		}
		next, pos := x.scan.End()
		r.rotten(s, hole{seg: s.base, pos: pos, end: limit, next: next}, ev.Err)
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, Bare: !x.urgent, File: s.file, Off: at, N: n, Op: op})
	return true
}

func (r *Replica) scrubFrom(base core.Offset, pos int64, next core.Offset) {
	r.scrub.seg, r.scrub.pos, r.scrub.scan, r.scrub.made = base, pos, seg.NewScanner(next, pos), nil
	if s := r.segment(base); s != nil {
		r.scrub.scan = s.scanner(next, pos)
	}
}

// indexed is told of a batch that is whole.
func (x *scrub) indexed(b seg.Seen) {
	if x.made != nil {
		x.made.Add(b.Head.BaseOffset(), b.Head.LastOffset(), b.Head.Size(), b.Head.MaxTimestamp())
		x.made.Take()
	}
}

// scrubIndex compares the index of a segment that was read from end to end with the one that was written, and
// reads its files.
func (r *Replica) scrubIndex(s *segment) {
	made := r.scrub.made
	if made == nil || !s.done || s.again != nil || s.x.Interval != made.Interval {
		return
	}
	r.scrub.made = nil
	made.Finish()
	made.Take()
	if !s.x.Same(made) {
		markForeign.Hit()
		r.rotten(s, hole{seg: s.base, end: s.size, next: s.base}, core.OK)
		return
	}
	if len(s.loads) == 0 && s.spoilt < spoiltMost {
		if !s.x.Hollow() {
			s.x.Empty()
			r.warm = slices.DeleteFunc(r.warm, func(w *segment) bool { return w == s })
		}
		r.asked(s, func() {})
	}
}

// scrubNext goes to the segment after s, and from the last one to the first.
func (r *Replica) scrubNext(s *segment, end place) {
	if s.base == end.seg {
		r.scrubFrom(r.segs[0].base, 0, r.segs[0].base)
		return
	}
	markScrubbed.Hit()
	for _, t := range r.segs {
		if t.base > s.base {
			r.scrubFrom(t.base, 0, t.base)
			return
		}
	}
}

// sound is the place before which all bytes are committed, durable here and in their segment.
func (r *Replica) sound() place { return r.log.after(r.soundIndex()) }

// soundIndex is the last entry before it.
func (r *Replica) soundIndex() uint64 {
	i := r.log.first - 1
	for i < min(r.applied, r.complete) {
		if n := r.log.note(i + 1); n.batch && !n.written {
			break
		}
		i++
	}
	return i
}

// rotten is told of a stretch that is not what was written.
func (r *Replica) rotten(s *segment, h hole, err core.Errno) {
	if r.segment(s.base) != s {
		return // it has left the log meanwhile
	}
	markRot.Hit()
	r.scrub.urgent = false
	why := "holds rotten bytes"
	if err != core.OK {
		why = "cannot be read: " + err.String()
	}
	r.h.Note(8, "msg=\"segment "+why+"\" file="+s.path+" pos="+strconv.FormatInt(h.pos, 10))
	if r.alone() {
		r.scrubFrom(r.segs[0].base, 0, r.segs[0].base)
		return // reads of it fail, there is no other copy
	}
	r.scrub.sick = &h
	r.healLater()
}

// rottenFeed is told that a machine cannot be fed from s.
func (r *Replica) rottenFeed(s *segment, why string) {
	if r.alone() {
		r.fail("segment " + s.path + " " + why)
		return
	}
	limit := s.size
	if end := r.sound(); end.seg == s.base {
		limit = end.pos
	}
	r.rotten(s, hole{seg: s.base, end: limit, next: s.base}, core.OK)
}

// healLater stops this replica and mends it; a leader hands over first. Where the leader is lost, the vote of this one may be
// the one that is missing for another.
func (r *Replica) healLater() {
	if r.offline != "" || r.scrub.sick == nil {
		return
	}
	if r.leads || r.cut != nil || r.lead == 0 || r.opening > 0 || r.h.Suspect(r.lead.Node()) {
		if r.leads && r.handing == 0 {
			r.Transfer()
		}
		r.h.Timers().Arm(&r.scrub.heal, int64(r.h.Now().Mono+healEvery))
		return
	}
	h := *r.scrub.sick
	r.scrub.sick = nil
	s := r.segment(h.seg)
	if s == nil {
		return
	}
	r.dropPull()
	r.dropSweep(r.removeFile)
	r.dropFetch()
	r.refit.to = nil
	r.awake = false
	r.deadline()
	r.scrubFrom(h.seg, h.pos, h.next)
	r.startMend(&mend{why: "segment " + s.path + " rots", holes: []hole{h}, drop: func() {},
		finish: func() {
			r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: r.bootOp(s.path)})
		}})
}

// resume lets a replica that was mended while it ran take part again, as after a pause.
func (r *Replica) resume() {
	r.awake = true
	r.heard = r.h.Now().Mono
	r.deadline()
	r.finishAppends()
	r.h.Dirty(r)
}
