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
	"github.com/karst-stream/karst/core/wire"
)

// newRetained is newTrimmed on nodes that look for old segments ten times a second.
func newRetained(t *testing.T, nodes int, configs ...config.KV) *trimmed {
	r := &rig{t: t, static: []config.KV{{Key: "log.retention.check.interval.ms", Value: "100"}}}
	for i := range nodes {
		r.nodes = append(r.nodes, &rigNode{id: core.NodeID(i + 1), disk: rigDisk{}, shards: make([]*Shard, 1)})
	}
	for _, n := range r.nodes {
		r.start(n)
	}
	return trimmedOn(r, append(configs, soon)...)
}

func (x *trimmed) wall() core.Wall { return core.Wall(x.now / core.Millisecond) }

// timed produces n batches of two records, 40 KiB long, with a timestamp each.
func (x *trimmed) timed(n int, at ...core.Wall) {
	x.t.Helper()
	l := x.led("events", 0)
	for range n {
		ts := x.wall()
		if len(at) > 0 {
			ts = at[0]
		}
		var b record.Builder
		b.Append(record.Record{Value: fmt.Appendf(nil, "<value %04d>", x.next), Timestamp: ts})
		b.Append(record.Record{Value: bytes.Repeat([]byte{byte(x.next)}, 40<<10), Timestamp: ts})
		off, err := x.produce(l, 10, "events", 0, append([]byte(nil), b.Build()...))
		if err != 0 || off != core.Offset(2*x.next) {
			x.t.Fatalf("produce %d: %d, %v\n%s", x.next, off, err, x.describe())
		}
		x.next++
	}
}

func (x *trimmed) alter(ops ...meta.ConfigOp) {
	x.t.Helper()
	if res := x.admin(&meta.AlterConfigs{Resource: meta.TopicResource, Name: "events", Ops: ops}); res.Code != meta.Done {
		x.t.Fatal(res)
	}
}

func set(key, value string) meta.ConfigOp {
	return meta.ConfigOp{Key: key, Op: meta.Set, Value: value}
}

func (x *trimmed) startNow() int64 {
	return int64(x.replica(x.led("events", 0)).Start())
}

// bases are those of the segments of a node.
func (x *trimmed) bases(n *rigNode) (out []int64) {
	for _, p := range x.segments(n) {
		var b int64
		fmt.Sscanf(strings.TrimPrefix(p, "events-0/"), "%d.log", &b)
		out = append(out, b)
	}
	return out
}

func TestRetentionByTimeRemovesWholeSegments(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		x := newRetained(t, nodes, config.KV{Key: "retention.ms", Value: "5000"})
		x.timed(60) // 25 batches a segment
		x.run(2 * core.Second)
		if got := x.startNow(); got != 0 {
			t.Fatalf("what is fresh was removed up to %d", got)
		}
		x.run(core.Second)
		before := x.bases(x.nodes[0])
		x.timed(1, x.wall()+4000) // makes its segment young, not those before
		x.until("the first segments are gone", 4*core.Second, func() bool { return x.startNow() > 0 })
		x.run(core.Second)
		if got := x.startNow(); got != before[len(before)-1] {
			t.Fatalf("the log begins at %d, segments at %v", got, before)
		}
		x.run(2 * core.Second)
		x.begun(before[len(before)-1])
		x.until("all is gone", 10*core.Second, func() bool { return x.startNow() == int64(2*x.next) })
		x.run(2 * core.Second)
		x.files(fmt.Sprintf("%020d", 2*x.next))
		if got := x.bases(x.nodes[0]); len(got) != 1 {
			t.Fatalf("an empty log has %v", got)
		}
		end := int64(2 * x.next)
		for _, n := range x.nodes {
			x.kill(n)
		}
		for _, n := range x.nodes {
			x.start(n)
		}
		x.until("the log is there again", 20*core.Second, func() bool { return x.ready() })
		if got := x.startNow(); got != end {
			t.Fatalf("after a restart the log begins at %d, want %d", got, end)
		}
		x.timed(3)
		x.run(core.Second)
		x.begun(end)
		x.files(fmt.Sprintf("%020d", end))
	}
}

