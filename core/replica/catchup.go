package replica

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

// Catch-up. What is older than the leader's window is shipped as segment bytes: equal logs are
// byte-equal files, so a follower asks for what follows its own committed bytes.
//
//	leader                                   follower
//	MsgSnap(index, term; where it ends) ──▶  keeps it, cuts its uncommitted tail from the files
//	                                    ◀──  Pull(segment, position)
//	Chunk(bytes, next segment)          ──▶  checks every batch, writes; asks on, some chunks ahead
//	                                         ... reached the end: syncs, steps MsgSnap into raft,
//	                                         which installs a window that begins there
//
// It can be interrupted anywhere: what was written is committed data, and the next MsgSnap goes on
// from the last batch that the follower's log counts as committed.

const (
	chunkBytes = 512 << 10
	pullRetry  = core.Second
	offerAgain = 3 * pullRetry // to a follower that neither asks nor answers: the offer was lost on its way
)

var (
	markSnapSent = det.NewMark("replica: a leader offered its segments to a follower")
	markPulled   = det.NewMark("replica: a follower caught up by segments")
	markAborted  = det.NewMark("replica: a catch-up by segments was given up")
	markBelow    = det.NewMark("replica: a catch-up began at the log start")
	markPullLost = det.NewMark("replica: a catch-up was asked again")
)

// pull is a follower's catch-up. stage: pulling, then syncing, then it is over.
type pull struct {
	msg     raftpb.Message // the MsgSnap
	from    core.NodeID
	to      snapData
	seg     core.Offset // where the next byte goes
	pos     int64
	next    core.Offset // base offset of the next batch
	times   times       // of what is committed in seg
	partial []byte      // the beginning of a batch whose rest is in the next chunk
	begun   bool        // seg, pos and next are known
	askedAt core.Mono
	writing int
	synced  bool
	handed  bool // raft has it
	retry   det.Timer
}

// snapData is what MsgSnap says beside raft's own words.
type snapData struct {
	end    core.Offset // next offset after the snapshot's index
	at     place       // where the next batch goes
	start  core.Offset // log start
	first  core.Offset // base of the oldest segment
	epochs epochs
	state  []byte // producer state
}

const snapVersion = 1

func (d *snapData) encode() []byte {
	b := []byte{snapVersion}
	for _, v := range []int64{int64(d.end), int64(d.at.seg), d.at.pos, int64(d.start), int64(d.first)} {
		b = binary.AppendVarint(b, v)
	}
	return append(d.epochs.encode(b), d.state...)
}

func (d *snapData) decode(b []byte) bool {
	if len(b) == 0 || b[0] != snapVersion {
		return false
	}
	b = b[1:]
	var v [5]int64
	for i := range v {
		x, n := binary.Varint(b)
		if n <= 0 || x < 0 {
			return false
		}
		v[i], b = x, b[n:]
	}
	es, rest, ok := decodeEpochs(b)
	*d = snapData{core.Offset(v[0]), place{core.Offset(v[1]), v[2]}, core.Offset(v[3]), core.Offset(v[4]), es, rest}
	d.epochs.cut(d.end)
	return ok
}

