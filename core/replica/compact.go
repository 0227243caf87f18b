package replica

import (
	"encoding/binary"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// Compaction at work (core/compact says what it makes of segments). The leader decides it, and logs the decision as an
// entry of its own kind, which takes no offset:
//
//	Compactable, Compact ──▶ entry "compact [From, To) as of now, with these bounds"
//	  applied: noted in checkpoints, and carried out piece by piece (sweep): read, a job, written to new files
//	  all new files are synced: they take the places of the old ones in the log
//	  checkpoint with them durable: that is the swap. The old files go file.delete.delay.ms later (start.go)
//
// A new file has the base of the first that it replaces, and the index of the decision in its name. A crash before that
// checkpoint finds the old files, and the decision: the boot removes the new ones, and all is done again. A crash after
// it finds the new ones.
//
// A decision is made only while the leader is the only member of its group, once no entry below To is left in its
// window nor comes back with a boot. So nobody can be fed anything of those segments but by a catch-up, and that is not
// offered before the decision has been carried out: at most one generation of a segment is ever asked for.
// See docs/decisions/0021-compaction-at-work.md.

const sweepBytes = 512 << 10 // of a segment that are read at a time

var (
	markDecided   = det.NewMark("compaction: a decision was applied")
	markSwept     = det.NewMark("compaction: new segments took the place of old ones")
	markSame      = det.NewMark("compaction: a segment stayed as it was")
	markGoneWhole = det.NewMark("compaction: nothing was left of segments")
	markHollow    = det.NewMark("compaction: nothing was left of the first segment of a log")
	markUnswept   = det.NewMark("compaction: a log cannot be compacted")
	markAgain     = det.NewMark("compaction: a boot found a decision that was not carried out")
)

// Compaction is when and how a partition is compacted.
type Compaction struct {
	compact.Policy
	Retention int64 // delete.retention.ms
	Memory    int64 // log.cleaner.dedupe.buffer.size
	Rate      int64 // log.cleaner.io.max.bytes.per.second; 0: no limit
}

// decision is one that was applied here. Its index is the generation of what it makes.
type decision struct {
	index uint64
	compact.Decision
}

type compacting struct {
	decided  []decision  // applied and not carried out, oldest first
	clean    core.Offset // what the last one covered that was carried out; -1: there was none
	proposed bool        // leader: one is on its way
	stuck    bool        // this log cannot be compacted, until the next boot
	sweep    *sweep
	at       det.Timer // when the throttle lets it go on
}

// sweep carries a decision out.
type sweep struct {
	decision
	run    *compact.Run
	srcs   []*segment // that it reads: none is empty
	first  int        // of them: where the group under way begins
	out    *segment   // what the group becomes; nil: nothing of it was written
	index  *seg.Index // ... and its index
	groups []group    // that are done
	busy   int        // operations under way
	until  core.Mono  // the throttle
}

// group is what became of segments.
type group struct {
	of  int      // how many
	out *segment // nil: nothing is left
}

func (c *compacting) any(segs []*segment) bool {
	if c.clean >= 0 || len(c.decided) > 0 {
		return true
	}
	for _, s := range segs {
		if s.gen > 0 {
			return true
		}
	}
	return false
}

func (c *compacting) encode(b []byte) []byte {
	b = binary.AppendVarint(b, int64(c.clean))
	b = binary.AppendUvarint(b, uint64(len(c.decided)))
	for i := range c.decided {
		d := c.decided[i].Append(nil)
		b = binary.AppendUvarint(b, c.decided[i].index)
		b = append(binary.AppendUvarint(b, uint64(len(d))), d...)
	}
	return b
}

// decode reads what encode wrote; rest follows it.
func (c *compacting) decode(b []byte) (rest []byte, ok bool) {
	clean, n := binary.Varint(b)
	if n <= 0 || clean < -1 {
		return nil, false
	}
	b = b[n:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return nil, false
	}
	b = b[n:]
	c.clean, c.decided = core.Offset(clean), nil
	for ; count > 0; count-- {
		index, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, false
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, false
		}
		b = b[n:]
		d, err := compact.DecodeDecision(b[:size])
		if err != nil {
			return nil, false
		}
		b = b[size:]
		c.decided = append(c.decided, decision{index, d})
	}
	return b, true
}

