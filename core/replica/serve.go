package replica

import (
	"go.etcd.io/raft/v3"

	"github.com/karst-stream/karst/core"
)

// The leader's side of a catch-up (catchup.go) and of a repair (mend.go). It keeps nothing of what it sends: a
// follower says where it is. Control.Next of a Pull is how many bytes it has room for; 0, as a repair has it, asks for
// one chunk.

// servePull gives a follower the bytes it asks for, or says that they are not here.
func (r *Replica) servePull(from core.NodeID, c Control) {
	if c.Seg == listSeg {
		r.serveShape(from, c)
		return
	}
	if c.Last { // a file, a piece at a time
		if m := r.matchedOn(from); m != nil && m.offers > 0 {
			m.pulls = r.h.Now().Mono
		}
		r.serveChunk(from, c, min(max(int64(c.Next), 1), chunkBytes), true, func() {})
		return
	}
	if c.Next <= 0 {
		r.serveChunk(from, c, chunkBytes, true, func() {})
		return
	}
	m := r.matchedOn(from)
	if m != nil {
		m.pulls = r.h.Now().Mono
	}
	if m == nil || !r.cfg.Settings.SlowOut {
		r.serve(from, c, int64(c.Next), nil)
		return
	}
	again := m.asked.Kind == Pull // it waits already, and asks for something else now
	m.asked = c
	if !again {
		r.tollPull(from)
	}
}

// tollPull serves what a follower asked for last, as the throttle allows.
func (r *Replica) tollPull(from core.NodeID) {
	r.h.Toll(r, LaneOut, func(n int64) {
		m := r.matchedOn(from)
		if m == nil || m.asked.Kind != Pull || !r.leads || r.offline != "" || r.opening > 0 {
			return
		}
		c := m.asked
		n = min(n, int64(c.Next))
		r.serve(from, c, n, func(left Control) {
			m := r.matchedOn(from)
			switch {
			case m == nil || m.asked.Kind != Pull:
			case m.asked != c: // it has asked anew meanwhile
				r.tollPull(from)
			case left.Next > 0:
				m.asked = left
				r.tollPull(from)
			default:
				m.asked = Control{}
			}
		})
	})
}

// serve sends chunks of n bytes together, over the ends of segments. A segment is read when the one before it has
// been: reads of one file end in order, those of two do not. then, unless it is nil, is told what is left of the Pull,
// nothing when its bytes are not here.
//
// Who asks for no more than a chunk is under a throttle, and the kernel is not to read ahead for it (bare): its window, 8 MiB
// on some machines, is a burst that every journal's syncs wait behind. Pulls by file (byFile) ask for a chunk at any pace.
func (r *Replica) serve(from core.NodeID, c Control, n int64, then func(left Control)) {
	bare := n <= chunkBytes
	over := func(next core.Offset) {
		switch {
		case n > 0 && next > 0 && r.opening == 0 && r.leads:
			c.Seg, c.Pos = next, 0
			r.serve(from, c, n, then)
		case then != nil:
			then(c)
		}
	}
	for {
		last, next, got := false, core.Offset(0), int64(0)
		got, next = r.serveChunk(from, c, min(n, chunkBytes), bare, func() {
			if last {
				over(next)
			}
		})
		if got < 0 || got == 0 && next == 0 { // not here
			c.Next = 0
			over(0)
			return
		}
		n -= got
		c.Pos += got
		c.Next -= core.Offset(got)
		if last = next > 0 || n <= 0; last {
			if got == 0 {
				over(next)
			}
			return
		}
	}
}

// serveChunk sends up to most bytes from c.Pos of a segment. It says how many, or -1 when there are none; next is the
// segment that follows when these are the last. sent is called in a later step when they are on their way.
func (r *Replica) serveChunk(from core.NodeID, c Control, most int64, bare bool, sent func()) (n int64, next core.Offset) {
	s := r.serves(c)
	if !r.leads || c.Term != r.term || s == nil || c.Pos < 0 {
		r.refusePull(from, c)
		return -1, 0
	}
	at := r.log.after(r.applied)
	limit := s.size
	out := Control{Kind: Chunk, Term: c.Term, Index: r.termHere(c.Index), Seg: c.Seg, Pos: c.Pos, Gen: c.Gen}
	if at.seg == s.base {
		limit = at.pos
	} else {
		out.Next = r.follows(s)
	}
	if r.fillSize > 0 {
		r.flushFill() // on the same file, so before the region is read
	}
	if c.Pos > limit {
		out.Kind = Refuse
		r.h.Tell(from, r.cfg.Group, out)
		return -1, 0
	}
	n = min(limit-c.Pos, most)
	if out.Last = at.seg != s.base && c.Pos+n == limit; out.Last {
		next = out.Next
	}
	if n <= 0 {
		r.h.Tell(from, r.cfg.Group, out)
		return n, next
	}
	op := r.h.NewOp(func(ev *core.Event) {
		if ev.Err != core.OK && ev.Err != core.ErrShort || r.offline != "" {
			ev.Body.Release()
		} else {
			out.Last = out.Last && int64(ev.Body.Len) == n
			out.Body = ev.Body
			r.h.Tell(from, r.cfg.Group, out)
		}
		if r.offline == "" {
			sent()
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, Bare: bare, File: s.file, Off: c.Pos, N: n, Op: op})
	return n, next
}

// follows is the base of the segment after s, which may have left the log at its beginning: so may that one.
func (r *Replica) follows(s *segment) (next core.Offset) {
	for _, list := range [2][]*segment{r.shed.files, r.segs} {
		for _, x := range list {
			if x.base > s.base && !x.old && (next == 0 || x.base < next) {
				next = x.base
			}
		}
	}
	return next
}

// byFile says that a Pull names a generation of its segment; a repair, which has it so, names no bytes.
func byFile(c *Control) bool { return c.Last || c.Next <= 0 }

// serves is the segment that a Pull is about, nil when it is not here: not in that generation, or not as it was
// offered.
func (r *Replica) serves(c Control) *segment {
	if !byFile(&c) {
		if c.Gen != r.compacting.done {
			return nil
		}
		if s := r.segment(c.Seg); s != nil {
			return s
		}
		return r.shedSegment(c.Seg) // who has begun may go on while the file is there
	}
	if s := r.segment(c.Seg); s != nil && s.gen == c.Gen {
		return s
	}
	for _, s := range r.shed.files {
		if s.base == c.Seg && s.gen == c.Gen {
			return s
		}
	}
	return nil
}

func (r *Replica) refusePull(from core.NodeID, c Control) {
	out := Control{Kind: Refuse, Term: c.Term, Seg: c.Seg, Pos: c.Pos, Gen: c.Gen}
	out.Last = byFile(&c) && r.leads && r.ready && c.Term == r.term && (r.compacting.done > 0 || c.Gen > 0) && r.serves(c) == nil
	if r.leads && c.Term == r.term {
		out.Index, out.Next = r.termHere(c.Index), r.segs[0].base
		for i := range r.match {
			if id := r.match[i].id; id.Node() == from {
				r.rn.ReportSnapshot(uint64(id), raft.SnapshotFailure) // it needs a newer one
			}
		}
	}
	r.h.Tell(from, r.cfg.Group, out)
}

// matchedOn is the member on a node that is fed: of two, while a voter is replaced, the newer disk; nil: there is none.
func (r *Replica) matchedOn(n core.NodeID) (m *matched) {
	for i := range r.match {
		if x := &r.match[i]; x.id.Node() == n && (m == nil || x.id.Incarnation() > m.id.Incarnation()) {
			m = x
		}
	}
	return m
}
