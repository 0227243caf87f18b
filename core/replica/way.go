package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// How a catch-up goes on whose leader has compacted what lies before the end of our log, or what that end lies in: which
// files are fetched whole (refit.go), and from where on bytes follow our own (catchup.go).

// way is how a catch-up goes on.
type way uint8

const (
	wayTail way = iota // from pull.origin, once the files before it are the leader's
	wayAnew            // with all of the leader's files that we do not have
	wayBury            // once nothing is left of what an earlier one has brought behind our log
	wayNone
)

// wayTo says how to get to what was offered. What of our own log is not known to be committed stays until the snapshot
// is installed, or until what the leader has contradicts it. It may lie in files that the leader has too: these are compared.
func (r *Replica) wayTo(p *pull) way {
	at, end := r.log.after(r.commit), r.log.after(r.log.last()).seg
	g := p.to.gens
	p.origin = at
	switch {
	case r.compacting.done > g.index() || g == nil && r.lame():
		markInFront.Hit()
		return wayNone
	case g == nil:
		if at.seg < p.to.first {
			p.origin = place{p.to.first, 0}
		}
		return wayTail
	case r.remend(g):
		return wayNone
	}
	found, last := false, g.files[len(g.files)-1].base
	for i := len(r.segs) - 1; i >= 0 && r.segs[i].base >= at.seg; i-- {
		s := r.segs[i]
		if s.base > end || s.base > last {
			continue
		}
		if !g.has(s) && (g.at(s.base) == nil || s.size > 0) {
			break
		}
		if found = true; s.base > at.seg {
			p.origin = place{s.base, 0}
		} else {
			p.origin = at
		}
	}
	switch {
	case found:
		return wayTail
	case end < p.to.first:
		p.origin = place{p.to.first, 0}
		return wayTail
	case r.ahead != nil:
		return wayBury
	}
	for r.active().base > end { // an earlier catch-up has begun it, and nothing came
		det.That(r.active().size == 0, "replica: what lies behind the log was brought by a catch-up")
		r.spare, r.segs = append(r.spare, r.active()), r.segs[:len(r.segs)-1]
	}
	return wayAnew
}

// wants are the files that have to be fetched whole, or to be compared.
func (r *Replica) wants(p *pull, w way) (out []file) {
	if p.to.gens == nil {
		return nil
	}
	at := r.log.after(r.commit)
	for _, f := range p.to.gens.files {
		if w == wayTail && f.base >= p.origin.seg {
			break
		}
		if s := r.segment(f.base); f.base >= at.seg || s == nil || !p.to.gens.has(s) {
			out = append(out, f)
		}
	}
	return out
}

// twin is our own segment with the name of f. It holds what is committed, and behind that what may not be.
func (r *Replica) twin(w file) *fetched {
	s := r.segment(w.base)
	if r.pull == nil || s == nil || s.gen != w.gen {
		return nil
	}
	f := &fetched{s: s, twin: true, synced: true, scan: seg.ScannerOf(w.base, w.gen)}
	if at := r.log.after(r.commit); at.seg == s.base {
		f.pos, f.scan = at.pos, s.scanner(r.log.end(r.commit), at.pos)
	}
	return f
}

// unlike is the first entry of our own log that is not where the leader has batch b; 0: it is that batch.
func (r *Replica) unlike(base core.Offset, b seg.Seen) uint64 {
	k := r.noteAt(place{base, b.Pos})
	if k == len(r.log.notes) {
		return r.log.last() + 1
	}
	n := &r.log.notes[k]
	same := n.batch && n.at == place{base, b.Pos} && n.stub.Len == b.Head.Size() &&
		[record.Unchecked]byte(b.Head[:record.Unchecked]) == record.Prefix(n.stub.Base, n.stub.Len, core.Term(r.log.ents[k].Term).Epoch(), n.stub.CRC)
	if same {
		return 0
	}
	return r.log.first + uint64(k)
}

// noteAt is the first batch, or new segment, of the window at a place or behind it.
func (r *Replica) noteAt(at place) int {
	for k := range r.log.notes {
		if n := &r.log.notes[k]; (n.batch || n.rolls) && (n.at.seg > at.seg || n.at.seg == at.seg && n.at.pos >= at.pos) {
			return k
		}
	}
	return len(r.log.notes)
}

// fitted goes on with a catch-up whose files are here.
func (r *Replica) fitted(p *pull, w way) {
	if r.pull != p {
		return
	}
	if w == wayTail {
		markGraft.Hit()
		r.startTail(p)
		return
	}
	if i := r.beyond(p); i > 0 {
		p.fit, p.begun, p.dead = false, true, i
		r.pullOn()
		return
	}
	markAnew.Hit()
	p.synced, p.handed = true, true
	r.h.Timers().Stop(&p.retry)
	if p.msg.Snapshot.Metadata.Index > r.commit {
		_ = r.rn.Step(p.msg)
	}
	r.h.Dirty(r)
}
