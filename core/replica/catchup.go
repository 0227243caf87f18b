package replica

import (
	"encoding/binary"
	"sort"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
)

// Catch-up. What is older than the leader's window is shipped as segment bytes: equal logs are
// byte-equal files, so a follower asks for what follows the bytes that it holds.
//
//	leader                                   follower
//	MsgSnap(index, term; where it ends) ──▶  keeps it
//	                                    ◀──  Pull(segment, position, how many bytes)
//	Chunk(bytes), Chunk(bytes) ...      ──▶  checks every batch, writes; syncs and notes now and then how far
//	                                    ◀──  Pull ...                    it has got (ahead.go)
//	                                         ... reached the end: syncs, steps MsgSnap into raft,
//	                                         which installs a window that begins there
//
// It can be interrupted anywhere: what was written is committed data, and the next MsgSnap, of whichever
// leader, goes on where the last note says, once the last batch before that is proved to be the leader's.
//
// The follower's own log may end behind what it knows to be committed. That stays as it is while the leader's
// batches are the same ones. At the first that differs, that entry and all behind it are dead: another one is
// committed in its place. Only when the journal says that the log ends before it are its bytes overwritten.
//
// How fast it goes is the node's affair (Host.Toll): nothing is asked for before there is room for it in
// memory, and before the throttles let it pass. See docs/decisions/0023-catch-up.md.

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
	markHeld     = det.NewMark("replica: a catch-up passed entries that the follower had")
	markMoreSnap = det.NewMark("replica: a leader offered more in the middle of a catch-up")
	markFreely   = det.NewMark("replica: a catch-up that would not end went on without throttle")
	markMissed   = det.NewMark("replica: a catch-up lacked a file of what was offered")
	markBadEnd   = det.NewMark("replica: a catch-up did not end where the leader said")
)

// pull is a follower's catch-up. stage: pulling, then syncing, then it is over.
type pull struct {
	msg     raftpb.Message // the MsgSnap
	from    core.NodeID
	to      snapData
	seg     core.Offset // where the next byte goes
	pos     int64
	next    core.Offset // base offset of the next batch
	low     core.Offset // it began with this segment, because all before it is below the log start; 0: it did not
	times   times       // of what is committed in seg
	last    tailBatch   // the last one that was checked
	partial []byte      // the beginning of a batch whose rest is in the next chunk
	begun   bool        // seg, pos and next are known
	proving bool        // the first batch to come must be the last one of r.ahead
	dead    uint64      // the log must end before this entry before anything else is done; 0: it need not
	buried  bool        // ... which a frame says that is on its way to the journal
	want    int64       // bytes that were asked for and have not come
	held    int64       // memory that the node has set aside for them, until they are written
	inWrite int64       // ... of this, for writes that are under way
	tolled  bool        // it waits for its turn
	round   int64       // offsets that it is to bring
	freely  bool        // the throttle would keep it from ever being over
	fresh   int64       // bytes that no sync covers
	askedAt core.Mono   // ... or last heard of it
	synced  bool
	handed  bool // raft has it
	retry   det.Timer
	origin  place // where it is to begin
	fit     bool  // whole files are being fetched, see refit.go
}

// snapData is what MsgSnap says beside raft's own words.
type snapData struct {
	end    core.Offset // next offset after the snapshot's index
	at     place       // where the next batch goes
	start  core.Offset // log start
	first  core.Offset // base of the oldest segment
	epochs epochs
	state  []byte // producer state
	gens   *shape // nil: of a log that was never compacted
}

// Version 1 is that of a log that was never compacted, and is not to be. Version 2 named segments of generations above
// 0 only, where a partition had one replica.
const snapVersion = 3

func (d *snapData) genOf(base core.Offset) uint64 {
	if d.gens != nil {
		if f := d.gens.at(base); f != nil {
			return f.gen
		}
	}
	return 0
}

func (d *snapData) encode() []byte {
	b := []byte{1}
	if d.gens != nil {
		b = d.gens.encode([]byte{snapVersion})
	}
	for _, v := range []int64{int64(d.end), int64(d.at.seg), d.at.pos, int64(d.start), int64(d.first)} {
		b = binary.AppendVarint(b, v)
	}
	return append(d.epochs.encode(b), d.state...)
}