// Compactable says what of this log would be compacted now, when this node may decide that, and it is worth while.
func (r *Replica) Compactable() (compact.Choice, bool) {
	set, c := &r.cfg.Settings, &r.compacting
	if !set.Compacts || !r.leads || !r.ready || r.handing > 0 || r.offline != "" || r.closed || r.opening > 0 || !r.began ||
		r.machine != nil || r.cut != nil || r.pull != nil || r.ahead != nil || r.h.Full(r.cfg.Node) ||
		c.proposed || c.stuck || len(c.decided) > 0 || !r.only() {
		return compact.Choice{}, false
	}
	l := compact.Log{Start: r.start, Clean: c.clean, Stable: r.high, Active: r.active().base, End: r.high}
	for _, s := range r.segs[:len(r.segs)-1] {
		if s.size > 0 {
			l.Sealed = append(l.Sealed, compact.Sealed{Base: s.base, Size: s.size, First: s.times.first, Newest: s.newest()})
		}
	}
	return compact.Choose(l, set.Compaction.Policy, r.h.Now().Wall)
}

// only says that this replica is the only member of its group, and that nothing in the log changes that.
func (r *Replica) only() bool {
	c := &r.log.conf
	return r.alone() && len(c.Learners) == 0 && len(c.LearnersNext) == 0 && len(c.VotersOutgoing) == 0 && r.changed <= r.applied
}

// Compact proposes what Compactable said. It may have to wait for the window and for a checkpoint, and is then to be
// called again.
func (r *Replica) Compact(c compact.Choice) {
	if !r.mayMark() || !r.leave(c.To) {
		return
	}
	if r.marked+1 < r.log.first {
		r.syncAll() // a boot must not have entries of those segments again
		return
	}
	set := &r.cfg.Settings
	d := compact.Decision{From: c.From, To: c.To, At: r.h.Now().Wall, Retention: set.Compaction.Retention,
		SegmentBytes: set.SegmentBytes, IndexBytes: set.IndexBytes, Memory: max(set.Compaction.Memory, compact.KeyBytes)}
	r.compacting.proposed = true
	r.props = append(r.props, raftpb.Entry{Data: journal.AppendCompact(nil, d.Append(nil))})
	r.h.Note(0, "msg=\"compaction decided\" partition="+r.cfg.Dir+" from="+strconv.FormatInt(int64(c.From), 10)+
		" to="+strconv.FormatInt(int64(c.To), 10)+" dirty="+strconv.FormatInt(c.Dirty, 10))
	r.wake()
	r.h.Dirty(r)
}

// Compacting says that a decision is being carried out here.
func (r *Replica) Compacting() bool {
	return r.compacting.proposed || len(r.compacting.decided) > 0 && !r.compacting.stuck && r.offline == ""
}

// decided takes an applied entry that decides a compaction.
func (r *Replica) decided(e *raftpb.Entry) {
	if e.Type != raftpb.EntryNormal {
		return
	}
	b, ok := journal.DecodeCompact(e.Data)
	if !ok {
		return
	}
	r.compacting.proposed = false
	d, err := compact.DecodeDecision(b)
	if err != nil || d.To > r.log.end(e.Index) {
		return // on every replica
	}
	markDecided.Hit()
	r.compacting.decided = append(r.compacting.decided, decision{e.Index, d})
}

// pumpCompaction carries the oldest decision on.
func (r *Replica) pumpCompaction() {
	c := &r.compacting
	if len(c.decided) == 0 || c.stuck || !r.began || r.opening > 0 || r.offline != "" || r.pull != nil || r.ahead != nil || r.cut != nil {
		return
	}
	if c.sweep == nil && !r.startSweep(c.decided[0]) {
		return
	}
	w := c.sweep
	switch {
	case w.busy > 0:
	case w.until > r.h.Now().Mono:
		r.h.Timers().Arm(&c.at, int64(w.until))
	default:
		r.sweepOn(w)
	}
}