// snapshot answers raft: everything that is applied here, which is in segments or on its way there.
func (r *Replica) snapshot() (raftpb.Snapshot, error) {
	if r.cut != nil {
		return raftpb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	t, err := r.log.Term(r.applied)
	if err != nil {
		return raftpb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	markSnapSent.Hit()
	d := snapData{end: r.log.end(r.applied), at: r.log.after(r.applied), start: r.floor, first: r.segs[0].base,
		epochs: r.epochs, state: r.ps.encode()}
	r.flushFill()
	return raftpb.Snapshot{Data: d.encode(),
		Metadata: raftpb.SnapshotMetadata{Index: r.applied, Term: t, ConfState: r.log.conf}}, nil
}

// offer lets raft offer segments anew to followers that do nothing with the last offer: raft itself would
// wait for ever.
func (r *Replica) offer() {
	now := r.h.Now().Mono
	for i := range r.match {
		if v := &r.match[i]; v.offers > 0 && now-max(v.offers, v.pulls) >= offerAgain {
			v.offers = 0
			r.rn.ReportSnapshot(uint64(v.id), raft.SnapshotFailure) // nothing, if it has answered
		}
	}
}

// beginPull keeps a MsgSnap until its bytes are here; false when raft should see it at once.
func (r *Replica) beginPull(m *raftpb.Message) bool {
	if m.Snapshot == nil || m.Term < uint64(r.term) || m.Snapshot.Metadata.Index <= r.commit {
		return false
	}
	p := &pull{msg: *m, from: core.RaftID(m.From).Node()}
	if !p.to.decode(m.Snapshot.Data) {
		return true // void
	}
	if r.pull != nil {
		if r.pull.synced || r.pull.from == p.from && r.pull.msg.Snapshot.Metadata.Index == m.Snapshot.Metadata.Index {
			return true
		}
		if r.pull.begun && r.pull.from == p.from && r.pull.msg.Term == m.Term {
			r.h.Timers().Stop(&r.pull.retry)
			// The same leader offers more: go on where we are.
			p.begun = true
			p.seg, p.pos, p.next, p.partial, p.writing = r.pull.seg, r.pull.pos, r.pull.next, r.pull.partial, r.pull.writing
			p.times = r.pull.times
			r.pull = p
			r.armPull(p)
			return true
		}
		r.abortPull()
	}
	r.pull = p
	r.armPull(p)
	r.startPull(p)
	return true
}

// startPull asks for the first bytes, once what is on its way to the segments is there. Until then the
// retry comes back to it: raft on the leader waits for us, and does not offer a second time.
func (r *Replica) startPull(p *pull) {
	if r.cut != nil || len(r.appends) > 0 {
		return
	}
	if p.msg.Snapshot.Metadata.Index <= r.commit { // no longer needed, as raft will say
		r.h.Timers().Stop(&p.retry)
		r.pull = nil
		_ = r.rn.Step(p.msg)
		r.h.Dirty(r)
		return
	}
	p.begun = true
	r.flushFill()
	at := r.log.after(r.commit)
	p.seg, p.pos, p.next, p.times = at.seg, at.pos, r.log.end(r.commit), r.log.timesAt(r.commit)
	if at.seg < p.to.first { // what would follow our log is below the log start
		markBelow.Hit()
		p.seg, p.pos, p.next, p.times = p.to.first, 0, p.to.first, noTimes
	}
	if s := r.segment(p.seg); s != nil { // what lies there is not committed, as far as is known here
		s.times = p.times
	}
	r.ask()
}

// abortPull gives a catch-up up: the files end again where the log does. What it wrote over entries that
// are not committed were the same bytes, or the entries can never be committed.
func (r *Replica) abortPull() {
	if r.pull == nil {
		return
	}
	markAborted.Hit()
	r.h.Timers().Stop(&r.pull.retry)
	begun := r.pull.begun
	r.pull = nil
	if !begun {
		return
	}
	at := r.log.after(r.log.last())
	for len(r.segs) > 1 && r.active().base > at.seg {
		s := r.active()
		r.segs = r.segs[:len(r.segs)-1]
		r.setAside(s)
	}
	s := r.active()
	op := r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "cutting "+s.path) })
	r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Off: at.pos, Op: op})
	s.size, s.dirty = at.pos, true
	r.retime(r.log.last())
}

func (r *Replica) armPull(p *pull) {
	p.retry.Fire = func(int64) {
		if r.pull != p || r.offline != "" || p.synced {
			return
		}
		if !p.begun {
			r.startPull(p)
		} else if r.h.Now().Mono-p.askedAt >= pullRetry && !r.h.Suspect(p.from) {
			// A leader that is silent may lead still, and raft there waits for us. Another one's first
			// append ends this.
			markPullLost.Hit()
			r.ask()
		}
		if r.pull == p {
			r.armPull(p)
		}
	}
	r.h.Timers().Arm(&p.retry, int64(r.h.Now().Mono+pullRetry))
}

func (r *Replica) ask() {
	p := r.pull
	if p.next >= p.to.end {
		r.endPull()
		return
	}
	p.askedAt = r.h.Now().Mono
	if r.h.Full(r.cfg.Node) {
		return // what came would wait for room in memory; the retry asks again
	}
	r.h.Tell(p.from, r.cfg.Group, Control{Kind: Pull, Term: core.Term(p.msg.Term), Seg: p.seg, Pos: p.pos + int64(len(p.partial))})
}

