package nettest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// pair opens both nodes and joins node 1's outgoing link to node 2.
func (r *rig) pair() (a, b *node, in core.LinkID) {
	r.t.Helper()
	a, b = r.open(1), r.open(2)
	return a, b, r.join(a, b, 1)
}

// join greets on the nth link from a to b and accepts it there.
func (r *rig) join(a, b *node, nth int) core.LinkID {
	r.t.Helper()
	both := []*node{a, b}
	r.until("PeerUp", both, func() bool { return len(a.find(0, core.PeerUp)) >= nth })
	hello := fmt.Sprintf("hello %d", nth)
	a.do(0, core.Effect{Kind: core.SendPeer, Node: b.id}, hello)
	var in core.LinkID
	r.until("PeerHello", both, func() bool {
		for _, e := range b.find(0, core.PeerHello) {
			if string(e.Body.Bytes()) == hello {
				in = e.Link
			}
		}
		return in != 0
	})
	b.do(0, core.Effect{Kind: core.AcceptPeer, Link: in, Node: a.id})
	return in
}

func peerFrames(t *testing.T, r *rig) {
	a, b, in := r.pair()
	defer a.close()
	defer b.close()
	const each = 200
	long := strings.Repeat("z", 300_000)
	for i := range each {
		tail := ""
		if i%50 == 7 {
			tail = long
		}
		for s := range core.ShardID(shards) {
			a.do(s, core.Effect{Kind: core.SendPeer, Node: 2}, fmt.Sprint(i%2), fmt.Sprintf(" %d from %d", i, s), tail)
		}
	}
	for s := range core.ShardID(shards) {
		r.until("the frames", []*node{a, b}, func() bool { return len(b.find(s, core.PeerFrame)) == each })
		next := map[string]int{}
		for _, e := range b.find(s, core.PeerFrame) {
			var i, from int
			text := string(e.Body.Bytes()[2:])
			if _, err := fmt.Sscanf(text, "%d from %d", &i, &from); err != nil || i%2 != int(s) || e.Node != 1 || e.Link != in {
				t.Fatalf("shard %d was told %.40q of node %d, link %d", s, text, e.Node, e.Link)
			}
			key := fmt.Sprint(from)
			if i < next[key] {
				t.Fatalf("frame %d from shard %d came after %d", i, from, next[key])
			}
			next[key] = i
			if want := i%50 == 7; (e.Body.Len > 1000) != want {
				t.Fatalf("frame %d has %d bytes", i, e.Body.Len)
			}
		}
	}
}

// helloFirst sends from the other shard before shard 0 has greeted.
func helloFirst(t *testing.T, r *rig) {
	a, b := r.open(1), r.open(2)
	defer a.close()
	defer b.close()
	r.until("PeerUp", []*node{a, b}, func() bool { return len(a.find(0, core.PeerUp)) == 1 })
	a.do(1, core.Effect{Kind: core.SendPeer, Node: 2}, "0 too early")
	a.count(1, core.PeerSent, 1)
	r.join(a, b, 1)
	a.do(1, core.Effect{Kind: core.SendPeer, Node: 2}, "0 in time")
	r.until("a frame", []*node{a, b}, func() bool { return len(b.find(0, core.PeerFrame)) == 1 })
	if h := b.find(0, core.PeerHello)[0]; string(h.Body.Bytes()) != "hello 1" || h.Node != core.NoNode {
		t.Errorf("the first frame was %q of node %d", h.Body.Bytes(), h.Node)
	}
	if f := b.find(0, core.PeerFrame)[0]; string(f.Body.Bytes()) != "0 in time" {
		t.Errorf("then came %q", f.Body.Bytes())
	}
}

// unseenLink sends on a link whose PeerUp no step has seen.
func unseenLink(t *testing.T, r *rig) {
	a, b := r.open(1), r.open(2)
	defer a.close()
	defer b.close()
	a.held = true
	r.until("PeerUp", []*node{a, b}, func() bool { return len(a.find(0, core.PeerUp)) == 1 })
	a.do(0, core.Effect{Kind: core.SendPeer, Node: 2}, "meant for an older link")
	a.count(0, core.PeerSent, 1)
	a.held = false
	a.step()
	r.join(a, b, 1)
	if h := b.find(0, core.PeerHello); len(h) != 1 || string(h[0].Body.Bytes()) != "hello 1" {
		t.Errorf("%d hellos, the first %q", len(h), h[0].Body.Bytes())
	}
}

func peerCounts(t *testing.T, r *rig) {
	a, b, _ := r.pair()
	defer b.close()
	defer a.close()
	var want [shards]int64
	want[0] = int64(len("hello 1"))
	body := strings.Repeat("0", 10_000)
	for i := range 100 {
		s := core.ShardID(i % shards)
		a.do(s, core.Effect{Kind: core.SendPeer, Node: 2}, body[:1+i*97])
		want[s] += int64(1 + i*97)
		if i == 50 {
			a.do(0, core.Effect{Kind: core.DropPeer, Node: 2})
		}
	}
	r.until("every byte to be counted", []*node{a, b}, func() bool {
		return sum(a.find(0, core.PeerSent)) >= want[0] && sum(a.find(1, core.PeerSent)) >= want[1]
	})
	for s := range core.ShardID(shards) {
		if got := sum(a.find(s, core.PeerSent)); got != want[s] {
			t.Errorf("shard %d: %d bytes counted of %d", s, got, want[s])
		}
	}
}

