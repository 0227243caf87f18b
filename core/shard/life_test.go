package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
)

func (r *rig) admin(cmd meta.Command) meta.Result {
	r.t.Helper()
	return r.adminAt(r.nodes[0], cmd)
}

func (r *rig) adminAt(n *rigNode, cmd meta.Command) meta.Result {
	r.t.Helper()
	var res *meta.Result
	n.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(cmd, 5000, func(x meta.Result, e api.AdminErr) {
			if e != api.AdminOK {
				r.t.Errorf("admin: %v", e)
			}
			res = &x
		})
	})})
	r.until("a metadata command", 10*core.Second, func() bool { return res != nil })
	return *res
}

func TestATopicMadeAgainBeginsEmpty(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	for round := range 4 {
		r.createTopic("again", 3, 3)
		for p := range int32(3) {
			l := r.leader(r.nodes[0], "again", p)
			off, err := r.produce(l, core.ConnID(50*round+int(p)), "again", p, batchOf(fmt.Sprint(round)))
			if err != 0 || off != 0 {
				t.Fatalf("round %d: the first record has offset %d, %v", round, off, err)
			}
		}
		if res := r.admin(&meta.DeleteTopic{Name: "again"}); res.Code != meta.Done {
			t.Fatal(res)
		}
		if round%2 == 1 {
			r.run(100 * core.Millisecond)
		}
	}
	r.run(2 * core.Second)
	for _, n := range r.nodes {
		for p := range n.disk {
			if strings.HasPrefix(p, "again-") {
				t.Errorf("node %d still has %s", n.id, p)
			}
		}
	}
}

// A follower that was away for longer than the leader's window is fed whole segments.
func TestAFollowerCatchesUpBySegments(t *testing.T) {
	r := newRig(t, 3, 1)
	for _, n := range r.nodes {
		n.shards[0].window.MaxEntries = 10 // trims to 64 entries
	}
	r.open()
	r.createTopic("long", 1, 3)
	l := r.leader(r.nodes[0], "long", 0)
	var away *rigNode
	for _, n := range r.nodes {
		if n != l {
			away = n
		}
	}
	r.kill(away)
	r.run(600 * core.Millisecond)
	for i := range 400 {
		if _, err := r.produce(l, 77, "long", 0, batchOf(fmt.Sprint(i), string(make([]byte, 3000)))); err != 0 {
			t.Fatal(err)
		}
	}
	r.start(away)
	path := "long-0/00000000000000000000.log"
	r.until("the follower to catch up", 20*core.Second, func() bool {
		return len(away.disk[path]) > 0 && len(away.disk[path]) == len(l.disk[path]) && string(away.disk[path]) == string(l.disk[path])
	})
	g := r.nodes[0].shards[0].view.Topic("long").Partitions[0].Group
	r.until("it to be in sync", 5*core.Second, func() bool { return len(l.shards[0].Leadership(g).ISR) == 3 })
	if reached("replica: a follower caught up by segments") == 0 {
		t.Error("it was fed another way")
	}
}

// What was written with one number of shards is served with another.
func TestTheNumberOfShardsMayChange(t *testing.T) {
	r := newRig(t, 1, 1)
	r.open()
	r.createTopic("wide", 5, 1)
	n := r.nodes[0]
	next := core.Offset(0)
	for round, shards := range []int{2, 3, 1} {
		for p := range int32(5) {
			off, err := r.produce(n, core.ConnID(10*round+int(p)), "wide", p, batchOf("x"))
			if err != 0 || off != next {
				t.Fatalf("round %d partition %d: %d %v", round, p, off, err)
			}
		}
		next++
		r.kill(n)
		n.shards = make([]*Shard, shards)
		r.start(n)
		r.open()
		r.until("leaders", 5*core.Second, func() bool {
			for _, s := range n.shards {
				tp := s.view.Topic("wide")
				for p := range tp.Partitions {
					if s.Leadership(tp.Partitions[p].Group).Leader == core.NoNode {
						return false
					}
				}
			}
			return true
		})
	}
}

func TestAStopHandsLeadershipsOver(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("calm", 6, 3)
	n := r.leader(r.nodes[0], "calm", 0)
	begin := r.now
	for k := range n.shards {
		n.post(core.ShardID(k), core.Event{Kind: core.StopAsked})
	}
	r.until("a peaceful end", core.Second, func() bool { return n.stopped == len(n.shards) })
	if d := r.now - begin; d > 200*core.Millisecond {
		t.Errorf("took %d ms", d/core.Millisecond)
	}
	for _, s := range n.shards {
		for _, g := range s.groups.Keys() {
			if s.groups.At(g).r.Leads() {
				t.Errorf("group %d is still led by the node that stopped", g)
			}
		}
	}
}

func TestAWipedNodeIsRefused(t *testing.T) {
	for k, name := range []string{"the one that formed the cluster", "the second", "the last to join"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3, 1)
			r.open()
			n := r.nodes[k]
			r.kill(n)
			n.disk = rigDisk{}
			r.run(core.Second)
			r.start(n)
			r.run(3 * core.Second)
			for _, text := range r.fatal {
				if strings.Contains(text, "is empty, but node") {
					return
				}
			}
			t.Fatalf("it was let in: %q\n%s", r.fatal, r.describe())
		})
	}
}

// Whom a node listens to, its disk remembers: a wiped node that meets this one alone must be refused.
func TestEveryDiskRemembersAllItsPeers(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	for _, n := range r.nodes {
		rec, err := Recover(n.disk, n.id)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.nodes {
			if o == n {
				continue
			}
			want := Seen{Node: o.id, Incarnation: 1, Start: 1, Mark: o.shards[0].id.Mark}
			k := rec.Identity.seen(o.id)
			if k == nil {
				t.Fatalf("node %d does not remember node %d", n.id, o.id)
			}
			if want.Met = k.Met; *k != want {
				t.Errorf("node %d remembers of node %d %v, not %v", n.id, o.id, *k, want)
			}
		}
	}
}

func TestAnOldDiskIsRefused(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	n := r.nodes[2]
	old := n.disk.copy()
	for range 2 {
		r.kill(n)
		r.start(n)
		r.run(2 * core.Second)
	}
	r.kill(n)
	n.disk = old
	r.start(n)
	r.run(3 * core.Second)
	if len(r.fatal) == 0 || !strings.Contains(r.fatal[0], "old disk") {
		t.Fatalf("it was let in: %q\n%s", r.fatal, r.describe())
	}
}

// reached says how often a mark was hit.
func reached(name string) (n int64) {
	det.Marks(func(m string, hits int64) {
		if m == name {
			n += hits
		}
	})
	return n
}
