package shard

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/replica"
)

// Who is alive. Liveness is per pair of nodes, not per group: shard 0 pings, any frame counts as a
// sign of life, and silence or a lost connection makes a peer suspect (DESIGN.md section 11, rule 7).
const (
	pingEvery    = 100 * core.Millisecond // unless a Pace says otherwise
	suspectPings = 4                      // in so many that were not heard it becomes suspect
	tellEvery    = 50 * core.Millisecond  // a shard tells shard 0 whom it heard, at most so often
)

var (
	markSuspect = det.NewMark("liveness: a silent peer became suspect")
	markGrace   = det.NewMark("liveness: this node stalled itself and gave its peers time")
)

// heard notes a frame of a peer.
func (s *Shard) heard(n core.NodeID) {
	if s.home != nil {
		s.home.heard(n, s.now.Mono)
		return
	}
	if p := s.peers.At(n); p != nil && s.now.Mono-p.told >= tellEvery {
		p.told = s.now.Mono
		s.on(0, func(t *Shard) { t.home.heard(n, t.now.Mono) })
	}
}

func (h *home) heard(n core.NodeID, at core.Mono) {
	l := h.links.At(n)
	if l == nil {
		return
	}
	l.heardAt = at
	if l.member && l.out && h.s.suspects.At(n) {
		h.trust(n)
	}
}

// stalled gives the peers time when this very shard was not called for long: silence then is ours.
func (h *home) stalled(gap core.Mono) {
	if gap <= h.s.pace.stall() {
		return
	}
	markGrace.Hit()
	h.links.Each(func(_ core.NodeID, l *link) { l.heardAt = min(h.s.now.Mono, l.heardAt+gap) })
}

func (h *home) onPing(int64) {
	s := h.s
	h.lookShut()
	h.pingAll()
	h.links.Each(func(n core.NodeID, l *link) {
		if l.member && s.now.Mono-l.heardAt > s.pace.Doubt {
			h.suspect(n, "silent for "+strconv.FormatInt(int64((s.now.Mono-l.heardAt)/core.Millisecond), 10)+" ms")
		}
	})
	s.timers.Arm(&h.ping, int64(s.now.Mono+s.pace.Ping))
}

// linked is called when a link changed for the better.
func (h *home) linked(n core.NodeID, l *link) {
	h.spreadLink(n, l)
	if !l.out || !l.member {
		return
	}
	l.heardAt, l.asked = h.s.now.Mono, 0
	h.trust(n)
	h.sayPing(n, l)
	h.progress()
}

// unlinked is called when a connection with n was lost, in either direction.
func (h *home) unlinked(n core.NodeID) {
	l := h.links.At(n)
	h.spreadLink(n, l)
	if h.member {
		h.suspect(n, "connection lost")
	}
}

// spreadLink tells all shards what may be sent to and heard from n.
func (h *home) spreadLink(n core.NodeID, l *link) {
	at, up, disk := core.LinkID(0), l.out && l.member, uint32(0)
	if l.member {
		at, disk = l.in, l.hello.incarnation
	}
	f := func(t *Shard) {
		p := t.peers.At(n)
		if p.link != at {
			p.open = false // until it says so
		}
		p.up, p.link, p.disk = up, at, max(p.disk, disk)
	}
	f(h.s)
	h.s.onOthers(f)
}

func (h *home) suspect(n core.NodeID, why string) {
	if h.s.suspects.At(n) {
		return
	}
	markSuspect.Hit()
	h.s.note(4, "msg=\"peer is suspect\" peer="+strconv.Itoa(int(n))+" why=\""+why+"\"")
	f := func(t *Shard) { t.peerSuspect(n) }
	f(h.s)
	h.s.onOthers(f)
}

func (h *home) trust(n core.NodeID) {
	f := func(t *Shard) { t.peerBack(n) }
	f(h.s)
	h.s.onOthers(f)
}

// peerSuspect tells every group with a voter on n, and whoever asks about leaders there.
func (s *Shard) peerSuspect(n core.NodeID) {
	s.suspects.Set(n, true)
	for _, g := range append([]core.GroupID(nil), s.groups.Keys()...) {
		h := s.groups.At(g)
		s.guard(h, func() { h.r.PeerSuspect(n) })
	}
	s.markDead(n, true)
}

// peerBack tells that n answers: what this shard leads is told to it anew.
func (s *Shard) peerBack(n core.NodeID) {
	s.suspects.Delete(n)
	s.peers.At(n).since = s.now.Mono
	s.wantBalance()
	for _, g := range append([]core.GroupID(nil), s.groups.Keys()...) {
		h := s.groups.At(g)
		s.guard(h, func() { h.r.PeerBack(n) })
	}
	s.tellLed(n)
	s.markDead(n, false)
}

// tellLed tells n all that this shard leads.
func (s *Shard) tellLed(n core.NodeID) {
	var news []replica.Info
	s.groups.Each(func(_ core.GroupID, h *hosted) {
		if i := h.r.Info(); i.Leads {
			if h.r.Handing() {
				i.Leader = core.NoNode
			}
			news = append(news, i)
		}
	})
	if len(news) > 0 {
		s.post(n, core.RefOf(encodeNews(news)))
	}
}

func (s *Shard) markDead(n core.NodeID, dead bool) {
	for _, t := range s.view.Topics {
		for i := range t.Partitions {
			g := t.Partitions[i].Group
			if l, ok := s.leaders[g]; ok && l.Leader == n && l.Dead != dead {
				l.Dead = dead
				s.leaders[g] = l
				s.leaderChanged(g)
			}
		}
	}
	if l, ok := s.leaders[core.MetaGroup]; ok && l.Leader == n {
		l.Dead = dead
		s.leaders[core.MetaGroup] = l
		s.leaderChanged(core.MetaGroup)
	}
}
