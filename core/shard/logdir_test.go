package shard

import (
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

func (r *rig) logDirs(n *rigNode, topics []wire.DescribeLogDirsRequestTopic) wire.DescribeLogDirsResponseResult {
	r.t.Helper()
	var resp wire.DescribeLogDirsResponse
	r.call(n, core.ConnID(2000+n.id), wire.KeyDescribeLogDirs, 4, &wire.DescribeLogDirsRequest{Topics: topics}, &resp)
	if len(resp.Results) != 1 || resp.Results[0].ErrorCode != wire.None {
		r.t.Fatalf("%+v", resp)
	}
	return resp.Results[0]
}

// What a node says of its directory comes from all its shards, counts batches that only the journal holds, is
// equal on every replica, and leaves out a copy that does not work.
func TestEveryShardTellsWhatItHolds(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("events", 4, 3)
	want := [4]int64{}
	for p := range int32(4) {
		for i := range p + 1 {
			b := batchOf(fmt.Sprintf("value %d", i))
			if i == 2 {
				b = batchOf(string(make([]byte, 40<<10)))
			}
			want[p] += int64(len(b))
			if _, err := r.produce(r.leader(r.nodes[0], "events", p), core.ConnID(10+p), "events", p, b); err != 0 {
				t.Fatal(err)
			}
		}
	}
	check := func(n *rigNode) error {
		d := r.logDirs(n, nil)
		if d.TotalBytes != 1<<40 || d.UsableBytes != 1<<30 {
			return fmt.Errorf("node %d: a volume of %d bytes, %d usable", n.id, d.TotalBytes, d.UsableBytes)
		}
		if len(d.Topics) != 1 || len(d.Topics[0].Partitions) != 4 {
			return fmt.Errorf("node %d: %+v", n.id, d.Topics)
		}
		for i, p := range d.Topics[0].Partitions {
			if p.PartitionIndex != int32(i) || p.PartitionSize != want[i] || p.OffsetLag != 0 || p.IsFutureKey {
				return fmt.Errorf("node %d: %+v, want %d bytes", n.id, p, want[i])
			}
		}
		return nil
	}
	r.run(50 * core.Millisecond)
	if err := check(r.leader(r.nodes[0], "events", 0)); err != nil {
		t.Error(err) // so early the small ones are in the journal only
	}
	r.run(2 * core.Second)
	for _, n := range r.nodes {
		if err := check(n); err != nil {
			t.Error(err)
		}
	}
	n := r.nodes[1]
	g := n.shards[0].view.Topic("events").Partitions[2].Group
	for _, s := range n.shards {
		if h := s.groups.At(g); h != nil {
			n.post(s.cfg.Shard, core.Event{Kind: core.MailIn, Mail: letter(func(*Shard) { h.r.Fail("a test") })})
		}
	}
	r.run(10 * core.Millisecond)
	d := r.logDirs(n, []wire.DescribeLogDirsRequestTopic{{Topic: "events", Partitions: []int32{3, 2}}})
	if len(d.Topics) != 1 || len(d.Topics[0].Partitions) != 1 || d.Topics[0].Partitions[0].PartitionIndex != 3 {
		t.Errorf("with partition 2 offline: %+v", d.Topics)
	}
}
