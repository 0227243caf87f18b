package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// breakMeta takes the metadata replica of a node offline, as a disk error does.
func (r *rig) breakMeta(n *rigNode) {
	r.t.Helper()
	r.until("a metadata replica", core.Second, func() bool { return n.shards[0].home.admin.h != nil })
	n.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) { s.home.admin.h.r.Fail("the disk broke") })})
	r.turn()
}

// leads counts the user partitions that a node leads.
func (n *rigNode) leads() (k int) {
	for _, s := range n.shards {
		for _, g := range s.groups.Keys() {
			if g != core.MetaGroup && s.groups.At(g).r.Leads() {
				k++
			}
		}
	}
	return k
}

func TestANodeThatClientsCannotReachHandsOver(t *testing.T) {
	for _, shards := range []int{1, 2} {
		r := newRig(t, 3, shards)
		r.open()
		r.createTopic("events", 6, 3)
		n, o, third := r.nodes[0], r.nodes[1], r.nodes[2]
		if n.leads() == 0 {
			t.Fatal("it leads nothing")
		}
		r.breakMeta(n)
		r.until("it to lead nothing", 2*core.Second, func() bool { return n.leads() == 0 })
		for p := range int32(6) {
			l := r.led("events", p)
			if _, err := r.produce(l, core.ConnID(30+p), "events", p, batchOf("x")); err != 0 {
				t.Fatalf("partition %d: %v", p, err)
			}
		}
		if reached("shut: a leader that clients cannot reach handed over") == 0 {
			t.Error("it lost its leaderships in another way")
		}
		// Nobody brings them back to the preferred replica, and it does not stand for election.
		r.kill(third)
		r.until("a leader of all", 5*core.Second, func() bool { return o.leads() == 6 })
		for range 8000 {
			r.turn()
			if n.leads() > 0 {
				t.Fatalf("it leads again\n%s", r.describe())
			}
		}
	}
}

// After a start with a broken metadata replica the gate never opens.
func TestANodeWhoseGateStaysClosedDoesNotCampaign(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("events", 6, 3)
	n, o, third := r.nodes[0], r.nodes[1], r.nodes[2]
	r.kill(n)
	r.run(core.Second)
	r.start(n)
	r.breakMeta(n)
	r.run(core.Second)
	r.kill(third)
	for range 4000 {
		r.turn()
		if n.gate || n.leads() > 0 {
			t.Fatalf("gate %v\n%s", n.gate, r.describe())
		}
	}
	if o.leads() != 6 {
		t.Fatalf("node %d leads %d of 6\n%s", o.id, o.leads(), r.describe())
	}
	if reached("replica: a voter that clients do not reach left the election to others") == 0 {
		t.Error("it had no occasion to stand for election")
	}
}

// Who is the only one that can lead leads, whether clients reach it or not.
func TestTheOnlyOneThatCanLeadStays(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("alone", 6, 1)
	r.createTopic("events", 3, 3)
	n, o, third := r.nodes[0], r.nodes[1], r.nodes[2]
	had := 0
	for p := range int32(6) {
		if r.leader(o, "alone", p) == n {
			had++
		}
	}
	if had == 0 {
		t.Fatal("it has no partition of its own")
	}
	r.breakMeta(n)
	r.run(3 * core.Second)
	if n.leads() != had {
		t.Fatalf("it leads %d, and has %d of its own", n.leads(), had)
	}
	// o misses what n and the third hold: only n can win, and hands over when o has caught up.
	p := int32(0)
	for r.led("events", p) != third {
		p++
	}
	r.deaf = o.id
	for range 5 {
		if _, err := r.produce(third, 40, "events", p, batchOf("x")); err != 0 {
			t.Fatal(err)
		}
	}
	r.kill(third)
	r.deaf = 0
	stood := false
	r.until("o to lead", 10*core.Second, func() bool {
		stood = stood || r.leads(n, "events", p)
		return r.leads(o, "events", p)
	})
	if !stood {
		t.Error("nobody but n could lead, and it did not")
	}
}