func (x *trimmed) ready() bool {
	for _, n := range x.nodes {
		if !n.down && n.shards[0].View().Topic("events") != nil && x.leads(n, "events", 0) {
			return true
		}
	}
	return false
}

// begun is what clients see at the beginning of the log.
func (x *trimmed) begun(start int64) {
	x.t.Helper()
	l := x.led("events", 0)
	if off, err := x.listed(l, -2); off != start || err != 0 {
		x.t.Fatalf("the log begins at %d, %v; want %d", off, err, start)
	}
	if start > 0 {
		if p := x.fetch(l, start-1); p.ErrorCode != wire.OffsetOutOfRange || p.LogStartOffset != start {
			x.t.Fatalf("below the start: %+v", p)
		}
	}
	if start < int64(2*x.next) {
		p := x.fetch(l, start)
		b, _, err := record.Next(p.Records.Bytes())
		if p.ErrorCode != 0 || err != nil || int64(b.BaseOffset()) != start || !b.CRCValid() {
			x.t.Fatalf("at the start: %v %v", p.ErrorCode, err)
		}
	}
}

func TestTheAgeOfASegmentSurvivesRestarts(t *testing.T) {
	x := newRetained(t, 1, config.KV{Key: "retention.ms", Value: "20000"})
	x.timed(30)
	x.timed(1, x.wall()+40000) // keeps the second segment
	x.timed(5)
	for range 3 {
		x.run(2 * core.Second)
		x.kill(x.nodes[0])
		x.start(x.nodes[0])
		x.until("it leads again", 10*core.Second, x.ready)
		x.timed(2)
	}
	second := x.bases(x.nodes[0])[1]
	x.run(8 * core.Second)
	if got := x.startNow(); got != 0 {
		t.Fatalf("after %d ms the log begins at %d", x.wall(), got)
	}
	x.run(12 * core.Second)
	if got := x.startNow(); got != second {
		t.Fatalf("after %d ms the log begins at %d, want %d", x.wall(), got, second)
	}
	x.run(20 * core.Second) // the newest timestamp is not yet old enough, whatever came after it
	if got := x.startNow(); got != second {
		t.Fatalf("after %d ms the log begins at %d, want %d", x.wall(), got, second)
	}
	x.until("all is gone", 30*core.Second, func() bool { return x.startNow() == int64(2*x.next) })
}

func TestRetentionBySize(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		x := newRetained(t, nodes, config.KV{Key: "retention.bytes", Value: "3000000"})
		x.timed(70)
		x.run(core.Second)
		if got := x.startNow(); got != 0 {
			t.Fatalf("2.8 MB fit, but the log begins at %d", got)
		}
		bases := x.bases(x.nodes[0])
		x.timed(20)
		x.run(core.Second)
		if got := x.startNow(); got != 0 { // 3.6 MB less a segment would be too little
			t.Fatalf("the log begins at %d", got)
		}
		x.timed(20)
		x.run(2 * core.Second)
		x.begun(bases[1])
		x.alter(set("retention.bytes", "0"))
		x.run(2 * core.Second)
		x.begun(int64(2 * x.next))
		x.files(fmt.Sprintf("%020d", 2*x.next))
		x.alter(set("retention.bytes", "-1"))
		at := int64(2 * x.next)
		x.timed(60)
		x.run(2 * core.Second)
		x.begun(at)
	}
}

func TestOnlyThePolicyDeleteRemovesByRetention(t *testing.T) {
	for policy, removes := range map[string]bool{"compact": false, "": false, "delete": true, "compact,delete": true} {
		x := newRetained(t, 1, config.KV{Key: "retention.ms", Value: "100"}, config.KV{Key: "retention.bytes", Value: "1"},
			config.KV{Key: "cleanup.policy", Value: ""})
		x.timed(60)
		x.alter(set("cleanup.policy", policy))
		x.run(3 * core.Second)
		if got := x.startNow(); (got > 0) != removes {
			t.Errorf("with cleanup.policy %q the log begins at %d", policy, got)
		}
	}
}

