package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// epochEnd asks n where leader epoch e of t-0 ends, as a client that takes current for the leader's epoch.
func (r *rig) epochEnd(n *rigNode, conn core.ConnID, current, e int32) wire.OffsetForLeaderEpochResponsePartition {
	r.t.Helper()
	req := wire.OffsetForLeaderEpochRequest{ReplicaId: -1, Topics: []wire.OffsetForLeaderEpochRequestTopic{{Topic: "t",
		Partitions: []wire.OffsetForLeaderEpochRequestPartition{{CurrentLeaderEpoch: current, LeaderEpoch: e}}}}}
	var resp wire.OffsetForLeaderEpochResponse
	r.call(n, conn, wire.KeyOffsetForLeaderEpoch, 4, &req, &resp)
	return resp.Topics[0].Partitions[0]
}

// Clients take the first leader's epoch for 0. What they are told, what fences them and what batches say
// are one count.
func TestTheFirstLeaderHasEpochZero(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("t", 1, 3)
	first := r.leader(r.nodes[0], "t", 0)
	if _, err := r.produce(first, 10, "t", 0, batchOf("a", "b")); err != 0 {
		t.Fatal(err)
	}
	for _, x := range []struct {
		current, e  int32
		err         wire.Error
		epoch, ends int64
	}{{-1, 0, wire.None, 0, 2}, {0, 0, wire.None, 0, 2}, {0, 1, wire.None, -1, -1}, {1, 0, wire.UnknownLeaderEpoch, -1, -1}} {
		if p := r.epochEnd(first, 11, x.current, x.e); p.ErrorCode != x.err || int64(p.LeaderEpoch) != x.epoch || p.EndOffset != x.ends {
			t.Errorf("the end of epoch %d, asked in epoch %d: %+v", x.e, x.current, p)
		}
	}
	r.kill(first)
	other := r.nodes[0]
	if other == first {
		other = r.nodes[1]
	}
	g := other.shards[0].view.Topic("t").Partitions[0].Group
	r.until("another leader", 10*core.Second, func() bool {
		l := other.shards[0].Leadership(g).Leader
		return l != first.id && l != core.NoNode
	})
	next := r.leader(other, "t", 0)
	if _, err := r.produce(next, 12, "t", 0, batchOf("c")); err != 0 {
		t.Fatal(err)
	}
	if p := r.epochEnd(next, 13, 0, 0); p.ErrorCode != wire.FencedLeaderEpoch {
		t.Errorf("a client of the first leader is told %+v", p)
	}
	if p := r.epochEnd(next, 13, -1, 0); p.ErrorCode != wire.None || p.LeaderEpoch != 0 || p.EndOffset != 2 {
		t.Errorf("the end of epoch 0 is %+v", p)
	}
	at := core.Offset(0)
	for _, wantFirst := range []bool{true, false} {
		req := wire.FetchRequest{ReplicaId: -1, MaxWaitMs: 100, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1,
			Topics: []wire.FetchRequestTopic{{Topic: "t", Partitions: []wire.FetchRequestPartition{{FetchOffset: int64(at),
				PartitionMaxBytes: 1, CurrentLeaderEpoch: -1}}}}}
		var resp wire.FetchResponse
		r.call(next, 14, wire.KeyFetch, 12, &req, &resp)
		b, _, err := record.Next(resp.Responses[0].Partitions[0].Records.Bytes())
		if err != nil || b.BaseOffset() != at || (b.LeaderEpoch() == 0) != wantFirst || b.LeaderEpoch() < 0 {
			t.Fatalf("the batch at %d: base %d, epoch %d, %v", at, b.BaseOffset(), b.LeaderEpoch(), err)
		}
		at = b.LastOffset() + 1
	}
}
