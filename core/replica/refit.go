package replica

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/seg"
)

// Whole files. Where a leader's segments are of newer generations than ours, they are fetched, beside our own, and take
// their places when all of them are here:
//
//	a catch-up (catchup.go): our log is older than a decision that the leader has carried out. Where it ends in a
//	    segment that the leader has too, only what lies before that is fetched so; else all of what was offered.
//	    The snapshot's checkpoint is the swap.
//	a repair (mend.go): what we lost is nowhere in the generation that we had it in. We go on without, as a damaged
//	    replica that does not lead, until the files of the newer generation are here:
//
//	    Refuse "not in that generation" ──▶ the segment counts as damaged, checkpoints say so; raft goes on
//	      ──▶ Pull(list) to the leader ──▶ its shape ──▶ Pull(file, generation, position)...
//	      ──▶ the window lets go of what they hold ──▶ they take their places ──▶ checkpoint: that is the swap
//
// A damaged replica votes, for its journal is whole, and acknowledges what it holds. It is never a candidate. What it
// lost lies below a decision that was carried out elsewhere, so it is committed, and no acknowledgement of it is missed.

// listSeg is the segment of a Pull that asks for the shape, and of its answer.
const listSeg core.Offset = -1

var (
	markFetched  = det.NewMark("refit: a file of a newer generation was fetched")
	markContra   = det.NewMark("refit: a catch-up found an entry of the follower's own log dead, in a file that the leader has too")
	markBadFetch = det.NewMark("refit: a file of a newer generation did not hold what belongs there")
	markAnew     = det.NewMark("refit: a catch-up began anew, the log ended in what compaction has replaced")
	markGraft    = det.NewMark("refit: a catch-up fetched what compaction has replaced, and went on where the log ends")
	markForsaken = det.NewMark("refit: what was lost is not to be had in its generation")
	markRefitted = det.NewMark("refit: a damaged replica took its leader's newer generation")
	markUnsided  = det.NewMark("refit: what lay beside the log was needed as a part of it")
	markInFront  = det.NewMark("refit: a replica has carried out what its leader has not")
)

// fetched is a file, or the beginning of one, that lies beside the log.
type fetched struct {
	s      *segment
	pos    int64 // how much of it has come
	scan   *seg.Scanner
	synced bool
	twin   bool // it is the log's own, which is compared with what comes
}

// fetch brings files.
type fetch struct {
	from    core.NodeID
	term    core.Term
	wants   []file
	file    *fetched // for the first of them
	done    func()
	want    int64 // bytes that were asked for and have not come
	held    int64 // memory that the node has set aside for them
	inWrite int64 // ... of this, for writes that are under way
	tolled  bool
	askedAt core.Mono
	retry   det.Timer
}

type refitting struct {
	hurt  bool // some segment was damaged, and may be still
	fetch *fetch
	side  []*fetched
	to    *shape      // it is here as a whole, and takes its place once the window has let go
	upto  core.Offset // ... below this
	ask   det.Timer   // for the leader's shape
}

// fetchFiles brings files of the leader; done is called in a later step, or now.
func (r *Replica) fetchFiles(from core.NodeID, term core.Term, wants []file, done func()) {
	r.dropFetch()
	r.dropSweep(r.removeFile) // which may be about to make the same files
	x := &fetch{from: from, term: term, wants: wants, done: done}
	r.refit.fetch = x
	x.retry.Fire = func(int64) {
		if r.refit.fetch != x || r.offline != "" {
			return
		}
		if r.h.Now().Mono-x.askedAt >= pullRetry && !x.tolled {
			x.want = 0
			r.fetchOn(x)
		}
		if r.refit.fetch == x {
			r.h.Timers().Arm(&x.retry, int64(r.h.Now().Mono+pullRetry))
		}
	}
	r.h.Timers().Arm(&x.retry, int64(r.h.Now().Mono+pullRetry))
	r.fetchOn(x)
}

