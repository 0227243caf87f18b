package shard

import (
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// coordinator is the node that leads a group's partition of __consumer_offsets, once it answers.
func (r *rig) coordinator(group string) *rigNode {
	r.t.Helper()
	var l *rigNode
	r.until("a coordinator", 10*core.Second, func() bool {
		var resp wire.FindCoordinatorResponse
		r.call(r.nodes[0], 900, 10, 3, &wire.FindCoordinatorRequest{Key: group}, &resp)
		if resp.ErrorCode != 0 {
			return false
		}
		l = r.node(core.NodeID(resp.NodeId))
		return r.committed(group, l, "t").err == wire.None
	})
	return l
}

type fetched struct {
	offset int64
	err    wire.Error
}

func (r *rig) committed(group string, l *rigNode, topic string) fetched {
	r.t.Helper()
	var resp wire.OffsetFetchResponse
	r.call(l, 901, 9, 7, &wire.OffsetFetchRequest{GroupId: group, Topics: []wire.OffsetFetchRequestTopic{
		{Name: topic, PartitionIndexes: []int32{0}}}}, &resp)
	if resp.ErrorCode != 0 {
		return fetched{-1, wire.Error(resp.ErrorCode)}
	}
	p := resp.Topics[0].Partitions[0]
	return fetched{p.CommittedOffset, wire.Error(p.ErrorCode)}
}

func (r *rig) commit(group string, l *rigNode, topic string, offset int64) {
	r.t.Helper()
	var resp wire.OffsetCommitResponse
	r.call(l, 902, 8, 7, &wire.OffsetCommitRequest{GroupId: group, GenerationIdOrMemberEpoch: -1, Topics: []wire.OffsetCommitRequestTopic{
		{Name: topic, Partitions: []wire.OffsetCommitRequestPartition{{CommittedOffset: offset, CommittedLeaderEpoch: -1}}}}}, &resp)
	if e := resp.Topics[0].Partitions[0].ErrorCode; e != 0 {
		r.t.Fatalf("commit: %v", e)
	}
}

// A coordinator leads sooner after a restart than its node knows which topics exist. It must not take
// those that it does not know for deleted.
func TestCommittedOffsetsSurviveARestart(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		for _, shards := range []int{1, 2} {
			t.Run(fmt.Sprintf("%d nodes %d shards", nodes, shards), func(t *testing.T) {
				r := newRig(t, nodes, shards)
				r.open()
				r.createTopic("t", 1, int16(nodes))
				r.commit("g", r.coordinator("g"), "t", 41)
				for range 3 {
					r.run(200 * core.Millisecond)
					for _, n := range r.nodes {
						r.kill(n)
					}
					for _, n := range r.nodes {
						r.start(n)
					}
					r.open()
					if x := r.committed("g", r.coordinator("g"), "t"); x.offset != 41 {
						t.Fatalf("the committed offset is %d after a restart", x.offset)
					}
				}
			})
		}
	}
}

// What was deleted while nobody led goes when somebody does.
func TestANewCoordinatorDropsOffsetsOfDeletedTopics(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
	r.createTopic("t", 1, 1)
	r.createTopic("kept", 1, 1)
	r.commit("g", r.coordinator("g"), "t", 41)
	r.commit("g", r.coordinator("g"), "kept", 42)
	n := r.nodes[0]
	p, _ := n.shards[0].CoordinatorOf("g")
	s := n.shards[n.shards[0].ownerOf(p)]
	on := func(f func(h *hosted)) {
		n.post(s.cfg.Shard, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) { f(s.groups.At(p.Group())) })})
		r.run(50 * core.Millisecond)
	}
	on(func(h *hosted) { h.coord.c.Resign(); h.coord.term = 0 })
	if res := r.admin(&meta.DeleteTopic{Name: "t"}); res.Code != meta.Done {
		t.Fatal(res)
	}
	on(func(h *hosted) { i := h.r.Info(); s.coordChanged(h, &i) })
	l := r.coordinator("g")
	r.until("the offset is gone", core.Second, func() bool { return r.committed("g", l, "t").offset == -1 })
	if x := r.committed("g", l, "kept"); x.offset != 42 {
		t.Errorf("the offset of a topic that exists is %d", x.offset)
	}
}

// A coordinator whose replica has lost its leadership resigns, whether or not it has heard of a newer term.
func TestADeposedCoordinatorResigns(t *testing.T) {
	for _, newer := range []core.Term{0, 1} {
		r := newRig(t, 1, 2)
		r.open()
		r.createTopic("t", 1, 1)
		r.commit("g", r.coordinator("g"), "t", 41)
		n := r.nodes[0]
		p, _ := n.shards[0].CoordinatorOf("g")
		s := n.shards[n.shards[0].ownerOf(p)]
		var led, leads bool
		n.post(s.cfg.Shard, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
			h := s.groups.At(p.Group())
			led = h.coord.c.Leading()
			s.coordChanged(h, &replica.Info{Group: h.group, Term: h.coord.term + newer})
			leads = h.coord.c.Leading()
		})})
		r.run(50 * core.Millisecond)
		if !led || leads {
			t.Errorf("it led: %v; and still does: %v", led, leads)
		}
	}
}

