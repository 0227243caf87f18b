package replica

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/seg"
)

// The indexes of segments. An index is fed with what is applied, so nothing of it is ever taken back, and it is
// the same on every replica:
//
//	apply ──▶ the index of the last segment grows, its files every few KiB (unsynced)
//	the next segment's first batch is applied ──▶ the last entry, its files cut to length and synced: done
//	checkpoint: names counts and sums of each segment's files ──▶ a boot goes on from there, reading nothing
//
// What is in the files is believed by these sums only. An index that is behind (of a boot whose files are gone, of
// segments that came by catch-up, of one whose bytes rot) is made by a walk over its segment, which verifies each
// batch, a piece at a time; until then reads walk over headers from where it ends. The files of the last segment are
// loaded by the boot, those of closed ones by the first search in them.
// See docs/decisions/0016-kafkas-index-files.md.

const (
	flushIndex = 4 << 10   // bytes of both files that wait in memory
	indexPiece = 256 << 10 // of a segment, read at once when its index is made again
	warmMost   = 64        // closed segments of a partition whose index stays in memory
	spoiltMost = 3         // times that the files of one segment are made again
)

var (
	markIndexed   = det.NewMark("index: a segment's index files are complete")
	markReindexed = det.NewMark("index: a segment was read again for its indexes")
	markLoaded    = det.NewMark("index: the files of an earlier process were loaded")
	markSpoilt    = det.NewMark("index: a file did not hold what was written to it")
	markPageRead  = det.NewMark("index: a search read a page of a file")
	markTimeFound = det.NewMark("index: a search by time used the time index")
)

// indexing is what a segment has beside its batches.
type indexing struct {
	x       *seg.Index // nil: not begun
	again   *seg.Index // takes the place of x, whose files rot, when it is whole
	files   [seg.Kinds]indexFile
	done    bool     // x is closed and its files were written
	closing int      // syncs of these that are outstanding, or failed: a checkpoint does not name the files yet
	stuck   bool     // the segment cannot be read to its end
	spoilt  int      // how often its files did not hold what was written
	loads   []func() // wait until x is no longer hollow
}

type indexFile struct {
	id    core.FileID // 0: not open
	there bool        // the file was made, now or earlier
}

// growing is the index of s that batches are added to, begun when the topic's settings are known; nil before.
func (r *Replica) growing(s *segment) *seg.Index {
	if s.again != nil {
		return s.again
	}
	if n := r.cfg.Settings.IndexInterval; s.x == nil && n >= 0 {
		s.x = seg.NewIndex(s.base, n)
	}
	return s.x
}

// feedIndex shows the indexes what was applied since the last time.
func (r *Replica) feedIndex() {
	for i := max(r.fed+1, r.log.first); i <= r.applied; i++ {
		n := r.log.note(i)
		if !n.batch {
			continue
		}
		s := r.segment(n.at.seg)
		det.That(s != nil, "replica: what is applied lies in a segment")
		if n.at.pos == 0 {
			r.closeIndex(s)
		}
		x := r.growing(s)
		switch {
		case s.done && s.again == nil || x != nil && x.Next > n.at.pos:
		case x == nil || x.Next < n.at.pos || x.After != n.stub.Base:
			r.behind = true
		default:
			x.Add(n.stub.Base, n.end-1, n.stub.Len, n.stub.MaxTime)
			if x.Pending() >= flushIndex {
				r.writeIndex(s, x)
			}
		}
	}
	r.fed = max(r.fed, r.applied)
}

// closeIndex ends the index of the segment before s, of which a batch is applied.
func (r *Replica) closeIndex(s *segment) {
	for i := len(r.segs) - 1; i > 0; i-- {
		if r.segs[i] != s {
			continue
		}
		if p := r.segs[i-1]; p.done && p.again == nil {
			return
		} else if x := r.growing(p); x != nil && x.After == s.base {
			r.finishIndex(p, x)
		} else {
			r.behind = true
		}
		return
	}
}

func (r *Replica) finishIndex(s *segment, x *seg.Index) {
	markIndexed.Hit()
	x.Finish()
	r.writeIndex(s, x)
	s.x, s.again, s.done = x, nil, true
	r.warmed(s)
}