func (d *snapData) decode(b []byte) bool {
	if len(b) == 0 || b[0] != 1 && b[0] != snapVersion {
		return false
	}
	version := b[0]
	b = b[1:]
	var gens *shape
	if version == snapVersion {
		var ok bool
		if gens, b, ok = decodeShape(b); !ok {
			return false
		}
	}
	var v [5]int64
	for i := range v {
		x, n := binary.Varint(b)
		if n <= 0 || x < 0 {
			return false
		}
		v[i], b = x, b[n:]
	}
	es, rest, ok := decodeEpochs(b)
	*d = snapData{core.Offset(v[0]), place{core.Offset(v[1]), v[2]}, core.Offset(v[3]), core.Offset(v[4]), es, rest, gens}
	d.epochs.cut(d.end)
	return ok && (gens == nil || gens.fits(d.at) && gens.files[0].base == d.first)
}

// snapshot answers raft: everything that is applied here, which is in segments or on its way there.
func (r *Replica) snapshot() (raftpb.Snapshot, error) {
	if r.cut != nil || r.changingShape() { // what it names is about to go
		return raftpb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	t, err := r.log.Term(r.applied)
	if err != nil {
		return raftpb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	markSnapSent.Hit()
	r.flushFill()
	d := snapData{end: r.log.end(r.applied), at: r.log.after(r.applied), start: r.floor, first: r.segs[0].base,
		epochs: r.epochs, state: r.ps.encode()}
	if r.cfg.Settings.Compacts || r.compacting.any(r.segs) {
		d.gens = r.shape(r.applied)
		d.first = d.gens.files[0].base
	}
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
	if t, err := r.log.Term(m.Snapshot.Metadata.Index); err == nil && t == m.Snapshot.Metadata.Term {
		return false // it is all here
	}
	p := &pull{msg: *m, from: core.RaftID(m.From).Node()}
	if !p.to.decode(m.Snapshot.Data) {
		return true // void
	}
	if old := r.pull; old != nil {
		if old.synced || old.from == p.from && old.msg.Snapshot.Metadata.Index == m.Snapshot.Metadata.Index && old.msg.Term == m.Term {
			return true
		}
		if old.from == p.from && old.msg.Term == m.Term && p.to.end >= old.next && p.to.first <= old.seg && !old.fit &&
			p.to.gens.index() == old.to.gens.index() {
			markMoreSnap.Hit()
			old.msg, old.to = p.msg, p.to // go on where we are
			return true
		}
		r.dropPull()
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
		r.dropPull()
		_ = r.rn.Step(p.msg)
		r.h.Dirty(r)
		return
	}
	r.flushFill()
	way := r.wayTo(p)
	switch way {
	case wayNone: // the next offer may find us, or the leader, elsewhere
		r.dropPull()
		return
	case wayBury:
		p.begun, p.dead = true, r.log.last()+1
		r.pullOn()
		return
	}
	if wants := r.wants(p, way); len(wants) > 0 || way == wayAnew {
		p.fit = true
		r.fetchFiles(p.from, core.Term(p.msg.Term), wants, func() { r.fitted(p, way) })
		return
	}
	r.startTail(p)
}

// startTail asks for what follows our own log, or what an earlier catch-up has brought behind it.
func (r *Replica) startTail(p *pull) {
	p.begun, p.fit = true, false
	if a := r.ahead; a != nil {
		if a.next <= p.to.end && a.at.seg >= p.to.first && p.to.gens.agreesAhead(r.segs, r.log.after(r.log.last()).seg, a) {
			p.resume(a)
			r.pace(p)
			r.ask()
			return
		}
		p.dead = r.log.last() + 1
	}
	at := r.log.after(r.commit)
	p.seg, p.pos, p.next, p.times = at.seg, at.pos, r.log.end(r.commit), r.log.timesAt(r.commit)
	if p.origin != at {
		p.seg, p.pos, p.next, p.times = p.origin.seg, 0, p.origin.seg, noTimes
	}
	if at.seg < p.to.first && p.seg == p.to.first { // what would follow our log is below the log start
		markBelow.Hit()
		p.low = p.to.first
	}
	r.pace(p)
	r.pullOn()
}

// pace is told where a catch-up begins. One that follows at once on another is there because clients have written more than
// the leader's window holds meanwhile; when it has not half as far to go, it would go on for ever at the default throttle.
func (r *Replica) pace(p *pull) {
	p.round = int64(p.to.end - p.next)
	if x := &r.paced; x.round > 0 && r.h.Now().Mono-x.at < soonAgain && p.round > x.round/2 {
		markFreely.Hit()
		p.freely = true
	}
}

// paced is the last catch-up that was brought to its end.
type paced struct {
	round int64
	at    core.Mono
}

const soonAgain = 10 * core.Second

// dropPull gives a catch-up up. What it wrote stays: the next one goes on from there, or the next entry that
// raft takes ends it (endAhead).
func (r *Replica) dropPull() {
	p := r.pull
	if p == nil {
		return
	}
	markAborted.Hit()
	r.h.Timers().Stop(&p.retry)
	r.pull = nil
	r.landed(p, p.held)
	if p.fit {
		r.dropFetch()
	}
}

func (r *Replica) armPull(p *pull) {
	p.retry.Fire = func(int64) {
		if r.pull != p || r.offline != "" || p.synced {
			return
		}
		if !p.begun && !p.fit {
			r.startPull(p)
		} else if !p.fit && r.h.Now().Mono-p.askedAt >= pullRetry && !p.tolled {
			// A leader that is silent may lead still, and raft there waits for us. Another one's first
			// append ends this. Until then others have the memory.
			if p.want > 0 {
				markPullLost.Hit()
			}
			p.want = 0
			r.landed(p, p.held-p.inWrite)
			if !r.h.Suspect(p.from) {
				r.pullOn()
			}
		}
		if r.pull == p {
			r.armPull(p)
		}
	}
	r.h.Timers().Arm(&p.retry, int64(r.h.Now().Mono+pullRetry))
}

// pullOn does what a catch-up needs next.
func (r *Replica) pullOn() {
	p := r.pull
	switch {
	case p == nil || !p.begun || p.synced || r.offline != "" || r.opening > 0:
	case p.dead > 0:
		r.bury(p)
	case p.fresh >= r.h.PullSync():
		r.notePull(p)
	default:
		r.ask()
	}
}

// ask asks for the next bytes when none are on their way.
func (r *Replica) ask() {
	p := r.pull
	if p.next >= p.to.end && !p.proving {
		r.endPull()
		return
	}
	if p.want > 0 || p.tolled {
		return
	}
	p.askedAt = r.h.Now().Mono
	r.landed(p, p.held-p.inWrite)
	if r.h.Full(r.cfg.Node) {
		return // what came would wait for room on the disk; the retry asks again
	}
	p.tolled = true
	r.h.Toll(r, r.inLane(), func(n int64) {
		p.tolled = false
		p.held += n
		if r.pull != p || r.offline != "" || r.opening > 0 || p.synced || p.dead > 0 || !p.begun {
			r.landed(p, p.held-p.inWrite)
			return
		}
		p.want, p.askedAt = n, r.h.Now().Mono
		r.h.Tell(p.from, r.cfg.Group, Control{Kind: Pull, Term: core.Term(p.msg.Term), Seg: p.seg,
			Pos: p.pos + int64(len(p.partial)), Next: core.Offset(n), Gen: p.to.gens.index()})
	})
}

// gotChunk checks and writes bytes of the leader's log.
func (r *Replica) gotChunk(from core.NodeID, c Control) {
	p := r.pull
	if p == nil || !p.begun || p.synced || p.dead > 0 || from != p.from || c.Term != core.Term(p.msg.Term) || c.Seg != p.seg ||
		c.Gen != p.to.gens.index() || c.Pos != p.pos+int64(len(p.partial)) {
		return
	}
	if c.Kind == Refuse {
		r.dropPull()
		return
	}
	p.askedAt = r.h.Now().Mono
	n := int64(c.Body.Len)
	p.want = max(0, p.want-n)
	data := c.Body.Retain()
	if len(p.partial) > 0 {
		data.Release()
		data = core.NewRef(len(p.partial) + int(n))
		copy(data.Bytes()[copy(data.Bytes(), p.partial):], c.Body.Bytes())
	}
	held, whole, bad := r.checkBatches(p, data.Bytes())
	if p.dead > 0 {
		p.partial, p.want = nil, 0
		data.Release()
		r.landed(p, n)
		r.pullOn()
		return
	}
	if bad { // what lies before it is kept; the retry asks for the rest again
		p.partial, p.want = nil, 0
		r.writePulled(p, data, held, whole, n)
		r.report(from, c.Term, p.next)
		return
	}
	p.partial = append([]byte(nil), data.Bytes()[whole:]...)
	r.writePulled(p, data, held, whole, n)
	if c.Last && len(p.partial) > 0 && p.next < p.to.end { // a length that leads beyond the end of the segment
		p.partial, p.want = nil, 0
		r.report(from, c.Term, p.next)
		return
	}
	if c.Last && len(p.partial) == 0 && c.Next > p.seg && p.next < p.to.end {
		if g := p.to.gens; g != nil && g.after(p.seg) != c.Next { // it is not the log that was offered
			r.dropPull()
			return
		}
		r.leaveSegment(p, c.Next)
	}
	r.pullOn()
}

// leaveSegment goes on to the segment at next: the leader has nothing more in this one.
func (r *Replica) leaveSegment(p *pull, next core.Offset) {
	if p.dead = r.contradicted(p, next); p.dead > 0 {
		p.want = 0
		return
	}
	if p.to.gens != nil && p.pos == 0 {
		r.pullSegment(p.seg) // compaction left nothing of it, but the log begins there
	}
	if s := r.segment(p.seg); s != nil {
		r.endAt(s, p.pos)
		s.times = p.times
	}
	p.seg, p.pos, p.times = next, 0, noTimes
}

// contradicted is the first entry of our own log that cannot be where the leader's segment p.seg ends at p.pos, and
// the next one begins at next; 0: there is none.
func (r *Replica) contradicted(p *pull, next core.Offset) uint64 {
	for k := range r.log.notes {
		n, i := &r.log.notes[k], r.log.first+uint64(k)
		if i > r.commit && n.at.seg >= p.seg && (n.batch && n.end > p.next && n.at.seg < next || n.rolls && n.at.seg > p.seg && n.at.seg < next) {
			return i
		}
	}
	return 0
}

// writePulled writes data from held to whole, all of which follows what lies in the segment. n bytes of memory are
// given back when that is done. It takes data.
func (r *Replica) writePulled(p *pull, data core.Ref, held, whole int, n int64) {
	p.pos += int64(held)
	if whole == held {
		data.Release()
		r.landed(p, n)
		return
	}
	s := r.pullSegment(p.seg)
	op := r.h.NewOp(func(ev *core.Event) {
		if !r.diskFailed(ev, "writing "+s.path) {
			p.inWrite -= n
			r.landed(p, n)
		}
	})
	p.inWrite += n
	body := data.Slice(int32(held), int32(whole-held))
	r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: p.pos, Op: op}, body)
	p.pos += int64(whole - held)
	p.fresh += int64(whole - held)
	s.size, s.dirty, s.times = max(s.size, p.pos), true, p.times
	r.ahead = r.reached(p)
	if o := r.cfg.Observer; o != nil {
		o.Pulled(r.cfg.Node, r.cfg.Group, p.from, p.next)
	}
}