// coordShard is the shard of n that has the coordinator of a group, and its replica.
func coordShard(n *rigNode, group string) (*Shard, *hosted) {
	p, _ := n.shards[0].CoordinatorOf(group)
	s := n.shards[n.shards[0].ownerOf(p)]
	return s, s.groups.At(p.Group())
}

// renew deletes a topic and makes another of the same name.
func (r *rig) renew(name string) {
	r.t.Helper()
	if res := r.admin(&meta.DeleteTopic{Name: name}); res.Code != meta.Done {
		r.t.Fatal(res)
	}
	r.createTopic(name, 1, int16(len(r.nodes)))
}

// An offset in a topic that was deleted is none in a topic of the same name, which was made before anybody could
// remove it: nobody coordinated meanwhile.
func TestANewCoordinatorDropsOffsetsOfNamesakes(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
	r.createTopic("t", 1, 1)
	r.createTopic("kept", 1, 1)
	r.commit("g", r.coordinator("g"), "t", 41)
	r.commit("g", r.coordinator("g"), "kept", 42)
	n := r.nodes[0]
	s, _ := coordShard(n, "g")
	on := func(f func(h *hosted)) {
		n.post(s.cfg.Shard, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) { _, h := coordShard(n, "g"); f(h) })})
		r.run(50 * core.Millisecond)
	}
	on(func(h *hosted) { h.coord.c.Resign(); h.coord.term = 0 })
	r.renew("t")
	on(func(h *hosted) { i := h.r.Info(); s.coordChanged(h, &i) })
	if x := r.committed("g", n, "t"); x.offset != -1 || x.err != wire.None {
		t.Fatalf("a young topic has the offset of the one before: %+v", x)
	}
	if x := r.committed("g", n, "kept"); x.offset != 42 {
		t.Errorf("the offset of a topic that was not deleted is %d", x.offset)
	}
	if s, h := coordShard(n, "g"); s == nil || h.coord.c.Stale() {
		t.Error("the old offset is still in the log")
	}
	r.commit("g", n, "t", 3)
	if x := r.committed("g", n, "t"); x.offset != 3 {
		t.Errorf("the offset of the new topic is %d", x.offset)
	}
}

// The shard of a connection may know a topic that the coordinator's has seen deleted: its commit comes too late.
func TestACommitForATopicThatIsGoneIsRefused(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
	r.createTopic("t", 1, 1)
	n := r.coordinator("g")
	s, h := coordShard(n, "g")
	home := n.shards[1-int(s.cfg.Shard)]
	old := home.view
	for _, again := range []bool{false, true} {
		if res := r.admin(&meta.DeleteTopic{Name: "t"}); res.Code != meta.Done {
			t.Fatal(res)
		}
		if again {
			r.createTopic("t", 1, 1)
		}
		id := old.Topic("t").ID
		req := &wire.OffsetCommitRequest{GroupId: "g", GenerationIdOrMemberEpoch: -1, Topics: []wire.OffsetCommitRequestTopic{
			{Name: "t", TopicId: id, Partitions: []wire.OffsetCommitRequestPartition{{CommittedOffset: 41, CommittedLeaderEpoch: -1}}}}}
		version, want := int16(9), wire.UnknownTopicOrPartition
		if again {
			version, want = 10, wire.UnknownTopicId
		}
		now := home.view
		home.view = old
		var resp wire.OffsetCommitResponse
		r.call(n, core.ConnID(904+2*int(version)+int(home.cfg.Shard)), 8, version, req, &resp)
		home.view = now
		if e := resp.Topics[0].Partitions[0].ErrorCode; e != want {
			t.Fatalf("again %v: a commit for a topic that is gone was answered %v, not %v", again, e, want)
		}
		if h.coord.c.Stale() {
			t.Fatal("it is in the log")
		}
		if !again {
			r.createTopic("t", 1, 1)
			old = home.view
		}
	}
}

// A coordinator whose node has not heard yet that a topic was made again asks before it tells anybody where a group
// begins.
func TestACoordinatorThatIsBehindAsksWhichTopicsThereAre(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("t", 1, 3)
	first := r.node(r.nodes[0].shards[0].leaders[core.MetaGroup].Leader)
	var n *rigNode
	group := ""
	for i := 0; n == nil || n == first; i++ {
		group = fmt.Sprint("g", i)
		n = r.coordinator(group)
	}
	r.commit(group, n, "t", 41)
	old := n.shards[0].view.Topic("t")
	r.deaf = n.id
	for _, cmd := range []meta.Command{&meta.DeleteTopic{Name: "t"},
		&meta.CreateTopic{Name: "t", ID: [16]byte{9}, Partitions: 1, Replication: 3}} {
		if res := r.adminAt(first, cmd); res.Code != meta.Done {
			t.Fatal(res)
		}
	}
	r.deaf = 0
	if n.shards[0].view.Topic("t") != old {
		t.Fatal("it has heard of it")
	}
	if x := r.committed(group, n, "t"); x.offset == 41 {
		t.Fatalf("it told where the group was in the topic before: %+v", x)
	}
	r.until("it knows", 10*core.Second, func() bool { return r.committed(group, n, "t") == fetched{-1, wire.None} })
}