// fetchOn asks for what comes next, or ends.
func (r *Replica) fetchOn(x *fetch) {
	if r.refit.fetch != x || x.inWrite > 0 || r.offline != "" || r.opening > 0 || r.compacting.going > 0 {
		return
	}
	for len(x.wants) > 0 {
		w := x.wants[0]
		if x.file == nil {
			if x.file = r.twin(w); x.file == nil {
				x.file = r.side(w)
			}
		}
		f := x.file
		if f.pos > w.size && !f.twin {
			r.emptyFetched(f)
		}
		if f.pos < w.size {
			r.askFile(x, w, f)
			return
		}
		if f.twin {
			if k := r.noteAt(place{w.base, w.size}); k < len(r.log.notes) && r.log.notes[k].at.seg == w.base {
				r.contradict(r.log.first + uint64(k))
				return
			}
		}
		if !f.synced {
			x.inWrite = 1
			op := r.h.NewOp(func(ev *core.Event) {
				if !r.diskFailed(ev, "syncing "+f.s.path) {
					if r.refit.fetch == x { // else it may have been emptied meanwhile
						markFetched.Hit()
						f.synced = true
					}
					x.inWrite = 0
					r.fetchOn(x)
				}
			})
			r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: f.s.file, Op: op})
			return
		}
		x.wants, x.file = x.wants[1:], nil
	}
	r.dropFetch()
	x.done()
}

// contradict ends a catch-up's look at our own log: entry i is dead.
func (r *Replica) contradict(i uint64) {
	markContra.Hit()
	r.dropFetch()
	if p := r.pull; p != nil && p.fit {
		p.fit, p.begun, p.dead = false, true, i
		r.pullOn()
	}
}

// side is the file that lies beside the log for w, made if need be.
func (r *Replica) side(w file) *fetched {
	for _, f := range r.refit.side {
		if f.s.base == w.base && f.s.gen == w.gen {
			return f
		}
	}
	if s := r.segment(w.base); s != nil {
		det.That(s.gen != w.gen, "replica: what is fetched is not the log's own")
	}
	f := &fetched{s: r.takeSpareOf(w.base, w.gen), scan: seg.ScannerOf(w.base, w.gen)}
	if f.s == nil {
		f.s = r.knownOf(w.base, w.gen)
		r.h.FX().Add(core.Effect{Kind: core.Create, File: f.s.file, Path: f.s.path, Sync: true,
			Op: r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "creating "+f.s.path) })})
	}
	r.emptyFetched(f) // an earlier process may have left one
	r.refit.side = append(r.refit.side, f)
	return f
}

func (r *Replica) emptyFetched(f *fetched) {
	f.s.size, f.pos, f.s.times, f.scan, f.synced = 0, 0, noTimes, seg.ScannerOf(f.s.base, f.s.gen), false
	op := r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "emptying "+f.s.path) })
	r.h.FX().Add(core.Effect{Kind: core.Truncate, File: f.s.file, Op: op})
}

func (r *Replica) askFile(x *fetch, w file, f *fetched) {
	if x.want > 0 || x.tolled {
		return
	}
	x.askedAt = r.h.Now().Mono
	if x.held > 0 {
		r.h.Landed(x.held)
		x.held = 0
	}
	if r.h.Full(r.cfg.Node) {
		return // the retry asks again
	}
	x.tolled = true
	r.h.Toll(r, r.inLane(), func(n int64) {
		x.tolled = false
		if r.refit.fetch != x || r.offline != "" || r.opening > 0 {
			r.h.Landed(n)
			return
		}
		x.held += n
		x.want, x.askedAt = min(n, chunkBytes, w.size-f.pos), r.h.Now().Mono
		r.h.Tell(x.from, r.cfg.Group, Control{Kind: Pull, Term: x.term, Seg: w.base, Pos: f.pos, Next: core.Offset(x.want),
			Gen: w.gen, Last: true})
	})
}

