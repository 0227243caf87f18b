package shard

import (
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// numbered is a batch of one record of an idempotent producer.
func numbered(seq int32) []byte {
	var b record.Builder
	b.Producer(7001, 0, seq)
	b.Append(record.Record{Value: fmt.Append(nil, seq)})
	return append([]byte(nil), b.Build()...)
}

// A client that reads and writes on after its topic was deleted and made again, and knows it by its name only, is never
// shown a place of the old one: what it asks for is out of range, its leader epochs are unknown or fenced, its sequences
// begin anew. By id it is told that the topic is gone. One that waits when the topic goes is answered at once.
func TestWhatAClientMeetsWhenItsTopicIsMadeAgain(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
	r.createTopic("t", 1, 1)
	n := r.nodes[0]
	old := n.shards[0].view.Topic("t")
	for seq := range int32(5) {
		if _, err := r.produce(n, 40, "t", 0, numbered(seq)); err != 0 {
			t.Fatal(err)
		}
	}
	fetch := func(conn core.ConnID, version int16, offset int64, epoch, wait int32) (x wire.FetchResponsePartition) {
		req := wire.FetchRequest{ReplicaId: -1, MaxWaitMs: wait, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1,
			Topics: []wire.FetchRequestTopic{{Topic: "t", TopicId: old.ID, Partitions: []wire.FetchRequestPartition{
				{FetchOffset: offset, PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: epoch}}}}}
		var resp wire.FetchResponse
		r.call(n, conn, wire.KeyFetch, version, &req, &resp)
		return resp.Responses[0].Partitions[0]
	}
	// A fetch waits at the end for half a minute; the topic goes meanwhile.
	n.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(&meta.DeleteTopic{Name: "t"}, 5000, func(meta.Result, api.AdminErr) {})
	})})
	began := r.now
	if x := fetch(42, 12, 5, -1, 30_000); x.ErrorCode != wire.UnknownTopicOrPartition {
		t.Errorf("a fetch that waited when its topic went: %v", x.ErrorCode)
	}
	if r.now-began > 5*core.Second {
		t.Errorf("it waited for %d ms", (r.now-began)/core.Millisecond)
	}
	r.createTopic("t", 1, 1)
	if off, err := r.produce(n, 40, "t", 0, batchOf("new")); err != 0 || off != 0 {
		t.Fatalf("%d %v", off, err)
	}
	for _, c := range []struct {
		what    string
		version int16
		offset  int64
		epoch   int32
		want    wire.Error
	}{
		{"an offset of the old one", 12, 5, -1, wire.OffsetOutOfRange},
		{"an epoch of the old one", 12, 0, 9, wire.UnknownLeaderEpoch},
		{"the id of the old one", 13, 0, -1, wire.UnknownTopicId},
	} {
		if x := fetch(44, c.version, c.offset, c.epoch, 0); x.ErrorCode != c.want {
			t.Errorf("%s: %v, not %v", c.what, x.ErrorCode, c.want)
		}
	}
	if _, err := r.produce(n, 40, "t", 0, numbered(5)); err != wire.OutOfOrderSequenceNumber {
		t.Errorf("a sequence of the old one: %v", err)
	}
	if off, err := r.produce(n, 40, "t", 0, numbered(0)); err != 0 || off != 1 {
		t.Errorf("the producer begins anew: offset %d, %v", off, err)
	}
	var ends wire.ListOffsetsResponse
	r.call(n, 46, wire.KeyListOffsets, 7, &wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{
		{Name: "t", Partitions: []wire.ListOffsetsRequestPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}}}}, &ends)
	if x := ends.Topics[0].Partitions[0]; x.ErrorCode != 0 || x.Offset != 2 {
		t.Errorf("the end is %d, %v", x.Offset, x.ErrorCode)
	}
	var epochs wire.OffsetForLeaderEpochResponse
	r.call(n, 48, wire.KeyOffsetForLeaderEpoch, 4, &wire.OffsetForLeaderEpochRequest{ReplicaId: -1, Topics: []wire.OffsetForLeaderEpochRequestTopic{
		{Topic: "t", Partitions: []wire.OffsetForLeaderEpochRequestPartition{{CurrentLeaderEpoch: -1, LeaderEpoch: 9}}}}}, &epochs)
	if x := epochs.Topics[0].Partitions[0]; x.ErrorCode != 0 || x.EndOffset != -1 {
		t.Errorf("an epoch that the log has never seen ends at %d, %v", x.EndOffset, x.ErrorCode)
	}
}
