package replica

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
)

// Mending. A disk may lose bytes that it had promised to keep: a segment file is missing or too short, a
// batch in it or in the journal rots. As long as the journal's records themselves are whole, this replica
// knows what it promised: terms, votes and which batch lies where. Only bytes are missing, and the leader
// has them. So the boot of a damaged replica is not over before they are here again:
//
//	boot finds holes ──▶ Pull(segment, position) to the leader, as its node knows it ──▶ Chunk: checked, written
//	  ... no hole is left ──▶ the rest of the boot: refill, cut, sync, checkpoint ──▶ takes part again
//
// Until then there is no raft here: it neither votes nor campaigns nor acknowledges, and truncates nothing.
// Holes are filled in the order of the log, so that a crash meanwhile leaves a disk that shows the same holes
// or fewer. An entry whose batch is lost may be one that was never committed and that a newer leader has
// overwritten. The leader says which term its entry of that index has: if it is another one, ours and all
// after it are dead, and the log ends before it. Bytes are never taken for proof of that: they may rot there.
//
// A replica that finds rot while it runs (scrub.go) does the same: it hands over if it leads, stops as if it
// were paused, fetches, and goes on. When nothing comes, it goes on at once and fetches later.
//
// A journal that has lost records is another matter. Who does not know what it voted can never vote safely
// under its name again; such a replica stays offline.
type mend struct {
	why     string
	holes   []hole // in the order of the log
	partial []byte // of a batch whose rest is in the next chunk
	from    core.NodeID
	term    core.Term
	heard   core.Mono // when bytes came last, or this began
	again   det.Timer
	hard    journal.Hard
	finish  func() // the rest of the boot
	drop    func() // releases what finish would use
}

// hole is a stretch of a segment that this disk has lost.
type hole struct {
	seg   core.Offset
	pos   int64
	end   int64       // behind its last byte; -1: all that the leader has in this segment
	next  core.Offset // of committed bytes: the offset that the batch at pos begins with, at least
	index uint64      // of the entry of the tail whose batch it is; 0: committed bytes before the tail
	term  uint64
}

const (
	mendPatience = core.Second     // with a leader that gives nothing: it may lead no more
	mendRest     = 5 * core.Second // before it is asked again, so that there is time for an election
)

var (
	markMending  = det.NewMark("mend: a damaged replica fetches what it lost")
	markMended   = det.NewMark("mend: a damaged replica is whole again")
	markDeadTail = det.NewMark("mend: a lost batch was never committed, the log ends before it")
	markPassed   = det.NewMark("mend: what was lost lies below the log start")
	markShelved  = det.NewMark("mend: the leader was lost meanwhile, the replica took part again")
	markBadMend  = det.NewMark("mend: the leader's bytes are not those that were lost")
)

// startMend begins to fetch. The placeholder in opening keeps the boot from being over.
func (r *Replica) startMend(m *mend) {
	markMending.Hit()
	r.mend, m.from, m.heard = m, core.NoNode, r.h.Now().Mono
	r.opening++
	r.h.Note(4, "msg=\"partition damaged, fetching what is lost from its leader\" partition="+r.cfg.Dir+
		" holes="+strconv.Itoa(len(m.holes))+" at="+r.lostAt(m.holes[0]).String()+" err="+strconv.Quote(m.why))
	m.again.Fire = func(int64) { r.askMend() }
	r.h.Timers().Arm(&m.again, int64(r.h.Now().Mono))
}

// askMend asks for the bytes of the first hole, and again when no answer helps.
func (r *Replica) askMend() {
	m := r.mend
	if m == nil || r.offline != "" {
		return
	}
	if len(m.holes) == 0 {
		r.mended()
		return
	}
	r.h.Timers().Arm(&m.again, int64(r.h.Now().Mono+pullRetry))
	if n, term := r.h.Leader(r.cfg.Group); n != core.NoNode && term >= m.term {
		m.from, m.term = n, term
	} else if r.lead != 0 && r.term >= m.term { // one that hands over still leads
		m.from, m.term = r.lead.Node(), r.term
	}
	if r.began && r.h.Now().Mono-m.heard > mendPatience {
		r.shelveMend()
		return
	}
	if m.from == core.NoNode || m.from == r.cfg.Node || r.h.Full(r.cfg.Node) {
		return
	}
	h := &m.holes[0]
	r.h.Tell(m.from, r.cfg.Group, Control{Kind: Pull, Term: m.term, Index: core.Index(h.index),
		Seg: h.seg, Pos: h.pos + int64(len(m.partial)), Gen: r.genAt(h.seg)})
}

// shelveMend ends the mending of a running replica whose leader gives nothing: it takes part again, and goes on later where it
// was.
func (r *Replica) shelveMend() {
	markShelved.Hit()
	m := r.mend
	r.mend = nil
	r.h.Timers().Stop(&m.again)
	r.scrub.sick = &m.holes[0]
	r.h.Timers().Arm(&r.scrub.heal, int64(r.h.Now().Mono+mendRest))
	r.opened()
}

