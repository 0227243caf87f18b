package shard

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
	"github.com/karst-stream/karst/core/wire"
)

// trimmed is a cluster with a topic of one partition, whose segments hold some 25 batches of two records.
type trimmed struct {
	*hurt
	next int
}

func newTrimmed(t *testing.T, nodes int, configs ...config.KV) *trimmed {
	return trimmedOn(newRig(t, nodes, 1), configs...)
}

func trimmedOn(r *rig, configs ...config.KV) *trimmed {
	t, nodes := r.t, len(r.nodes)
	r.open()
	res := r.admin(&meta.CreateTopic{Name: "events", ID: [16]byte{7}, Partitions: 1, Replication: int16(nodes),
		Configs: config.Sort(append(configs, config.KV{Key: "segment.bytes", Value: "1048576"}))})
	if res.Code != meta.Done {
		t.Fatal(res)
	}
	t.Helper()
	return &trimmed{hurt: &hurt{rig: r}}
}

var soon = config.KV{Key: "file.delete.delay.ms", Value: "0"}

// fill produces n batches; every third is small and rides in the journal.
func (x *trimmed) fill(n int) {
	x.t.Helper()
	l := x.led("events", 0)
	for range n {
		v := fmt.Sprintf("<value %04d>", x.next)
		b := batchOf(v, string(bytes.Repeat([]byte{byte(x.next)}, 40<<10)))
		if x.next%3 == 0 {
			b = batchOf(v, "small")
		}
		off, err := x.produce(l, 10, "events", 0, b)
		if err != 0 || off != core.Offset(2*x.next) {
			x.t.Fatalf("produce %d: %d, %v\n%s", x.next, off, err, x.describe())
		}
		x.next++
	}
}

func (x *trimmed) trim(n *rigNode, to int64, millis int32) (int64, wire.Error) {
	x.t.Helper()
	req := wire.DeleteRecordsRequest{TimeoutMs: millis, Topics: []wire.DeleteRecordsRequestTopic{{Name: "events",
		Partitions: []wire.DeleteRecordsRequestPartition{{PartitionIndex: 0, Offset: to}}}}}
	var resp wire.DeleteRecordsResponse
	x.call(n, core.ConnID(1000+n.id), wire.KeyDeleteRecords, 2, &req, &resp)
	p := resp.Topics[0].Partitions[0]
	return p.LowWatermark, p.ErrorCode
}

func (x *trimmed) mustTrim(to, want int64) {
	x.t.Helper()
	if low, err := x.trim(x.led("events", 0), to, 5000); low != want || err != 0 {
		x.t.Fatalf("trim to %d: low watermark %d, %v; want %d\n%s", to, low, err, want, x.describe())
	}
}

func (x *trimmed) fetch(n *rigNode, offset int64) wire.FetchResponsePartition {
	x.t.Helper()
	req := wire.FetchRequest{ReplicaId: -1, MaxWaitMs: 100, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1,
		Topics: []wire.FetchRequestTopic{{Topic: "events", Partitions: []wire.FetchRequestPartition{{
			FetchOffset: offset, PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1}}}}}
	var resp wire.FetchResponse
	x.call(n, core.ConnID(2000+n.id), wire.KeyFetch, 12, &req, &resp)
	return resp.Responses[0].Partitions[0]
}

func (x *trimmed) listed(n *rigNode, ts int64) (int64, wire.Error) {
	x.t.Helper()
	req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{{Name: "events",
		Partitions: []wire.ListOffsetsRequestPartition{{CurrentLeaderEpoch: -1, Timestamp: ts}}}}}
	var resp wire.ListOffsetsResponse
	x.call(n, core.ConnID(3000+n.id), wire.KeyListOffsets, 7, &req, &resp)
	p := resp.Topics[0].Partitions[0]
	return p.Offset, p.ErrorCode
}

