package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/seg"
)

// Reports of rot. A leader gives bytes of its segments away without a look at them; whoever gets some that do not
// match their checksum cannot go on, and the scrubber may come by tomorrow. So he says so, with the offset, and the
// leader looks there at once:
//
//	Report(offset) ──▶ probe: reads around that batch, from a place that the index knows
//	  ... all is whole ──▶ nothing; the bytes were spoilt on their way, or the report is wrong
//	  ... it is not    ──▶ the scrubber reads that segment from its begin, without a pause, and finds it
//
// Only what the leader reads itself makes it a damaged one (scrub.go). A report costs one probe, of which there is one
// at a time and then none for a second, and the scrubber's own way round is not disturbed by it.

// probeBytes is how much a probe reads at least: what was sent with the batch that was bad.
const probeBytes = 2 * chunkBytes

var (
	markReported = det.NewMark("scrub: a follower reported rot to its leader")
	markProbed   = det.NewMark("scrub: a leader looked where rot was reported, and all was whole")
	markUrgent   = det.NewMark("scrub: a leader found the rot that was reported")
)

// report tells the leader of a term that its bytes at an offset are not what they were.
func (r *Replica) report(to core.NodeID, term core.Term, at core.Offset) {
	markReported.Hit()
	r.h.Tell(to, r.cfg.Group, Control{Kind: Report, Term: term, Next: at})
}

// reported looks where a follower says that bytes rot.
func (r *Replica) reported(c Control) {
	x, now := &r.scrub, r.h.Now().Mono
	end := r.sound()
	if !r.leads || c.Term != r.term || x.probing || x.sick != nil || x.urgent || now < x.deaf || r.cut != nil || c.Next < r.segs[0].base {
		return
	}
	s := r.segmentOf(c.Next)
	if s.base > end.seg {
		return
	}
	limit := s.size
	if s.base == end.seg {
		limit = end.pos
	}
	x.probing = true
	r.find(s, c.Next, func(pos int64, _ bool) {
		// The index does not say which offset the batch at pos begins with, only that it is not below the segment's.
		r.probe(s, probe{scan: seg.NewSparseScanner(s.base, pos), begin: pos, pos: pos, limit: limit, offset: c.Next})
	})
}

// probe is a look at a place that somebody has reported.
type probe struct {
	scan       *seg.Scanner
	begin, pos int64
	limit      int64
	offset     core.Offset
}

// over says whether all has been read that the report may be about.
func (p *probe) over() bool {
	next, _ := p.scan.End()
	return p.pos >= p.limit || next > p.offset && p.pos-p.begin >= probeBytes && !p.scan.Open()
}

func (r *Replica) probe(s *segment, p probe) {
	end := func() {
		r.scrub.probing = false
		r.scrub.deaf = r.h.Now().Mono + pullRetry
	}
	if p.over() {
		if p.scan.Open() {
			r.hurry(s)
		} else {
			markProbed.Hit()
		}
		end()
		return
	}
	n := min(p.limit-p.pos, ScrubBytes)
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		switch {
		case r.offline != "" || r.opening > 0 || ev.Err == core.ErrGone || r.segment(s.base) != s:
			end()
		case ev.Err != core.OK || !p.scan.Feed(ev.Body.Bytes(), nil):
			r.hurry(s)
			end()
		default:
			p.pos += n
			r.probe(s, p)
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: p.pos, N: n, Op: op})
}

// hurry lets the scrubber read s from its begin to its end at once. It says exactly where the good bytes end.
func (r *Replica) hurry(s *segment) {
	x := &r.scrub
	if !r.leads || x.sick != nil || x.urgent {
		return
	}
	markUrgent.Hit()
	x.urgent = true
	r.scrubFrom(s.base, 0, s.base)
	if !x.busy {
		r.Scrub()
	}
}
