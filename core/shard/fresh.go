package shard

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/replica"
)

// Every node has its own copy of the metadata, and any of them may be a message behind: who changed
// something through one node and asks another would not find it. Admin reads therefore ask the metadata
// leader how far the log reaches, and wait until this node's views show that much.
//
//	Fresh ──▶ shard 0 ──▶ leader: proves that it leads ──▶ end of the log ──▶ applied here, shown ──▶ done
//
// An answer covers every question up to the one that it names, because it was proved after they were asked.
type questions struct {
	number uint64 // of the newest
	open   []question
	again  det.Timer
}

type question struct {
	number uint64
	until  core.Mono
	done   func(ok bool)
}

const (
	freshAgain = 50 * core.Millisecond // an ask or its answer may be lost, or the leader gone
	freshFor   = core.Second
)

// Fresh calls done(true) once this shard's view holds all that was decided before the call; done(false)
// when no leader could say so for a second.
func (s *Shard) Fresh(done func(ok bool)) {
	from := s.cfg.Shard
	s.on(0, func(t *Shard) {
		q := &t.home.questions
		q.number++
		q.open = append(q.open, question{q.number, t.now.Mono + freshFor, func(ok bool) {
			t.on(from, func(*Shard) { done(ok) })
		}})
		t.home.askFresh()
	})
}

// askFresh asks the leader, which may be this node, on behalf of all that is open.
func (h *home) askFresh() {
	s, q := h.s, &h.questions
	for len(q.open) > 0 && s.now.Mono >= q.open[0].until {
		late := q.open[0]
		q.open = q.open[1:]
		late.done(false)
	}
	if len(q.open) == 0 {
		return
	}
	number := q.number
	switch l := s.leaders[core.MetaGroup]; {
	case l.Leader == s.cfg.Node:
		h.proveMeta(func(end core.Offset) { h.freshAt(number, end) })
	case l.Leader != core.NoNode && l.Term > 0:
		b := binary.AppendUvarint(putHead(nil, frameFresh, 0, 0), number)
		s.post(l.Leader, core.RefOf(b))
	}
	s.timers.Arm(&q.again, int64(s.now.Mono+freshAgain))
}

// proveMeta calls done with the end of the metadata log once this node has proved that it leads it; never,
// when it does not.
func (h *home) proveMeta(done func(end core.Offset)) {
	m := h.admin.h
	if m == nil {
		return
	}
	h.s.guard(m, func() {
		m.r.Linear(func(err replica.Outcome) {
			if err == replica.OK {
				done(m.r.High())
			}
		})
	})
}

// freshAt says that the log reached end after question number was asked.
func (h *home) freshAt(number uint64, end core.Offset) {
	q := &h.questions
	k := 0
	for k < len(q.open) && q.open[k].number <= number {
		k++
	}
	if k == 0 || h.admin.h == nil {
		return
	}
	known := append([]question(nil), q.open[:k]...)
	q.open = q.open[k:]
	show := func() {
		for _, x := range known {
			x.done(true)
		}
	}
	h.admin.h.r.Caught(end, func() {
		if h.admin.published {
			show()
		} else {
			h.admin.ended = append(h.admin.ended, show)
		}
	})
}

// freshFrame takes a question of another node, or the answer to one of ours.
func (h *home) freshFrame(kind byte, from core.NodeID, b []byte) {
	number, n := binary.Uvarint(b)
	if n <= 0 {
		markStrange.Hit()
		return
	}
	if kind == frameFresh {
		h.proveMeta(func(end core.Offset) {
			a := binary.AppendUvarint(putHead(nil, frameFreshAt, 0, 0), number)
			h.s.post(from, core.RefOf(binary.AppendUvarint(a, uint64(end))))
		})
		return
	}
	end, n := binary.Uvarint(b[n:])
	if n <= 0 {
		markStrange.Hit()
		return
	}
	h.freshAt(number, core.Offset(end))
}