// begins holds what clients see at the leader, and what every node that runs has on its disk.
func (x *trimmed) begins(start int64) {
	x.t.Helper()
	l := x.led("events", 0)
	x.until("the leader is ready", 5*core.Second, func() bool { return x.leads(l, "events", 0) })
	if off, err := x.listed(l, -2); off != start || err != 0 {
		x.t.Fatalf("the log begins at %d, %v; want %d", off, err, start)
	}
	if off, err := x.listed(l, 0); start < int64(2*x.next) && off != start || err != 0 { // all records have time 0
		x.t.Fatalf("the log begins at %d by time, %v; want %d", off, err, start)
	}
	for off := max(0, start-3); off < start; off++ {
		if p := x.fetch(l, off); wire.Error(p.ErrorCode) != wire.OffsetOutOfRange || p.LogStartOffset != start || p.Records.Len > 0 {
			x.t.Fatalf("offset %d below the start %d: %+v", off, start, p)
		}
	}
	for off := start; off < int64(2*x.next); off += 7 {
		p := x.fetch(l, off)
		b, _, err := record.Next(p.Records.Bytes())
		if p.ErrorCode != 0 || p.LogStartOffset != start || err != nil || int64(b.BaseOffset()) > off || int64(b.LastOffset()) < off || !b.CRCValid() {
			x.t.Fatalf("offset %d of %d..%d: %v %v, start %d", off, start, 2*x.next, p.ErrorCode, err, p.LogStartOffset)
		}
	}
	x.run(core.Second)
	for _, n := range x.nodes {
		if !n.down && int64(x.replica(n).Start()) != start {
			x.t.Fatalf("node %d begins at %d, want %d\n%s", n.id, x.replica(n).Start(), start, x.describe())
		}
	}
}

// files compares the segments of all nodes that run; oldest is the base of the first.
func (x *trimmed) files(oldest string) {
	x.t.Helper()
	var first []string
	var from *rigNode
	for _, n := range x.nodes {
		if n.down {
			continue
		}
		got := x.segments(n)
		for _, f := range n.disk.List() {
			if dir, base, _, ok := seg.ParseIndexPath(f.Path); ok && dir == "events-0" && !slices.Contains(got, seg.Path(dir, base)) {
				x.t.Fatalf("node %d has %s and no segment for it", n.id, f.Path)
			}
		}
		if !strings.HasSuffix(got[0], oldest+".log") {
			x.t.Fatalf("node %d has %v, want them to begin with %s\n%s", n.id, got, oldest, x.replica(n).Describe())
		}
		if from == nil {
			first, from = got, n
			continue
		}
		if !slices.Equal(got, first) {
			x.t.Fatalf("node %d has %v, node %d has %v", n.id, got, from.id, first)
		}
		for _, p := range got {
			if !bytes.Equal(n.disk[p], from.disk[p]) {
				x.t.Fatalf("%s differs between nodes %d and %d: %d and %d bytes", p, n.id, from.id, len(n.disk[p]), len(from.disk[p]))
			}
		}
	}
}

func TestTheLogStartMovesOnEveryReplica(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		x := newTrimmed(t, nodes, soon)
		x.fill(120)
		x.files("00000000000000000000")
		x.mustTrim(11, 11)
		x.begins(11)
		x.files("00000000000000000000") // no segment lies below it whole
		all := x.segments(x.nodes[0])
		x.mustTrim(150, 150)
		x.mustTrim(20, 150) // it never falls
		x.mustTrim(150, 150)
		x.begins(150)
		x.run(2 * core.Second)
		left := x.segments(x.nodes[0])
		if len(left) >= len(all) || len(left) < 2 {
			t.Fatalf("of %v there are %v", all, left)
		}
		x.files(strings.TrimSuffix(left[0][len("events-0/"):], ".log"))
		x.fill(20)
		x.begins(150)
		x.mustTrim(-1, int64(2*x.next))
		x.begins(int64(2 * x.next))
		end := fmt.Sprintf("%020d", 2*x.next)
		x.run(2 * core.Second)
		x.files(end) // all was deleted, so a segment began, and nothing of the old ones is left
		if got := x.segments(x.nodes[0]); len(got) != 1 || len(x.nodes[0].disk[got[0]]) != 0 {
			t.Fatalf("an empty log has %v", got)
		}
		x.fill(1)
		x.run(2 * core.Second)
		x.files(end)
		x.begins(int64(2*x.next - 2))
	}
}

func TestTheLogStartSurvivesRestarts(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		x := newTrimmed(t, nodes, soon)
		x.fill(80)
		x.mustTrim(101, 101)
		for range 3 {
			for _, n := range x.nodes {
				x.kill(n)
			}
			for _, n := range x.nodes {
				x.start(n)
			}
			x.open()
			x.run(core.Second)
			x.begins(101)
			x.fill(5)
		}
		x.run(2 * core.Second)
		x.files(strings.TrimSuffix(x.segments(x.nodes[0])[0][len("events-0/"):], ".log"))
		if x.segments(x.nodes[0])[0] == hurtFirst {
			t.Fatal("the first segment is still there")
		}
	}
}

