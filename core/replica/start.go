package replica

import (
	"sort"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// The log start. What lies below it is gone for clients, and its segments go from the disks. The leader
// decides it (DeleteRecords, retention) and logs it as an entry of its own kind, which takes no offset:
//
//	Trim ──▶ entry "the log starts at X", X <= high watermark
//	  committed: start = X            reads below X are OutOfRange, the caller is answered
//	  applied:   floor = X            committed, and this disk holds it and all before
//	    whole segments below X leave the log (shed), and the window what it knows of them
//	  checkpoint without them durable: their files may go
//	  file.delete.delay.ms later: removed
//
// An X at the very end of the log is logged with a roll (journal.AppendRollingStart): the next batch begins a
// segment, and the file of those before can go at once.
//
// A crash anywhere leaves files that the newest checkpoint names, or ones that it does not, which the boot
// removes. A segment that a reader was given a region of stays for the delay. A follower whose log ends below
// the start catches up from the start on (catchup.go). The files that are left are equal on all replicas;
// when each of them removes one is its own affair.

var (
	markTrimmed = det.NewMark("start: the log start moved")
	markShed    = det.NewMark("start: a segment below the log start left the log")
	markRemoved = det.NewMark("start: the file of a segment below the log start was removed")
)

// Trimmed answers Trim.
type Trimmed struct {
	Err   Outcome
	Start core.Offset // the log start; -1 with an error
}

// trim is a Trim that waits for its entry to be committed.
type trim struct {
	to   core.Offset // -1: the high watermark, once that is known
	most core.Offset // where the log ended when this was asked: nothing that came later goes
	done func(Trimmed)
}

// shed are the files of segments that left the log at its beginning, oldest first. Recovery may still look
// for those that the newest durable checkpoint names.
type shed struct {
	files   []*segment
	unnamed int // of them: the checkpoint that is under way, or the newest, does not name
	free    int // of them: no checkpoint that a boot could find names
	at      det.Timer
}

// Trim raises the log start to an offset at or below the high watermark, -1 for the high watermark itself.
// It never lowers it: done then gets the start as it is. done is called once, when the new start is
// committed; a leader that is deposed before answers NotLeader, though its successor may keep the entry.
func (r *Replica) Trim(to core.Offset, done func(Trimmed)) {
	err := OK
	switch {
	case r.closed:
		err = UnknownPartition
	case r.offline != "":
		err = StorageError
	case !r.leads || r.handing > 0:
		err = NotLeader
	case !r.cfg.Settings.Deletes:
		err = Policy
	case to < -1:
		err = OutOfRange
	}
	if err != OK {
		done(Trimmed{err, -1})
		return
	}
	r.trims = append(r.trims, trim{to, r.End(), done})
	r.wake()
	r.h.Dirty(r)
}

// pumpTrims proposes what Trim asked for, and answers what is committed. A new leader waits: it does not know
// the high watermark.
func (r *Replica) pumpTrims() {
	if len(r.trims) == 0 || !r.leads || !r.ready {
		return
	}
	trims := r.trims
	r.trims = nil
	for _, t := range trims {
		most := min(r.high, t.most)
		if t.to < 0 {
			t.to = most
		}
		switch {
		case t.to > most:
			t.done(Trimmed{OutOfRange, -1})
		case t.to <= r.start:
			t.done(Trimmed{OK, r.start})
		default:
			r.proposeStart(t.to)
			r.trims = append(r.trims, t)
		}
	}
}

func (r *Replica) proposeStart(to core.Offset) {
	if to <= r.cutting {
		return // it is on its way, or a higher one
	}
	det.That(to <= r.high, "I17: a log start is proposed at or below the high watermark")
	r.cutting = to
	data := journal.AppendStart(nil, to)
	if to == r.next && r.tailSegment() > 0 {
		data = journal.AppendRollingStart(nil, to)
		r.beginTail(to, -1)
	}
	r.props = append(r.props, raftpb.Entry{Data: data})
	r.h.Dirty(r)
}

// dropTrims answers everybody who waits for a log start.
func (r *Replica) dropTrims(err Outcome) {
	trims := r.trims
	r.trims, r.cutting, r.compacting.proposed = nil, 0, false
	for _, t := range trims {
		t.done(Trimmed{err, -1})
	}
}

// startOf is the log start that an entry decides.
func startOf(e *raftpb.Entry) (core.Offset, bool) {
	if e.Type != raftpb.EntryNormal {
		return 0, false
	}
	return journal.DecodeStart(e.Data)
}

// moveStart follows the commit index over the entries [from, to], which the window holds.
func (r *Replica) moveStart(from, to uint64) (moved bool) {
	for i := max(from, r.log.first); i <= to; i++ {
		if start, ok := startOf(&r.log.ents[i-r.log.first]); ok && start > r.start {
			det.That(start <= r.log.end(i), "I17: the log start is at or below the high watermark")
			markTrimmed.Hit()
			r.start, moved = start, true
		}
	}
	return moved
}

// shedSegments takes whole segments below the floor out of the log, and asks for the checkpoint without
// which their files must stay.
func (r *Replica) shedSegments() {
	if !r.began || r.pull != nil || r.ahead != nil || r.compacting.sweep != nil || r.refit.fetch != nil || !r.mayMark() {
		return
	}
	k := 0
	for k+1 < len(r.segs) && r.segs[k+1].base <= r.keeps() {
		k++
	}
	if k > 0 && r.leave(r.segs[k].base) {
		markShed.Hit()
		r.shed.files = append(r.shed.files, r.segs[:k]...)
		r.segs = append([]*segment(nil), r.segs[k:]...)
	}
	if len(r.shed.files) > r.shed.unnamed {
		r.syncAll()
	}
}

// shedSoon has Ready look again when there is something to shed or to compact: what was in the way may be over.
func (r *Replica) shedSoon() {
	waits := len(r.compacting.decided) > 0 && r.compacting.sweep == nil || r.refit.to != nil
	if r.offline == "" && r.began && (waits || len(r.segs) > 1 && r.segs[1].base <= r.keeps()) {
		r.h.Dirty(r)
	}
}

// leave ends the window's knowledge of segments before the one that begins at base: false while that is too
// early. The entry that began that segment leaves too, so that no truncation can reach what is shed.
func (r *Replica) leave(base core.Offset) bool {
	if r.log.at0.seg >= base {
		return true
	}
	k := sort.Search(len(r.log.notes), func(k int) bool { return r.log.notes[k].at.seg >= base })
	i := r.log.first + uint64(k)
	if i > min(r.applied, r.complete) || r.needed(i) {
		return false
	}
	n := &r.log.notes[k]
	det.That((n.batch || n.rolls) && n.at == (place{base, 0}), "replica: a segment begins with its batch, or empty")
	for j := range r.log.notes[:k+1] {
		if n := &r.log.notes[j]; n.batch && !n.written {
			r.flushFill()
			return false
		}
	}
	for j := range r.log.notes[:k+1] {
		r.release(&r.log.notes[j])
	}
	r.log.drop(k + 1)
	r.h.Window().Entries -= k + 1
	return true
}

// needed says that a voter in sync lacks entry i: it is fed from the window, which is cheaper than to have
// it catch up by segments.
func (r *Replica) needed(i uint64) bool {
	if !r.leads {
		return false
	}
	for _, n := range r.isr {
		for j := range r.match {
			if m := &r.match[j]; m.id.Node() == n && m.id != r.cfg.ID && m.index < i {
				return true
			}
		}
	}
	return false
}

// releaseShed is told that the checkpoint under way is durable: a boot does not look for what it left out.
func (r *Replica) releaseShed() {
	for ; r.shed.free < r.shed.unnamed; r.shed.free++ {
		s := r.shed.files[r.shed.free]
		s.freed = r.h.Now().Mono
		if s.cuts {
			r.endAt(s, s.ends)
		}
	}
	r.removeShed()
}

// removeShed removes the files whose time has come.
func (r *Replica) removeShed() {
	x := &r.shed
	for x.free > 0 {
		s := x.files[0]
		if until := s.freed + r.cfg.Settings.DeleteDelay; until > r.h.Now().Mono {
			r.h.Timers().Arm(&x.at, int64(until))
			return
		}
		markRemoved.Hit()
		x.files, x.free, x.unnamed = x.files[1:], x.free-1, x.unnamed-1
		r.h.Remove(r.cfg.Dir, s.file, s.path)
		r.removeIndex(s, func(id core.FileID, path string) { r.h.Remove(r.cfg.Dir, id, path) })
	}
}

// shedSegment is the segment at base that left the log and whose file is still there, or nil.
func (r *Replica) shedSegment(base core.Offset) *segment {
	for _, s := range r.shed.files {
		if s.base == base && !s.old {
			return s
		}
	}
	return nil
}
