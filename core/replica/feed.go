package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

// Machine is a fold over the committed batches of a partition: metadata, or a coordinator. It is
// given each batch once, in order, on every replica, but for what compaction took before it was due here.
type Machine interface {
	Apply(base core.Offset, batch []byte)
}

// feed brings a machine to the applied end of the log: from memory while batches are there, else by
// reading segments. It never gives a batch that is not durable here.
type feed struct {
	m       Machine
	next    core.Offset // the next offset the machine wants
	reading bool
	caught  []func() // called when the machine has reached what was applied at the time of asking
	wants   []core.Offset
}

const feedBytes = 256 << 10

var markReplayed = det.NewMark("replica: a machine was fed from segment files")

// Attach feeds m from the log start on.
func (r *Replica) Attach(m Machine) {
	r.machine = &feed{m: m, next: r.start}
	r.h.Dirty(r)
}

// Caught calls f once the machine holds everything below offset to. Calls come in order of to.
func (r *Replica) Caught(to core.Offset, f func()) {
	r.machine.caught = append(r.machine.caught, f)
	r.machine.wants = append(r.machine.wants, to)
	r.h.Dirty(r)
}

// Behind says whether the machine lacks applied batches.
func (r *Replica) Behind() bool { return r.machine.next < r.AppliedEnd() }

// AppliedEnd is the next offset after what is applied here.
func (r *Replica) AppliedEnd() core.Offset {
	if r.applied+1 < r.log.first {
		return r.log.end0
	}
	return r.log.end(r.applied)
}

func (r *Replica) pumpFeed() {
	f := r.machine
	if f == nil || f.reading || r.scrub.sick != nil || r.lame() || r.offline != "" || r.opening > 0 {
		return
	}
	end := r.AppliedEnd()
	for f.next < end {
		if f.next < r.log.end0 || !r.feedHot(f) {
			r.feedCold(f)
			return
		}
	}
	for len(f.caught) > 0 && f.wants[0] <= f.next {
		g := f.caught[0]
		f.caught, f.wants = f.caught[1:], f.wants[1:]
		g()
	}
}

// feedHot applies the batch at next when it is in memory.
func (r *Replica) feedHot(f *feed) bool {
	lo, hi := 0, len(r.log.notes)
	for lo < hi {
		if mid := (lo + hi) / 2; r.log.notes[mid].end > f.next {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	n := &r.log.notes[lo]
	det.That(n.batch, "replica: the first entry beyond an offset is a batch")
	if n.body.Buf == nil {
		return false
	}
	f.m.Apply(n.stub.Base, n.body.Bytes())
	f.next = n.end
	return true
}

// feedCold reads a stretch of the segment that holds next.
func (r *Replica) feedCold(f *feed) {
	markReplayed.Hit()
	r.flushFill()
	f.reading = true
	was, done := r.log.end0, r.compacting.done
	r.feedRegion(f.next, func(s *segment, pos, size int64, err core.Errno) {
		switch {
		case err == core.OK && s == nil && done > 0 && f.next < was: // compaction left nothing up to there
			f.reading, f.next = false, was
			r.h.Dirty(r)
			return
		case err != core.OK && r.compacting.done != done && r.offline == "": // files took the places of those that were read
			f.reading = false
			r.h.Dirty(r)
			return
		case err != core.OK || s == nil:
			f.reading = false
			r.fail("reading its log for replay: " + err.String())
			return
		}
		op := r.h.NewOp(func(ev *core.Event) {
			defer ev.Body.Release()
			f.reading = false
			if r.offline != "" {
				return
			}
			if r.segment(s.base) != s { // another took its place
				r.h.Dirty(r)
				return
			}
			if ev.Err != core.OK && ev.Err != core.ErrShort {
				r.fail("reading " + s.path + ": " + ev.Err.String())
				return
			}
			rest, before := ev.Body.Bytes(), f.next
			for f.next < r.AppliedEnd() {
				b, after, err := record.Next(rest)
				if err != nil {
					break
				}
				rest = after
				if b.LastOffset() < f.next {
					continue
				}
				if !b.CRCValid() {
					r.rottenFeed(s, "holds a batch with a wrong checksum")
					return
				}
				f.m.Apply(b.BaseOffset(), b)
				f.next = b.LastOffset() + 1
			}
			if f.next == before {
				r.rottenFeed(s, "lacks a committed batch")
				return
			}
			r.h.Dirty(r)
		})
		r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: pos, N: size, Op: op})
	})
}

// feedRegion is where the batch at offset rests, and some that follow.
func (r *Replica) feedRegion(offset core.Offset, done func(s *segment, pos, size int64, err core.Errno)) {
	if offset < r.log.end0 {
		r.coldRegion(offset, feedBytes, done)
		return
	}
	for i := range r.log.notes {
		if n := &r.log.notes[i]; n.batch && n.end > offset {
			done(r.segment(n.at.seg), n.at.pos, int64(n.stub.Len), core.OK)
			return
		}
	}
	done(nil, 0, 0, core.OK)
}