// warmed counts a closed segment whose index is in memory. The oldest gives its memory back.
func (r *Replica) warmed(s *segment) {
	r.warm = append(r.warm, s)
	for len(r.warm) > warmMost {
		if old := r.warm[0]; old.done && old.again == nil && !old.x.Hollow() {
			old.x.Empty()
		}
		r.warm[0] = nil
		r.warm = r.warm[1:]
	}
}

// writeIndex gives to the files what they lack. Only the last of it is synced: what a crash takes is missed.
func (r *Replica) writeIndex(s *segment, x *seg.Index) {
	bytes, at := x.Take()
	for k := range seg.Kinds {
		if len(bytes[k]) == 0 && !x.Closed() {
			continue
		}
		f := r.openIndex(s, k)
		if len(bytes[k]) > 0 {
			r.h.FX().Add(core.Effect{Kind: core.Write, File: f, Off: at[k], Op: r.indexOp(s, k)}, core.RefOf(bytes[k]))
		}
		if x.Closed() {
			s.closing++
			done := r.indexDone(s, k)
			op := r.h.NewOp(func(ev *core.Event) {
				if done(ev); ev.Err == core.OK {
					s.closing--
				}
			})
			r.h.FX().Add(core.Effect{Kind: core.Truncate, File: f, Off: x.Size(k), Sync: true, Op: op})
		}
	}
}

func (r *Replica) indexPath(s *segment, k seg.Kind) string {
	return seg.IndexPathOf(r.cfg.Dir, s.base, s.gen, k)
}

func (r *Replica) openIndex(s *segment, k seg.Kind) core.FileID {
	f := &s.files[k]
	if f.id == 0 {
		f.id, f.there = r.h.NewFile(), true
		r.h.FX().Add(core.Effect{Kind: core.Create, File: f.id, Path: r.indexPath(s, k), Op: r.indexOp(s, k)})
	}
	return f.id
}

// indexOp is a change of an index file. When it fails the partition lives on without that file.
func (r *Replica) indexOp(s *segment, k seg.Kind) core.OpID { return r.h.NewOp(r.indexDone(s, k)) }

func (r *Replica) indexDone(s *segment, k seg.Kind) func(*core.Event) {
	return func(ev *core.Event) {
		if ev.Err != core.OK && ev.Err != core.ErrGone && r.offline == "" && s.spoilt < spoiltMost {
			s.spoilt = spoiltMost
			r.h.Note(4, "msg=\"an index file cannot be written, reads of its segment are slower\" file="+
				r.indexPath(s, k)+" err="+strconv.Quote(ev.Err.String()))
		}
	}
}

// removeIndex removes the index files of a segment whose own file goes.
func (r *Replica) removeIndex(s *segment, remove func(id core.FileID, path string)) {
	for k := range seg.Kinds {
		if s.files[k].there {
			remove(r.openIndex(s, k), r.indexPath(s, k))
			s.files[k] = indexFile{}
		}
	}
}

// bootIndexes takes up the indexes that the checkpoint names, where their files have the right length.
func (r *Replica) bootIndexes(files []core.FileInfo) {
	for _, f := range files {
		if _, base, k, ok := seg.ParseIndexPath(f.Path); ok {
			if s := r.segment(base); s != nil && s.gen == seg.Generation(f.Path) {
				s.files[k].there = true
			}
		}
	}
	for i, base := range r.bases {
		s, x := r.segment(base), r.marks[i]
		if s == nil || x == nil {
			continue
		}
		s.x, s.done = x, x.Closed()
		for k := range seg.Kinds {
			n := sizeOf(files, r.indexPath(s, k))
			if n < x.Given(k) || x.Closed() && n != x.Given(k) {
				s.x, s.done = seg.NewIndex(base, x.Interval), false
			}
		}
	}
	for _, s := range r.segs {
		if !s.done {
			r.cutIndex(s)
		}
	}
	r.behind = true
}

// cutIndex takes from the files what the index does not know: it was written after the last checkpoint, and may be
// there in part.
func (r *Replica) cutIndex(s *segment) {
	for k := range seg.Kinds {
		if !s.files[k].there {
			continue
		}
		at := int64(0)
		if s.x != nil {
			at = s.x.Given(k)
		}
		r.h.FX().Add(core.Effect{Kind: core.Truncate, File: r.openIndex(s, k), Off: at, Op: r.indexOp(s, k)})
	}
}