// termHere answers a mender's question: the term of the leader's entry at index i, once that cannot
// change any more; 0 before. For an index beyond a log whose leader is ready it is this term: no older entry
// can come to be there.
func (r *Replica) termHere(i core.Index) core.Index {
	t, err := r.log.Term(uint64(i))
	switch {
	case i == 0 || !r.ready:
	case err == nil && uint64(i) <= r.applied:
		return core.Index(t)
	case uint64(i) > r.log.last():
		return core.Index(r.term)
	}
	return 0
}

// gotMend takes an answer of the leader.
func (r *Replica) gotMend(from core.NodeID, c Control) {
	m := r.mend
	if len(m.holes) == 0 {
		return
	}
	h := &m.holes[0]
	if from != m.from || c.Term != m.term || c.Seg != h.seg || c.Gen != r.genAt(h.seg) || c.Pos != h.pos+int64(len(m.partial)) {
		return
	}
	if h.index > 0 && c.Index != 0 && uint64(c.Index) != h.term {
		r.deadTail(h.index)
		return
	}
	if c.Kind == Refuse && c.Last {
		r.forsake(h.seg)
		return
	}
	if c.Kind == Refuse && c.Next > h.seg {
		r.passHole(c.Next)
		return
	}
	if c.Kind == Refuse || c.Body.Len == 0 && !c.Last {
		return // not committed there yet, or not known to be; the timer asks again
	}
	m.heard = r.h.Now().Mono
	data := append(m.partial, c.Body.Bytes()...)
	n := r.checkHole(h, data)
	if n < 0 {
		markBadMend.Hit()
		m.partial = nil
		at := h.next
		if h.index > 0 {
			at = r.log.note(h.index).stub.Base
		}
		r.report(from, c.Term, at)
		return
	}
	if n > 0 {
		s := r.segment(h.seg)
		r.h.FX().Add(core.Effect{Kind: core.Write, File: s.file, Off: h.pos, Op: r.bootOp(s.path)}, core.RefOf(data[:n]))
		r.mends++
		h.pos += int64(n)
		s.size = max(s.size, h.pos)
	}
	m.partial = append([]byte(nil), data[n:]...)
	if h.pos == h.end || h.end < 0 && c.Last && len(m.partial) == 0 {
		m.holes, m.partial = m.holes[1:], nil
	}
	r.askMend()
}

// genAt is the generation of the segment at base.
func (r *Replica) genAt(base core.Offset) uint64 {
	if s := r.segment(base); s != nil {
		return s.gen
	}
	return 0
}

// passHole gives up bytes that lie below the log start: the leader's oldest segment begins at first, which is
// committed, so nobody will ask for them. An entry of ours that would lie at first or above, in an older
// segment, is not in the leader's log.
func (r *Replica) passHole(first core.Offset) {
	m := r.mend
	if h := &m.holes[0]; h.index > 0 && r.log.note(h.index).stub.Base >= first {
		r.deadTail(h.index)
		return
	}
	markPassed.Hit()
	m.holes, m.partial = m.holes[1:], nil
	r.askMend()
}

// checkHole says how many bytes at the head of data are what belongs into h; -1 when they are not.
func (r *Replica) checkHole(h *hole, data []byte) int {
	if h.index > 0 {
		n := r.log.note(h.index)
		if len(data) < int(n.stub.Len) {
			return 0
		}
		if !matches(data[:n.stub.Len], &n.stub, core.Term(h.term)) {
			return -1
		}
		return int(n.stub.Len)
	}
	at, next := 0, h.next
	for h.end < 0 || h.pos+int64(at) < h.end {
		b, _, err := record.Next(data[at:])
		if err == record.ErrShort {
			break
		}
		if err != nil || b.BaseOffset() < next || !b.CRCValid() || h.end >= 0 && h.pos+int64(at+len(b)) > h.end {
			return -1
		}
		at += len(b)
		next = b.LastOffset() + 1
	}
	h.next = next
	return at
}

// deadTail ends the log before entry i: the leader has another one in its place, for good.
func (r *Replica) deadTail(i uint64) {
	m := r.mend
	if i <= uint64(m.hard.Commit) {
		r.fail("the leader has another entry " + strconv.FormatUint(i, 10) + ", which was committed here")
		return
	}
	markDeadTail.Hit()
	if o := r.cfg.Observer; o != nil {
		o.Truncated(r.cfg.Node, r.cfg.Group, core.Index(i))
	}
	r.log.keep(int(i - r.log.first))
	for k := range m.holes {
		if m.holes[k].index >= i {
			m.holes = m.holes[:k]
			break
		}
	}
	m.partial = nil
	r.askMend()
}

// mended goes on with the boot.
func (r *Replica) mended() {
	markMended.Hit()
	m := r.mend
	r.mend, r.healing = nil, true
	r.h.Timers().Stop(&m.again)
	m.finish()
	r.unstick()
	if !r.began {
		r.begin(m.hard)
	}
	r.opened()
}

// Mended counts the writes by which this boot has mended something, for tests.
func (r *Replica) Mended() int { return r.mends }
