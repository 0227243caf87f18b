package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/seg"
)

const (
	// A batch up to this size rides in the journal: one sync serves all partitions of the shard. A
	// larger one is written once, to its segment, which is synced itself.
	inlineBytes = 32 << 10
	// Batches that rode in the journal go to their segment together, once this much waits...
	fillBytes = 128 << 10
	// ...or the oldest waited this long.
	fillAfter = 500 * core.Millisecond
)

// segment is one file of batches.
type segment struct {
	base    core.Offset
	file    core.FileID
	path    string
	size    int64 // of the file, as far as writes were issued
	dirty   bool  // bytes were written that no sync covers
	times   times
	made    core.Wall // when this process came to know it
	touched core.Wall // ... and when it last wrote a batch to it
	freed   core.Mono // below the log start: since when a boot does not look for it
	cuts    bool      // below the log start, and not all of it was committed
	ends    int64     // ... only what is before this
	gone    bool      // its removal was asked for: whether it could be made does not matter any more
	gen     uint64    // the decision that compaction wrote it for; 0: it holds what was appended
	old     bool      // compaction put another in its place
	damaged bool      // it does not hold what it should, and is fetched in a newer generation
	indexing
}

// filling is a batch that is durable in the journal and waits for its place in the segment.
type filling struct {
	index uint64
	term  uint64
	at    place
	body  core.Ref
}

// cut is a truncation of segment files that waits for the journal frame with the entries that
// replace what is cut: until then a crash must find the old bytes or the new frame.
type cut struct {
	at     place
	seq    uint64 // of that frame
	remove []*segment
	zero   []*segment // removed by the cut, then needed again: emptied instead
}

// run is a stretch of one segment that is written at once.
type run struct {
	at    place
	end   int64
	vec   []core.Ref
	first uint64
	last  uint64
	term  uint64
}

func (r *Replica) active() *segment { return r.segs[len(r.segs)-1] }

// Bytes are those of the log's batches, from its first segment to its end, wherever they are by now: the
// youngest may be in memory and in the journal only.
func (r *Replica) Bytes() (n int64) {
	end, seen := r.log.after(r.log.last()), false
	for _, s := range r.segs {
		size := s.size
		if s.base == end.seg {
			size, seen = max(size, end.pos), true
		}
		n += size
	}
	if !seen {
		n += end.pos // its file is not asked for yet
	}
	return n
}

func (r *Replica) segment(base core.Offset) *segment {
	for i := len(r.segs) - 1; i >= 0; i-- {
		if r.segs[i].base == base {
			return r.segs[i]
		}
	}
	return nil
}

// newSegment makes the file of a segment; a is told when its directory entry is durable (nil: the
// boot waits for it).
func (r *Replica) newSegment(base core.Offset) *segment { return r.openSegment(base, nil) }

// knownSegment is a segment that this process comes to know of.
func (r *Replica) knownSegment(base core.Offset) *segment { return r.knownOf(base, 0) }

func (r *Replica) knownOf(base core.Offset, gen uint64) *segment {
	now := r.h.Now().Wall
	for _, f := range r.refit.side {
		det.That(f.s.base != base || f.s.gen != gen, "replica: no file is opened twice")
	}
	return &segment{base: base, gen: gen, file: r.h.NewFile(), path: seg.PathOf(r.cfg.Dir, base, gen), times: noTimes, made: now, touched: now}
}

// scanner verifies s from the batch at pos on, which begins with the offset next.
func (s *segment) scanner(next core.Offset, pos int64) *seg.Scanner {
	if s.gen > 0 {
		return seg.NewSparseScanner(next, pos)
	}
	return seg.NewScanner(next, pos)
}

func (r *Replica) openSegment(base core.Offset, a *appending) *segment {
	s := r.knownSegment(base)
	r.segs = append(r.segs, s)
	if a != nil {
		a.ops++
	} else {
		r.opening++
	}
	op := r.h.NewOp(func(ev *core.Event) {
		if s.gone {
			ev.Err = core.OK
		}
		if r.diskFailed(ev, "creating "+s.path) {
			return
		}
		if a == nil {
			r.opened()
			return
		}
		a.ops--
		r.finishAppends()
	})
	r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Sync: !mut.On("M25"), Op: op}) // else a power loss takes the file
	return s
}

