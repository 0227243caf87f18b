package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// Found answers the searches by time.
type Found struct {
	Err    Outcome
	Offset core.Offset // -1: there is none
	Time   core.Wall   // of that record; -1
	Epoch  core.Epoch  // of its batch; -1
}

// spot is a batch that a search by time found.
type spot struct {
	at    place
	size  int32
	base  core.Offset
	last  core.Offset
	time  core.Wall
	epoch core.Epoch
	in    *segment // which may have been replaced meanwhile; nil: the window knows it
}

// Since finds the first record with a timestamp of ts or later, from the log start to the high watermark
// (LogSegment.findOffsetByTimestamp). In old segments the time index says where a walk over headers begins; the
// record is found in its batch, decompressed by a job when need be.
func (r *Replica) Since(ts core.Wall, unzip Unzip, done func(Found)) {
	r.sinceFrom(0, ts, unzip, done)
}

// sinceFrom is Since in batches that end at from or later.
func (r *Replica) sinceFrom(from core.Offset, ts core.Wall, unzip Unzip, done func(Found)) {
	if err := r.MayRead(); err != OK {
		done(Found{err, -1, -1, -1})
		return
	}
	from = max(from, r.start)
	r.sinceCold(r.segs[0], from, ts, func(sp *spot, err core.Errno) {
		switch {
		case err != core.OK:
			done(Found{StorageError, -1, -1, -1})
		case sp == nil:
			if sp = r.sinceHot(from, ts); sp == nil {
				done(Found{OK, -1, -1, -1})
				return
			}
			fallthrough
		default:
			r.inBatch(sp, func(t core.Wall) bool { return t >= ts }, unzip, func(f Found) {
				if f.Err == OK && f.Offset < 0 { // the only such records of this batch lie below the log start
					r.sinceFrom(sp.last+1, ts, unzip, done)
					return
				}
				done(f)
			})
		}
	})
}

// after is the segment that follows s, or nil. Segments may leave the log while a walk over s is under way.
func (r *Replica) after(s *segment) *segment {
	for _, x := range r.segs {
		if x.base > s.base {
			return x
		}
	}
	return nil
}

// sinceCold searches the segments from s on, up to the window.
func (r *Replica) sinceCold(s *segment, from core.Offset, ts core.Wall, done func(*spot, core.Errno)) {
	if s == nil || s.base > r.log.at0.seg {
		done(nil, core.OK)
		return
	}
	walk := func(pos int64) {
		r.walk(s, pos, func(h seg.Seen) bool { return h.Head.MaxTimestamp() >= ts && h.Head.LastOffset() >= from },
			func(h seg.Seen, found bool, err core.Errno) {
				switch {
				case err != core.OK:
					done(nil, err)
				case found:
					done(spotOf(s, h), core.OK)
				default:
					r.sinceCold(r.after(s), from, ts, done)
				}
			})
	}
	r.findTime(s, ts, func(pos int64) {
		if from <= s.base {
			walk(pos)
			return
		}
		r.find(s, from, func(least int64, _ bool) { walk(max(pos, least)) })
	})
}

func spotOf(s *segment, h seg.Seen) *spot {
	return &spot{place{s.base, h.Pos}, h.Head.Size(), h.Head.BaseOffset(), h.Head.LastOffset(), h.Head.MaxTimestamp(), h.Head.LeaderEpoch(), s}
}

func (r *Replica) sinceHot(from core.Offset, ts core.Wall) *spot {
	for i := range r.log.notes {
		if r.log.first+uint64(i) > r.commit {
			break
		}
		if n := &r.log.notes[i]; n.batch && n.end > from && n.stub.MaxTime >= ts {
			return r.spotHot(i)
		}
	}
	return nil
}

func (r *Replica) spotHot(i int) *spot {
	n := &r.log.notes[i]
	return &spot{n.at, n.stub.Len, n.stub.Base, n.end - 1, n.stub.MaxTime, core.Term(r.log.ents[i].Term).Epoch(), nil}
}

// Latest finds the record with the largest timestamp, the first of several (KIP-734). A log without
// timestamps has none.
func (r *Replica) Latest(unzip Unzip, done func(Found)) {
	if err := r.MayRead(); err != OK {
		done(Found{err, -1, -1, -1})
		return
	}
	fail := func() { done(Found{StorageError, -1, -1, -1}) }
	r.maxCold(r.segs[0], nil, func(best *spot, err core.Errno) {
		if err != core.OK {
			fail()
			return
		}
		for i := range r.log.notes {
			if r.log.first+uint64(i) > r.commit {
				break
			}
			if n := &r.log.notes[i]; n.batch && n.end > r.start && newer(n.stub.MaxTime, best) {
				best = r.spotHot(i)
			}
		}
		if best == nil {
			done(Found{OK, -1, -1, -1})
			return
		}
		r.resolve(best, func(best *spot) {
			if best == nil {
				fail()
				return
			}
			r.inBatch(best, func(t core.Wall) bool { return t >= best.time }, unzip, func(f Found) {
				if f.Err == OK && f.Offset < 0 { // its newest records lie below the log start, the batch above
					f = Found{OK, max(best.base, r.start), best.time, best.epoch}
				}
				done(f)
			})
		})
	})
}

