package replica

import (
	"encoding/binary"
	"errors"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// Compaction at work (core/compact says what it makes of segments). The leader decides it, and logs the decision as an
// entry of its own kind, which takes no offset:
//
//	Compactable, Compact ──▶ entry "compact [From, To) as of now, with these bounds"
//	  applied: noted in checkpoints with the log start of that moment, and carried out by each replica, one decision
//	    after the other: once its own window has let go of all below To, piece by piece (sweep): read, a job, written to
//	    new files
//	  all new files are synced: they take the places of the old ones in the log
//	  checkpoint with them durable: that is the swap. The old files go file.delete.delay.ms later (start.go)
//
// A new file has the base of the first that it replaces, and the index of the decision in its name. A crash before that
// checkpoint finds the old files, and the decision: the boot removes the new ones, and all is done again. A crash after
// it finds the new ones.
//
// All replicas get the same bytes, for all that goes in is said by the decision and by its place in the log: which
// segments there are, and which of them the log start of then has left. What a later start gives up stays until the
// decision is carried out, or lies below that start as a whole.
//
// Nobody can be fed anything of what was replaced but by a catch-up, which names the last decision that was carried
// out (shape.go). It is not offered before the decisions that are applied have been.
// See docs/decisions/0021-compaction-at-work.md and docs/decisions/0025-compaction-of-several-replicas.md.

const (
	sweepBytes = 128 << 10       // of a segment that are read at a time, and that keep a core busy
	sweepSync  = 8 << 20         // of a new file that are written before a sync: one of all would be in everybody's way
	sweepRetry = 5 * core.Second // after the disk did not take what was written
)

var (
	markDecided   = det.NewMark("compaction: a decision was applied")
	markSwept     = det.NewMark("compaction: new segments took the place of old ones")
	markSame      = det.NewMark("compaction: a segment stayed as it was")
	markGoneWhole = det.NewMark("compaction: nothing was left of segments")
	markHollow    = det.NewMark("compaction: nothing was left of the first segment of a log")
	markUnswept   = det.NewMark("compaction: a log cannot be compacted")
	markLater     = det.NewMark("compaction: a disk did not take a new file, it was tried again")
	markRotten    = det.NewMark("compaction: a segment was to be mended first")
	markAgain     = det.NewMark("compaction: a boot found a decision that was not carried out")
)

// Compaction is when and how a partition is compacted.
type Compaction struct {
	compact.Policy
	Retention int64 // delete.retention.ms
	Memory    int64 // log.cleaner.dedupe.buffer.size
}

// decision is one that was applied here. Its index is the generation of what it makes.
type decision struct {
	index uint64
	floor core.Offset // the log start, as of this entry
	compact.Decision
}

type compacting struct {
	decided  []decision  // applied and not carried out, oldest first
	clean    core.Offset // what the last one covered that was carried out; -1: there was none
	done     uint64      // ... and its index
	proposed bool        // leader: one is on its way
	stuck    bool        // this log cannot be compacted, until the next boot
	sweep    *sweep
	at       det.Timer     // when the throttle lets it go on
	until    core.Mono     // it is not tried again before
	going    int           // removals of files under way that may be made again
	damaged  []core.Offset // segments that the boot's checkpoint says so of
}

// sweep carries a decision out.
type sweep struct {
	decision
	run    *compact.Run
	srcs   []*segment // that it reads: none is empty
	head   *segment   // the first that it is about, which may be
	first  int        // of them: where the group under way begins
	out    *segment   // what the group becomes; nil: nothing of it was written
	index  *seg.Index // ... and its index
	groups []group    // that are done
	dirty  int64      // bytes of out that no sync has been asked for
	busy   int        // operations under way
	until  core.Mono  // the throttle
}

// group is what became of segments.
type group struct {
	of  int      // how many
	out *segment // nil: nothing is left
}

func (c *compacting) any(segs []*segment) bool {
	if c.done > 0 || c.clean >= 0 || len(c.decided) > 0 {
		return true
	}
	for _, s := range segs {
		if s.gen > 0 {
			return true
		}
	}
	return false
}

func (c *compacting) encode(b []byte, segs []*segment) []byte {
	b = encodeDecisions(b, c.clean, c.done, c.decided)
	var damaged []core.Offset
	for _, s := range segs {
		if s.damaged {
			damaged = append(damaged, s.base)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(damaged)))
	for _, base := range damaged {
		b = binary.AppendUvarint(b, uint64(base))
	}
	return b
}

// decode reads what encode wrote in a state of that version; rest follows it.
func (c *compacting) decode(b []byte, version byte, floor core.Offset, gens []uint64) (rest []byte, ok bool) {
	if c.clean, c.done, c.decided, b, ok = decodeDecisions(b, version, floor); !ok {
		return nil, false
	}
	if version < 6 {
		for _, g := range gens {
			c.done = max(c.done, g)
		}
		return b, true
	}
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return nil, false
	}
	for b = b[n:]; count > 0; count-- {
		base, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, false
		}
		c.damaged, b = append(c.damaged, core.Offset(base)), b[n:]
	}
	return b, true
}