// servePull gives a follower the bytes it asks for, or says that they are not here.
func (r *Replica) servePull(from core.NodeID, c Control) {
	s := r.segment(c.Seg)
	if s == nil { // who has begun may go on while the file is there
		s = r.shedSegment(c.Seg)
	}
	if !r.leads || c.Term != r.term || s == nil || c.Pos < 0 {
		out := Control{Kind: Refuse, Term: c.Term, Seg: c.Seg, Pos: c.Pos}
		if r.leads && c.Term == r.term {
			out.Index, out.Next = r.termHere(c.Index), r.segs[0].base
			for i := range r.match {
				if id := r.match[i].id; id.Node() == from {
					r.rn.ReportSnapshot(uint64(id), raft.SnapshotFailure) // it needs a newer one
				}
			}
		}
		r.h.Tell(from, r.cfg.Group, out)
		return
	}
	for i := range r.match {
		if r.match[i].id.Node() == from {
			r.match[i].pulls = r.h.Now().Mono
		}
	}
	at := r.log.after(r.applied)
	limit := s.size
	out := Control{Kind: Chunk, Term: c.Term, Index: r.termHere(c.Index), Seg: c.Seg, Pos: c.Pos}
	if at.seg == s.base {
		limit = at.pos
	} else {
		for _, x := range r.segs {
			if x.base > s.base {
				out.Next = x.base
				break
			}
		}
	}
	if r.fillSize > 0 {
		r.flushFill() // on the same file, so before the region is read
	}
	if c.Pos > limit {
		out.Kind = Refuse
	}
	n := min(limit-c.Pos, chunkBytes)
	out.Last = at.seg != s.base && c.Pos+n == limit
	if n <= 0 {
		r.h.Tell(from, r.cfg.Group, out)
		return
	}
	op := r.h.NewOp(func(ev *core.Event) {
		if ev.Err != core.OK && ev.Err != core.ErrShort || r.offline != "" {
			ev.Body.Release()
			return
		}
		out.Last = out.Last && int64(ev.Body.Len) == n
		out.Body = ev.Body
		r.h.Tell(from, r.cfg.Group, out)
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: c.Pos, N: n, Op: op})
}

// gotChunk checks and writes bytes of the leader's log.
func (r *Replica) gotChunk(from core.NodeID, c Control) {
	p := r.pull
	if p == nil || !p.begun || p.synced || from != p.from || c.Term != core.Term(p.msg.Term) || c.Seg != p.seg ||
		c.Pos != p.pos+int64(len(p.partial)) {
		return
	}
	if c.Kind == Refuse {
		r.abortPull()
		return
	}
	data := append(p.partial, c.Body.Bytes()...)
	whole := r.checkBatches(p, data)
	if whole < 0 {
		p.partial = nil
		return // rotten on the way; the retry asks again
	}
	s := r.pullSegment(p.seg)
	s.times = p.times
	if whole > 0 {
		p.writing++
		op := r.h.NewOp(func(ev *core.Event) {
			if !r.diskFailed(ev, "writing "+s.path) {
				p.writing--
			}
		})
		r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: p.pos, Op: op}, core.RefOf(data[:whole]))
		p.pos += int64(whole)
		s.size, s.dirty = max(s.size, p.pos), true
	}
	p.partial = append([]byte(nil), data[whole:]...)
	if c.Last && len(p.partial) == 0 && c.Next > p.seg {
		r.endAt(s, p.pos)
		p.seg, p.pos, p.times = c.Next, 0, noTimes
	}
	r.ask()
}

// checkBatches walks the whole batches at the head of data, up to the snapshot's end; -1 when one is
// not what must follow.
func (r *Replica) checkBatches(p *pull, data []byte) int {
	at, next := 0, p.next
	for next < p.to.end {
		b, _, err := record.Next(data[at:])
		if err == record.ErrShort {
			break
		}
		if err != nil || b.BaseOffset() < next || !b.CRCValid() {
			return -1
		}
		p.times.add(p.pos+int64(at), b.MaxTimestamp())
		at += len(b)
		next = b.LastOffset() + 1
	}
	p.next = next
	return at
}

// pullSegment is the segment that catch-up writes; the first write cuts what is not committed there.
func (r *Replica) pullSegment(base core.Offset) *segment {
	for len(r.segs) > 0 && r.active().base > base {
		s := r.active()
		r.segs = r.segs[:len(r.segs)-1]
		r.setAside(s)
	}
	if s := r.segment(base); s != nil {
		return s
	}
	if s := r.takeSpare(base); s != nil {
		r.segs = append(r.segs, s)
		return s
	}
	s := r.knownSegment(base)
	r.segs = append(r.segs, s)
	r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Sync: true,
		Op: r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "creating "+s.path) })})
	return s
}

