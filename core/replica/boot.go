package replica

import (
	"hash/crc32"
	"slices"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

var (
	markTornTail  = det.NewMark("replica: a torn batch at the end of a segment was cut")
	markRefilled  = det.NewMark("replica: a boot refilled a segment from the journal")
	castagnoliTab = crc32.MakeTable(crc32.Castagnoli)
)

// refill is a batch that the journal holds and that goes to its segment.
type refill struct {
	at   place
	body core.Ref
}

// booting is what a boot finds out before it asks anything of the disk.
type booting struct {
	writes   []refill
	unsynced map[core.Offset]bool //det:ok looked up, never ranged: segments to sync
	lost     map[core.Offset]bool //det:ok looked up, never ranged: segments that are fetched anew
	holes    []hole
	why      string // of the first hole
	buf      []byte // of checkAt
}

func (b *booting) hole(h hole, why string) {
	if b.why == "" {
		b.why = why
	}
	b.unsynced[h.seg] = true
	b.holes = append(b.holes, h)
}

func (b *booting) drop() {
	for _, w := range b.writes {
		w.body.Release()
	}
	b.writes = nil
}

// recover builds the window from the journal's tail, checks what no later record proves durable and part
// of what one does, and asks the disk to make the segments equal to it. What had been durable and is not there
// any more is to be mended first. False: the replica is offline.
func (r *Replica) recover(rec *journal.Group, files []core.FileInfo, boot core.Boot) bool {
	b := &booting{unsynced: map[core.Offset]bool{}, lost: map[core.Offset]bool{}}
	r.openSegments(files, rec.Mark, b)
	check := checkFrom(rec, r.cfg.BootChecks)
	for i := range rec.Tail {
		t := &rec.Tail[i]
		n := r.log.push(raftpb.Entry{Index: uint64(t.Index), Term: uint64(t.Term), Type: raftpb.EntryType(t.Type), Data: t.Data})
		if (n.rolls || n.stub.Flags&journal.Roll != 0) && r.active().base != n.at.seg {
			if s, end := r.active(), r.log.after(uint64(t.Index)-1).pos; s.size > end {
				r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Off: end, Op: r.bootOp(s.path)})
				s.size, b.unsynced[s.base] = end, true
			}
			r.bootSegment(n.at.seg, files)
		}
		if !n.batch {
			continue
		}
		r.active().wrote(&n.stub, n.at.pos, r.h.Now().Wall)
		n.issued, n.written = true, true
		switch torn, why := r.judge(t, n, b, files, boot, i >= check, t.Index <= rec.Bound); {
		case torn:
			// Never completed here, so never acknowledged by this node: a torn tail, cut.
			markTornTail.Hit()
			r.log.keep(len(r.log.ents) - 1)
		case why != "":
			b.hole(hole{seg: n.at.seg, pos: n.at.pos, end: n.after().pos, index: uint64(t.Index), term: uint64(t.Term)}, why)
			continue
		default:
			continue
		}
		break
	}
	r.retime(r.log.last()) // a torn batch is gone
	r.bootAhead(files, b)
	r.bootIndexes(files)
	r.removeStrays(files)
	if len(b.holes) == 0 {
		r.refillAll(b)
		return true
	}
	if r.alone() {
		b.drop()
		r.fail(b.why) // nobody else has what it lost
		return false
	}
	r.startMend(&mend{why: b.why, holes: b.holes, hard: rec.Hard, finish: func() { r.refillAll(b) }, drop: b.drop})
	return true
}

// checkFrom is the first entry of the tail whose bytes are read although they were certainly durable: the newest,
// which a crash is most likely to have met.
func checkFrom(rec *journal.Group, most int64) int {
	size := int64(0)
	for i := len(rec.Tail) - 1; i >= 0; i-- {
		if t := &rec.Tail[i]; t.IsBatch && !t.Inline && t.Index <= rec.Bound {
			if size += int64(t.Stub.Len); size > most {
				return i + 1
			}
		}
	}
	return 0
}

