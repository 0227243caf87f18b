package shard

import (
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
)

// wipe takes a node's disk and starts it with --rejoin.
func (r *rig) wipe(n *rigNode) {
	r.t.Helper()
	if !n.down {
		r.kill(n)
	}
	r.turn() // the others hear of it
	n.disk, n.rejoin = rigDisk{}, true
	r.start(n)
}

// whole says why some group is not led with all its nodes in sync and one voter of each, the newest; "" when all are.
func (r *rig) whole() string {
	newest := map[core.NodeID]uint32{}
	for _, n := range r.nodes {
		if n.down || !n.gate {
			return fmt.Sprintf("node %d is not open", n.id)
		}
		newest[n.id] = n.shards[0].id.Incarnation
	}
	led := map[core.GroupID]bool{}
	for _, n := range r.nodes {
		for _, s := range n.shards {
			for _, g := range s.groups.Keys() {
				h := s.groups.At(g)
				c := h.r.Conf()
				var want []uint64
				for _, v := range h.r.Voters() {
					want = append(want, uint64(core.NewRaftID(newest[v], v)))
				}
				slices.Sort(want)
				if !slices.Equal(slices.Sorted(slices.Values(c.Voters)), want) || len(c.Learners)+len(c.VotersOutgoing) > 0 {
					return fmt.Sprintf("node %d, %s: %v, not %x", n.id, h.dir, c, want)
				}
				if i := h.r.Info(); i.Leads {
					led[g] = true
					if len(i.ISR) != len(want) {
						return fmt.Sprintf("%s: in sync are %v", h.dir, i.ISR)
					}
				}
			}
		}
	}
	for _, s := range r.nodes[0].shards {
		for _, g := range s.groups.Keys() {
			if !led[g] {
				return fmt.Sprintf("group %d has no leader", g)
			}
		}
	}
	return ""
}

func (r *rig) untilWhole(d core.Mono) {
	r.t.Helper()
	why := "?"
	for end := r.now + d; r.now < end; {
		r.run(20 * core.Millisecond)
		if why = r.whole(); why == "" {
			return
		}
	}
	r.t.Fatalf("not whole within %d ms: %s\n%s", d/core.Millisecond, why, r.describe())
}

func TestAWipedNodeTakesANewIncarnation(t *testing.T) {
	for _, shards := range []int{1, 2} {
		for victim := range 3 {
			t.Run(fmt.Sprintf("%d shards, node %d", shards, victim+1), func(t *testing.T) {
				r := newRig(t, 3, shards)
				r.open()
				r.createTopic("events", 5, 3)
				for p := range int32(5) {
					if _, err := r.produce(r.leader(r.nodes[0], "events", p), core.ConnID(50+p), "events", p, batchOf("before")); err != 0 {
						t.Fatal(err)
					}
				}
				r.run(2 * core.Second) // they sleep
				n := r.nodes[victim]
				replicas := fmt.Sprint(r.nodes[0].shards[0].view.Topic("events").Partitions[0].Replicas)
				r.wipe(n)
				r.untilWhole(10 * core.Second)
				if k := n.shards[0].id.Incarnation; k != 2 {
					t.Errorf("it has incarnation %d", k)
				}
				if now := fmt.Sprint(n.shards[0].view.Topic("events").Partitions[0].Replicas); now != replicas {
					t.Errorf("clients were told of replicas %s and are told of %s", replicas, now)
				}
				o := r.nodes[(victim+1)%3] // now it is needed for a majority
				r.kill(o)
				r.run(2 * core.Second)
				for p := range int32(5) {
					l := r.led("events", p)
					if off, err := r.produce(l, core.ConnID(150+p), "events", p, batchOf("after")); err != 0 || off != 1 {
						t.Fatalf("partition %d: %d %v", p, off, err)
					}
				}
				r.start(o)
				r.kill(n)
				r.start(n) // its disk is one like any other, whatever the flag says
				r.untilWhole(10 * core.Second)
				if k := n.shards[0].id.Incarnation; k != 2 || len(r.fatal) > 0 {
					t.Errorf("incarnation %d after a restart, %q", k, r.fatal)
				}
			})
		}
	}
}

// Again and again, and another node after it.
func TestNodesRejoinOneAfterTheOther(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("events", 3, 3)
	for round := range 3 {
		for _, n := range r.nodes {
			if _, err := r.produce(r.leader(r.nodes[0], "events", 0), core.ConnID(50+round), "events", 0, batchOf("x")); err != 0 {
				t.Fatal(err)
			}
			r.wipe(n)
			r.untilWhole(10 * core.Second)
			if k := n.shards[0].id.Incarnation; k != uint32(round+2) {
				t.Fatalf("node %d has incarnation %d in round %d", n.id, k, round)
			}
		}
	}
	if off, err := r.produce(r.leader(r.nodes[0], "events", 0), 99, "events", 0, batchOf("x")); err != 0 || off != 9 {
		t.Fatalf("%d %v", off, err)
	}
}