// endAt cuts from the end of a segment what was not committed: all that belongs there is there now.
func (r *Replica) endAt(s *segment, pos int64) {
	if s.size > pos {
		op := r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "cutting "+s.path) })
		r.h.FX().Add(core.Effect{Kind: core.Truncate, File: s.file, Off: pos, Op: op})
		s.size, s.dirty = pos, true
	}
}

// cutBelow remembers what was not committed of segments before first, where catch-up began because all before it
// is below the log start: their files stay for a while, and shall hold nothing that others do not. It is cut when no
// checkpoint names them any more, for a boot holds files to the lengths that the checkpoint names.
func (r *Replica) cutBelow(first core.Offset) {
	at := r.log.after(r.commit)
	for _, s := range r.segs {
		switch {
		case s.base >= first || s.base < at.seg:
		case s.base == at.seg:
			s.ends, s.cuts = at.pos, true
		default:
			s.ends, s.cuts = 0, true
		}
	}
}

// endPull makes the bytes durable and lets raft install the snapshot.
func (r *Replica) endPull() {
	p := r.pull
	p.synced = true
	r.h.Timers().Stop(&p.retry)
	left := 1
	done := func() {
		left--
		if left > 0 || r.offline != "" || r.pull != p {
			return
		}
		markPulled.Hit()
		p.handed = true
		if p.msg.Snapshot.Metadata.Index > r.commit {
			_ = r.rn.Step(p.msg)
		}
		r.h.Dirty(r) // which installs it, or finds that raft had no use for it
	}
	if s := r.segment(p.seg); s != nil && p.seg < p.to.at.seg { // the last batch lies there, and then all was removed
		r.endAt(s, p.pos)
		p.times = noTimes
	}
	s := r.pullSegment(p.to.at.seg)
	r.endAt(s, p.to.at.pos)
	s.times = p.times
	for _, s := range r.segs {
		if !s.dirty {
			continue
		}
		s.dirty = false
		left++
		op := r.h.NewOp(func(ev *core.Event) {
			if !r.diskFailed(ev, "syncing "+s.path) {
				done()
			}
		})
		r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: op})
	}
	done()
}

// install replaces the window by what a snapshot says; its bytes are durable in segments. Called
// within append, whose journal frame then carries the checkpoint.
func (r *Replica) install(snap *raftpb.Snapshot) {
	var d snapData
	det.That(d.decode(snap.Data), "replica: an installed snapshot was decoded before")
	r.pull = nil
	det.That(d.end >= r.high, "I8: a snapshot does not take the high watermark back")
	r.dropFill(0)
	r.cutBelow(d.first)
	for i := range r.log.notes {
		r.release(&r.log.notes[i])
	}
	r.h.Window().Entries -= len(r.log.ents)
	r.log.ents, r.log.notes = nil, nil
	r.log.conf, r.confAt = snap.Metadata.ConfState, snap.Metadata.Index
	r.changed = 0
	r.log.first, r.log.term0 = snap.Metadata.Index+1, snap.Metadata.Term
	r.log.end0, r.log.at0, r.log.time0 = d.end, d.at, noTimes
	if s := r.segment(d.at.seg); s != nil {
		r.log.time0 = s.times
	}
	r.log.hard.Commit = max(r.log.hard.Commit, snap.Metadata.Index)
	r.commit, r.applied, r.complete = snap.Metadata.Index, snap.Metadata.Index, snap.Metadata.Index
	r.high, r.start, r.floor = d.end, max(r.start, d.start), max(r.floor, d.start)
	det.That(r.ps.decode(d.state), "replica: a snapshot's producer state cannot be read")
	r.next = d.end
	r.epochs = d.epochs
	r.fed, r.behind = r.applied, true
	if o := r.cfg.Observer; o != nil {
		o.Installed(r.cfg.Node, r.cfg.Group, core.Index(snap.Metadata.Index), core.Term(snap.Metadata.Term), d.end)
	}
	r.configured()
	r.aim()
	r.checkpoint()
	r.wakeReaders()
}