// judge says of a batch of the tail that it is torn, or why it is lost; neither when its bytes are there.
func (r *Replica) judge(t *journal.TailEntry, n *note, b *booting, files []core.FileInfo, boot core.Boot, check, durable bool) (torn bool, why string) {
	path := r.active().path
	if r.active().base != n.at.seg {
		path = r.path(n.at.seg)
	}
	switch {
	case t.Rotten:
		return false, "the batch of entry " + strconv.FormatUint(uint64(t.Index), 10) + " rots in the journal"
	case t.Inline:
		body := core.NewRef(int(n.stub.Len))
		if k, err := boot.ReadAt(t.Path, t.At, body.Bytes()); err != core.OK || k != int(n.stub.Len) {
			body.Release()
			return false, "reading " + t.Path + ": " + err.String()
		}
		b.writes = append(b.writes, refill{n.at, body})
	case b.lost[n.at.seg]: // it may have been acknowledged, whatever the bound says: the leader will know
		return false, "segment " + path + " is lost"
	case !durable:
		b.unsynced[n.at.seg] = true // the page cache may be all that holds it
		return !b.checkAt(boot, path, n, t.Term), ""
	case sizeOf(files, path) < n.after().pos:
		return false, "segment " + path + " lacks batches that were synced (offset " + strconv.FormatInt(int64(n.stub.Base), 10) + ")"
	case check && !b.checkAt(boot, path, n, t.Term):
		return mut.On("M07"), "segment " + path + " holds rotten bytes (offset " + strconv.FormatInt(int64(n.stub.Base), 10) + ")"
	}
	return false, ""
}

func sizeOf(files []core.FileInfo, path string) int64 {
	for _, f := range files {
		if f.Path == path {
			return f.Size
		}
	}
	return -1
}

// refillAll makes the segments equal to the window.
func (r *Replica) refillAll(b *booting) {
	r.h.Window().Entries += len(r.log.ents)
	for i := range r.log.notes {
		if n := &r.log.notes[i]; n.batch {
			r.epochs.add(core.Term(r.log.ents[i].Term).Epoch(), n.stub.Base)
		}
	}
	if len(b.writes) > 0 {
		markRefilled.Hit()
	}
	end := r.log.after(r.log.last())
	stop := end // ... of the files
	if r.ahead != nil {
		stop = r.ahead.at
	}
	for len(r.segs) > 1 && r.active().base > stop.seg {
		s := r.active()
		r.segs = r.segs[:len(r.segs)-1]
		r.removeAtBoot(s)
	}
	for _, w := range b.writes {
		if w.at.seg > end.seg || w.at.seg == end.seg && w.at.pos >= end.pos {
			w.body.Release()
			continue
		}
		s := r.segment(w.at.seg)
		b.unsynced[s.base] = true
		s.size = max(s.size, w.at.pos+int64(w.body.Len))
		r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: w.at.pos, Op: r.bootOp(s.path)}, w.body)
	}
	b.writes = nil
	last := r.active()
	if last.size != stop.pos {
		r.h.FX().Add(core.Effect{Kind: core.Truncate, File: last.file, Off: stop.pos, Op: r.bootOp(last.path)})
		last.size = stop.pos
		b.unsynced[last.base] = true
	}
	for _, s := range r.segs {
		if b.unsynced[s.base] {
			r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: r.bootOp(s.path)})
		}
	}
}

func (r *Replica) bootOp(path string) core.OpID {
	r.opening++
	return r.h.NewOp(func(ev *core.Event) {
		if !r.diskFailed(ev, "repairing "+path) {
			r.opened()
		}
	})
}

