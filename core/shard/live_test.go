package shard

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/meta"
)

// Whoever asks for partitions without saying which nodes live gets none on a node that does not.
func TestNewPartitionsAvoidTheDead(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("t", 1, 1)
	r.kill(r.nodes[2])
	dead := r.nodes[2].id
	for _, n := range r.nodes[:2] {
		r.until("the dead node is suspected", 30*core.Second, func() bool {
			return !slices.Contains(n.shards[0].live(), dead)
		})
	}
	r.createTopic("later", 9, 1)
	n, made := r.nodes[0], false
	n.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(&meta.CreatePartitions{Topic: "t", Count: 9}, 5000, func(res meta.Result, e api.AdminErr) {
			if made = true; e != api.AdminOK || res.Code != meta.Done {
				t.Errorf("create partitions: %v %v", e, res)
			}
		})
	})})
	r.until("the partitions", 20*core.Second, func() bool {
		return made && len(n.shards[0].view.Topic("t").Partitions) == 9
	})
	for _, topic := range []string{"t", "later"} {
		for i, p := range n.shards[0].view.Topic(topic).Partitions {
			if slices.Contains(p.Replicas, dead) && (topic != "t" || i > 0) { // t-0 is older than the death
				t.Errorf("%s-%d was placed on %v, node %d is dead", topic, i, p.Replicas, dead)
			}
		}
	}
}
