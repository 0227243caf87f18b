package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

func TestClusterOfOneForms(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
}

func TestClusterOfThreeFormsAndSurvivesItsNodes(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.kill(r.node(1))
	r.run(2 * core.Second)
	r.start(r.node(1))
	r.open()
	t.Log(r.describe())
}

// A node that votes alone has nobody to wait for, and clients are let in when they will find leaders.
func TestGatesOpenWhenTopicsHaveLeaders(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		r := newRig(t, nodes, 2)
		r.open()
		r.createTopic("t", 7, int16(nodes))
		for _, n := range r.nodes {
			r.kill(n)
		}
		for _, n := range r.nodes {
			r.start(n)
		}
		began := r.now
		r.open()
		if took := r.now - began; nodes == 1 && took > 100*core.Millisecond {
			t.Errorf("one node takes %d ms", took/core.Millisecond)
		}
		for _, n := range r.nodes {
			for _, s := range n.shards {
				for i := range s.view.Topic("t").Partitions {
					if !s.led(s.view.Topic("t").Partitions[i].Group) {
						t.Errorf("%d nodes: n%d let clients in before t-%d had a leader", nodes, n.id, i)
					}
				}
			}
		}
	}
}

// Leaders that do not come keep the gate shut for a while only.
func TestTheGateDoesNotWaitForDeadReplicas(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("single", 3, 1) // one partition a node
	for _, n := range r.nodes {
		r.kill(n)
	}
	r.start(r.nodes[0])
	r.start(r.nodes[1])
	r.open()
	s := r.nodes[0].shards[0]
	dead := 0
	for i := range s.view.Topic("single").Partitions {
		if !s.led(s.view.Topic("single").Partitions[i].Group) {
			dead++
		}
	}
	if dead != 1 {
		t.Errorf("%d of 3 partitions have no leader with one node of three dead", dead)
	}
}

// A new topic is led by its preferred replicas from the start: a leadership that moves soon after is one
// that a client's first requests stumble over.
func TestNewTopicsAreLedByTheirPreferredReplicas(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	began := r.now
	r.createTopic("t", 24, 3)
	if took := r.now - began; took > 150*core.Millisecond {
		t.Errorf("leaders took %d ms", took/core.Millisecond)
	}
	s := r.nodes[0].shards[0]
	for i, p := range s.view.Topic("t").Partitions {
		if l := s.Leadership(p.Group).Leader; l != p.Replicas[0] {
			t.Errorf("t-%d is led by %d, its replicas are %v", i, l, p.Replicas)
		}
	}
}
