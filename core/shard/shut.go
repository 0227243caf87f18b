package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// What a node does that clients cannot reach: its gate is not open yet (gate.go), or its metadata replica is
// offline, so that what it says of topics stays as it is, and after a start its gate never opens. What it leads
// would be led for nobody, so it does as a node without room does (room.go): it hands over to voters in sync whose
// nodes clients reach, looks for one until there is, and leaves elections to such voters for a second. When it is the
// only one that can lead it does: whether it stays shut is not known here. The metadata group takes no part in
// this, it needs no client. A node says with its pings that it is open; until then the others take it for shut.

var markShut = det.NewMark("shut: a leader that clients cannot reach handed over")

// Shut says whether clients cannot reach node n.
func (s *Shard) Shut(n core.NodeID) bool {
	if n == s.cfg.Node {
		return s.room.shut
	}
	p := s.peers.At(n)
	return p == nil || !p.open
}

// lookShut follows the gate and the metadata replica, and tells all shards and the other nodes.
func (h *home) lookShut() {
	shut := !h.gate.open || h.admin.h.r.Offline() != ""
	if shut == h.s.room.shut {
		return
	}
	f := func(t *Shard) {
		t.room.shut = shut
		if shut {
			t.timers.Arm(&t.room.at, int64(t.now.Mono))
		}
	}
	f(h.s)
	h.s.onOthers(f)
	h.pingAll()
}

// peerOpen takes from a ping whether clients reach its sender.
func (h *home) peerOpen(n core.NodeID, open bool) {
	if p := h.s.peers.At(n); p == nil || p.open == open {
		return
	}
	f := func(t *Shard) {
		t.peers.At(n).open = open
		t.wantBalance()
	}
	f(h.s)
	h.s.onOthers(f)
}