// A crash at any moment, with the disk or without it.
func TestARejoinThatIsCutShortGoesOn(t *testing.T) {
	for at := core.Mono(0); at < 400*core.Millisecond; at += 7 * core.Millisecond {
		r := newRig(t, 3, 1)
		r.open()
		r.createTopic("events", 3, 3)
		n := r.nodes[int(at/core.Millisecond/7)%3]
		r.wipe(n)
		r.run(at)
		if at/core.Millisecond/7%2 == 0 {
			r.wipe(n)
		} else {
			r.kill(n)
			r.start(n)
		}
		r.run(at / 2)
		o := r.nodes[(int(at/core.Millisecond/7)+1)%3] // perhaps the leader
		r.kill(o)
		r.run(50 * core.Millisecond)
		r.start(o)
		r.untilWhole(15 * core.Second)
	}
	if reached("members: a learner whose disk is gone was removed") == 0 {
		t.Error("no learner was cut short")
	}
}

// The disk that was given up is refused, whoever meets it first, and whatever its counter says.
func TestTheOldIncarnationIsRefused(t *testing.T) {
	for _, alone := range []int{1, 5} {
		r := newRig(t, 3, 2)
		r.open()
		n := r.nodes[2]
		r.kill(n)
		old := n.disk.copy()
		r.wipe(n)
		r.untilWhole(10 * core.Second)
		for _, x := range r.nodes {
			r.kill(x)
		}
		n.disk = old
		for k := range alone {
			if k > 0 {
				r.kill(n)
			}
			r.start(n)
			r.run(10 * core.Millisecond)
		}
		for _, o := range r.nodes[:2] {
			r.start(o)
		}
		for range 2000 {
			r.turn()
			if r.believes(r.nodes[0], n) || r.believes(r.nodes[1], n) {
				t.Fatalf("it was let in: %q", r.fatal)
			}
		}
		if !r.fatalWith("old disk of") && !r.fatalWith("shows an old disk (incarnation 1)") {
			t.Fatalf("it was not refused: %q", r.fatal)
		}
	}
}

// Whoever has lost a majority lets nobody in, and forms no other cluster.
func TestTwoOfThreeCannotRejoin(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("events", 1, 3)
	a, b := r.nodes[0], r.nodes[1]
	r.kill(a)
	r.kill(b)
	r.wipe(a)
	r.wipe(b)
	r.run(5 * core.Second)
	for _, n := range []*rigNode{a, b} {
		if n.shards[0].home.member {
			t.Errorf("node %d is a member of %s", n.id, n.shards[0].id.Cluster)
		}
	}
	if r.nodes[2].shards[0].view.Topic("events") == nil || len(r.fatal) > 0 {
		t.Errorf("%q", r.fatal)
	}
}

// Five nodes bear two at once.
func TestTwoOfFiveRejoinAtOnce(t *testing.T) {
	r := newRig(t, 5, 1)
	r.open()
	r.createTopic("events", 4, 5)
	a, b := r.nodes[0], r.nodes[3]
	r.kill(a)
	r.kill(b)
	r.wipe(a)
	r.wipe(b)
	r.untilWhole(20 * core.Second)
	for p := range int32(4) {
		if off, err := r.produce(r.led("events", p), core.ConnID(150+p), "events", p, batchOf("after")); err != 0 || off != 0 {
			t.Fatalf("partition %d: %d %v", p, off, err)
		}
	}
}

// Topics come and go meanwhile; a partition that had its only copy there waits for its deletion.
func TestTopicsComeAndGoDuringARejoin(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("old", 3, 3)
	r.createTopic("single", 3, 1)
	r.run(core.Second)
	n := r.nodes[2]
	r.wipe(n)
	made := 0
	for round := range 12 {
		r.run(core.Mono(round*3) * core.Millisecond)
		name := fmt.Sprint("new", round)
		if res := r.admin(&meta.CreateTopic{Name: name, ID: [16]byte{byte(round)}, Partitions: 2, Replication: 3}); res.Code != meta.Done {
			t.Fatal(res)
		}
		made++
		if round%3 == 0 {
			r.admin(&meta.DeleteTopic{Name: name})
		}
	}
	r.until("its gate to open", 10*core.Second, func() bool { return n.gate })
	r.run(2 * core.Second)
	if s := n.shards[0]; made != 12 || s.view.Topic("new1") == nil || s.view.Topic("new0") != nil {
		t.Fatal("it has not heard what happened meanwhile")
	}
	dead := 0
	for _, p := range r.nodes[0].shards[0].view.Topic("single").Partitions {
		if p.Replicas[0] == n.id {
			dead++
		}
	}
	if dead != 1 {
		t.Fatalf("%d partitions had their only copy there", dead)
	}
	if res := r.admin(&meta.DeleteTopic{Name: "single"}); res.Code != meta.Done {
		t.Fatal(res)
	}
	r.untilWhole(10 * core.Second)
}