// pumpIndex makes the indexes that are behind.
func (r *Replica) pumpIndex() {
	if !r.behind || r.walking || !r.began || r.opening > 0 || r.offline != "" || r.pull != nil || r.ahead != nil || r.cut != nil ||
		r.cfg.Settings.IndexInterval < 0 {
		return
	}
	for _, s := range r.segs {
		if s.done && s.again == nil || s.stuck {
			continue
		}
		x, next := r.growing(s), r.after(s)
		if x.Hollow() && len(s.loads) == 0 { // what was not closed was not synced either: a crash may have taken some of it
			r.asked(s, func() {})
		}
		switch {
		case next != nil && next.base < r.AppliedEnd() && (x.After == next.base || s.gen > 0 && x.Next >= s.size):
			r.finishIndex(s, x)
		case x.Next < r.limit(s):
			markReindexed.Hit()
			r.walkIndex(s, x, s.scanner(x.After, x.Next), x.Next)
			return
		}
	}
	r.behind = false
	r.fed = r.log.first - 1
	r.feedIndex()
}

// walkIndex reads the next piece of s for its index.
func (r *Replica) walkIndex(s *segment, x *seg.Index, scan *seg.Scanner, pos int64) {
	limit := r.limit(s)
	next := r.after(s)
	r.walking = true
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		r.walking = false
		if r.offline != "" {
			return
		}
		r.h.Dirty(r)
		if r.opening > 0 || r.segment(s.base) != s || r.growing(s) != x || ev.Err == core.ErrGone {
			return
		}
		if ev.Err == core.OK {
			scan.Feed(ev.Body.Bytes(), func(b seg.Seen) {
				if b.Pos == x.Next && (next == nil || b.Head.BaseOffset() < next.base) {
					late := core.Wall(0)
					if mut.On("M21") { // an index that is made again is off by one
						late = 1
					}
					x.Add(b.Head.BaseOffset(), b.Head.LastOffset(), b.Head.Size(), b.Head.MaxTimestamp()+late)
				}
			})
		}
		if x.Pending() >= flushIndex {
			r.writeIndex(s, x)
		}
		pos += int64(ev.Body.Len)
		switch {
		case next != nil && x.After >= next.base:
		case ev.Err != core.OK || scan.Bad() || pos >= limit && scan.Open():
			s.stuck = true // the scrubber comes by
			r.h.Note(4, "msg=\"a segment cannot be indexed, it does not hold what was written\" file="+s.path+
				" pos="+strconv.FormatInt(x.Next, 10))
		case pos < limit:
			r.walkIndex(s, x, scan, pos)
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: pos, N: min(limit-pos, indexPiece), Op: op})
}

// unstick lets segments be read again that could not be, after a mend.
func (r *Replica) unstick() {
	for _, s := range r.segs {
		s.stuck = s.damaged
	}
	r.behind = true
}

// spoil is told that the files of x do not hold what was written.
func (r *Replica) spoil(s *segment, x *seg.Index) {
	if s.x != x || s.again != nil || r.offline != "" {
		return
	}
	markSpoilt.Hit()
	r.h.Note(4, "msg=\"an index file does not hold what was written, it is made again\" file="+
		r.indexPath(s, seg.Offsets))
	s.spoilt++
	fresh := seg.NewIndex(s.base, x.Interval)
	if s.done && !x.Hollow() {
		s.again = fresh // what is in memory of x still holds
	} else {
		s.x, s.done = fresh, false
		r.cutIndex(s)
	}
	r.behind = true
	r.h.Dirty(r)
}

// asked calls f when the index of s can be asked.
func (r *Replica) asked(s *segment, f func()) {
	if s.x == nil || !s.x.Hollow() {
		f()
		return
	}
	s.loads = append(s.loads, f)
	if len(s.loads) == 1 {
		r.load(s, s.x)
	}
}

// load reads what an earlier process wrote, a piece at a time.
func (r *Replica) load(s *segment, x *seg.Index) {
	for k := range seg.Kinds {
		at, n := x.Want(k)
		if n == 0 {
			continue
		}
		op := r.h.NewOp(func(ev *core.Event) {
			defer ev.Body.Release()
			if ev.Err != core.OK || int64(ev.Body.Len) != n {
				r.loaded(s, x, false)
				return
			}
			x.Fill(k, ev.Body.Bytes())
			r.load(s, x)
		})
		r.h.FX().Add(core.Effect{Kind: core.Read, File: r.openIndex(s, k), Off: at, N: n, Op: op})
		return
	}
	r.loaded(s, x, x.Filled())
}