// place puts a batch on its way to the disk: into the journal, when the answer is its body there, or
// into the run that is written straight to the segment.
func (r *Replica) place(n *note, e *raftpb.Entry, direct *run, a *appending) core.Ref {
	if n.stub.Flags&journal.Roll != 0 {
		r.turnTo(n.at.seg, direct, a)
	}
	s := r.active()
	det.That(s.base == n.at.seg, "replica: a batch goes to the last segment")
	s.wrote(&n.stub, n.at.pos, r.h.Now().Wall)
	if r.cut != nil || n.stub.Len <= inlineBytes {
		if len(r.fill) == 0 {
			r.h.Timers().Arm(&r.fillAt, int64(r.h.Now().Mono+fillAfter))
		}
		n.inline, r.inlined = true, true
		r.fill = append(r.fill, filling{e.Index, e.Term, n.at, n.body.Retain()})
		r.fillSize += int64(n.stub.Len)
		return n.body.Retain()
	}
	if direct.end != n.at.pos {
		r.writeRun(direct, a) // a batch in between rides in the journal
	}
	if len(direct.vec) == 0 {
		*direct = run{at: n.at, end: n.at.pos, first: e.Index, term: e.Term, vec: direct.vec}
	}
	n.issued = true
	direct.vec = append(direct.vec, n.body.Retain())
	direct.end += int64(n.stub.Len)
	direct.last, direct.term = e.Index, e.Term
	return core.Ref{}
}

// turnTo closes the last segment and begins the one at base.
func (r *Replica) turnTo(base core.Offset, direct *run, a *appending) {
	r.writeRun(direct, a)
	r.flushFill()
	r.roll(base, a)
	s, now := r.active(), r.h.Now().Wall
	s.times, s.made, s.touched = noTimes, now, now
}

func (r *Replica) roll(base core.Offset, a *appending) {
	if s := r.active(); s.base == base {
		// The first segment, or one that an entry before this has begun and no batch has come to: DeleteRecords and
		// retention may both empty the log.
		det.That(s.size == 0 || r.cut != nil, "replica: a roll makes a new segment")
		return
	}
	if r.cut != nil {
		// The file that a pending cut would remove may be the very one that is needed again.
		for i, s := range r.cut.remove {
			if s.base == base {
				r.cut.remove = append(r.cut.remove[:i:i], r.cut.remove[i+1:]...)
				r.segs = append(r.segs, s)
				r.cut.zero = append(r.cut.zero, s)
				return
			}
		}
	}
	if s := r.takeSpare(base); s != nil {
		r.segs = append(r.segs, s)
		return
	}
	r.openSegment(base, a)
}

// writeRun writes and syncs batches that go straight to their segment.
func (r *Replica) writeRun(w *run, a *appending) {
	if len(w.vec) == 0 {
		return
	}
	s := r.segment(w.at.seg)
	span := r.writing(w.first, w.last, w.term)
	a.ops++
	op := r.h.NewOp(func(ev *core.Event) {
		if r.diskFailed(ev, "writing "+s.path) {
			return
		}
		r.written(span)
		a.ops--
		r.finishAppends()
	})
	r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: w.at.pos, Sync: true, Op: op}, w.vec...)
	s.size = max(s.size, w.end)
	w.vec = w.vec[:0]
}

// span is a write of entries that is under way. The last one's term proves that they are the same ones when it is done:
// equal (index, term) means an equal log before it.
type span struct{ first, last, term uint64 }

// writing is told of a write that is asked for.
func (r *Replica) writing(first, last, term uint64) *span {
	s := &span{first, last, term}
	r.spans = append(r.spans, s)
	return s
}