// More than the leader's window holds comes as segments, to a learner, too.
func TestALearnerCatchesUpBySegments(t *testing.T) {
	r := newRig(t, 3, 1)
	for _, n := range r.nodes {
		n.shards[0].window.MaxEntries = 10
	}
	r.open()
	r.createTopic("long", 1, 3)
	l := r.leader(r.nodes[0], "long", 0)
	for i := range 400 {
		if _, err := r.produce(l, 77, "long", 0, batchOf(fmt.Sprint(i), string(make([]byte, 3000)))); err != 0 {
			t.Fatal(err)
		}
	}
	n := r.nodes[0]
	if n == l {
		n = r.nodes[1]
	}
	before := reached("replica: a follower caught up by segments")
	r.wipe(n)
	r.untilWhole(20 * core.Second)
	path := "long-0/00000000000000000000.log"
	r.until("equal files", 5*core.Second, func() bool { return string(n.disk[path]) == string(l.disk[path]) })
	if reached("replica: a follower caught up by segments") == before {
		t.Error("it was fed another way")
	}
}

// A frame of the old incarnation that somebody on the way kept counts for nothing.
func TestAFrameOfTheOldIncarnationIsDropped(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("events", 1, 3)
	r.run(core.Second)
	n, o := r.nodes[2], r.nodes[0]
	r.wipe(n)
	r.untilWhole(10 * core.Second)
	s := o.shards[0]
	g := s.view.Topic("events").Partitions[0].Group
	h := s.groups.At(g)
	m := ghostVote(h.r, n.id)
	head := putHead(nil, frameRaft, h.hash, g)
	frame := sealedFrame(append(append(head, byte(m.Size()), 0, 0, 0), must(m.Marshal())...))
	before, term := reached("shard: a frame of an older incarnation was dropped"), h.r.Term()
	r.send(n, 0, o.id, frame)
	r.run(50 * core.Millisecond)
	if reached("shard: a frame of an older incarnation was dropped") == before || h.r.Term() != term {
		t.Error("it was taken")
	}
}

// ghostVote is what incarnation 1 of a node could have sent: it asks for a vote in a later term.
func ghostVote(to *replica.Replica, from core.NodeID) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgVote, From: uint64(core.NewRaftID(1, from)), To: uint64(to.ID()),
		Term: uint64(to.Term()) + 5, Index: 1 << 40, LogTerm: 1 << 20}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// The old disk comes back while the new one is being taken in. Whoever has met the new one refuses it; where
// nobody has, it is the node's disk as before. Then the new disk carries on, or asks anew.
func TestTheOldDiskComesBackInTheMiddle(t *testing.T) {
	refused, taken := 0, 0
	for at := core.Mono(0); at < 350*core.Millisecond; at += 6 * core.Millisecond {
		r := newRig(t, 3, 1)
		r.open()
		r.createTopic("events", 2, 3)
		n := r.nodes[int(at/core.Millisecond/6)%3]
		produce := func(conn core.ConnID, want core.Offset) {
			if off, err := r.produce(r.led("events", 0), conn, "events", 0, batchOf("x")); err != 0 || off != want {
				t.Fatalf("at %d ms: %d %v", at/core.Millisecond, off, err)
			}
		}
		produce(50, 0)
		r.kill(n)
		r.turn()
		old := n.disk.copy()
		r.wipe(n)
		r.run(at)
		met := false
		for _, o := range r.nodes {
			k := o.shards[0].id.seen(n.id)
			met = met || o != n && k != nil && k.Incarnation > 1
		}
		r.kill(n)
		r.turn()
		newer := n.disk
		n.disk = old
		r.start(n)
		if met {
			r.until("the old disk to be refused", 5*core.Second, func() bool { return r.fatalWith("old disk") })
			refused++
			r.fatal = nil
			r.kill(n)
			r.turn()
			n.disk = newer
			r.start(n)
		} else {
			taken++
		}
		r.untilWhole(15 * core.Second)
		if len(r.fatal) > 0 || met != (n.shards[0].id.Incarnation > 1) {
			t.Fatalf("at %d ms: incarnation %d, %q", at/core.Millisecond, n.shards[0].id.Incarnation, r.fatal)
		}
		produce(51, 1)
	}
	if refused == 0 || taken == 0 {
		t.Errorf("refused %d times, taken %d times", refused, taken)
	}
}

// A learner is nobody for acks=all and for who is in sync, however much it holds.
func TestALearnerDoesNotCount(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("events", 1, 3)
	r.run(core.Second)
	n, learned := r.nodes[2], 0
	g := r.nodes[0].shards[0].view.Topic("events").Partitions[0].Group
	r.wipe(n)
	for range 3000 {
		r.turn()
		for _, o := range r.nodes[:2] {
			h := o.shards[0].groups.At(g)
			if i := h.r.Info(); i.Leads && !slices.Contains(h.r.Conf().Voters, uint64(core.NewRaftID(2, n.id))) {
				if len(h.r.Conf().Learners) > 0 {
					learned++
				}
				if slices.Contains(i.ISR, n.id) && n.shards[0].home.member {
					t.Fatalf("in sync are %v, the configuration is %v", i.ISR, h.r.Conf())
				}
			}
		}
	}
	if learned == 0 {
		t.Error("it never was a learner")
	}
	r.untilWhole(5 * core.Second)
}
