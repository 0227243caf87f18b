package shard

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
)

// lagging is a cluster with files of two batches. Its node f holds and has acknowledged eight entries of which it
// does not know that they are committed, in some of its files, and lacks two hundred that follow. f is down; l leads and
// has dropped what f lacks from its window; g is the third node.
type lagging struct {
	*rig
	l, f, g *rigNode
	group   core.GroupID
	end     core.Offset       // of what f holds
	files   map[string][]byte // of f
}

// replica is the copy on n; nil before its boot.
func (x *lagging) replica(n *rigNode) *replica.Replica {
	if h := n.shards[0].groups.At(x.group); h != nil {
		return h.r
	}
	return nil
}

// narrow makes catch-ups by segments necessary, and small.
func (n *rigNode) narrow(window int) {
	s := n.shards[0]
	s.window.MaxEntries = window
	s.limits.PullBytes, s.limits.PullMemory, s.limits.PullSync = 3000, 9000, 6000
}

func newLagging(t *testing.T) *lagging {
	r := newRig(t, 3, 1)
	for _, n := range r.nodes {
		r.kill(n)
	}
	r.static = []config.KV{{Key: "log.segment.bytes", Value: "2500"}}
	for _, n := range r.nodes {
		r.start(n)
	}
	r.open()
	r.createTopic("long", 1, 3)
	x := &lagging{rig: r, l: r.leader(r.nodes[0], "long", 0)}
	x.f, x.g = r.node(x.l.id%3+1), r.node((x.l.id+1)%3+1)
	fill := func(from, n int) {
		t.Helper()
		for i := range n {
			if _, err := r.produce(x.l, 77, "long", 0, batchOf(fmt.Sprint(from+i), strings.Repeat("x", 1000))); err != 0 {
				t.Fatal(err)
			}
		}
	}
	x.group = x.l.shards[0].view.Topic("long").Partitions[0].Group
	fill(0, 10)
	r.kill(x.g)
	r.run(600 * core.Millisecond)
	r.deaf = x.l.id // it hears of no acknowledgement
	x.l.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		h := s.groups.At(x.group)
		for i := range 8 {
			s.guard(h, func() { h.r.Propose(batchOf(fmt.Sprint(10+i), strings.Repeat("y", 1000)), func(replica.Result) {}) })
		}
	})})
	x.end = 36
	r.until("the follower to hold them", 200*core.Millisecond, func() bool { return x.replica(x.f).End() == x.end })
	r.run(20 * core.Millisecond)
	if high := x.replica(x.f).High(); high >= x.end-6 {
		t.Fatalf("it knows that %d are committed", high)
	}
	r.kill(x.f)
	r.kill(x.l)
	r.deaf = 0
	r.start(x.l)
	x.l.narrow(10)
	r.start(x.g)
	r.until("a leader", 10*core.Second, func() bool { return x.l.gate && x.g.gate && x.leading(x.l) })
	fill(18, 200)
	r.start(x.f) // its boot moves what the journal holds to the segments
	x.f.narrow(1 << 20)
	r.until("its boot", core.Second, func() bool { return x.replica(x.f) != nil && x.replica(x.f).Began() })
	x.files = x.f.disk.copy()
	return x
}

func (x *lagging) leading(n *rigNode) bool {
	return x.replica(n) != nil && x.replica(n).MayRead() == replica.OK
}

// intact fails when something of what f has acknowledged is not in its files any more.
func (x *lagging) intact() {
	x.t.Helper()
	for path, b := range x.files {
		if strings.HasPrefix(path, "long-0/") && strings.HasSuffix(path, ".log") && !bytes.HasPrefix(x.f.disk[path], b) {
			x.t.Fatalf("at %d ms %s has %d bytes, it had %d\n%s", x.now/core.Millisecond, path, len(x.f.disk[path]), len(b), x.replica(x.f).Describe())
		}
	}
}

func (x *lagging) equal(a, b *rigNode) bool {
	for path, c := range b.disk {
		if strings.HasPrefix(path, "long-0/") && strings.HasSuffix(path, ".log") && !bytes.Equal(a.disk[path], c) {
			return false
		}
	}
	return true
}

// begun turns until f has written something of a catch-up, and some checkpoint says so.
func (x *lagging) begun() {
	x.t.Helper()
	noted := reached("replica: a checkpoint says how far a catch-up has got")
	x.until("a part of the catch-up", 5*core.Second, func() bool {
		x.intact()
		return reached("replica: a checkpoint says how far a catch-up has got") > noted+1
	})
}

// A catch-up that is cut has destroyed nothing that the follower had acknowledged: the next leader appends behind it.
func TestACatchUpThatIsCutTakesNothingAway(t *testing.T) {
	x := newLagging(t)
	x.begun()
	undone := reached("replica: what a catch-up had brought was cut, entries came instead")
	x.kill(x.l)
	x.until("the third to lead", 5*core.Second, func() bool { x.intact(); return x.leading(x.g) })
	x.until("the follower to have all", 10*core.Second, func() bool { x.intact(); return x.equal(x.f, x.g) && x.equal(x.g, x.f) })
	if reached("replica: what a catch-up had brought was cut, entries came instead") == undone {
		t.Error("no entries came")
	}
	x.start(x.l)
	x.until("equal files", 10*core.Second, func() bool { return x.equal(x.f, x.l) && x.equal(x.l, x.f) })
}