// written marks entries whose bytes are in the segment file.
func (r *Replica) written(s *span) {
	if k := slices.Index(r.spans, s); k >= 0 {
		r.spans = slices.Delete(r.spans, k, k+1)
	}
	if s.last > r.log.last() || s.last < max(s.first, r.log.first) || r.log.ents[s.last-r.log.first].Term != s.term {
		return
	}
	for i := max(s.first, r.log.first); i <= s.last; i++ {
		if n := r.log.note(i); n.batch {
			n.written = true
		}
	}
}

// shorten is told, before entry i and all behind it go, that writes under way are of what stays only.
func (r *Replica) shorten(i uint64) {
	for _, s := range r.spans {
		if s.last < i {
			continue
		}
		s.last, s.term = i-1, 0
		if t, err := r.log.Term(i - 1); err == nil {
			s.term = t
		}
	}
}

// flushFill writes what rode in the journal to the segments, unsynced: the journal still holds it.
func (r *Replica) flushFill() {
	if r.cut != nil || len(r.fill) == 0 || r.offline != "" {
		return
	}
	r.h.Timers().Stop(&r.fillAt)
	for i := 0; i < len(r.fill); {
		f := &r.fill[i]
		s := r.segment(f.at.seg)
		det.That(s != nil, "replica: what waits for its segment has one")
		first, last, term, pos := f.index, f.index, f.term, f.at.pos
		var vec []core.Ref
		for ; i < len(r.fill) && r.fill[i].at == (place{s.base, pos}) && len(vec) < 1024; i++ {
			f := &r.fill[i]
			vec = append(vec, f.body)
			pos += int64(f.body.Len)
			last, term = f.index, f.term
			if r.log.first <= f.index && f.index <= r.log.last() {
				r.log.note(f.index).issued = true
			}
		}
		span := r.writing(first, last, term)
		op := r.h.NewOp(func(ev *core.Event) {
			if !r.diskFailed(ev, "writing "+s.path) {
				r.written(span)
				r.shedSoon()
			}
		})
		r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: pos - core.Size(vec), Op: op}, vec...)
		s.size = max(s.size, pos)
		s.dirty = true
	}
	clear(r.fill)
	r.fill, r.fillSize = r.fill[:0], 0
}

// dropFill forgets what waits from index i on.
func (r *Replica) dropFill(i uint64) {
	k := len(r.fill)
	for k > 0 && r.fill[k-1].index >= i {
		k--
		r.fillSize -= int64(r.fill[k].body.Len)
		r.fill[k].body.Release()
		r.fill[k] = filling{}
	}
	r.fill = r.fill[:k]
}

// cutAt ends the log's segments at a place. What was written beyond it is cut from the files in cutNow;
// until then the entries that replace it ride in the journal.
func (r *Replica) cutAt(at place, touched bool) {
	var beyond []*segment
	for len(r.segs) > 1 && r.active().base > at.seg {
		beyond = append(beyond, r.active())
		r.segs = r.segs[:len(r.segs)-1]
	}
	switch {
	case r.cut == nil && !touched:
		r.spare = append(r.spare, beyond...) // nothing was written to them
		return
	case r.cut == nil:
		r.cut = &cut{at: at}
	case at.seg < r.cut.at.seg || at.seg == r.cut.at.seg && at.pos < r.cut.at.pos:
		r.cut.at = at
	}
	r.cut.remove = append(r.cut.remove, beyond...)
}

// setAside empties a segment file that the log no longer has. It is kept for a roll at the same offset
// (a file is never made again while its removal is under way) and removed by the next boot, which
// knows from the checkpoint which segments belong to the log.
func (r *Replica) setAside(s *segment) {
	op := r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "emptying "+s.path) })
	r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Op: op})
	s.size, s.dirty = 0, true
	r.spare = append(r.spare, s)
}

// takeSpare is the segment at base that was set aside, or nil.
func (r *Replica) takeSpare(base core.Offset) *segment { return r.takeSpareOf(base, 0) }

