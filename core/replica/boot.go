package replica

import (
	"hash/crc32"
	"slices"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

var (
	markTornTail  = det.NewMark("replica: a torn batch at the end of a segment was cut")
	markRefilled  = det.NewMark("replica: a boot refilled a segment from the journal")
	castagnoliTab = crc32.MakeTable(crc32.Castagnoli)
)

// recover builds the window from the journal's tail, checks what no later record proves durable, and
// asks the disk to make the segments equal to it. False: the replica is offline.
func (r *Replica) recover(rec *journal.Group, files []core.FileInfo, boot core.Boot) bool {
	if !r.openSegments(files, rec.Mark) {
		return false
	}
	type write struct {
		at   place
		body core.Ref
	}
	var writes []write
	unsynced := map[core.Offset]bool{} //det:ok looked up, never ranged
	drop := func() {
		for _, w := range writes {
			w.body.Release()
		}
	}
	for i := range rec.Tail {
		t := &rec.Tail[i]
		n := r.log.push(raftpb.Entry{Index: uint64(t.Index), Term: uint64(t.Term), Type: raftpb.EntryType(t.Type), Data: t.Data})
		if !n.batch {
			continue
		}
		if n.stub.Flags&journal.Roll != 0 && r.active().base != n.at.seg {
			if s, end := r.active(), r.log.after(uint64(t.Index)-1).pos; s.size > end {
				r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Off: end, Op: r.bootOp(s.path)})
				s.size, unsynced[s.base] = end, true
			}
			r.bootSegment(n.at.seg, files)
		}
		if t.Inline {
			body := core.NewRef(int(n.stub.Len))
			if k, err := boot.ReadAt(t.Path, t.At, body.Bytes()); err != core.OK || k != int(n.stub.Len) {
				body.Release()
				drop()
				r.fail("reading " + t.Path + ": " + err.String())
				return false
			}
			writes = append(writes, write{n.at, body})
			n.issued, n.written = true, true
			continue
		}
		n.issued, n.written = true, true
		if t.Index <= rec.Bound {
			continue
		}
		if !checkAt(boot, seg.Path(r.cfg.Dir, n.at.seg), n, core.Term(t.Term)) {
			// Never completed here, so never acknowledged by this node: a torn tail, cut.
			markTornTail.Hit()
			r.log.ents = r.log.ents[:len(r.log.ents)-1]
			r.log.notes = r.log.notes[:len(r.log.notes)-1]
			break
		}
		unsynced[n.at.seg] = true // the page cache may be all that holds it
	}
	if !r.lengthsHold(rec, files) {
		drop()
		return false
	}
	r.h.Window().Entries += len(r.log.ents)
	for i := range r.log.notes {
		if n := &r.log.notes[i]; n.batch {
			r.epochs.add(core.Term(r.log.ents[i].Term).Epoch(), n.stub.Base)
		}
	}
	if len(writes) > 0 {
		markRefilled.Hit()
	}
	end := r.log.after(r.log.last())
	for len(r.segs) > 1 && r.active().base > end.seg {
		s := r.active()
		r.segs = r.segs[:len(r.segs)-1]
		r.removeAtBoot(s)
	}
	for _, w := range writes {
		if w.at.seg > end.seg || w.at.seg == end.seg && w.at.pos >= end.pos {
			w.body.Release()
			continue
		}
		s := r.segment(w.at.seg)
		unsynced[s.base] = true
		s.size = max(s.size, w.at.pos+int64(w.body.Len))
		r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: w.at.pos, Op: r.bootOp(s.path)}, w.body)
	}
	last := r.active()
	if last.size != end.pos {
		r.h.FX().Add(core.Effect{Kind: core.Truncate, File: last.file, Off: end.pos, Op: r.bootOp(last.path)})
		last.size = end.pos
		unsynced[last.base] = true
	}
	for _, s := range r.segs {
		if unsynced[s.base] {
			r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: r.bootOp(s.path)})
		}
	}
	return true
}

func (r *Replica) bootOp(path string) core.OpID {
	r.opening++
	return r.h.NewOp(func(ev *core.Event) {
		if !r.diskFailed(ev, "repairing "+path) {
			r.opened()
		}
	})
}

// openSegments opens the files up to the mark's segment; later ones are opened as the tail needs
// them, or removed.
func (r *Replica) openSegments(files []core.FileInfo, m journal.Mark) bool {
	found := false
	for _, f := range files {
		_, base, _ := seg.ParsePath(f.Path)
		if base > m.Segment || !slices.Contains(r.bases, base) {
			continue
		}
		s := &segment{base: base, file: r.h.NewFile(), path: f.Path, size: f.Size}
		r.segs = append(r.segs, s)
		r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Op: r.bootOp(s.path)})
		if base == m.Segment {
			found = true
			if f.Size < m.Pos {
				r.fail("segment " + f.Path + " is " + strconv.FormatInt(f.Size, 10) + " bytes long, but " +
					strconv.FormatInt(m.Pos, 10) + " were synced")
				return false
			}
		}
	}
	if !found && m.Pos > 0 {
		r.fail("segment " + r.path(m.Segment) + " is missing")
		return false
	}
	if !found {
		r.newSegment(m.Segment)
	}
	return true
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
	r.h.FX().Add(core.Effect{Kind: core.Remove, File: s.file, Path: s.path, Op: r.bootOp(s.path)})
}

// lengthsHold checks that the batches which are certainly durable fit into their files.
func (r *Replica) lengthsHold(rec *journal.Group, files []core.FileInfo) bool {
	for i := range rec.Tail {
		x := uint64(rec.Tail[i].Index)
		if x > r.log.last() || rec.Tail[i].Inline || rec.Tail[i].Index > rec.Bound {
			continue
		}
		n := r.log.note(x)
		if !n.batch {
			continue
		}
		ok := false
		for _, f := range files {
			if f.Path == r.path(n.at.seg) {
				ok = f.Size >= n.after().pos
			}
		}
		if !ok {
			r.fail("segment " + r.path(n.at.seg) + " lacks batches that were synced (offset " +
				strconv.FormatInt(int64(n.stub.Base), 10) + ")")
			return false
		}
	}
	for _, f := range files { // what lies beyond the log's end belongs to nobody
		_, base, _ := seg.ParsePath(f.Path)
		if r.segment(base) == nil {
			r.removeAtBoot(&segment{base: base, file: r.openStray(f.Path), path: f.Path})
		}
	}
	return true
}

func (r *Replica) openStray(path string) core.FileID {
	id := r.h.NewFile()
	r.h.FX().Add(core.Effect{Kind: core.Create, File: id, Path: path, Op: r.bootOp(path)})
	return id
}

// checkAt says whether the batch of n rests whole at its place: the CRC, and the 21 bytes that the
// CRC does not cover, derived from stub and term.
func checkAt(boot core.Boot, path string, n *note, term core.Term) bool {
	b := make([]byte, n.stub.Len)
	if k, err := boot.ReadAt(path, n.at.pos, b); err != core.OK || k != len(b) {
		return false
	}
	return matches(b, &n.stub, term)
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
