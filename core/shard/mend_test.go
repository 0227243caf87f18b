package shard

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/seg"
)

// hurt is a cluster of three with a topic of one partition and two segments, of which a follower is down.
type hurt struct {
	*rig
	sick *rigNode
}

const (
	hurtFirst = "events-0/00000000000000000000.log"
	hurtTotal = 60
)

// value is what batch i holds; every fifth is small and rides in the journal.
func hurtValue(i int) string { return fmt.Sprintf("<value %04d>", i) }

func hurtBatch(i int) []byte {
	if i%5 == 0 {
		return batchOf(hurtValue(i))
	}
	return batchOf(hurtValue(i), string(bytes.Repeat([]byte{byte(i)}, 40<<10)))
}

func newHurt(t *testing.T) *hurt {
	r := newRig(t, 3, 1)
	r.open()
	made := false
	r.nodes[0].post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(&meta.CreateTopic{Name: "events", ID: s.DrawID(), Partitions: 1, Replication: 3,
			Configs: []config.KV{{Key: "segment.bytes", Value: "1048576"}}}, 5000,
			func(res meta.Result, e api.AdminErr) { made = e == api.AdminOK && res.Code == meta.Done })
	})})
	r.until("the topic", 5*core.Second, func() bool { return made && r.nodes[0].shards[0].view.Topic("events") != nil })
	l := r.led("events", 0)
	for i := range hurtTotal {
		if _, err := r.produce(l, 10, "events", 0, hurtBatch(i)); err != 0 {
			t.Fatal(err)
		}
	}
	r.run(3 * core.Second) // the journal is sealed: everything was certainly durable
	h := &hurt{rig: r}
	for _, n := range r.nodes {
		if n != l {
			h.sick = n
		}
	}
	r.kill(h.sick)
	return h
}