func (r *Replica) loaded(s *segment, x *seg.Index, ok bool) {
	if ok {
		markLoaded.Hit()
		if s.done {
			r.warmed(s)
		}
	} else {
		r.spoil(s, x)
	}
	waiting := s.loads
	s.loads = nil
	for _, f := range waiting {
		r.asked(s, f)
	}
}

// page reads the part of an index file that p names; with bytes that are none of it the search goes on without.
func (r *Replica) page(s *segment, k seg.Kind, p seg.Page, found func(b []byte)) {
	if p.Len == 0 || s.spoilt >= spoiltMost || s.again != nil {
		found(nil)
		return
	}
	markPageRead.Hit()
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		if ev.Err != core.OK {
			found(nil)
			return
		}
		found(ev.Body.Bytes())
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: r.openIndex(s, k), Off: p.Off, N: p.Len, Op: op})
}

// find is where in s a walk for the batch that holds offset o begins; exact says that it is that batch, and
// begins with o.
func (r *Replica) find(s *segment, o core.Offset, done func(pos int64, exact bool)) {
	r.search(s, func(x *seg.Index) seg.Page { return x.Offset(o) }, done)
}

func (r *Replica) search(s *segment, ask func(*seg.Index) seg.Page, done func(pos int64, exact bool)) {
	r.asked(s, func() {
		x := s.x
		if x == nil {
			done(0, false)
			return
		}
		p := ask(x)
		r.page(s, seg.Offsets, p, func(b []byte) {
			if p.Len == 0 {
				done(p.Pos, p.Exact)
				return
			}
			pos, ok := p.Offset(b)
			if !ok {
				r.spoil(s, x)
			}
			done(pos, false)
		})
	})
}

// findTime is where in s a walk for the first batch with a timestamp of ts or later begins.
func (r *Replica) findTime(s *segment, ts core.Wall, done func(pos int64)) {
	switch {
	case s.x == nil:
		done(0)
		return
	case ts > s.x.Max:
		done(s.x.Next)
		return
	}
	r.asked(s, func() {
		x := s.x
		p, at, grew := x.Time(ts)
		before := func(o core.Offset) {
			r.search(s, func(x *seg.Index) seg.Page { return x.Before(o) }, func(pos int64, _ bool) { done(pos) })
		}
		r.page(s, seg.Times, p, func(b []byte) {
			ok := true
			if p.Len > 0 {
				at, grew, ok = p.Time(b, ts)
			}
			switch {
			case !ok:
				r.spoil(s, x)
				before(p.At)
			case grew:
				markTimeFound.Hit()
				before(at)
			default:
				done(x.Last())
			}
		})
	})
}

// tallyTip counts the entries of the last segment's indexes once all proposals are in it.
func (r *Replica) tallyTip() {
	i := min(r.applied, r.log.last())
	if i+1 < r.log.first {
		return
	}
	at, interval := r.log.after(i), max(r.cfg.Settings.IndexInterval, 0)
	r.tip = seg.Guess(at.seg, interval, at.pos, r.log.end(i))
	if s := r.segment(at.seg); s != nil && s.x != nil && s.x.Next == at.pos {
		r.tip = s.x.Tally
	}
	for i++; i <= r.log.last(); i++ {
		if n := r.log.note(i); n.batch {
			r.tallyBatch(&n.stub)
		}
	}
}

func (r *Replica) tallyBatch(s *journal.Stub) {
	if s.Flags&journal.Roll != 0 {
		r.tip = seg.NewTally(s.Base, max(r.cfg.Settings.IndexInterval, 0))
	}
	r.tip.Add(s.Next()-1, s.Len, s.MaxTime)
}

// indexFull says that a batch does not go into the last segment because the indexes have no room for it
// (LogSegment.shouldRoll).
func (r *Replica) indexFull(s *journal.Stub) bool {
	n := r.cfg.Settings.IndexBytes
	return n > 0 && r.tip.Full(n) || !r.tip.Fits(s.Next()-1)
}