// take is told of the shape that a snapshot brought.
func (c *compacting) take(g *shape) {
	c.clean, c.done, c.decided, c.proposed = -1, 0, nil, false
	if g != nil {
		c.clean, c.done, c.decided = g.clean, g.done, g.decided
	}
}

// Compactable says what of this log would be compacted now, when this node may decide that, and it is worth while. What
// a member lacks that is in touch is left alone, and everything while one catches up: what it fetches must stay, or it
// would begin anew. Who has been silent for long will catch up anyway.
func (r *Replica) Compactable() (compact.Choice, bool) {
	set, c := &r.cfg.Settings, &r.compacting
	if !set.Compacts || !r.leads || !r.ready || r.handing > 0 || r.offline != "" || r.closed || r.opening > 0 || !r.began ||
		r.cut != nil || r.pull != nil || r.ahead != nil || r.h.Full(r.cfg.Node) || r.scrub.sick != nil ||
		c.proposed || c.stuck || len(c.decided) > 0 || r.applied < r.noop || !r.settledConf() || r.lame() {
		return compact.Choice{}, false
	}
	stable := r.high
	for i := range r.match {
		m := &r.match[i]
		switch {
		case m.id == r.cfg.ID || !r.inTouch(m):
		case r.catchesUp(m):
			return compact.Choice{}, false
		case m.index+1 >= r.log.first:
			stable = min(stable, r.log.end(min(m.index, r.log.last())))
		}
	}
	return r.choose(stable)
}

// choose says what of this log below stable would be compacted now.
func (r *Replica) choose(stable core.Offset) (compact.Choice, bool) {
	l := compact.Log{Start: r.start, Clean: r.compacting.clean, Stable: stable, Active: r.active().base, End: r.high}
	for _, s := range r.segs[:len(r.segs)-1] {
		if s.size > 0 {
			l.Sealed = append(l.Sealed, compact.Sealed{Base: s.base, Size: s.size, First: s.times.first, Newest: s.newest()})
		}
	}
	return compact.Choose(l, r.cfg.Settings.Compaction.Policy, r.h.Now().Wall)
}

// Uncompacted is how many bytes of this log the next compaction would read, whoever decides it; 0 while it is not worth while.
func (r *Replica) Uncompacted() (bytes int64) {
	if r.offline != "" || r.closed || r.opening > 0 || !r.began || r.compacting.stuck {
		return 0
	}
	if d := r.compacting.decided; len(d) > 0 {
		for _, s := range r.segs {
			if s.base < d[len(d)-1].To {
				bytes += s.size
			}
		}
		return bytes
	}
	if !r.cfg.Settings.Compacts {
		return 0
	}
	if c, ok := r.choose(r.high); ok {
		return c.Clean + c.Dirty
	}
	return 0
}

// inTouch says that a member was heard of not long ago.
func (r *Replica) inTouch(m *matched) bool {
	return !r.h.Suspect(m.id.Node()) && (m.index >= r.commit || r.h.Now().Mono-max(m.heard, m.pulls) < lagMax)
}

// catchesUp says that a member is being offered segments, or fetches them.
func (r *Replica) catchesUp(m *matched) bool {
	return max(m.offers, m.pulls) > 0 && m.index < r.commit && r.h.Now().Mono-max(m.offers, m.pulls) < offerAgain
}

// settledConf says that nothing changes the membership of the group.
func (r *Replica) settledConf() bool {
	c := &r.log.conf
	return len(c.Learners) == 0 && len(c.LearnersNext) == 0 && len(c.VotersOutgoing) == 0 && r.changed <= r.applied
}

