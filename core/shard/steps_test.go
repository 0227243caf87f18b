package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
)

// Retention looks at a few partitions in a step, and at each of them in a round.
func TestRetentionGoesOnInTheNextStep(t *testing.T) {
	s := &Shard{}
	const many = 2*retainStep + 1
	for g := core.GroupID(1); g <= many; g++ {
		s.groups.Set(g, &hosted{Shard: s, r: &replica.Replica{}})
	}
	for _, next := range []core.GroupID{retainStep + 1, 2*retainStep + 1, 0, retainStep + 1} {
		if s.onRetain(0); s.retain.next != next {
			t.Fatalf("the next partition is %d, want %d", s.retain.next, next)
		}
		if !s.retain.at.Armed() {
			t.Fatal("nothing goes on")
		}
	}
}

// A batch that waits for room in the window gets in with the next step that finds some.
func TestABatchThatWaitsForRoomGetsIn(t *testing.T) {
	r := newRig(t, 1, 1)
	r.open()
	s, let := r.nodes[0].shards[0], 0
	for k := range 3 {
		s.stalled = append(s.stalled, stall{s.groups.At(core.MetaGroup), func() {
			if let++; let != k+1 {
				t.Errorf("batch %d gets in as number %d", k+1, let)
			}
		}})
	}
	full := s.window.MaxBytes
	s.window.MaxBytes = -1
	if r.turn(); let != 0 {
		t.Errorf("%d batches get in where no room is", let)
	}
	s.window.MaxBytes = full
	if r.turn(); let != 3 || len(s.stalled) != 0 {
		t.Errorf("%d batches of 3 get in", let)
	}
}

// A shard seals again as long as a group of it has something that is not complete.
func TestSealingGoesOnUntilAllIsComplete(t *testing.T) {
	s, v := &Shard{}, &volume{}
	if s.sealGroups(v) {
		t.Error("nothing is left to seal")
	}
	v.unsealed = []*hosted{{Shard: s, r: &replica.Replica{}}} // has not begun
	if !s.sealGroups(v) || len(v.unsealed) != 1 {
		t.Error("a group is forgotten that is not complete")
	}
}

// Once all groups have begun, every shard has said so, and the files of the start before may be used again.
func TestEachShardSaysThatItsGroupsHaveBegun(t *testing.T) {
	r := newRig(t, 1, 3)
	r.open()
	n := r.nodes[0]
	r.kill(n)
	r.start(n)
	r.open()
	r.until("all have begun", 5*core.Second, func() bool {
		return n.shards[0].home.boots[0] == len(n.shards)
	})
}

// Nodes that start together have a while to find each other before topics are placed, whenever they start.
func TestTopicsWaitForThePeers(t *testing.T) {
	for _, since := range []core.Mono{1, core.Second, 3600 * core.Second} {
		s := &Shard{cfg: Config{Peers: []core.NodeID{1, 2, 3}, Topics: []Topic{{Name: "t"}}}, view: &meta.View{}}
		h := &home{s: s}
		for _, after := range []core.Mono{0, 1, peersWait - 1} {
			s.now.Mono = since + after
			func() {
				defer func() {
					if recover() != nil { // there is nobody to make it
						t.Errorf("begun at %d: after %d ns the topic is made", since, after)
					}
				}()
				if h.topicsExist() || !h.gate.at.Armed() {
					t.Errorf("begun at %d: after %d ns nothing waits", since, after)
				}
			}()
		}
	}
}

// One shard without room is enough: all of a node share its disks. It has room when the last of them says so.
func TestANodeIsFullWhenAShardOfItIs(t *testing.T) {
	s := &Shard{cfg: Config{Shards: 1}}
	h := &home{s: s, full: make([]uint32, 3)}
	for i, c := range []struct {
		shard      core.ShardID
		dirs, want uint32
	}{{1, 1, 1}, {2, 2, 3}, {1, 0, 2}, {0, 2, 2}, {2, 0, 2}, {0, 0, 0}} {
		if h.shardFull(c.shard, c.dirs); s.room.node != c.want {
			t.Errorf("%d: directories %b of the node are full, want %b", i, s.room.node, c.want)
		}
	}
}
