package shard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
)

// fatalWith says that some process ended itself with a text that holds s.
func (r *rig) fatalWith(s string) bool {
	return slices.ContainsFunc(r.fatal, func(f string) bool { return strings.Contains(f, s) })
}

// believes says whether any shard of n takes frames of o on the link that o has now.
func (r *rig) believes(n, o *rigNode) bool {
	return slices.ContainsFunc(n.shards, func(s *Shard) bool {
		p := s.peers.At(o.id)
		return p.link != 0 && p.link == o.links[n.id]
	})
}

// again kills a node and starts it, so many times.
func (r *rig) again(n *rigNode, times int) {
	for range times {
		r.kill(n)
		r.turn()
		r.start(n)
		r.run(50 * core.Millisecond)
	}
}

// However often an old disk starts where nobody can refuse it, and however few starts it is behind.
func TestAnOldDiskIsRefusedWhateverItsCounterSays(t *testing.T) {
	for _, c := range []struct{ newer, alone int }{{1, 1}, {1, 2}, {1, 5}, {3, 3}, {3, 4}, {3, 9}, {2, 100}} {
		t.Run(fmt.Sprintf("%d starts against %d", c.alone, c.newer), func(t *testing.T) {
			r := newRig(t, 3, 2)
			r.open()
			n := r.nodes[1]
			r.kill(n)
			old := n.disk.copy()
			for range c.newer {
				r.start(n)
				r.run(300 * core.Millisecond)
				r.kill(n)
			}
			for _, o := range r.nodes {
				if o != n {
					r.kill(o)
				}
			}
			n.disk = old
			for k := range c.alone {
				if k > 0 {
					r.kill(n)
				}
				r.start(n)
				r.run(10 * core.Millisecond)
			}
			if len(r.fatal) > 0 {
				t.Fatal(r.fatal)
			}
			r.start(r.nodes[0])
			r.start(r.nodes[2])
			for range 2000 {
				r.turn()
				if r.believes(r.nodes[0], n) || r.believes(r.nodes[2], n) {
					t.Fatalf("it was let in: %q\n%s", r.fatal, r.describe())
				}
			}
			if !r.fatalWith("old disk") && !r.fatalWith("does not remember") {
				t.Fatalf("it was not refused: %q", r.fatal)
			}
		})
	}
}

// A disk that started often alone shows what its peers are known to have met.
func TestACrashLoopIsNoOldDisk(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	r.run(100 * core.Millisecond)
	n := r.nodes[1]
	for _, o := range r.nodes {
		r.kill(o)
	}
	for range 3 * lineageKept {
		r.start(n)
		r.run(5 * core.Millisecond)
		r.kill(n)
	}
	for _, o := range r.nodes {
		r.start(o)
	}
	r.open()
	if len(r.fatal) > 0 {
		t.Fatal(r.fatal)
	}
	if k := len(n.shards[0].id.Past); k > lineageKept+2 {
		t.Errorf("its lineage has %d starts", k)
	}
}

// What is written of a peer counts when it is durable, also when the peer says hello twice meanwhile.
func TestAPeerIsNoMemberBeforeItsIdentityIsDurable(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	n, o := r.nodes[0], r.nodes[2]
	r.kill(o)
	n.holds = true
	r.start(o)
	r.run(50 * core.Millisecond)
	if len(n.held) == 0 {
		t.Fatal("nothing is written about the new process")
	}
	h := hello{cluster: n.shards[0].id.Cluster, node: o.id, incarnation: 1, start: 2, mark: o.shards[0].id.Mark,
		heard: n.shards[0].id.Mark, past: o.shards[0].id.Past}
	for range 5 { // it asks again, as it does every 250 ms
		r.send(o, 0, n.id, sealedFrame(h.encode()))
		r.run(20 * core.Millisecond)
		if r.believes(n, o) {
			t.Fatal("it is a member, and a crash would forget that it was met")
		}
		rec, err := Recover(n.disk, n.id)
		if err != nil || rec.Identity.seen(o.id).Start != 1 {
			t.Fatalf("the disk knows of it: %v %v", rec, err)
		}
	}
	n.holds = false
	for len(n.held) > 0 {
		f := n.held[0]
		n.held = n.held[1:]
		f()
		r.run(5 * core.Millisecond)
	}
	r.until("it to be a member", core.Second, func() bool { return r.believes(n, o) })
	if rec, err := Recover(n.disk, n.id); err != nil || rec.Identity.seen(o.id).Start != 2 {
		t.Fatalf("%v %v", rec, err)
	}
}

// sealedFrame is what Shard.say makes of a frame.
func sealedFrame(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[frameCovered:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[frameSum:], frameCRC(b))
	return b
}

// A node whose machine lost power leaves a link that nobody closed. What comes on the next one is another
// process, which must be judged before any shard believes it.
func TestAnOldDiskHasNothingOfTheLinkBeforeIt(t *testing.T) {
	for _, shards := range []int{1, 2, 3} {
		r := newRig(t, 3, shards)
		r.open()
		r.createTopic("events", 6, 3)
		n := r.nodes[2]
		r.kill(n)
		r.turn()
		old := n.disk.copy()
		r.start(n)
		r.open()
		r.run(core.Second)
		r.vanish(n)
		n.disk = old
		r.start(n)
		for range 1500 {
			r.turn()
			for _, o := range r.nodes[:2] {
				if r.believes(o, n) {
					t.Fatalf("%d shards: node %d takes frames of the old disk", shards, o.id)
				}
			}
		}
		if !r.fatalWith("old disk") {
			t.Errorf("%d shards: nobody refused it: %q", shards, r.fatal)
		}
	}
}