// Compact proposes what Compactable said.
func (r *Replica) Compact(c compact.Choice) {
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

// Compacting says that this node leads and has decided something that is not carried out here. One that waits here for
// something else is looked at again.
func (r *Replica) Compacting() bool {
	c := &r.compacting
	if len(c.decided) > 0 && c.sweep == nil && r.offline == "" {
		r.h.Dirty(r)
	}
	return r.leads && r.offline == "" && (c.proposed || len(c.decided) > 0 && !c.stuck)
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
	if err != nil || d.To > r.log.end(e.Index) || e.Index <= r.compacting.done { // the first two on every replica
		return
	}
	markDecided.Hit()
	r.compacting.decided = append(r.compacting.decided, decision{e.Index, r.floor, d})
}

// pumpCompaction carries the oldest decision on.
func (r *Replica) pumpCompaction() {
	c := &r.compacting
	if len(c.decided) == 0 || c.stuck || !r.began || r.opening > 0 || r.offline != "" || r.pull != nil || r.ahead != nil || r.cut != nil ||
		r.scrub.sick != nil || r.lame() {
		return
	}
	if c.sweep == nil {
		if c.until > r.h.Now().Mono {
			r.h.Timers().Arm(&c.at, int64(c.until))
			return
		}
		if !r.startSweep(c.decided[0]) {
			return
		}
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

// inputs are the segments that a decision is about, r.segs[lo:hi]: from the one that held the log start of then on. No
// local affair decides that: when files below a log start go is one.
func (r *Replica) inputs(d *decision) (lo, hi int) {
	for lo+1 < len(r.segs) && r.segs[lo+1].base <= d.floor {
		lo++
	}
	hi = lo
	for hi < len(r.segs) && r.segs[hi].base < d.To {
		hi++
	}
	return lo, hi
}

// keeps is the log start below which files may go: decisions that wait are about those at theirs.
func (r *Replica) keeps() core.Offset {
	if d := r.compacting.decided; len(d) > 0 {
		return min(r.floor, d[0].floor)
	}
	return r.floor
}

// useless says that nothing below to is left for anybody: not for readers, and not as an input of a decision that waits behind
// the first one, which is about what it finds from the log start of its own entry on.
func (r *Replica) useless(to core.Offset) bool {
	if d := r.compacting.decided; len(d) > 1 && d[1].floor < to {
		return false
	}
	return r.floor >= to
}

// startSweep begins a decision, once the window has nothing of what it is about. One that is about nothing that is left
// of the log, or about segments that an earlier one has made part of others, is over.
func (r *Replica) startSweep(d decision) bool {
	if len(r.refit.side) > 0 {
		r.dropFetched()
	}
	if r.cfg.Settings.IndexInterval < 0 || !r.mayMark() || r.compacting.going > 0 {
		return false
	}
	lo, hi := r.inputs(&d)
	w := &sweep{decision: d}
	if r.useless(d.To) || hi > lo && (hi == len(r.segs) || r.segs[hi].base != d.To) {
		r.compacting.sweep = w
		r.swept(w, max(r.compacting.clean, d.From))
		return false
	}
	if !r.leave(d.To) && !mut.On("M32") { // files take the places of those that the window still names
		return false
	}
	p := compact.Plan{Decision: d.Decision, Unzip: compact.Unzip(r.cfg.Unzip)}
	for _, s := range r.segs[lo:hi] {
		if s.size > 0 {
			w.srcs = append(w.srcs, s)
			p.Segments = append(p.Segments, compact.Segment{Base: s.base, Size: s.size})
		}
	}
	r.compacting.sweep = w
	if len(w.srcs) == 0 {
		r.swept(w, max(d.To, d.From))
		return false
	}
	w.head = r.segs[lo]
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
	s := w.source(base)
	size := min(int64(max(n, sweepBytes)), s.size-pos)
	op := r.sweepOp(w, func(ev *core.Event) {
		switch {
		case ev.Err != core.OK && ev.Err != core.ErrShort:
			r.rottenSource(s, ev.Err, "reading "+s.path+": "+ev.Err.String())
		case int64(ev.Body.Len) < size:
			r.rottenSource(s, core.OK, "reading "+s.path+": it is too short")
		default:
			r.sweepPiece(w, ev.Body.Retain())
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, Bare: true, File: s.file, Off: pos, N: size, Op: op})
}

// SweepOn ends the pause of a compaction.
func (r *Replica) SweepOn() {
	if w := r.compacting.sweep; w != nil && w.until > 0 {
		w.until = 0
		r.h.Dirty(r)
	}
}

// sweepOp is an operation of a sweep.
func (r *Replica) sweepOp(w *sweep, done func(ev *core.Event)) core.OpID {
	w.busy++
	return r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		w.busy--
		if r.offline != "" || r.closed || r.compacting.sweep != w {
			return
		}
		done(ev)
		r.h.Dirty(r)
	})
}

// sweepWrote is an operation on a new file. When it fails the partition lives on as it is, and tries again later.
func (r *Replica) sweepWrote(w *sweep, doing string) core.OpID {
	return r.sweepOp(w, func(ev *core.Event) {
		if ev.Err != core.OK {
			markLater.Hit()
			r.compacting.until = r.h.Now().Mono + sweepRetry
			r.dropSweep(r.removeFile)
			r.h.Note(4, "msg=\"compaction failed and is tried again later\" partition="+r.cfg.Dir+" err="+strconv.Quote(doing+": "+ev.Err.String()))
		}
	})
}

// rottenSource is told that a segment cannot be read. Where others have it, that is mended first.
func (r *Replica) rottenSource(s *segment, err core.Errno, why string) {
	if r.alone() {
		r.unswept(why)
		return
	}
	markRotten.Hit()
	r.dropSweep(r.removeFile)
	r.rotten(s, hole{seg: s.base, end: s.size, next: s.base}, err)
}

// sweepPiece has a job feed the run. It takes piece.
func (r *Replica) sweepPiece(w *sweep, piece core.Ref) {
	var done *compact.Group
	var failed error
	op := r.sweepOp(w, func(ev *core.Event) {
		if bad := (*compact.Failed)(nil); errors.As(failed, &bad) && errors.Is(bad, compact.ErrBatch) {
			r.rottenSource(w.source(bad.Base), core.OK, failed.Error())
			return
		} else if failed != nil {
			r.unswept(failed.Error())
			return
		}
		w.until = r.h.Swept(int64(piece.Len) + int64(ev.Body.Len))
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
		base := w.srcs[w.first].base
		s := r.takeSpareOf(base, w.decision.index)
		if s == nil {
			s = r.knownOf(base, w.decision.index)
		}
		s.times, s.indexing = noTimes, indexing{}
		w.out, w.index = s, seg.NewIndex(s.base, r.cfg.Settings.IndexInterval)
		r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Sync: true, Op: r.sweepWrote(w, "creating "+s.path)})
		// One that could not be removed may be there.
		r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Op: r.sweepWrote(w, "emptying "+s.path)})
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
	w.dirty += int64(body.Len)
	r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: at, Op: r.sweepWrote(w, "writing "+s.path)}, body)
	if w.dirty >= sweepSync {
		r.sweepSync(w, s)
	}
}

