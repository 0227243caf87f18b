package shard

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// A full disk is a slow disk. An operation that ends for want of room (ErrNoSpac; ErrLimit is the same
// for descriptors and memory) has not failed: it waits, and with it everything that was asked of its file
// after it. Nobody above hears of that. No completion comes, so nothing is acknowledged, no vote leaves,
// no checkpoint is written; what holds for a disk that stalls holds here, and nothing else needs a thought.
//
//	open ──an operation finds no room──▶ blocked ──what was in flight behind it is back──▶
//	blocked ──every againEvery: its first operation is tried──▶ trying ──no room──▶ blocked
//	trying ──done──▶ freed ──the others are asked again, in order──▶ open
//
// Whatever was in flight behind the one that found no room is done again after it, whether it worked or
// not: writes, truncations and syncs in the same order give the same file. It rests on two promises of a
// disk: these two errors mean that the operation did not happen, or in part, and spoilt nothing else; and
// a failed sync never ends with them, for it is not to be tried again. Any other error is told at once.
//
// Reads pass: what they may name was written. Removes pass as well, because they make room, and end
// whatever waits for their file.
type disk struct {
	lanes   det.Map[core.FileID, *lane]
	ops     map[core.OpID]*lane //det:ok looked up, never ranged
	waiting []*lane             // not open, in the order in which they will be tried
	dropped []core.OpID         // waited for a file that was removed: they end with ErrGone
	again   det.Timer
	vecs    [][]core.Ref // spare
}

// lane is what was asked of one file and is not over.
type lane struct {
	file    core.FileID
	stage   laneStage
	removed bool
	flight  []asked // the driver has them, oldest first
	redo    []asked // came back to be done again, oldest first
	held    []asked // asked for since, oldest first
}

type laneStage uint8

const (
	laneOpen laneStage = iota
	laneBlocked
	laneTry    // the first of redo is asked at the end of this step
	laneTrying // ... and its answer is awaited
	laneFreed  // redo and held are asked at the end of this step
)

// asked is an operation with Refs of its own.
type asked struct {
	e    core.Effect
	vec  []core.Ref
	mine bool // nobody else wants to hear of its end
}

const (
	againEvery = 250 * core.Millisecond
	againBatch = 64 // files at a time
)

var (
	markNoRoom   = det.NewMark("disk: an operation found no room and waits")
	markBehind   = det.NewMark("disk: an operation behind one without room is done again")
	markRoom     = det.NewMark("disk: what waited for room went on")
	markNoUse    = det.NewMark("disk: a file was removed while operations on it waited for room")
	markStillOut = det.NewMark("disk: room was looked for in vain")
)

// full says that something waits for room.
func (d *disk) full() bool { return len(d.waiting) > 0 }

// dirs are the data directories in which something does, as bits.
func (d *disk) dirs() (bits uint32) {
	for _, l := range d.waiting {
		bits |= 1 << l.file.Dir()
	}
	return bits
}

// collect looks at the effects of a step before the driver does: it keeps a copy of each change of a
// file until its end is known, and holds back what is for a file that waits.
func (d *disk) collect(s *Shard) {
	fx := s.fx
	held := false
	for i := range fx.List {
		e := &fx.List[i]
		switch e.Kind {
		case core.Create, core.Write, core.SyncFile, core.Truncate:
			l := d.lane(e.File)
			if l.stage == laneOpen {
				d.track(s, l, e, fx.Vec(e))
				continue
			}
			l.held = append(l.held, asked{*e, append(d.vec(), fx.Vec(e)...), false})
			e.Kind, held = 0, true
		case core.Remove:
			d.remove(e.File)
		}
	}
	if held {
		fx.List = slices.DeleteFunc(fx.List, func(e core.Effect) bool { return e.Kind == 0 })
	}
	if len(d.waiting) > 0 {
		d.resume(s)
	}
	if d.dirs() != s.room.dirs || len(d.dropped) > 0 {
		s.timers.Arm(&s.room.at, int64(s.now.Mono)) // in the next step
	}
}

func (d *disk) lane(f core.FileID) *lane {
	l := d.lanes.At(f)
	if l == nil {
		l = &lane{file: f}
		d.lanes.Set(f, l)
	}
	return l
}

func (d *disk) vec() []core.Ref {
	if n := len(d.vecs); n > 0 {
		v := d.vecs[n-1]
		d.vecs = d.vecs[:n-1]
		return v
	}
	return nil
}

// track keeps a copy of an effect that is on its way.
func (d *disk) track(s *Shard, l *lane, e *core.Effect, vec []core.Ref) {
	a := asked{e: *e, vec: append(d.vec(), vec...)}
	for i := range vec {
		vec[i].Retain()
	}
	if e.Op == 0 {
		e.Op = s.newOp()
		a.e.Op, a.mine = e.Op, true
	}
	l.flight = append(l.flight, a)
	d.ops[e.Op] = l
}

