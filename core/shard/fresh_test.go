package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

func (r *rig) retention(n *rigNode, conn core.ConnID, topic string) string {
	r.t.Helper()
	var resp wire.DescribeConfigsResponse
	r.call(n, conn, 32, 4, &wire.DescribeConfigsRequest{Resources: []wire.DescribeConfigsRequestResource{
		{ResourceType: 2, ResourceName: topic, ConfigurationKeys: []string{"retention.ms"}}}}, &resp)
	x := resp.Results[0]
	if x.ErrorCode != 0 || len(x.Configs) != 1 {
		return "?"
	}
	return *x.Configs[0].Value
}

// What was changed through one node is seen through every other, though its copy may lag behind.
func TestAdminReadsAreNeverOld(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("t", 1, 3)
	leader := r.node(r.nodes[0].shards[0].Controller())
	for i, n := range r.nodes {
		if n == leader {
			continue
		}
		r.deaf = n.id
		value := string(rune('1'+i)) + "00000"
		if res := r.adminAt(leader, &meta.AlterConfigs{Resource: meta.TopicResource, Name: "t",
			Ops: []meta.ConfigOp{{Key: "retention.ms", Value: value}}}); res.Code != meta.Done {
			t.Fatal(res)
		}
		old := n.shards[0].view.Topic("t")
		for _, kv := range old.Configs {
			if kv.Value == value {
				t.Fatal("the node is not behind")
			}
		}
		r.deaf = 0
		if got := r.retention(n, core.ConnID(40+i), "t"); got != value {
			t.Errorf("node %d says %s, it was set to %s", n.id, got, value)
		}
	}
}

// Cut off from the leader, a node says what it knows instead of nothing.
func TestAdminReadsOfANodeAlone(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("t", 1, 3)
	for _, n := range r.nodes[1:] {
		r.kill(n)
	}
	r.run(3 * core.Second)
	began := r.now
	if got := r.retention(r.nodes[0], 40, "t"); got != "604800000" {
		t.Errorf("a node without a leader says %s", got)
	}
	if took := r.now - began; took > 600*core.Millisecond {
		t.Errorf("after %d ms", took/core.Millisecond)
	}
	r.run(2 * core.Second)
	if n := len(r.nodes[0].shards[0].home.questions.open); n > 0 {
		t.Errorf("%d questions stay open for ever", n)
	}
}