// gotFile takes an answer of the leader.
func (r *Replica) gotFile(from core.NodeID, c Control) {
	x := r.refit.fetch
	f := x.file
	if f == nil || x.want == 0 || x.inWrite > 0 || from != x.from || c.Term != x.term || c.Seg != f.s.base || c.Gen != f.s.gen || c.Pos != f.pos {
		return
	}
	if c.Kind == Refuse {
		r.dropFetch()
		if p := r.pull; p != nil && p.fit {
			r.dropPull()
		}
		return
	}
	n, left := int64(c.Body.Len), x.wants[0].size-f.pos
	if n == 0 {
		return // the retry asks again
	}
	x.askedAt, x.want = r.h.Now().Mono, 0
	dead := uint64(0)
	sound := n <= left && f.scan.Feed(c.Body.Bytes(), func(b seg.Seen) {
		if !f.twin {
			f.s.times.add(b.Pos, b.Head.MaxTimestamp())
		} else if i := r.unlike(f.s.base, b); i > 0 && dead == 0 {
			dead = i
		}
	}) && (n < left || !f.scan.Open())
	switch {
	case dead > 0:
		r.contradict(dead)
		return
	case !sound && f.twin:
		r.badFile(f)
		x.file = nil // the retry asks again
		return
	case !sound:
		r.badFile(f)
		r.emptyFetched(f)
		return
	}
	if f.pos += n; f.twin {
		r.fetchOn(x)
		return
	}
	x.inWrite, f.synced = n, false // it may have been whole for an earlier offer
	op := r.h.NewOp(func(ev *core.Event) {
		if !r.diskFailed(ev, "writing "+f.s.path) {
			x.inWrite = 0
			r.fetchOn(x)
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Write, File: f.s.file, Off: c.Pos, Op: op}, c.Body.Retain())
	f.s.size += n
	if o := r.cfg.Observer; o != nil {
		next, _ := f.scan.End()
		o.Pulled(r.cfg.Node, r.cfg.Group, from, next)
	}
}

// badFile is told that the leader's bytes of a file are not what belongs there.
func (r *Replica) badFile(f *fetched) {
	markBadFetch.Hit()
	next, _ := f.scan.End()
	r.report(r.refit.fetch.from, r.refit.fetch.term, next)
}

// dropFetch gives the fetching up. What has come stays for the next one.
func (r *Replica) dropFetch() {
	x := r.refit.fetch
	if x == nil {
		return
	}
	r.refit.fetch = nil
	r.h.Timers().Stop(&x.retry)
	if x.held > 0 {
		r.h.Landed(x.held)
	}
}

// takeFetched is the file for f, which is whole.
func (r *Replica) takeFetched(f file) *segment {
	for i, x := range r.refit.side {
		if x.s.base == f.base && x.s.gen == f.gen {
			det.That(x.s.size == f.size && x.synced, "replica: a file that takes its place is whole")
			r.refit.side = append(r.refit.side[:i:i], r.refit.side[i+1:]...)
			return x.s
		}
	}
	det.That(false, "replica: a file that takes its place was fetched")
	return nil
}

// dropFetched removes what lies beside the log.
func (r *Replica) dropFetched() {
	r.dropFetch()
	r.shelve()
	for _, f := range r.refit.side {
		r.removeFile(f.s.file, f.s.path)
	}
	r.refit.side = nil
}

// shelve sets those aside that lie beside the log and have names which it may give when it goes on.
func (r *Replica) shelve() {
	var left []*fetched
	for _, f := range r.refit.side {
		if f.s.gen == 0 {
			r.setAside(f.s)
		} else {
			left = append(left, f)
		}
	}
	r.refit.side = left
}

// unside sets the one aside that lies beside the log and has the name of one that a catch-up is about to write.
func (r *Replica) unside(base core.Offset, gen uint64) {
	for i, f := range r.refit.side {
		if f.s.base == base && f.s.gen == gen {
			markUnsided.Hit()
			r.refit.side = append(r.refit.side[:i:i], r.refit.side[i+1:]...)
			r.setAside(f.s)
			return
		}
	}
}

// removeFile removes a file that the log does not have. Until that is done none is made in its place.
func (r *Replica) removeFile(id core.FileID, path string) {
	r.compacting.going++
	op := r.h.NewOp(func(*core.Event) { // who makes it again empties it
		if r.compacting.going--; r.offline == "" {
			r.h.Dirty(r)
			if x := r.refit.fetch; x != nil {
				r.fetchOn(x)
			}
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Remove, File: id, Path: path, Op: op})
}

// lame says that something of this log is lost that is not to be had but in a newer generation: this replica follows,
// and never leads.
func (r *Replica) lame() bool {
	if !r.refit.hurt {
		return false
	}
	for _, s := range r.segs {
		if s.damaged {
			return true
		}
	}
	r.refit.hurt = false
	return false
}

// forsake gives up to mend a segment byte for byte.
func (r *Replica) forsake(base core.Offset) {
	m := r.mend
	markForsaken.Hit()
	if s := r.segment(base); s != nil {
		s.damaged, s.stuck, r.refit.hurt = true, true, true
		r.h.Note(4, "msg=\"what a segment lost was compacted away elsewhere, its newer generation will be fetched\" file="+s.path)
	}
	var left []hole
	for _, h := range m.holes {
		if h.seg != base {
			left = append(left, h)
		}
	}
	m.holes, m.partial = left, nil
	r.askMend()
}

// remend says that the leader has a damaged segment in the very generation in which we lost it, and begins to mend that.
func (r *Replica) remend(g *shape) bool {
	for _, s := range r.segs {
		if f := g.at(s.base); !s.damaged || f == nil || f.gen != s.gen {
			continue
		}
		s.damaged = false
		limit := s.size
		if end := r.sound(); end.seg == s.base {
			limit = end.pos
		}
		r.scrub.sick = &hole{seg: s.base, end: limit, next: s.base}
		r.healLater()
		return true
	}
	return false
}

// pumpRefit has a damaged replica ask for its leader's files, and puts them in place.
func (r *Replica) pumpRefit() {
	x := &r.refit
	if !r.began || r.opening > 0 || r.offline != "" || r.pull != nil || r.ahead != nil || r.cut != nil || r.scrub.sick != nil || !r.lame() {
		return
	}
	if x.to != nil {
		r.graft()
	}
	if x.to == nil && x.fetch == nil && !x.ask.Armed() {
		r.h.Timers().Arm(&x.ask, int64(r.h.Now().Mono+pullRetry))
	}
}

func (r *Replica) onAskShape(int64) {
	x := &r.refit
	if r.offline != "" || r.opening > 0 || r.pull != nil || x.to != nil || x.fetch != nil || !r.lame() {
		return
	}
	if r.lead != 0 && !r.leads {
		r.h.Tell(r.lead.Node(), r.cfg.Group, Control{Kind: Pull, Term: r.term, Seg: listSeg, Last: true})
	}
	r.h.Timers().Arm(&x.ask, int64(r.h.Now().Mono+pullRetry))
	r.h.Dirty(r)
}

// serveShape answers a Pull for the shape.
func (r *Replica) serveShape(from core.NodeID, c Control) {
	if !r.leads || !r.ready || c.Term != r.term || r.cut != nil || r.changingShape() {
		return
	}
	r.flushFill()
	r.h.Tell(from, r.cfg.Group, Control{Kind: Chunk, Term: c.Term, Seg: listSeg, Last: true, Body: core.RefOf(r.shape(r.applied).encode(nil))})
}

// gotShape takes the leader's shape. It has our log's end in a file that we have too, else we are behind and it will offer
// all of its log.
func (r *Replica) gotShape(from core.NodeID, c Control) {
	x := &r.refit
	if r.pull != nil || x.to != nil || x.fetch != nil || !r.lame() || r.leads || c.Term != r.term || c.Kind != Chunk {
		return
	}
	g, rest, ok := decodeShape(c.Body.Bytes())
	if !ok || len(rest) > 0 || r.remend(g) {
		return
	}
	if g.done < r.compacting.done {
		markInFront.Hit()
		return
	}
	bound := r.log.after(r.applied).seg
	k := 0
	for k < len(g.files) && g.files[k].base < bound {
		k++
	}
	own := r.segment(bound)
	if own == nil || !g.has(own) {
		return
	}
	for ; k > 0; k-- { // down to the first of those that are equal without a gap
		if p := r.before(g.files[k].base); p == nil || p.base != g.files[k-1].base || !g.has(p) {
			break
		}
	}
	upto := g.files[k].base
	var wants []file
	for _, f := range g.files[:k] {
		if s := r.segment(f.base); s == nil || !g.has(s) {
			wants = append(wants, f)
		}
	}
	r.fetchFiles(from, c.Term, wants, func() { x.to, x.upto = g, upto })
	r.h.Dirty(r)
}

// before is the segment before the one at base, or nil.
func (r *Replica) before(base core.Offset) *segment {
	for i := len(r.segs) - 1; i >= 0; i-- {
		if r.segs[i].base < base {
			return r.segs[i]
		}
	}
	return nil
}

// graft puts fetched files in place, once the window knows nothing of what they hold.
func (r *Replica) graft() {
	x, c := &r.refit, &r.compacting
	if !r.mayMark() || !r.leave(x.upto) {
		return
	}
	markRefitted.Hit()
	r.regroup(x.to, x.upto)
	c.done, c.clean = x.to.done, x.to.clean
	for len(c.decided) > 0 && c.decided[0].index <= c.done {
		c.decided = c.decided[1:]
	}
	x.to = nil
	r.unstick()
	r.h.Note(4, "msg=\"partition is whole again\" partition="+r.cfg.Dir+" generation="+strconv.FormatUint(c.done, 10))
	r.syncAll()
	r.h.Dirty(r)
}