// A leader that cannot commit must not remove: what it holds may be all that there is.
func TestRetentionStopsAtTheHighWatermark(t *testing.T) {
	x := newRetained(t, 3, config.KV{Key: "retention.bytes", Value: "-1"})
	x.timed(10)
	x.run(core.Second)
	l := x.led("events", 0)
	for _, n := range x.nodes {
		if n != l {
			x.kill(n)
		}
	}
	req := wire.ProduceRequest{Acks: 1, TimeoutMs: 1000, TopicData: []wire.ProduceRequestTopic{{Name: "events",
		PartitionData: []wire.ProduceRequestPartition{{Records: core.RefOf(batchOf("alone"))}}}}}
	var resp wire.ProduceResponse
	x.call(l, 10, 0, 9, &req, &resp)
	r := x.replica(l)
	if r.High() != 20 || r.End() != 21 {
		t.Fatalf("high %d, end %d", r.High(), r.End())
	}
	s := l.shards[0].settings(l.shards[0].View().Topic("events"), 0)
	s.RetentionBytes = 0
	r.Set(s)
	x.run(core.Second)
	if r.Offline() != "" || r.Start() != 0 {
		t.Fatalf("it begins at %d, %s", r.Start(), r.Offline())
	}
}

func TestAFollowerThatWasAwayMissesWhatRetentionRemoved(t *testing.T) {
	x := newRetained(t, 3, config.KV{Key: "retention.ms", Value: "12000"})
	x.timed(40)
	x.run(core.Second)
	l := x.led("events", 0)
	for _, n := range x.nodes {
		if n != l {
			x.sick = n
		}
	}
	x.kill(x.sick)
	x.timed(30)
	x.until("all is gone", 30*core.Second, func() bool { return x.startNow() == int64(2*x.next) })
	x.run(2 * core.Second)
	for _, more := range []int{0, 3} { // it comes back to an empty log, and to a short one
		x.timed(more)
		x.start(x.sick)
		x.until("the follower has caught up", 20*core.Second, func() bool {
			r := x.replica(x.sick)
			return r.Began() && r.End() == core.Offset(2*x.next) && int64(r.Start()) == x.startNow()
		})
		x.run(2 * core.Second)
		x.files(strings.TrimSuffix(x.segments(x.led("events", 0))[0][len("events-0/"):], ".log"))
		x.kill(x.sick)
	}
}

func TestSegmentsAreClosedByAge(t *testing.T) {
	x := newTrimmed(t, 3, config.KV{Key: "segment.ms", Value: "1000"})
	x.timed(2, 5000)
	x.timed(1, 6000) // exactly as old as it may be
	x.timed(1, 6001)
	x.timed(1, 3000) // time goes back
	x.timed(1, 7001)
	x.timed(1, 7002)
	x.run(2 * core.Second)
	if got := x.bases(x.nodes[0]); !slices.Equal(got, []int64{0, 6, 12}) {
		t.Fatalf("segments begin at %v", got)
	}
	x.files("00000000000000000000")
	l := x.led("events", 0)
	x.kill(l)
	x.until("another leads", 10*core.Second, x.ready)
	x.timed(1, 8002)
	x.timed(1, 8003)
	x.start(l)
	x.run(3 * core.Second)
	if got := x.bases(x.nodes[0]); !slices.Equal(got, []int64{0, 6, 12, 16}) {
		t.Fatalf("segments begin at %v", got)
	}
	x.files("00000000000000000000")
	x.alter(set("segment.ms", "604800000"))
	x.run(core.Second)
	x.timed(1, 90_000)
	if got := x.bases(x.nodes[0]); len(got) != 4 {
		t.Fatalf("segments begin at %v", got)
	}
}

func TestJitterIsTakenOffTheAgeOfSegments(t *testing.T) {
	x := newTrimmed(t, 1, config.KV{Key: "segment.ms", Value: "1000"}, config.KV{Key: "segment.jitter.ms", Value: "900"})
	for at := core.Wall(0); at < 60_000; at += 20 {
		x.timed(1, at)
	}
	lengths := map[int64]int{}
	bases := x.bases(x.nodes[0])
	for i := range bases[1:] {
		n := (bases[i+1] - bases[i]) / 2 * 20
		if n > 1020 || n < 100 && i > 0 {
			t.Fatalf("a segment of %d ms", n)
		}
		lengths[n]++
	}
	if len(bases) < 70 || len(lengths) < 12 {
		t.Fatalf("%d segments of %d lengths", len(bases), len(lengths))
	}
}