// resume asks again for what may be tried, and for all that waited for what has succeeded.
func (d *disk) resume(s *Shard) {
	kept := d.waiting[:0]
	for _, l := range d.waiting {
		switch l.stage {
		case laneTry:
			l.stage = laneTrying
			d.ask(s, l, l.redo[0])
			l.redo = slices.Delete(l.redo, 0, 1)
		case laneFreed:
			markRoom.Hit()
			l.stage = laneOpen
			for _, a := range l.redo {
				d.ask(s, l, a)
			}
			for _, a := range l.held {
				d.ask(s, l, a)
			}
			l.redo, l.held = nil, nil
			continue
		}
		kept = append(kept, l)
	}
	clear(d.waiting[len(kept):])
	d.waiting = kept
}

// ask gives an operation to the driver, and keeps it.
func (d *disk) ask(s *Shard, l *lane, a asked) {
	e := a.e
	s.fx.Add(e, a.vec...)
	mine := a.mine
	d.track(s, l, &s.fx.List[len(s.fx.List)-1], a.vec)
	if mine {
		l.flight[len(l.flight)-1].mine = true
	}
	d.keep(a.vec)
}

// keep takes a vector whose Refs have another owner now.
func (d *disk) keep(v []core.Ref) {
	clear(v)
	if cap(v) <= 1024 && len(d.vecs) < 64 {
		d.vecs = append(d.vecs, v[:0])
	}
}

func (d *disk) release(a *asked) {
	for i := range a.vec {
		a.vec[i].Release()
	}
	d.keep(a.vec)
	a.vec = nil
}

// ended takes the end of an operation. False: nobody is to hear of it, or not yet.
func (d *disk) ended(s *Shard, ev *core.Event) bool {
	l, ok := d.ops[ev.Op]
	if !ok {
		return true
	}
	delete(d.ops, ev.Op)
	a := l.flight[0]
	det.That(a.e.Op == ev.Op, "disk: operations on a file end in order")
	l.flight = slices.Delete(l.flight, 0, 1)
	noRoom := ev.Err == core.ErrNoSpac || ev.Err == core.ErrLimit
	final := ev.Err != core.OK && ev.Err != core.ErrGone && !noRoom
	if !l.removed && !final {
		switch {
		case l.stage == laneOpen && noRoom:
			d.block(s, l)
			l.redo = append(l.redo, a)
			return false
		case l.stage == laneBlocked:
			markBehind.Hit()
			l.redo = append(l.redo, a)
			return false
		case l.stage == laneTrying && noRoom:
			markStillOut.Hit()
			l.stage = laneBlocked
			l.redo = slices.Insert(l.redo, 0, a)
			return false
		}
	}
	if l.stage == laneTrying {
		l.stage = laneFreed
	}
	d.release(&a)
	if l.removed && len(l.flight) == 0 {
		d.lanes.Delete(l.file)
	}
	return !a.mine
}

func (d *disk) block(s *Shard, l *lane) {
	markNoRoom.Hit()
	l.stage = laneBlocked
	d.waiting = append(d.waiting, l)
	if !d.again.Armed() {
		s.timers.Arm(&d.again, int64(s.now.Mono+againEvery))
	}
}

// look tries whether there is room: one operation of each file that waits, some files at a time.
func (d *disk) look(s *Shard) {
	n := 0
	for ; n < len(d.waiting) && n < againBatch; n++ {
		if l := d.waiting[n]; l.stage == laneBlocked && len(l.flight) == 0 {
			l.stage = laneTry
		}
	}
	d.waiting = append(d.waiting[n:len(d.waiting):len(d.waiting)], d.waiting[:n]...)
	if len(d.waiting) > 0 {
		s.timers.Arm(&d.again, int64(s.now.Mono+againEvery))
	}
}

// remove ends what waits for a file that goes.
func (d *disk) remove(f core.FileID) {
	l := d.lanes.At(f)
	if l == nil {
		return
	}
	l.removed = true
	if l.stage != laneOpen {
		markNoUse.Hit()
		for _, q := range [2][]asked{l.redo, l.held} {
			for i := range q {
				d.release(&q[i])
				if op := q[i].e.Op; op != 0 && !q[i].mine {
					d.dropped = append(d.dropped, op)
				}
			}
		}
		l.redo, l.held, l.stage = nil, nil, laneOpen
		d.waiting = slices.DeleteFunc(d.waiting, func(w *lane) bool { return w == l })
	}
	if len(l.flight) == 0 {
		d.lanes.Delete(f)
	}
}

// buried tells the ends of operations whose file was removed.
func (d *disk) buried(s *Shard) {
	for len(d.dropped) > 0 {
		op := d.dropped[0]
		d.dropped = slices.Delete(d.dropped, 0, 1)
		s.diskOver(&core.Event{Kind: core.DiskDone, Op: op, Err: core.ErrGone})
	}
}

// abandon releases what is kept.
func (d *disk) abandon() {
	d.lanes.Each(func(_ core.FileID, l *lane) {
		for _, q := range [3][]asked{l.flight, l.redo, l.held} {
			for i := range q {
				d.release(&q[i])
			}
		}
	})
}
