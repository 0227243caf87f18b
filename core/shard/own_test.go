package shard

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/seg"
	"github.com/karst-stream/karst/core/wire"
)

// fetchAs reads a partition on one node, as a consumer (-1) or to see its own copy (-2).
func (r *rig) fetchAs(n *rigNode, replica int32, topic string, at int64) wire.FetchResponsePartition {
	r.t.Helper()
	req := wire.FetchRequest{ReplicaId: replica, MaxWaitMs: 100, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1,
		Topics: []wire.FetchRequestTopic{{Topic: topic, Partitions: []wire.FetchRequestPartition{{Partition: 0, FetchOffset: at,
			PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1}}}}}
	var resp wire.FetchResponse
	r.call(n, core.ConnID(3000+n.id), wire.KeyFetch, 12, &req, &resp)
	return resp.Responses[0].Partitions[0]
}

// A tool sees the files of every copy, whoever leads: nothing that only memory and journal hold, all of it later,
// and a byte that rots.
func TestEveryCopyCanBeSeen(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("events", 1, 3)
	l := r.leader(r.nodes[0], "events", 0)
	var all []byte
	for i := range 12 {
		b := batchOf(fmt.Sprintf("value %d", i))
		if i%4 == 3 {
			b = batchOf(string(bytes.Repeat([]byte{byte(i)}, 40<<10)))
		}
		if _, err := r.produce(l, 10, "events", 0, b); err != 0 {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if _, err := r.produce(l, 10, "events", 0, batchOf("last")); err != 0 {
		t.Fatal(err)
	}
	if p := r.fetchAs(l, -2, "events", 12); p.ErrorCode != 0 || p.Records.Len != 0 || p.HighWatermark > 12 {
		t.Errorf("what rides in the journal is shown as if it lay in a file: %+v", p)
	}
	r.run(2 * core.Second)
	for _, n := range r.nodes {
		p := r.fetchAs(n, -2, "events", 0)
		got := p.Records.Bytes()
		if p.ErrorCode != 0 || p.HighWatermark != 13 || len(got) <= len(all) || !bytes.Equal(got[21:len(all)], n.disk["events-0/00000000000000000000.log"][21:len(all)]) {
			t.Errorf("node %d: %v, high watermark %d, %d bytes", n.id, p.ErrorCode, p.HighWatermark, len(got))
		}
		if p := r.fetchAs(n, -2, "events", 13); p.ErrorCode != 0 || p.Records.Len != 0 {
			t.Errorf("node %d at its end: %+v", n.id, p)
		}
		if p := r.fetchAs(n, -2, "events", 14); p.ErrorCode != wire.OffsetOutOfRange {
			t.Errorf("node %d beyond its end: %v", n.id, p.ErrorCode)
		}
		if p := r.fetchAs(n, -1, "events", 0); n != l && p.ErrorCode != wire.NotLeaderOrFollower {
			t.Errorf("node %d serves a consumer though it does not lead: %v", n.id, p.ErrorCode)
		}
	}
	n := r.nodes[0]
	if n == l {
		n = r.nodes[1]
	}
	n.disk["events-0/00000000000000000000.log"][70] ^= 1
	if got := r.fetchAs(n, -2, "events", 0).Records.Bytes(); len(got) < 71 || got[70] == r.nodes[2].disk["events-0/00000000000000000000.log"][70] {
		t.Error("a byte that rots is not shown")
	}
}

// Above its end a leader says that an offset is out of range only when it has made sure that it leads: a successor may
// have shown that offset.
func TestOutOfRangeNeedsAQuorum(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.createTopic("events", 1, 3)
	l := r.leader(r.nodes[0], "events", 0)
	for i := range 3 {
		if _, err := r.produce(l, 10, "events", 0, batchOf(fmt.Sprint(i))); err != 0 {
			t.Fatal(err)
		}
	}
	if p := r.fetchAs(l, -1, "events", 9); p.ErrorCode != wire.OffsetOutOfRange || p.HighWatermark != 3 {
		t.Errorf("a leader with its followers: %+v", p)
	}
	for _, n := range r.nodes {
		if n != l {
			r.kill(n)
		}
	}
	if p := r.fetchAs(l, -1, "events", 9); p.ErrorCode != wire.NotLeaderOrFollower {
		t.Errorf("a leader that cannot know whether it leads: %+v", p)
	}
}

// Every copy says which of its index files is not what its segment says, whoever leads, and makes it again.
func TestEveryCopyComparesItsIndexes(t *testing.T) {
	x := newIndexed(t, 3)
	x.grow(700)
	bases := []core.Offset{}
	for _, p := range x.segments(x.nodes[0]) {
		_, base, _ := seg.ParsePath(p)
		bases = append(bases, base)
	}
	if len(bases) < 3 {
		t.Fatalf("%d segments", len(bases))
	}
	check := func(n *rigNode, at core.Offset) wire.ListOffsetsResponsePartition {
		var resp wire.ListOffsetsResponse
		x.call(n, core.ConnID(3010+n.id), wire.KeyListOffsets, 4, &wire.ListOffsetsRequest{ReplicaId: -2, Topics: []wire.ListOffsetsRequestTopic{
			{Name: "events", Partitions: []wire.ListOffsetsRequestPartition{{Timestamp: -1000 - int64(at), CurrentLeaderEpoch: -1}}}}}, &resp)
		return resp.Topics[0].Partitions[0]
	}
	spoils := []func(b []byte) []byte{
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
	}
	for i, n := range x.nodes {
		want := x.indexes(n)
		wrong := i % (len(bases) - 1)
		for k := range seg.Kinds {
			path := seg.IndexPath("events-0", bases[wrong], k)
			n.disk[path] = spoils[i](n.disk[path])
			for j, base := range bases {
				bad, next := int32(0), int64(-1)
				if j == wrong {
					bad = 1 << k
				}
				if j+1 < len(bases) {
					next = int64(bases[j+1])
				}
				if p := check(n, base); p.ErrorCode != 0 || p.LeaderEpoch != bad || p.Offset != next || p.Timestamp != int64(base) {
					t.Fatalf("node %d, segment %d, %s is wrong: %+v", n.id, base, path, p)
				}
			}
			x.until(fmt.Sprint("it is made again: ", n.id, " ", path), 5*core.Second, func() bool { return bytes.Equal(n.disk[path], want[path]) })
		}
		if p := check(n, 1<<40); p.ErrorCode != wire.OffsetOutOfRange {
			t.Errorf("beyond the end: %v", p.ErrorCode)
		}
	}
}