func dropped(t *testing.T, r *rig) {
	a, b, first := r.pair()
	defer a.close()
	defer b.close()
	both := []*node{a, b}
	a.do(0, core.Effect{Kind: core.DropPeer, Node: 2})
	r.until("PeerDown", both, func() bool { return len(a.find(0, core.PeerDown)) >= 1 })
	r.until("PeerClosed", both, func() bool { return len(b.find(0, core.PeerClosed)) == 1 })
	if e := b.find(0, core.PeerClosed)[0]; e.Link != first || e.Node != 1 {
		t.Errorf("PeerClosed of link %d of node %d", e.Link, e.Node)
	}
	second := r.join(a, b, 2)
	a.do(0, core.Effect{Kind: core.SendPeer, Node: 2}, "1 again")
	r.until("a frame", both, func() bool { return len(b.find(1, core.PeerFrame)) == 1 })
	if e := b.find(1, core.PeerFrame)[0]; e.Link != second || first == second {
		t.Errorf("the frame came on link %d, the links were %d and %d", e.Link, first, second)
	}
}

func closedLink(t *testing.T, r *rig) {
	a, b := r.open(1), r.open(2)
	defer a.close()
	defer b.close()
	both := []*node{a, b}
	r.until("PeerUp", both, func() bool { return len(a.find(0, core.PeerUp)) == 1 })
	a.do(0, core.Effect{Kind: core.SendPeer, Node: 2}, "unwelcome")
	r.until("PeerHello", both, func() bool { return len(b.find(0, core.PeerHello)) == 1 })
	b.do(0, core.Effect{Kind: core.ClosePeer, Link: b.find(0, core.PeerHello)[0].Link})
	r.until("PeerClosed", both, func() bool { return len(b.find(0, core.PeerClosed)) == 1 })
	if e := b.find(0, core.PeerClosed)[0]; e.Node != core.NoNode {
		t.Errorf("a link that was never accepted belongs to node %d", e.Node)
	}
	r.until("PeerDown, and up again", both, func() bool {
		return len(a.find(0, core.PeerDown)) >= 1 && len(a.find(0, core.PeerUp)) >= 2
	})
	in := r.join(a, b, len(a.find(0, core.PeerUp)))
	a.do(0, core.Effect{Kind: core.SendPeer, Node: 2}, "1 welcome")
	r.until("a frame", both, func() bool { return len(b.find(1, core.PeerFrame)) == 1 })
	if f := b.find(1, core.PeerFrame)[0]; f.Link != in || f.Node != 1 {
		t.Errorf("the frame came on link %d of node %d, want link %d of node 1", f.Link, f.Node, in)
	}
}

func routePanic(t *testing.T, r *rig) {
	a, b, first := r.pair()
	defer a.close()
	defer b.close()
	both := []*node{a, b}
	a.do(0, core.Effect{Kind: core.SendPeer, Node: 2}, "!")
	r.until("the end of that link", both, func() bool { return len(b.find(0, core.PeerClosed)) == 1 })
	if e := b.find(0, core.PeerClosed)[0]; e.Link != first || e.Node != 1 {
		t.Errorf("PeerClosed of link %d of node %d", e.Link, e.Node)
	}
	r.until("PeerUp again", both, func() bool { return len(a.find(0, core.PeerUp)) == 2 })
	r.join(a, b, 2)
	a.do(0, core.Effect{Kind: core.SendPeer, Node: 2}, "1 again")
	r.until("a frame", both, func() bool { return len(b.find(1, core.PeerFrame)) == 1 })
}

func peerRegions(t *testing.T, r *rig) {
	a, b, _ := r.pair()
	defer a.close()
	defer b.close()
	r.w.File(1, 7, []byte("0123456789"))
	a.doRefs(0, core.Effect{Kind: core.SendPeer, Node: 2}, core.RefOf([]byte("1:")),
		core.Ref{File: 7, Off: 2, Len: 4}, core.RefOf([]byte(":")), core.Ref{File: 7, Off: 7, Len: 6}, core.Ref{File: 9, Len: 2})
	r.until("the frame", []*node{a, b}, func() bool { return len(b.find(1, core.PeerFrame)) == 1 })
	if got := string(b.find(1, core.PeerFrame)[0].Body.Bytes()); got != "1:2345:789\x00\x00\x00\x00\x00" {
		t.Errorf("%q arrived", got)
	}
	r.until("PeerSent", []*node{a, b}, func() bool { return sum(a.find(0, core.PeerSent)) == 7+15 })
}