// Files wait for file.delete.delay.ms after the checkpoint that does not name them; a crash ends the wait.
func TestAKillBetweenCheckpointAndRemovalLeavesNoFile(t *testing.T) {
	for after := core.Mono(0); after < 20*core.Millisecond; after += core.Millisecond {
		x := newTrimmed(t, 1)
		x.fill(80)
		x.run(core.Second)
		x.mustTrim(120, 120)
		x.run(after)
		if x.segments(x.nodes[0])[0] != hurtFirst {
			t.Fatal("a file was removed before its delay was over")
		}
		x.kill(x.nodes[0])
		x.start(x.nodes[0])
		x.open()
		x.begins(120)
		x.run(61 * core.Second)
		if x.segments(x.nodes[0])[0] == hurtFirst {
			t.Fatalf("%v after %d ms", x.segments(x.nodes[0]), after/core.Millisecond)
		}
		x.fill(3)
		x.begins(120)
	}
}

func TestAFollowerBelowTheStartCatchesUpFromIt(t *testing.T) {
	for _, cut := range []int{0, 1, 40, 75} { // how much the follower had
		x := newTrimmed(t, 3, soon)
		x.fill(cut)
		x.run(core.Second)
		l := x.led("events", 0)
		for _, n := range x.nodes {
			if n != l {
				x.sick = n
			}
		}
		x.kill(x.sick)
		x.fill(120 - cut)
		x.run(11 * core.Second) // it is out of the in-sync set
		x.mustTrim(170, 170)
		x.run(2 * core.Second)
		x.start(x.sick)
		x.until("the follower has caught up", 20*core.Second, func() bool {
			r := x.replica(x.sick)
			return r.Began() && r.End() == core.Offset(2*x.next) && r.Start() == 170
		})
		x.fill(5)
		x.run(3 * core.Second)
		x.begins(170)
		x.files(strings.TrimSuffix(x.segments(l)[0][len("events-0/"):], ".log"))
		x.useful()
	}
}

// What a damaged follower lost may lie below the start meanwhile: then it does without.
func TestWhatWasLostBelowTheStartIsNotMissed(t *testing.T) {
	x := newTrimmed(t, 3, soon)
	x.fill(80)
	x.run(3 * core.Second)
	l := x.led("events", 0)
	for _, n := range x.nodes {
		if n != l {
			x.sick = n
		}
	}
	x.kill(x.sick)
	delete(x.sick.disk, hurtFirst)
	x.run(11 * core.Second)
	x.mustTrim(120, 120)
	x.run(2 * core.Second)
	x.heal()
	x.fill(5)
	x.run(3 * core.Second)
	x.begins(120)
	x.files(strings.TrimSuffix(x.segments(l)[0][len("events-0/"):], ".log"))
	x.useful()
}

func TestDeleteRecordsRefuses(t *testing.T) {
	x := newTrimmed(t, 3)
	x.fill(4)
	l := x.led("events", 0)
	for to, want := range map[int64]wire.Error{9: wire.OffsetOutOfRange, -2: wire.OffsetOutOfRange, 1 << 62: wire.OffsetOutOfRange} {
		if low, err := x.trim(l, to, 1000); err != want || low != -1 {
			t.Errorf("to %d: %d, %v", to, low, err)
		}
	}
	for _, n := range x.nodes {
		if n != l {
			if low, err := x.trim(n, 2, 1000); err != wire.NotLeaderOrFollower || low != -1 {
				t.Errorf("a follower says %d, %v", low, err)
			}
		}
	}
	x.admin(&meta.AlterConfigs{Resource: meta.TopicResource, Name: "events",
		Ops: []meta.ConfigOp{{Key: "cleanup.policy", Op: meta.Set, Value: "compact"}}})
	x.run(core.Second)
	if low, err := x.trim(l, 2, 1000); err != wire.PolicyViolation || low != -1 {
		t.Errorf("a compacted topic: %d, %v", low, err)
	}
	x.admin(&meta.AlterConfigs{Resource: meta.TopicResource, Name: "events",
		Ops: []meta.ConfigOp{{Key: "cleanup.policy", Op: meta.Set, Value: "compact,delete"}}})
	x.run(core.Second)
	x.mustTrim(2, 2)
	for _, n := range x.nodes {
		if n != l {
			x.kill(n)
		}
	}
	if low, err := x.trim(l, 4, 300); err != wire.RequestTimedOut || low != -1 {
		t.Errorf("without a majority: %d, %v", low, err)
	}
	if got := x.replica(l).Start(); got != 2 {
		t.Errorf("what was not committed counts: the log begins at %d", got)
	}
}