// segments are the files of the partition on a node, sorted.
func (h *hurt) segments(n *rigNode) (paths []string) {
	for _, f := range n.disk.List() {
		if dir, _, ok := seg.ParsePath(f.Path); ok && dir == "events-0" {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// rot spoils a byte of value i wherever files with a prefix hold it.
func (h *hurt) rot(prefix string, i int) {
	h.t.Helper()
	n := 0
	for _, f := range h.sick.disk.List() {
		b := h.sick.disk[f.Path]
		if at := bytes.Index(b, []byte(hurtValue(i))); at >= 0 && strings.HasPrefix(f.Path, prefix) {
			b[at+3] ^= 0x40
			n++
		}
	}
	if n == 0 {
		h.t.Fatalf("no file of %s holds value %d", prefix, i)
	}
}

func (h *hurt) replica(n *rigNode) *replica.Replica {
	return n.shards[0].groups.At(n.shards[0].recGroup("events-0")).r
}

// recGroup is the group that lives in a directory.
func (s *Shard) recGroup(dir string) core.GroupID {
	for _, g := range s.groups.Keys() {
		if s.groups.At(g).dir == dir {
			return g
		}
	}
	return 0
}

func TestADamagedReplicaFetchesWhatItLost(t *testing.T) {
	last := func(h *hurt) string { return h.segments(h.sick)[len(h.segments(h.sick))-1] }
	cases := []struct {
		name string
		hurt func(h *hurt)
	}{
		{"the first segment is missing", func(h *hurt) { delete(h.sick.disk, hurtFirst) }},
		{"the first segment is short", func(h *hurt) { h.sick.disk[hurtFirst] = h.sick.disk[hurtFirst][:100_000] }},
		{"the first segment is empty", func(h *hurt) { h.sick.disk[hurtFirst] = []byte{} }},
		{"the last segment is missing", func(h *hurt) { delete(h.sick.disk, last(h)) }},
		{"the last segment is short", func(h *hurt) { h.sick.disk[last(h)] = h.sick.disk[last(h)][:100_000] }},
		{"all segments are missing", func(h *hurt) {
			for _, p := range h.segments(h.sick) {
				delete(h.sick.disk, p)
			}
		}},
		{"a small batch rots in the journal", func(h *hurt) { h.rot("journal/", hurtTotal-5) }},
		{"a large batch rots in its segment", func(h *hurt) { h.rot("events-0/", hurtTotal-2) }},
		{"several rot", func(h *hurt) {
			h.rot("journal/", hurtTotal-5)
			h.rot("journal/", hurtTotal-10)
			h.rot("events-0/", hurtTotal-1)
			h.rot("events-0/", hurtTotal-7)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHurt(t)
			want := map[string][]byte{}
			for _, p := range h.segments(h.sick) {
				want[p] = slices.Clone(h.sick.disk[p])
			}
			if len(want) < 2 {
				t.Fatalf("only %d segments", len(want))
			}
			c.hurt(h)
			h.alone()
			h.killedWhileMending()
			h.heal()
			for p, b := range want {
				if !bytes.Equal(h.sick.disk[p], b) {
					t.Errorf("%s is not what it was: %d bytes, want %d", p, len(h.sick.disk[p]), len(b))
				}
			}
			h.useful()
		})
	}
}

// alone starts the damaged node while nobody answers it: it takes no part.
func (h *hurt) alone() {
	h.t.Helper()
	for _, n := range h.nodes {
		if n != h.sick {
			n.down = true // cut off
		}
	}
	h.start(h.sick)
	h.run(3 * core.Second)
	x := h.replica(h.sick)
	if x.Offline() != "" || !x.Opening() || x.Began() || x.Leads() {
		h.t.Fatalf("a damaged replica that is alone: %s", x.Describe())
	}
	for _, n := range h.nodes {
		n.down = n == h.sick
	}
	h.kill(h.sick)
}

// killedWhileMending ends the process after each step of its repair: the next one sees what is still lost.
func (h *hurt) killedWhileMending() {
	h.t.Helper()
	for k := range 12 {
		h.start(h.sick)
		began := false
		for range 300 {
			h.turn()
			x := h.replica(h.sick)
			if began = x.Began(); began || x.Mended() > k {
				break
			}
		}
		h.kill(h.sick)
		if began {
			return
		}
	}
}

// heal waits until the replica takes part again.
func (h *hurt) heal() {
	h.t.Helper()
	h.start(h.sick)
	h.until("the replica is whole", 20*core.Second, func() bool { return h.replica(h.sick).Began() })
	h.run(core.Second)
}

// useful shows that acknowledgements and votes of the node count again: one of the others is gone.
func (h *hurt) useful() {
	h.t.Helper()
	l := h.led("events", 0)
	for _, n := range h.nodes {
		if n != h.sick && n != l {
			h.kill(n)
			break
		}
	}
	for i := 0; ; i++ {
		n := h.led("events", 0)
		if _, err := h.produceFor(n, core.ConnID(500+n.id), "events", 0, batchOf("more"), 500); err == 0 {
			return
		} else if i > 20 {
			h.t.Fatalf("produce: %v\n%s", err, h.describe())
		}
		h.run(100 * core.Millisecond)
	}
}

// A batch that rots may be one that was never committed: a leader that was cut off held it, and the next leader
// has another entry in its place, or none. The log then ends before it.
func TestALostBatchThatWasNeverCommittedIsGivenUp(t *testing.T) {
	for _, busy := range []bool{true, false} {
		r := newRig(t, 3, 1)
		r.open()
		r.createTopic("events", 1, 3)
		l := r.led("events", 0)
		if _, err := r.produce(l, 10, "events", 0, batchOf("first")); err != 0 {
			t.Fatal(err)
		}
		h := &hurt{rig: r, sick: l}
		for _, n := range r.nodes {
			if n != l {
				r.kill(n)
			}
		}
		for i := range 3 {
			if _, err := r.produceFor(l, 10, "events", 0, batchOf(hurtValue(i)), 100); err == 0 {
				t.Fatal("acknowledged by one of three")
			}
		}
		r.run(3 * core.Second)
		r.kill(l)
		for _, n := range r.nodes {
			if n != l {
				r.start(n)
			}
		}
		r.run(3 * core.Second)
		if busy {
			if _, err := r.produce(r.led("events", 0), 11, "events", 0, batchOf("second")); err != 0 {
				t.Fatal(err)
			}
		}
		r.run(2 * core.Second)
		h.rot("journal/", 1)
		h.heal()
		r.equalLogs("events-0/00000000000000000000.log")
		if bytes.Contains(l.disk["events-0/00000000000000000000.log"], []byte(hurtValue(0))) {
			t.Error("a batch that was never committed is in the log")
		}
		h.useful()
	}
}

// A replica without others has nowhere to fetch from: it is offline and says why.
func TestADamagedReplicaWithoutOthersIsOffline(t *testing.T) {
	r := newRig(t, 1, 1)
	r.open()
	r.createTopic("events", 1, 1)
	n := r.nodes[0]
	if _, err := r.produce(n, 10, "events", 0, hurtBatch(1)); err != 0 {
		t.Fatal(err)
	}
	r.run(3 * core.Second)
	r.kill(n)
	n.disk[hurtFirst] = n.disk[hurtFirst][:100]
	r.start(n)
	r.run(2 * core.Second)
	if x := (&hurt{rig: r}).replica(n); x.Offline() == "" {
		t.Errorf("%s", x.Describe())
	}
}

// Rot in an old segment is found while the node runs, whoever leads, and mended from another node.
func TestTheScrubberFindsRotAndMendsIt(t *testing.T) {
	for _, leads := range []bool{false, true} {
		h := newHurt(t)
		h.heal()
		l := h.led("events", 0)
		if leads {
			h.sick = l
		}
		want := slices.Clone(h.sick.disk[hurtFirst])
		h.rot(hurtFirst, 7)
		h.rot(hurtFirst, 13)
		mending := false
		h.until("the segment is as it was", 120*core.Second, func() bool {
			mending = mending || h.replica(h.sick).Opening()
			return bytes.Equal(h.sick.disk[hurtFirst], want)
		})
		h.until("the replica takes part", 5*core.Second, func() bool { return !h.replica(h.sick).Opening() && h.replica(h.sick).Awake() })
		if x := h.replica(h.sick); !mending || x.Offline() != "" {
			t.Errorf("mending %v: %s", mending, x.Describe())
		}
		if leads && h.led("events", 0) == l && h.replica(l).Mended() == 0 {
			t.Error("the leader mended nothing")
		}
		h.useful()
		h.run(10 * core.Second)
		if h.replica(h.sick).Opening() {
			t.Error("what is whole is mended again")
		}
	}
}

// Who mends takes no part. When the leader that has the bytes is gone, its vote may be the one that is missing for a
// leader to come: then that is first.
func TestAReplicaThatMendsVotesWhenNobodyLeads(t *testing.T) {
	const rot = "scrub: a segment does not hold what was written to it"
	for _, mending := range []bool{false, true} {
		h := newHurt(t)
		h.heal()
		l := h.led("events", 0)
		for _, n := range h.nodes {
			if n != h.sick && n != l {
				h.kill(n)
			}
		}
		want, found := slices.Clone(h.sick.disk[hurtFirst]), reached(rot)
		h.rot(hurtFirst, 7)
		if mending {
			h.until("it mends", 120*core.Second, func() bool { return h.replica(h.sick).Opening() })
			h.kill(l)
		} else {
			h.kill(l)
			h.until("the rot is found", 120*core.Second, func() bool { return reached(rot) > found })
		}
		h.run(5 * core.Second)
		h.start(l)
		h.until("a leader", 20*core.Second, func() bool { return h.replica(l).Leads() || h.replica(h.sick).Leads() })
		h.until("the segment is as it was", 120*core.Second, func() bool { return bytes.Equal(h.sick.disk[hurtFirst], want) })
		h.useful()
	}
}
