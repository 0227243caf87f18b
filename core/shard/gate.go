package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
)

// gate opens the Kafka listeners: once this node is registered, the metadata has a leader, and every
// topic has leaders, those that were asked for at the start in any case.
//
//	waiting for view ──▶ registering ──▶ creating topics ──▶ waiting for leaders ──▶ open
type gate struct {
	open        bool
	registering bool
	registered  bool
	since       core.Mono // of registration
	unled       unled
	creating    map[string]bool //det:ok looked up, never ranged
	at          det.Timer
}

// peersWait is how long start topics wait for all nodes to register, so that they are spread.
const peersWait = 3 * core.Second

// leadersWait is how long a node that starts waits for leaders of partitions which it did not ask for: a
// client that finds none gives up sooner than one that finds no port. They may be gone for longer.
const leadersWait = 3 * core.Second

// progress looks whether something can go on: called after every change that could matter.
func (h *home) progress() {
	s, g := h.s, &h.gate
	if !h.admin.published || s.stop.asked {
		return
	}
	if !h.registered() || g.open {
		return
	}
	if !h.topicsExist() || !h.topicsLed() {
		return
	}
	g.open = true
	s.fx.Add(core.Effect{Kind: core.OpenGate})
	h.lookShut()
}

// registered says whether this start of the node is in the metadata log. Every start is written there,
// changed or not: once this node has applied it, its view is no older than the start.
func (h *home) registered() bool {
	s, g := h.s, &h.gate
	if g.registered || g.registering {
		return g.registered
	}
	g.registering = true
	me := meta.Broker{ID: s.cfg.Node, Incarnation: s.id.Incarnation, Rack: s.values.Rack, Listeners: s.cfg.Listeners}
	h.submit(&meta.RegisterBroker{Broker: me}, 5*core.Second, func(r meta.Result, e api.AdminErr) {
		g.registering, g.registered = false, e == api.AdminOK && r.Code == meta.Done
		if e == api.AdminOK && r.Code != meta.Done {
			s.fx.Add(core.Effect{Kind: core.Fatal, Text: "the cluster refuses to register this node: " + r.Message})
			return
		}
		if g.registered {
			h.s.settleView()
			h.s.onOthers((*Shard).settleView)
		}
		h.progress()
	})
	return false
}

func (h *home) topicsExist() bool {
	s, g := h.s, &h.gate
	if g.since == 0 {
		g.since = s.now.Mono
	}
	missing := false
	for _, t := range s.cfg.Topics {
		if s.view.Topic(t.Name) != nil {
			continue
		}
		missing = true
		if len(s.view.Brokers) < len(s.cfg.Peers) && s.now.Mono-g.since < peersWait {
			if !g.at.Armed() {
				s.timers.Arm(&g.at, int64(s.now.Mono+50*core.Millisecond))
			}
			return false
		}
		if g.creating[t.Name] {
			continue
		}
		if g.creating == nil {
			g.creating = map[string]bool{}
		}
		g.creating[t.Name] = true
		name := t.Name
		s.Admin(&meta.CreateTopic{Name: name, ID: s.DrawID(), Partitions: t.Partitions, Replication: -1}, 5000,
			func(meta.Result, api.AdminErr) { delete(g.creating, name); h.progress() })
	}
	return !missing
}

func (h *home) topicsLed() bool {
	s := h.s
	for _, t := range s.cfg.Topics {
		top := s.view.Topic(t.Name)
		for i := range top.Partitions {
			if !s.led(top.Partitions[i].Group) {
				return false
			}
		}
	}
	if s.now.Mono-h.gate.since >= leadersWait {
		return true
	}
	if h.gate.unled.left(s) {
		if !h.gate.at.Armed() {
			s.timers.Arm(&h.gate.at, int64(h.gate.since+leadersWait))
		}
		return false
	}
	return true
}

// led says whether a client that is sent to the leader of g will find one.
func (s *Shard) led(g core.GroupID) bool {
	l, ok := s.leaders[g]
	return ok && l.Leader != core.NoNode && !l.Dead
}

// unled walks over the partitions of a view and stops at each until it has a leader: asked at every
// change of a leader, it costs one look a partition in all.
type unled struct {
	view  *meta.View
	topic int
	part  int
}

func (u *unled) left(s *Shard) bool {
	if u.view != s.view {
		*u = unled{view: s.view}
	}
	for ; u.topic < len(u.view.Topics); u.topic, u.part = u.topic+1, 0 {
		for t := u.view.Topics[u.topic]; u.part < len(t.Partitions); u.part++ {
			if !s.led(t.Partitions[u.part].Group) {
				return true
			}
		}
	}
	return false
}

// DrawID draws 16 bytes for a topic's id.
func (s *Shard) DrawID() (id [16]byte) {
	for i := range id {
		id[i] = byte(s.rng.Uint64() >> 32)
	}
	return id
}
