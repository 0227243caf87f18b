package shard

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// squeezed is a cluster of three with a topic of one partition in segments of a few batches.
type squeezed struct {
	*lagging
	sent int
}

func newSqueezed(t *testing.T, policy string) *squeezed {
	r := newRig(t, 3, 1)
	for _, n := range r.nodes {
		r.kill(n)
	}
	r.static = []config.KV{{Key: "log.segment.bytes", Value: "2500"}, {Key: "log.cleaner.backoff.ms", Value: "20"},
		{Key: "log.cleaner.min.cleanable.ratio", Value: "0.01"}, {Key: "log.cleanup.policy", Value: policy},
		{Key: "log.segment.delete.delay.ms", Value: "0"}}
	for _, n := range r.nodes {
		r.start(n)
	}
	r.open()
	r.createTopic("long", 1, 3)
	x := &lagging{rig: r, l: r.leader(r.nodes[0], "long", 0)}
	x.f, x.g = r.node(x.l.id%3+1), r.node((x.l.id+1)%3+1)
	x.group = x.l.shards[0].view.Topic("long").Partitions[0].Group
	return &squeezed{lagging: x}
}

// fill writes n batches of one record each, with few keys.
func (x *squeezed) fill(n int) {
	x.t.Helper()
	for range n {
		var b record.Builder
		b.Append(record.Record{Key: []byte{byte('a' + x.sent%3)}, Value: []byte(fmt.Sprint(x.sent, strings.Repeat("x", 700)))})
		if _, err := x.produce(x.l, 77, "long", 0, bytes.Clone(b.Build())); err != 0 {
			x.t.Fatal(err)
		}
		x.sent++
	}
}

// small says that n holds one segment of a newer generation, and what is not to be compacted.
func (x *squeezed) small(n *rigNode) bool {
	newer, size := 0, 0
	for path, b := range n.disk {
		if dir, _, ok := seg.ParsePath(path); ok && dir == "long-0" {
			if size += len(b); seg.Generation(path) > 0 {
				newer++
			}
		}
	}
	return newer == 1 && size < 8000
}

func (x *squeezed) same() bool {
	return x.small(x.l) && x.small(x.f) && x.small(x.g) && x.equal(x.f, x.l) && x.equal(x.l, x.f) && x.equal(x.g, x.l) && x.equal(x.l, x.g)
}

// equal3 waits until all three are alike, and reads all of it.
func (x *squeezed) equal3() {
	x.t.Helper()
	x.until("three equal logs that are compacted", 30*core.Second, x.same)
}

func (x *squeezed) setPolicy(policy string) {
	x.t.Helper()
	done := false
	x.l.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(&meta.AlterConfigs{Resource: meta.TopicResource, Name: "long",
			Ops: []meta.ConfigOp{{Key: "cleanup.policy", Op: meta.Set, Value: policy}}}, 5000, func(meta.Result, api.AdminErr) { done = true })
	})})
	x.until("the policy", 10*core.Second, func() bool { return done })
}

func TestThreeReplicasAreCompactedAlike(t *testing.T) {
	x := newSqueezed(t, "compact")
	x.fill(60)
	x.equal3()
	x.kill(x.f) // it is away while others are compacted, and is fed entries
	x.fill(20)
	x.start(x.f)
	x.equal3()
	x.fill(30)
	x.equal3()
}

// A follower that was away for long finds that what its log ends in has been compacted: it begins anew, beside what
// it holds, or goes on where its log ends.
func TestACatchUpFetchesWhatCompactionHasReplaced(t *testing.T) {
	for _, c := range []struct {
		name, mark string
		whole      int // batches that all have before the follower goes, its policy is delete
		more       int // ... after that, before the log is compacted
	}{
		{"its log ends in what was replaced", "refit: a catch-up began anew, the log ended in what compaction has replaced", 20, 100},
		{"it has nothing", "refit: a catch-up began anew, the log ended in what compaction has replaced", 4, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newSqueezed(t, "delete")
			x.fill(c.whole)
			x.run(core.Second)
			before := reached(c.mark)
			x.kill(x.f)
			x.l.narrow(10)
			x.g.narrow(10)
			x.fill(c.more)
			x.setPolicy("compact")
			x.until("the others to be compacted", 30*core.Second, func() bool { return x.small(x.l) && x.small(x.g) })
			x.start(x.f)
			x.f.narrow(1 << 20)
			x.equal3()
			if reached(c.mark) == before {
				t.Errorf("not reached: %s", c.mark)
			}
			x.fill(30)
			x.equal3()
		})
	}
}

