package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Leaders go back to the preferred replica, the first of a partition's list, once its node has been
// well for a while: else the node that restarts last leads nothing (Kafka's
// auto.leader.rebalance.enable, which looks every 300 s; handing over takes milliseconds here). While every leader
// is where it belongs, or its place is taken by a node that is away or shut, nobody looks: a shard that comes to
// lead something, a peer that is back and one that opens begin it again.
const (
	balanceEvery = core.Second
	balanceAfter = 5 * core.Second // without suspicion
	balanceBatch = 16              // partitions at a time
)

var markBalanced = det.NewMark("shard: a leadership went back to its preferred replica")

// wantBalance has the shard look at its next whole second.
func (s *Shard) wantBalance() {
	if !s.balance.Armed() {
		age := s.now.Mono - s.booted
		s.timers.Arm(&s.balance, int64(s.now.Mono+balanceEvery-age%balanceEvery))
	}
}

func (s *Shard) onBalance(int64) {
	if s.stop.asked {
		return
	}
	moved, waiting := 0, false
	for _, g := range s.groups.Keys() {
		h := s.groups.At(g)
		if !h.r.Leads() {
			continue
		}
		t, i := s.view.Group(g)
		if t == nil {
			continue
		}
		n := t.Partitions[i].Replicas[0]
		p := s.peers.At(n)
		if n == s.cfg.Node || p == nil || s.Shut(n) || s.Suspect(n) {
			continue
		}
		waiting = true
		if s.now.Mono-p.since < balanceAfter {
			continue
		}
		s.guard(h, func() {
			if h.r.TransferTo(n) {
				markBalanced.Hit()
				moved++
			}
		})
		if moved == balanceBatch {
			break
		}
	}
	if waiting {
		s.wantBalance()
	}
}