func newer(t core.Wall, best *spot) bool { return t >= 0 && (best == nil || t > best.time) }

// maxCold finds the first batch with the largest timestamp in the segments from s on, up to the window: from
// their indexes, and in what these do not cover by walks. A spot of size 0 is one of which only the last offset
// is known.
func (r *Replica) maxCold(s *segment, best *spot, done func(*spot, core.Errno)) {
	if s == nil || s.base > r.log.at0.seg {
		done(best, core.OK)
		return
	}
	walk := func(pos int64) {
		r.walk(s, pos, func(h seg.Seen) bool {
			if h.Head.LastOffset() >= r.start && newer(h.Head.MaxTimestamp(), best) {
				best = spotOf(s, h)
			}
			return false
		}, func(_ seg.Seen, _ bool, err core.Errno) {
			if err != core.OK {
				done(nil, err)
				return
			}
			r.maxCold(r.after(s), best, done)
		})
	}
	switch x := s.x; {
	case x == nil:
		walk(0)
	case x.MaxAt < r.start && s.base < r.start: // what has it is below the log start
		r.find(s, r.start, func(pos int64, _ bool) { walk(pos) })
	default:
		if newer(x.Max, best) {
			best = &spot{at: place{s.base, 0}, last: x.MaxAt, time: x.Max, in: s}
		}
		walk(x.Next)
	}
}

// resolve finds the batch of a spot of which only the last offset is known; nil when it cannot be read.
func (r *Replica) resolve(sp *spot, done func(*spot)) {
	s := r.holder(sp)
	if sp.size > 0 || s == nil {
		done(sp)
		return
	}
	for i := range r.log.notes {
		if n := &r.log.notes[i]; n.batch && n.end-1 == sp.last {
			done(r.spotHot(i))
			return
		}
	}
	r.find(s, sp.last, func(pos int64, _ bool) {
		r.walk(s, pos, func(h seg.Seen) bool { return h.Head.LastOffset() >= sp.last }, func(h seg.Seen, found bool, err core.Errno) {
			if err != core.OK || !found || h.Head.LastOffset() != sp.last {
				done(nil)
				return
			}
			done(spotOf(s, h))
		})
	})
}

// Unzip decompresses the payload of a batch: a pure function, given by the driver, bounded.
type Unzip func(codec record.Codec, payload []byte) ([]byte, error)

// inBatch finds the first record of a batch, at the log start or above, that want accepts; offset -1: none.
func (r *Replica) inBatch(sp *spot, want func(core.Wall) bool, unzip Unzip, done func(Found)) {
	r.batchAt(sp, func(body core.Ref, err core.Errno) {
		if err != core.OK {
			done(Found{StorageError, -1, -1, -1})
			return
		}
		b := record.Batch(body.Bytes())
		whole := Found{OK, max(sp.base, r.start), sp.time, sp.epoch}
		find := func(plain []byte) {
			f := Found{OK, -1, -1, -1}
			found := false
			_ = b.RecordsIn(plain, func(rec record.Record) bool {
				if want(rec.Timestamp) && rec.Offset >= r.start {
					f, found = Found{OK, rec.Offset, rec.Timestamp, sp.epoch}, true
				}
				return !found
			})
			done(f)
		}
		if b.LogAppendTime() { // all its records have the batch's time
			body.Release()
			done(whole)
			return
		}
		if b.Codec() == record.None {
			find(b.Payload())
			body.Release()
			return
		}
		if unzip == nil {
			body.Release()
			done(whole)
			return
		}
		op := r.h.NewOp(func(ev *core.Event) {
			defer ev.Body.Release()
			defer body.Release()
			if ev.Err != core.OK {
				done(whole) // it cannot be unpacked: the batch is the nearest answer
				return
			}
			find(ev.Body.Bytes())
		})
		r.h.FX().Add(core.Effect{Kind: core.Run, Op: op, Job: &core.Job{Name: "unzip", In: []core.Ref{body.Retain()},
			Do: func(in [][]byte) ([]byte, core.Errno) {
				x := record.Batch(in[0])
				plain, err := unzip(x.Codec(), x.Payload())
				if err != nil {
					return nil, core.ErrIO
				}
				return plain, core.OK
			}}})
	})
}

// holder is the segment that a spot lies in.
func (r *Replica) holder(sp *spot) *segment {
	if sp.in != nil {
		return sp.in
	}
	return r.segment(sp.at.seg)
}

// batchAt is the batch at a spot, from memory or from its segment; the Ref is the caller's.
func (r *Replica) batchAt(sp *spot, done func(core.Ref, core.Errno)) {
	for i := range r.log.notes {
		if n := &r.log.notes[i]; n.batch && n.stub.Base == sp.base && n.body.Buf != nil {
			done(n.body.Retain(), core.OK)
			return
		}
	}
	s := r.holder(sp)
	if s == nil {
		done(core.Ref{}, core.ErrGone)
		return
	}
	op := r.h.NewOp(func(ev *core.Event) {
		if ev.Err == core.OK && ev.Body.Len == sp.size && record.Batch(ev.Body.Bytes()).CRCValid() {
			done(ev.Body, core.OK)
			return
		}
		ev.Body.Release()
		done(core.Ref{}, core.ErrIO)
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: sp.at.pos, N: int64(sp.size), Op: op})
}
