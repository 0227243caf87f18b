package shard

import (
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
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

// As soon as a new topic has a leader its offsets may be asked for: there is nothing that the leader could
// not know. OFFSET_NOT_AVAILABLE is for leaders that take over a log.
func TestANewTopicAnswersAtOnce(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		r := newRig(t, nodes, 2)
		r.open()
		for i := range 5 {
			name := fmt.Sprint("t", i)
			r.createTopic(name, 1, int16(nodes))
			req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{{Name: name,
				Partitions: []wire.ListOffsetsRequestPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}}}}
			var resp wire.ListOffsetsResponse
			r.call(r.leader(r.nodes[0], name, 0), core.ConnID(50+i), 2, 7, &req, &resp)
			if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.Offset != 0 {
				t.Errorf("%d nodes: %s: latest offset %d, error %v", nodes, name, p.Offset, p.ErrorCode)
			}
		}
	}
}
