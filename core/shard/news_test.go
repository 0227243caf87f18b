package shard

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
)

// News that were lost do not come again by themselves: a node that missed a change of leader asks.
func TestANodeAsksWhatItMissed(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("calm", 6, 2)
	n := r.nodes[0]
	r.run(core.Second)
	knows := func(n *rigNode, g core.GroupID) core.NodeID { return n.shards[0].Leadership(g).Leader }
	view := n.shards[0].view.Topic("calm")
	for p := range view.Partitions {
		g := view.Partitions[p].Group
		was := r.leader(n, "calm", int32(p))
		if slices.Contains(view.Partitions[p].Replicas, n.id) {
			continue // raft would tell it
		}
		to := r.nodes[1]
		if to == was {
			to = r.nodes[2]
		}
		r.deaf = n.id
		for _, s := range was.shards {
			if h := s.groups.At(g); h != nil && !h.r.TransferTo(to.id) {
				t.Fatalf("node %d does not hand partition %d over", was.id, p)
			}
		}
		r.until("another leader", core.Second, func() bool { return knows(to, g) == to.id })
		r.run(5 * core.Millisecond)
		r.deaf = 0
		if knows(n, g) == to.id {
			t.Fatal("the news were not lost")
		}
		r.until("the news", askEvery+core.Second, func() bool { return knows(n, g) == to.id })
		return
	}
	t.Fatal("every partition has a copy on node 1")
}