// checkBatches walks the whole batches at the head of data, up to the snapshot's end. The first held bytes of them lie
// here already. bad says that the next one is not what must follow; p.dead is set when one lies where an entry of our
// own would.
func (r *Replica) checkBatches(p *pull, data []byte) (held, whole int, bad bool) {
	at := 0
	for p.next < p.to.end || p.proving {
		b, _, err := record.Next(data[at:])
		if err == record.ErrShort {
			break
		}
		if err != nil || b.BaseOffset() < p.next || !b.CRCValid() {
			return held, at, true
		}
		x := batchAt(b, place{p.seg, p.pos + int64(at)})
		switch {
		case p.proving:
			if x != r.ahead.last {
				markUnproved.Hit()
				p.dead = r.log.last() + 1
				return 0, 0, false
			}
			p.proving = false
			held = at + len(b)
		default:
			same, other := r.ours(b, x)
			if other > 0 {
				p.dead = other
				return held, at, false
			}
			if same {
				markHeld.Hit()
				held = at + len(b)
			}
		}
		p.times.add(x.at.pos, b.MaxTimestamp())
		p.last = x
		at += len(b)
		p.next = b.LastOffset() + 1
	}
	return held, at, false
}

// ours looks for a batch among the entries of our own log that are not known to be committed: it is there, or other is
// the first entry that it contradicts; 0: none.
func (r *Replica) ours(b record.Batch, x tailBatch) (same bool, other uint64) {
	if mut.On("M27b") {
		return false, 0
	}
	if x.base < r.log.end0 {
		return true, 0 // committed meanwhile, and not in the window any more
	}
	k := sort.Search(len(r.log.notes), func(k int) bool { return r.log.notes[k].end >= x.base })
	for ; k < len(r.log.notes); k++ {
		n, i := &r.log.notes[k], r.log.first+uint64(k)
		if n.rolls && i > r.commit && n.at.seg > x.at.seg {
			return false, i
		}
		if !n.batch || n.end <= x.base {
			continue
		}
		if i <= r.commit || n.at == x.at && matches(b, &n.stub, core.Term(r.log.ents[k].Term)) {
			return true, 0
		}
		return false, i
	}
	return false, 0
}

