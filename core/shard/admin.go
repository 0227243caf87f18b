package shard

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
)

// How the metadata changes. A command is numbered by the node that makes it and kept there until that
// node's own copy of the metadata log applies it; until then it is sent, again and again, to whoever
// leads. The machine takes each number once, so a repeat is harmless, and the result needs no way
// back: the log carries it everywhere.
//
//	Admin ──▶ queue of shard 0 ──▶ leader: one batch of records ──▶ metadata log
//	  ▲                                                                  │ applied on every node
//	  └── done(result), after every shard has the new view ◀─────────────┘

const adminRetry = 150 * core.Millisecond

var markAdminAgain = det.NewMark("admin: a metadata command was sent again")

type command struct {
	number uint64
	bytes  []byte
	until  core.Mono
	done   func(meta.Result, api.AdminErr)
}

type admin struct {
	h         *hosted // the metadata replica
	state     *meta.State
	published bool // replay is over: views go to the shards
	queue     []*command
	ended     []func() // tell the outcomes of commands that no view shows yet
	number    uint64
	retry     det.Timer
	term      core.Term            // in which seen was begun
	seen      map[meta.Origin]bool //det:ok looked up, never ranged: proposed in term
}

// attachMeta feeds the metadata machine from its log.
func (h *home) attachMeta(m *hosted) {
	a := &h.admin
	a.h, a.state = m, meta.New(h.s.id.Cluster)
	m.r.Attach(h)
	h.s.markDirty(m)
	m.r.Caught(m.r.Start(), func() { h.replayed() })
}

// replayed publishes the first view once what this disk held is applied. What the log gained since
// follows.
func (h *home) replayed() {
	if h.admin.h.r.Behind() {
		h.admin.h.r.Caught(h.admin.h.r.AppliedEnd(), func() { h.replayed() })
		return
	}
	h.admin.published = true
	h.show()
}

// Apply takes committed commands: home is the replica.Machine of the metadata log.
func (h *home) Apply(_ core.Offset, batch []byte) {
	s, a := h.s, &h.admin
	err := record.Batch(batch).Records(func(r record.Record) bool {
		res, err := a.state.Apply(r.Value)
		if err != nil {
			s.note(8, "msg=\"a metadata command cannot be read\" err=\""+err.Error()+"\"")
			return true
		}
		o, _, err := meta.Decode(r.Value)
		if err == nil && o.Node == s.cfg.Node && o.Start == h.start() {
			for i, c := range a.queue {
				if c.number == o.Number {
					a.queue = slices.Delete(a.queue, i, i+1)
					a.ended = append(a.ended, func() { c.done(res, api.AdminOK) })
					break
				}
			}
		}
		return true
	})
	det.That(err == nil, "admin: the metadata log holds records")
	if a.published {
		h.show()
	}
}

// show publishes the state, then tells who waited for it.
func (h *home) show() {
	h.publish()
	ended := h.admin.ended
	h.admin.ended = nil
	for _, f := range ended {
		f()
	}
	h.progress()
}

func (h *home) publish() {
	v := h.admin.state.View()
	h.s.setView(v)
	h.s.onOthers(func(t *Shard) { t.setView(v) })
}

func (h *home) start() uint64 { return meta.NewStart(h.s.id.Incarnation, h.s.id.Start) }

// Admin has a command decided; see api.Host.
func (s *Shard) Admin(cmd meta.Command, timeout int32, done func(meta.Result, api.AdminErr)) {
	switch c := cmd.(type) {
	case *meta.CreateTopic:
		if c.Live == nil {
			c.Live = s.live()
		}
	case *meta.CreatePartitions:
		if c.Live == nil {
			c.Live = s.live()
		}
	}
	from := s.cfg.Shard
	s.on(0, func(t *Shard) {
		t.home.submit(cmd, core.Mono(timeout)*core.Millisecond, func(r meta.Result, e api.AdminErr) {
			t.on(from, func(*Shard) { done(r, e) })
		})
	})
}

// live are the registered nodes that nobody here suspects.
func (s *Shard) live() []core.NodeID {
	var ns []core.NodeID
	for i := range s.view.Brokers {
		if n := s.view.Brokers[i].ID; !s.suspects.At(n) {
			ns = append(ns, n)
		}
	}
	return ns
}