// startSweep begins a decision, once the window has nothing of what it is about.
func (r *Replica) startSweep(d decision) bool {
	if r.cfg.Settings.IndexInterval < 0 || !r.mayMark() || r.log.at0.seg < d.To && !r.leave(d.To) {
		return false
	}
	w := &sweep{decision: d}
	p := compact.Plan{Decision: d.Decision, Unzip: compact.Unzip(r.cfg.Unzip)}
	for _, s := range r.segs {
		if s.base < d.To && s.size > 0 {
			w.srcs = append(w.srcs, s)
			p.Segments = append(p.Segments, compact.Segment{Base: s.base, Size: s.size})
		}
	}
	r.compacting.sweep = w
	if len(w.srcs) == 0 {
		r.swept(w, max(d.To, d.From))
		return false
	}
	run, err := compact.New(p)
	if err != nil {
		r.unswept(err.Error())
		return false
	}
	w.run = run
	return true
}

// sweepOn reads the next piece, or ends the sweep.
func (r *Replica) sweepOn(w *sweep) {
	base, pos, n := w.run.Want()
	if n == 0 {
		r.swept(w, w.run.Upto())
		return
	}
	var s *segment
	for _, x := range w.srcs {
		if x.base == base {
			s = x
		}
	}
	size := min(int64(max(n, sweepBytes)), s.size-pos)
	op := r.sweepOp(w, "reading "+s.path, func(ev *core.Event) {
		if int64(ev.Body.Len) < size {
			r.unswept("reading " + s.path + ": it is too short")
			return
		}
		r.sweepPiece(w, ev.Body.Retain())
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: pos, N: size, Op: op})
}

// sweepOp is an operation of a sweep. When it fails the partition lives on as it is.
func (r *Replica) sweepOp(w *sweep, doing string, done func(ev *core.Event)) core.OpID {
	w.busy++
	return r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		w.busy--
		if r.offline != "" || r.closed || r.compacting.sweep != w {
			return
		}
		if ev.Err != core.OK {
			r.unswept(doing + ": " + ev.Err.String())
			return
		}
		done(ev)
		r.h.Dirty(r)
	})
}

// sweepPiece has a job feed the run. It takes piece.
func (r *Replica) sweepPiece(w *sweep, piece core.Ref) {
	var done *compact.Group
	var failed error
	op := r.sweepOp(w, "compacting", func(ev *core.Event) {
		if failed != nil {
			r.unswept(failed.Error())
			return
		}
		if rate := r.cfg.Settings.Compaction.Rate; rate > 0 {
			moved := int64(piece.Len) + int64(ev.Body.Len)
			w.until = r.h.Now().Mono + core.Mono(moved*int64(core.Second)/rate)
		}
		if ev.Body.Len > 0 {
			r.sweepWrite(w, ev.Body.Retain())
		}
		if done != nil {
			r.sweepGroup(w, done)
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Run, Op: op, Job: &core.Job{Name: "compact", In: []core.Ref{piece},
		Do: func(in [][]byte) ([]byte, core.Errno) {
			var out []byte
			out, done, failed = w.run.Feed(in[0])
			return append([]byte(nil), out...), core.OK
		}}})
}

// sweepFile makes the file of the group under way.
func (r *Replica) sweepFile(w *sweep) *segment {
	if w.out == nil {
		s := r.knownOf(w.srcs[w.first].base, w.decision.index)
		w.out, w.index = s, seg.NewIndex(s.base, r.cfg.Settings.IndexInterval)
		op := r.sweepOp(w, "creating "+s.path, func(*core.Event) {})
		r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Sync: true, Op: op})
	}
	return w.out
}

// sweepWrite writes whole batches behind those of the group. It takes body.
func (r *Replica) sweepWrite(w *sweep, body core.Ref) {
	s := r.sweepFile(w)
	at := s.size
	for rest := body.Bytes(); len(rest) > 0; {
		b, next, err := record.Next(rest)
		det.That(err == nil, "replica: a compaction gives whole batches")
		s.times.add(s.size, b.MaxTimestamp())
		w.index.Add(b.BaseOffset(), b.LastOffset(), int32(len(b)), b.MaxTimestamp())
		s.size += int64(len(b))
		rest = next
	}
	op := r.sweepOp(w, "writing "+s.path, func(*core.Event) {})
	r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: at, Op: op}, body)
}