// A follower that crashed, or whose leader did, asks for nothing that it had noted.
func TestACatchUpGoesOnWhereItWasCut(t *testing.T) {
	for _, dies := range []string{"follower", "leader"} {
		t.Run(dies, func(t *testing.T) {
			x := newLagging(t)
			x.g.narrow(10)
			x.begun()
			resumed, kept := reached("replica: a catch-up went on where an earlier one was cut"), reached("replica: a boot kept what a catch-up had brought")
			had := x.f.disk.copy()
			if dies == "leader" {
				x.kill(x.l)
			} else {
				x.kill(x.f)
				x.turn()
				x.start(x.f)
				x.f.narrow(1 << 20)
			}
			x.until("the follower to have all", 20*core.Second, func() bool {
				x.intact()
				return x.equal(x.f, x.g) && x.equal(x.g, x.f)
			})
			if reached("replica: a catch-up went on where an earlier one was cut") == resumed {
				t.Error("it began anew")
			}
			if dies == "follower" && reached("replica: a boot kept what a catch-up had brought") == kept {
				t.Error("the boot threw away what had come")
			}
			if len(had) < len(x.files) {
				t.Error("nothing had come")
			}
		})
	}
}

// configure changes a key of a topic, or of all brokers when there is none.
func (x *lagging) configure(topic, key, value string) {
	x.t.Helper()
	c := &meta.AlterConfigs{Resource: meta.TopicResource, Name: topic, Ops: []meta.ConfigOp{{Key: key, Op: meta.Set, Value: value}}}
	if topic == "" {
		c.Resource = meta.BrokerResource
	}
	if res := x.adminAt(x.g, c); res.Code != meta.Done {
		x.t.Fatal(res)
	}
}

// Each of the three rates holds for those that it is for, from the moment at which it is set.
func TestACatchUpIsThrottled(t *testing.T) {
	const rate, left = 65536, 150000 // bytes a second, and at least so many bytes to go
	for _, c := range []struct {
		name, list, key string
		slow            bool
	}{
		{"default", "", "replica.catchup.max.bytes.per.second", true},
		{"leader, named", "leader.replication.throttled.replicas", "leader.replication.throttled.rate", true},
		{"leader, not named", "", "leader.replication.throttled.rate", false},
		{"follower, named", "follower.replication.throttled.replicas", "follower.replication.throttled.rate", true},
		{"follower, not named", "", "follower.replication.throttled.rate", false},
		{"named, so not by default", "follower.replication.throttled.replicas", "replica.catchup.max.bytes.per.second", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newLagging(t)
			x.begun()
			if c.list != "" {
				x.configure("long", c.list, fmt.Sprintf("0:%d,0:%d", x.l.id, x.f.id))
			}
			x.configure("", c.key, fmt.Sprint(rate))
			began := x.now
			x.until("the follower to have all", 20*core.Second, func() bool { return x.equal(x.f, x.l) && x.equal(x.l, x.f) })
			took, least := x.now-began, core.Mono(left)*core.Second/rate
			if c.slow && took < least || !c.slow && took > least {
				t.Errorf("it took %d ms; at the throttle it takes %d at least", took/core.Millisecond, least/core.Millisecond)
			}
		})
	}
}

// What catch-ups have in memory is bounded for the node, and all of it is given back.
func TestCatchUpsLandWhatTheyWereLetIn(t *testing.T) {
	x := newLagging(t)
	air := &x.f.shards[0].home.tolls.air
	most := int64(0)
	x.until("the follower to have all", 20*core.Second, func() bool {
		most = max(most, *air)
		return x.equal(x.f, x.l) && x.equal(x.l, x.f)
	})
	x.run(core.Second)
	if most == 0 || most > x.f.shards[0].limits.PullMemory || *air != 0 {
		t.Errorf("%d bytes at most, %d left", most, *air)
	}
}

// The time of a stretch is rounded up, and never overflows.
func TestTollTime(t *testing.T) {
	for _, c := range []struct {
		n, rate int64
		want    core.Mono
	}{
		{0, 1, 0}, {1, 1, core.Second}, {4 << 20, 1, 4 << 20 * core.Second}, {1, 1 << 30, core.Microsecond},
		{16 << 20, 16 << 20, core.Second}, {16<<20 + 1, 16 << 20, core.Second + core.Microsecond},
		{4 << 20, noRate - 1, 4 * core.Microsecond}, {4 << 20, noRate, 0}, {4 << 20, 1<<63 - 1, 0},
	} {
		if got := tollTime(c.n, c.rate); got != c.want {
			t.Errorf("%d bytes at %d take %d, want %d", c.n, c.rate, got, c.want)
		}
	}
}