// openSegments opens the files of the log up to the mark's segment; later ones are opened as the tail needs
// them, or removed. All of them were synced: one that is missing, or shorter than it was, is fetched anew. So is one
// that another follows and that is longer: it is not the file that was written.
func (r *Replica) openSegments(files []core.FileInfo, m journal.Mark, b *booting) {
	found := false
	for k, base := range r.bases {
		if base > m.Segment {
			continue
		}
		s := r.knownOf(base, r.gens[k])
		s.times = r.since[k]
		s.damaged = slices.Contains(r.compacting.damaged, base)
		s.stuck, r.refit.hurt = s.damaged, r.refit.hurt || s.damaged
		if mut.On("M20d") { // what lay in a segment before the start has no time
			s.times = times{0, 0}
		}
		want := r.sizes[k]
		if base == m.Segment {
			found, want = true, m.Pos
			r.log.time0 = s.times
		}
		size := sizeOf(files, s.path)
		s.size = max(size, 0)
		r.segs = append(r.segs, s)
		r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Sync: size < 0, Op: r.bootOp(s.path)})
		if s.damaged {
			continue // it is fetched in a newer generation
		}
		if longer := base < m.Segment && want > 0 && size > want; longer && r.alone() { // it cannot be fetched anew
			r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Off: want, Op: r.bootOp(s.path)})
			s.size, b.unsynced[base] = want, true
			continue
		} else if !longer && (want == 0 || size >= want && want > 0 || want < 0 && size > 0) {
			continue
		}
		// Whatever it holds goes: with its length it would look whole after a crash.
		r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Op: r.bootOp(s.path)})
		s.size = 0
		if want <= 0 {
			want = -1
		}
		b.lost[base] = true
		why := "segment " + s.path + " is missing"
		if size >= 0 {
			why = "segment " + s.path + " is " + strconv.FormatInt(size, 10) + " bytes long, but " +
				strconv.FormatInt(want, 10) + " were synced"
		}
		b.hole(hole{seg: base, end: want, next: base}, why)
	}
	if !found {
		s := r.newSegment(m.Segment)
		if m.Pos > 0 {
			s.times = times{s.made, s.made}
			r.log.time0 = s.times
			b.lost[m.Segment] = true
			b.hole(hole{seg: m.Segment, end: m.Pos, next: m.Segment}, "its checkpoint does not know segment "+r.path(m.Segment))
		}
	}
}

// bootSegment opens or makes a segment that begins in the tail.
func (r *Replica) bootSegment(base core.Offset, files []core.FileInfo) {
	s := r.newSegment(base)
	for _, f := range files {
		if f.Path == s.path {
			s.size = f.Size
		}
	}
}

func (r *Replica) removeAtBoot(s *segment) {
	s.gone = true
	r.opening++
	op := r.h.NewOp(func(ev *core.Event) {
		if ev.Err == core.ErrGone || !r.diskFailed(ev, "removing "+s.path) { // on a full disk it may never have been made
			r.opened()
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Remove, File: s.file, Path: s.path, Op: op})
}

// removeStrays removes files that the log does not have: what lies beyond its end belongs to nobody.
func (r *Replica) removeStrays(files []core.FileInfo) {
	for _, f := range files {
		_, base, ok := seg.ParsePath(f.Path)
		if !ok {
			_, base, _, ok = seg.ParseIndexPath(f.Path)
		}
		if !ok {
			_, base, _ = seg.ParseTxnPath(f.Path)
		}
		if s := r.segment(base); s == nil || s.gen != seg.Generation(f.Path) {
			r.removeAtBoot(&segment{base: base, file: r.openStray(f.Path), path: f.Path})
		}
	}
}

func (r *Replica) openStray(path string) core.FileID {
	id := r.h.NewFile()
	r.h.FX().Add(core.Effect{Kind: core.Create, File: id, Path: path}) // its removal says how it went
	return id
}

// checkAt says whether the batch of n rests whole at its place: the CRC, and the 21 bytes that the
// CRC does not cover, derived from stub and term.
func (b *booting) checkAt(boot core.Boot, path string, n *note, term core.Term) bool {
	b.buf = slices.Grow(b.buf[:0], int(n.stub.Len))[:n.stub.Len]
	if k, err := boot.ReadAt(path, n.at.pos, b.buf); err != core.OK || k != len(b.buf) {
		return false
	}
	return matches(b.buf, &n.stub, term)
}

// matches says whether b is the batch that stub names, as the leader of term wrote it.
func matches(b []byte, s *journal.Stub, term core.Term) bool {
	if int32(len(b)) != s.Len || len(b) < record.HeaderSize {
		return false
	}
	if [record.Unchecked]byte(b[:record.Unchecked]) != record.Prefix(s.Base, s.Len, term.Epoch(), s.CRC) {
		return false
	}
	return crc32.Checksum(b[record.Unchecked:], castagnoliTab) == s.CRC
}