// What a replica lost may be nowhere any more in the generation in which it had it.
func TestADamagedReplicaFetchesANewerGeneration(t *testing.T) {
	const mark = "refit: a damaged replica took its leader's newer generation"
	for name, hurt := range map[string]func(x *squeezed, path string){
		"a segment is missing": func(x *squeezed, path string) { delete(x.f.disk, path) },
		"a segment is short":   func(x *squeezed, path string) { x.f.disk[path] = x.f.disk[path][:1000] },
	} {
		for _, twice := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", crashes meanwhile ", twice), func(t *testing.T) {
				x := newSqueezed(t, "delete")
				x.fill(60)
				x.kill(x.f)
				x.start(x.f) // whose boot moves what the journal holds to the segments
				x.run(3 * core.Second)
				before := reached(mark)
				x.kill(x.f)
				x.setPolicy("compact")
				x.until("the others to be compacted", 30*core.Second, func() bool { return x.small(x.l) && x.small(x.g) })
				hurt(x, seg.Path("long-0", 0))
				x.start(x.f)
				if twice {
					x.until("it to follow without", 20*core.Second, func() bool {
						r := x.replica(x.f)
						if r == nil {
							return false
						}
						lost, _ := r.Mending()
						return r.Began() && !r.Opening() && len(lost) > 0
					})
					x.run(100 * core.Millisecond)
					x.kill(x.f)
					x.start(x.f)
				}
				x.equal3()
				if reached(mark) == before {
					t.Errorf("not reached: %s", mark)
				}
				if lost, why := x.replica(x.f).Mending(); len(lost) > 0 {
					t.Errorf("it still lacks %v: %s", lost, why)
				}
				x.fill(30)
				x.equal3()
			})
		}
	}
}

// What groups committed is folded from a log that was compacted, gaps and all: after restarts of all nodes, too.
func TestCommittedOffsetsSurviveCompaction(t *testing.T) {
	r := newRig(t, 3, 1)
	for _, n := range r.nodes {
		r.kill(n)
	}
	r.static = []config.KV{{Key: "log.roll.ms", Value: "50"}, {Key: "log.cleaner.backoff.ms", Value: "20"},
		{Key: "log.cleaner.min.cleanable.ratio", Value: "0.01"}, {Key: "log.segment.delete.delay.ms", Value: "0"}}
	for _, n := range r.nodes {
		r.start(n)
	}
	r.open()
	r.createTopic("t", 1, 3)
	r.createTopic("u", 1, 3)
	r.commit("g", r.coordinator("g"), "u", 7)
	for round := range int64(3) {
		for i := range int64(30) {
			r.commit("g", r.coordinator("g"), "t", 100*round+i)
			r.run(20 * core.Millisecond)
		}
		p, _ := r.nodes[0].shards[0].CoordinatorOf("g")
		compacted := func(n *rigNode) bool {
			for path, b := range n.disk {
				dir, _, ok := seg.ParsePath(path)
				if ok && dir == n.shards[0].groups.At(p.Group()).dir && seg.Generation(path) > 0 && len(b) > 0 {
					return true
				}
			}
			return false
		}
		r.until("all logs to be compacted", 10*core.Second, func() bool {
			return compacted(r.nodes[0]) && compacted(r.nodes[1]) && compacted(r.nodes[2])
		})
		for _, n := range r.nodes {
			r.kill(n)
		}
		for _, n := range r.nodes {
			r.start(n)
		}
		r.open()
		l := r.coordinator("g")
		if x, y := r.committed("g", l, "t"), r.committed("g", l, "u"); x.offset != 100*round+29 || y.offset != 7 {
			t.Fatalf("round %d: the committed offsets are %d and %d", round, x.offset, y.offset)
		}
	}
}

func TestThePaceOfCompaction(t *testing.T) {
	for _, c := range []struct {
		pace, most, owed, want int64
		shards                 int
	}{
		{0, 0, 1 << 40, 0, 1},                   // no limit
		{1000, 0, 0, 1000, 1},                   // as a rule
		{1000, 0, 0, 334, 3},                    // a part of it
		{1000, 0, 1_200_000, 1000, 1},           // an hour at that pace
		{1000, 0, 12_000_000, 10_000, 1},        // ten hours
		{1000, 5000, 12_000_000, 5000, 1},       // ... but somebody has said so
		{1000, 5000, 12_000_000, 1667, 3},       // ... for all shards
		{0, 5000, 0, 5000, 1},                   // that alone
		{1 << 30, 5000, 0, 5000, 1},             // the lower one counts
		{1, 0, 1, 1, 1},                         // never 0, which is none
		{16 << 20, 0, 100 << 30, 89_478_486, 1}, // 100 GiB
	} {
		s := &Shard{cfg: Config{Shards: c.shards}, values: config.BrokerValues{CleanerPace: c.pace, CleanerRate: c.most}}
		s.sweeps.owed = c.owed
		if got := s.sweeps.rate(s); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

// What is compacted at one pace waits for it, and not after the pace was changed.
func TestCompactionWaitsForItsPace(t *testing.T) {
	x := newSqueezed(t, "delete")
	x.configure("", "log.cleaner.pace.bytes.per.second", "1000")
	x.fill(60) // 45 KB
	began, decided := x.now, reached("compaction: a decision was applied")
	x.setPolicy("compact")
	x.until("a decision", 10*core.Second, func() bool { return reached("compaction: a decision was applied") >= decided+3 })
	x.run(20 * core.Second)
	if x.small(x.l) || x.small(x.f) || x.small(x.g) {
		t.Fatalf("45 KB were compacted at 1,000 B/s in %d s", (x.now-began)/core.Second)
	}
	if at := x.l.shards[0].sweeps.free; at < x.now {
		t.Fatalf("the pause was over after %d s", (at-began)/core.Second)
	}
	x.configure("", "log.cleaner.pace.bytes.per.second", "1000000")
	x.until("three equal logs that are compacted", 5*core.Second, x.same)
}