// pullSegment is the segment that catch-up writes.
func (r *Replica) pullSegment(base core.Offset) *segment {
	for mut.On("M27b") && r.active().base > base { // what the log still names makes way
		s := r.active()
		r.segs = r.segs[:len(r.segs)-1]
		r.setAside(s)
	}
	gen := uint64(0)
	if r.pull != nil {
		gen = r.pull.to.genOf(base)
	}
	if s := r.segment(base); s != nil {
		if s.gen == gen || s.size > 0 {
			return s
		}
		det.That(s == r.active(), "replica: an empty segment of another generation is the last one")
		r.segs = r.segs[:len(r.segs)-1]
		r.spare = append(r.spare, s)
		return r.pullNew(base, gen)
	}
	det.That(r.active().base < base, "replica: a catch-up writes at the end of the files")
	return r.pullNew(base, gen)
}

func (r *Replica) pullNew(base core.Offset, gen uint64) *segment {
	r.unside(base, gen)
	if s := r.takeSpareOf(base, gen); s != nil {
		r.segs = append(r.segs, s)
		return s
	}
	s := r.knownOf(base, gen)
	r.segs = append(r.segs, s)
	r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Sync: !mut.On("M25"),
		Op: r.h.NewOp(func(ev *core.Event) { r.diskFailed(ev, "creating "+s.path) })})
	return s
}