func (r *Replica) takeSpareOf(base core.Offset, gen uint64) *segment {
	for i, s := range r.spare {
		if s.base == base && s.gen == gen {
			r.spare = append(r.spare[:i:i], r.spare[i+1:]...)
			return s
		}
	}
	return nil
}

// cutNow cuts the files: the entries that replace what is cut are durable in the journal.
func (r *Replica) cutNow() {
	c := r.cut
	r.cut = nil
	s := r.segment(c.at.seg)
	det.That(s != nil, "replica: a cut has its segment")
	fail := func(path string) core.OpID {
		return r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "cutting "+path) })
	}
	fx := r.h.FX()
	fx.Add(core.Effect{Kind: core.Truncate, File: s.file, Off: c.at.pos, Op: fail(s.path)})
	s.size, s.dirty = c.at.pos, true
	for _, z := range c.zero {
		if z != s {
			fx.Add(core.Effect{Kind: core.Truncate, File: z.file, Op: fail(z.path)})
			z.size, z.dirty = 0, true
		}
	}
	for _, x := range c.remove {
		r.setAside(x)
	}
	r.flushFill()
}

// diskFailed takes the replica offline when an operation failed, and says so.
func (r *Replica) diskFailed(ev *core.Event, doing string) bool {
	if r.closed || r.offline != "" {
		return true
	}
	if ev.Err == core.OK {
		return false
	}
	r.fail(doing + ": " + ev.Err.String())
	return true
}

// holds says whether the batch of entry i of term t is in memory.
func (r *Replica) holds(i core.Index, t core.Term) bool {
	x := uint64(i)
	return r.offline == "" && x >= r.log.first && x <= r.log.last() && r.log.ents[x-r.log.first].Term == uint64(t) &&
		r.log.note(x).body.Buf != nil
}

// forget gives up the memory of an entry's batch; false when it is still needed.
func (r *Replica) forget(i core.Index, t core.Term) bool {
	if !r.holds(i, t) {
		return true
	}
	x := uint64(i)
	n := r.log.note(x)
	if x > r.applied || r.marking > 0 && n.inline || r.syncing > 0 && n.inline {
		return false
	}
	if !n.written {
		r.flushFill()
		return false
	}
	r.release(n)
	return true
}

// windowBytes bounds the batches that a window names. Who lacks more is fed whole segments, which is cheaper than
// entries and knows a throttle.
const windowBytes = 32 << 20

// trim bounds the entries by number and by the bytes they name; what is dropped can only be had from segments. A
// follower that was away for less is fed entry by entry.
func (r *Replica) trim() {
	least := r.h.Window().Least
	if least == 0 {
		least = 64
	}
	limit := 16 << 10
	if w := r.h.Window(); w.Entries > w.MaxEntries {
		limit = least
	}
	many := len(r.log.ents) > limit*5/4
	if !many && (r.log.bytes <= windowBytes*5/4 || len(r.log.ents) <= least) || r.syncing > 0 || r.marking > 0 {
		return
	}
	floor, left := uint64(0), r.log.bytes // what somebody in sync lacks goes by number only
	if !many {
		floor = r.lacking()
	}
	k := 0
	for many && k < len(r.log.ents)-limit || !many && k < len(r.log.ents)-least && left > windowBytes {
		i, n := r.log.first+uint64(k), &r.log.notes[k]
		if i > r.applied || i > r.complete || n.batch && !n.written || !many && i >= floor {
			break
		}
		left -= int64(n.stub.Len)
		r.release(n)
		k++
	}
	if k < len(r.log.ents)-limit && len(r.log.ents) > limit*2 {
		r.flushFill()
	}
	r.log.drop(k)
	r.h.Window().Entries -= k
}

// lacking is the first entry that a voter in sync lacks, as far as a leader knows.
func (r *Replica) lacking() uint64 {
	i := r.log.last() + 1
	if !r.leads {
		return i
	}
	for j := range r.match {
		if m := &r.match[j]; m.id != r.cfg.ID && slices.Contains(r.isr, m.id.Node()) {
			i = min(i, m.index+1)
		}
	}
	return i
}