func (h *home) submit(cmd meta.Command, timeout core.Mono, done func(meta.Result, api.AdminErr)) {
	a := &h.admin
	a.number++
	o := meta.Origin{Node: h.s.cfg.Node, Start: h.start(), Number: a.number}
	c := &command{number: a.number, bytes: meta.Encode(o, cmd), until: h.s.now.Mono + max(timeout, core.Second), done: done}
	a.queue = append(a.queue, c)
	h.deliver([]*command{c})
	if !a.retry.Armed() {
		h.s.timers.Arm(&a.retry, int64(h.s.now.Mono+adminRetry))
	}
}

// pushAdmin sends again what has no outcome, and gives up what is too old.
func (h *home) pushAdmin() {
	s, a := h.s, &h.admin
	var late []*command
	kept := a.queue[:0]
	for _, c := range a.queue {
		if s.now.Mono > c.until {
			late = append(late, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(a.queue[len(kept):])
	a.queue = kept
	for _, c := range late {
		c.done(meta.Result{}, api.AdminTimedOut)
	}
	if len(a.queue) == 0 {
		return
	}
	markAdminAgain.Hit()
	h.deliver(a.queue)
	s.timers.Arm(&a.retry, int64(s.now.Mono+adminRetry))
}

// deliver brings commands to the leader, which may be this node.
func (h *home) deliver(cs []*command) {
	s := h.s
	l := s.leaders[core.MetaGroup]
	if l.Leader == s.cfg.Node {
		var cmds [][]byte
		for _, c := range cs {
			cmds = append(cmds, c.bytes)
		}
		h.propose(cmds)
		return
	}
	if l.Leader == core.NoNode || l.Term == 0 {
		return
	}
	for _, c := range cs {
		s.post(l.Leader, core.RefOf(append(putHead(nil, frameCommand, 0, 0), c.bytes...)))
	}
}

// propose appends commands to the metadata log when this node leads it; else they come again.
func (h *home) propose(cmds [][]byte) {
	a := &h.admin
	if a.h == nil || a.h.r.MayRead() != replica.OK {
		return
	}
	if a.term != a.h.r.Term() || len(a.seen) > 10000 {
		a.term, a.seen = a.h.r.Term(), map[meta.Origin]bool{}
	}
	var b record.Builder
	n := 0
	for _, c := range cmds {
		o, _, err := meta.Decode(c)
		if err != nil || a.seen[o] {
			continue
		}
		a.seen[o] = true
		b.Append(record.Record{Value: c, Timestamp: h.s.now.Wall})
		n++
	}
	if n == 0 {
		return
	}
	h.s.guard(a.h, func() {
		a.h.r.Propose(b.Build(), func(res replica.Result) {
			if res.Err != replica.OK {
				a.term = 0 // what comes again is proposed again
			}
		})
	})
}

// frame takes what another node's shard 0 says.
func (h *home) frame(kind byte, from core.NodeID, b []byte) {
	switch kind {
	case framePing:
		h.pinged(from, b)
	case frameNews:
		if news, ok := decodeNews(b); ok {
			h.s.learn(from, news)
			h.s.onOthers(func(t *Shard) { t.learn(from, news) })
		} else {
			markStrange.Hit()
		}
	case frameCommand:
		h.propose([][]byte{append([]byte(nil), b...)})
	case frameFresh, frameFreshAt:
		h.freshFrame(kind, from, b)
	}
}

// producerIDs hands out ids from blocks that the metadata log allocates.
type producerIDs struct {
	next, end int64
	waiting   []func(int64, bool)
	asking    bool
}

const producerBlock = 1000

// ProducerID allocates one; see api.Host.
func (s *Shard) ProducerID(done func(id int64, ok bool)) {
	p := &s.ids
	if p.next < p.end {
		p.next++
		done(p.next-1, true)
		return
	}
	p.waiting = append(p.waiting, done)
	if p.asking {
		return
	}
	p.asking = true
	s.Admin(&meta.AllocateProducerIDs{Count: producerBlock}, 5000, func(r meta.Result, e api.AdminErr) {
		p.asking = false
		ok := e == api.AdminOK && r.Code == meta.Done
		if ok {
			p.next, p.end = r.FirstProducer, r.FirstProducer+producerBlock
		}
		waiting := p.waiting
		p.waiting = nil
		for _, w := range waiting {
			if ok {
				s.ProducerID(w)
			} else {
				w(-1, false)
			}
		}
	})
}