// sweepGroup ends a group.
func (r *Replica) sweepGroup(w *sweep, g *compact.Group) {
	s, old := w.out, w.srcs[w.first]
	switch {
	case g.Same:
		markSame.Hit()
		if s != nil {
			r.h.Remove(r.cfg.Dir, s.file, s.path)
		}
		s = old
	case g.Size == 0:
		markGoneWhole.Hit()
		det.That(s == nil, "replica: nothing was written of what is empty")
		if old == r.segs[0] { // the log begins in it
			markHollow.Hit()
			s = r.sweepFile(w)
			s.times = old.times
		}
	}
	if s != nil && s != old {
		det.That(s.size == g.Size, "replica: a group is as large as was written of it")
		r.finishIndex(s, w.index)
		op := r.sweepOp(w, "syncing "+s.path, func(*core.Event) {})
		r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: op})
	}
	w.groups = append(w.groups, group{g.Segments, s})
	w.first, w.out, w.index = w.first+g.Segments, nil, nil
}

// swept puts what a sweep has made in place. The next checkpoint makes that last.
func (r *Replica) swept(w *sweep, upto core.Offset) {
	at, moved := 0, false
	var segs []*segment
	for _, g := range w.groups {
		if g.out != nil {
			segs = append(segs, g.out)
		}
		for _, s := range w.srcs[at : at+g.of] {
			if s != g.out {
				moved, s.old = true, true
				r.shed.files = append(r.shed.files, s)
			}
		}
		at += g.of
	}
	end := w.To
	if at < len(w.srcs) {
		end = w.srcs[at].base
	}
	for i, s := range r.segs {
		switch {
		case s.base >= end:
			segs = append(segs, s)
		case s.size == 0 && i == 0:
			segs = append([]*segment{s}, segs...)
		case s.size == 0:
			moved, s.old = true, true
			r.shed.files = append(r.shed.files, s)
		}
	}
	det.That(len(segs) > 0 && segs[0].base == r.segs[0].base && segs[len(segs)-1] == r.active(), "replica: a compaction keeps both ends of the log")
	c := &r.compacting
	r.segs, c.sweep, c.clean, c.decided = segs, nil, upto, c.decided[1:]
	if moved {
		markSwept.Hit()
		r.scrubFrom(segs[0].base, 0, segs[0].base)
	}
	text := "msg=\"compacted\" partition=" + r.cfg.Dir + " upto=" + strconv.FormatInt(int64(upto), 10)
	if w.run != nil {
		st := w.run.Stats()
		text += " read=" + strconv.FormatInt(st.Read, 10) + " written=" + strconv.FormatInt(st.Written, 10) +
			" records=" + strconv.FormatInt(st.Records, 10) + " kept=" + strconv.FormatInt(st.Kept, 10)
	}
	r.h.Note(0, text)
	r.h.Dirty(r)
}

// unswept gives compaction up until the next boot: the log stays as it is.
func (r *Replica) unswept(why string) {
	markUnswept.Hit()
	r.compacting.stuck = true
	r.dropSweep(func(id core.FileID, path string) { r.h.Remove(r.cfg.Dir, id, path) })
	r.h.Note(8, "msg=\"partition cannot be compacted, its log stays as it is until the node is started again\" partition="+r.cfg.Dir+
		" err="+strconv.Quote(why))
}

// dropSweep ends a sweep and has the files that it has made removed.
func (r *Replica) dropSweep(remove func(id core.FileID, path string)) {
	w := r.compacting.sweep
	if w == nil {
		return
	}
	r.compacting.sweep = nil
	outs := []*segment{w.out}
	at := 0
	for _, g := range w.groups {
		if g.out != w.srcs[at] {
			outs = append(outs, g.out)
		}
		at += g.of
	}
	for _, s := range outs {
		if s != nil {
			remove(s.file, s.path)
			r.removeIndex(s, remove)
		}
	}
}