func (r *Replica) sweepSync(w *sweep, s *segment) {
	w.dirty = 0
	r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: r.sweepWrote(w, "syncing "+s.path)})
}

// sweepGroup ends a group.
func (r *Replica) sweepGroup(w *sweep, g *compact.Group) {
	s, old := w.out, w.srcs[w.first]
	switch {
	case g.Same:
		markSame.Hit()
		if s != nil {
			r.removeFile(s.file, s.path)
		}
		s = old
	case g.Size == 0:
		markGoneWhole.Hit()
		det.That(s == nil, "replica: nothing was written of what is empty")
		if old == w.head { // the log begins in it
			markHollow.Hit()
			s = r.sweepFile(w)
			s.times = old.times
		}
	}
	if s != nil && s != old {
		det.That(s.size == g.Size, "replica: a group is as large as was written of it")
		r.finishIndex(s, w.index)
		r.sweepSync(w, s)
	}
	w.groups = append(w.groups, group{g.Segments, s})
	w.first, w.out, w.index, w.dirty = w.first+g.Segments, nil, nil, 0
}

// swept puts what a sweep has made in place. The next checkpoint makes that last.
func (r *Replica) swept(w *sweep, upto core.Offset) {
	lo, hi := r.inputs(&w.decision)
	if w.run == nil {
		hi = lo // nothing is replaced
	}
	at, moved := 0, false
	segs := append([]*segment(nil), r.segs[:lo]...)
	if hi > lo && r.segs[lo].size == 0 {
		segs = append(segs, r.segs[lo])
	}
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
	segs = append(segs, w.srcs[at:]...)
	for i, s := range r.segs[lo:hi] {
		if i > 0 && s.size == 0 {
			moved, s.old = true, true
			r.shed.files = append(r.shed.files, s)
		}
	}
	segs = append(segs, r.segs[hi:]...)
	det.That(len(segs) > 0 && segs[0].base == r.segs[0].base && segs[len(segs)-1] == r.active(), "replica: a compaction keeps both ends of the log")
	c := &r.compacting
	r.segs, c.sweep, c.clean, c.done, c.decided = segs, nil, upto, w.decision.index, c.decided[1:]
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

// source is the segment at base that a sweep reads.
func (w *sweep) source(base core.Offset) *segment {
	for _, s := range w.srcs {
		if s.base == base {
			return s
		}
	}
	return nil
}

// unswept gives compaction up until the next boot: the log stays as it is.
func (r *Replica) unswept(why string) {
	markUnswept.Hit()
	r.compacting.stuck = true
	r.dropSweep(r.removeFile)
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