// Frames of an earlier time that somebody sends again decide nothing.
func TestAHelloOfAnotherTimeIsNotBelieved(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	n, o := r.nodes[0], r.nodes[2]
	id := o.shards[0].id
	earlier := hello{cluster: id.Cluster, node: o.id, incarnation: 1, start: 1, mark: id.Mark, past: id.Past, heard: n.shards[0].id.Mark}
	r.again(o, 2)
	r.open()
	refusal := earlier
	refusal.refuse = "node 1 shows an old disk"
	wiped := hello{node: o.id, mark: 99}
	other := hello{cluster: "karst-other", node: o.id, incarnation: 1, start: 9, mark: o.shards[0].id.Mark}
	for _, h := range []hello{earlier, refusal, wiped, other} {
		r.send(o, 0, n.id, sealedFrame(h.encode()))
		r.run(300 * core.Millisecond)
		if len(r.fatal) > 0 || !r.believes(n, o) {
			t.Fatalf("%+v was believed: %q", h, r.fatal)
		}
	}
}

// An empty node adopts a cluster when all its peers have answered this very process.
func TestAnOldAnswerAdoptsNobody(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	n, o := r.nodes[2], r.nodes[0]
	id := o.shards[0].id
	for _, x := range r.nodes {
		r.kill(x)
	}
	n.disk = rigDisk{}
	r.start(n)
	r.turn()
	for k, x := range r.nodes[:2] { // as they spoke before they had met anybody
		h := hello{cluster: id.Cluster, node: x.id, incarnation: 1, start: 1, mark: 5, heard: 1234, past: []Past{{1, 5}}}
		n.post(0, core.Event{Kind: core.PeerHello, Link: core.LinkID(900 + k), Body: core.RefOf(sealedFrame(h.encode()))})
	}
	r.run(core.Second)
	if n.shards[0].home.member {
		t.Fatal("it adopted the cluster of those who had met it")
	}
}

func TestAnIdentityWithoutMarksIsRead(t *testing.T) {
	b := append([]byte(identityMagic), 1)
	b = appendText(b, "karst-1")
	for _, v := range []uint64{2, 1, 7, 30, 1, 3, 1, 4} { // node, incarnation, start, writes, one seen: node, incarnation, start
		b = binary.AppendUvarint(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	id, newer, ok := decodeIdentity(append(b, make([]byte, 100)...))
	if !ok || newer || id.Cluster != "karst-1" || id.Start != 7 || len(id.Past) != 0 || id.Seen[0] != (Seen{Node: 3, Incarnation: 1, Start: 4}) {
		t.Fatalf("%+v %v %v", id, newer, ok)
	}
	if why := id.Seen[0].descends(1, 5, []Past{{5, 77}}); why != "" {
		t.Error(why)
	}
	id.begun(8, 99)
	again, _, ok := decodeIdentity(id.encode())
	if !ok || fmt.Sprint(again) != fmt.Sprint(id) {
		t.Fatalf("%+v is read as %+v", id, again)
	}
	if _, newer, _ := decodeIdentity(append([]byte(identityMagic), identityVersion+1)); !newer {
		t.Error("a newer version is not told from rubbish")
	}
}

func FuzzHello(f *testing.F) {
	h := hello{cluster: "karst-1", node: 1, incarnation: 1, start: 2, mark: 3, known: Seen{Incarnation: 1, Start: 1, Mark: 9}, past: []Past{{1, 8}, {2, 3}}, refuse: "no"}
	f.Add(h.encode()[frameHead:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := decodeHello(b); ok {
			if g, ok := decodeHello(h.encode()[frameHead:]); !ok || fmt.Sprint(g) != fmt.Sprint(h) {
				t.Fatalf("%+v is read as %+v", h, g)
			}
		}
	})
}

// Whatever comes on a link that is not the believed one is dropped, by every shard.
func TestFramesCountOnTheJudgedLinkOnly(t *testing.T) {
	r := newRig(t, 3, 1)
	r.open()
	n, o := r.nodes[0], r.nodes[2]
	s := n.shards[0]
	const g = core.GroupID(77)
	frame := sealedFrame(encodeNews([]replica.Info{{Group: g, Term: 9, Leader: o.id, Leads: true}}))
	for _, c := range []struct {
		link  core.LinkID
		heard bool
	}{{0, false}, {o.links[n.id] + 1000, false}, {o.links[n.id], true}} {
		n.post(0, core.Event{Kind: core.PeerFrame, Node: o.id, Link: c.link, Body: core.RefOf(append([]byte(nil), frame...))})
		r.run(3 * core.Millisecond)
		if _, heard := s.leaders[g]; heard != c.heard {
			t.Errorf("link %d: heard %v", c.link, heard)
		}
	}
}
