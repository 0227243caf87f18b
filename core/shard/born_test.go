package shard

import (
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
)

// A replay may show a topic whose deletion is committed: a group is born when the start of the node is in the
// metadata log, and not before.
func TestNothingIsBornBeforeTheStartIsKnown(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("gone", 4, 3)
	r.createTopic("kept", 4, 3)
	n := r.nodes[2]
	before := n.shards[0].view
	if res := r.admin(&meta.DeleteTopic{Name: "gone"}); res.Code != meta.Done {
		t.Fatal(res)
	}
	r.run(500 * core.Millisecond)
	r.kill(n)
	for _, o := range r.nodes[:2] {
		r.kill(o)
	}
	r.start(n)
	r.run(300 * core.Millisecond)
	for _, s := range n.shards { // what a replay shows that ends early
		s.setView(before)
		for _, g := range s.groups.Keys() {
			if strings.HasPrefix(s.groups.At(g).dir, "gone-") {
				t.Fatal("a deleted group was born again")
			}
		}
	}
	for _, o := range r.nodes[:2] {
		r.start(o)
	}
	r.open()
	count := 0
	for _, s := range n.shards {
		for _, g := range s.groups.Keys() {
			if strings.HasPrefix(s.groups.At(g).dir, "kept-") {
				count++
			}
		}
	}
	if count != 4 {
		t.Errorf("it has %d of 4 partitions\n%s", count, r.describe())
	}
	r.createTopic("new", 4, 3)
	r.until("new partitions", 2*core.Second, func() bool { return n.shards[0].view.Topic("new") != nil && r.led("new", 3) != nil })
}

// A journal that lost records may have held the metadata group's: a new one would have forgotten its votes. So
// with the groups that were there before the start.
func TestALostMetadataJournalIsNotBornAgain(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("events", 3, 3)
	n := r.nodes[1]
	r.kill(n)
	r.turn()
	r.start(n)
	s := n.shards[0]
	s.rec.Found.Groups, s.rec.Found.Lost = nil, "frames 1 to 9"
	r.run(3 * core.Second)
	if h := s.groups.At(core.MetaGroup); h == nil || h.r.Offline() == "" {
		t.Fatalf("the metadata group was born again\n%s", r.describe())
	}
	if n.gate || n.leads() > 0 {
		t.Errorf("it serves without its journal\n%s", r.describe())
	}
}