// endAt cuts from the end of a segment what does not belong there: all that does is there now.
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
	if first == 0 {
		return
	}
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

// beyond is the first entry of our own log that begins where the leader's ends, or has begun a segment that it does not
// have; 0: there is none. What was committed when the leader spoke ends there, so such an entry is not.
func (r *Replica) beyond(p *pull) uint64 {
	for k := range r.log.notes {
		n, i := &r.log.notes[k], r.log.first+uint64(k)
		if i > r.commit && (n.batch && n.end > p.to.end || n.rolls && n.at.seg > p.to.at.seg) {
			return i
		}
	}
	return 0
}

// endPull makes the bytes durable and lets raft install the snapshot.
func (r *Replica) endPull() {
	p := r.pull
	if r.syncing > 0 {
		return // some of it is on its way to the disk for a checkpoint, after which pullMarked comes by
	}
	if p.dead = r.beyond(p); p.dead == 0 && !r.hasFiles(p.to.gens) {
		markMissed.Hit()
		p.dead = r.log.last() + 1 // not the files that were offered: begin again behind our log
	}
	if p.dead > 0 {
		r.bury(p)
		return
	}
	if p.seg == p.to.at.seg && p.pos != p.to.at.pos || p.seg > p.to.at.seg || p.seg < p.to.at.seg && p.to.at.pos > 0 {
		markBadEnd.Hit()
		r.h.Note(8, "msg=\"a catch-up did not end where the leader's log does\" partition="+r.cfg.Dir)
		r.dropPull() // raft on the leader offers again
		return
	}
	p.synced = true
	r.h.Timers().Stop(&p.retry)
	r.landed(p, p.held-p.inWrite)
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
		if !s.dirty || mut.On("M27") { // raft installs what the page cache holds
			continue
		}
		s.dirty = false
		left++
		r.syncing++ // no checkpoint takes for synced what is not yet
		op := r.h.NewOp(func(ev *core.Event) {
			if r.diskFailed(ev, "syncing "+s.path) {
				return
			}
			r.syncing--
			if done(); r.pull != p && r.syncing == 0 {
				r.pullOn() // another catch-up waited for that
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
	low := core.Offset(0)
	if p := r.pull; p != nil && !p.fit {
		r.paced = paced{p.round, r.h.Now().Mono}
		low = p.low
		r.landed(p, p.held)
	}
	r.pull, r.ahead, r.noted = nil, nil, nil
	if d.gens != nil {
		r.cutOthers(d.gens)
		r.regroup(d.gens, 1<<63-1)
		low = 0
	}
	det.That(d.end >= r.high, "I8: a snapshot does not take the high watermark back")
	r.dropFill(0)
	r.cutBelow(low)
	for i := range r.log.notes {
		r.release(&r.log.notes[i])
	}
	r.h.Window().Entries -= len(r.log.ents)
	r.log.ents, r.log.notes, r.log.bytes = nil, nil, 0
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
	if !mut.On("M10") { // the snapshot comes without the producers
		det.That(r.ps.decode(d.state), "replica: a snapshot's producer state cannot be read")
	}
	r.next = d.end
	r.epochs = d.epochs
	r.compacting.take(d.gens)
	r.dropSweep(r.removeFile)
	r.fed, r.behind = r.applied, true
	if o := r.cfg.Observer; o != nil {
		o.Installed(r.cfg.Node, r.cfg.Group, core.Index(snap.Metadata.Index), core.Term(snap.Metadata.Term), d.end)
	}
	r.configured()
	r.aim()
	r.checkpoint()
	r.wakeReaders()
}
