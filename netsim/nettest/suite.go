package nettest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// one is a case of the suite.
type one struct {
	name string
	do   func(t *testing.T, r *rig)
}

// Run holds the networks that fresh makes to the contract. Each case gets its own World.
func Run(t *testing.T, fresh func(t *testing.T) World) {
	run(t, fresh, []one{
		{"nobody connects before the gate opens", gate},
		{"the life of a connection", life},
		{"homes rotate", homes},
		{"frames arrive whole", wholeFrames},
		{"credits bound what is read", credits},
		{"close lets answers leave", closeAfterAnswer},
		{"regions of files", regions},
		{"a short region ends the connection", shortRegion},
		{"frames between peers", peerFrames},
		{"nothing precedes the hello", helloFirst},
		{"nothing follows an unseen link", unseenLink},
		{"what is sent to a peer is counted once", peerCounts},
		{"a dropped link comes back", dropped},
		{"a closed link is told", closedLink},
		{"regions to peers", peerRegions},
	})
}

// RunHostile holds a network to what a stranger's bytes may do to it: nothing. The simulated network
// is not asked: it carries frames, not bytes, and a panic has to reach whoever replays the seed.
func RunHostile(t *testing.T, fresh func(t *testing.T) World) {
	run(t, fresh, []one{
		{"lying lengths end the connection", lyingLengths},
		{"a panic of intake ends its connection only", intakePanic},
		{"a panic of route ends its link only", routePanic},
	})
}

func run(t *testing.T, fresh func(t *testing.T) World, cases []one) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := core.Live.Load()
			r := &rig{t: t, w: fresh(t), news: make(chan struct{}, 1)}
			c.do(t, r)
			if left := core.Live.Load() - before; left != 0 {
				t.Errorf("%d buffers were not released", left)
			}
		})
	}
}

// dial opens the gate and a connection, and says to which shard it belongs.
func (r *rig) dial(n *node) (c Client, home core.ShardID, id core.ConnID) {
	r.t.Helper()
	n.do(0, core.Effect{Kind: core.OpenGate})
	known := map[core.ConnID]bool{}
	opened := func() bool {
		for s := range core.ShardID(shards) {
			for _, e := range n.find(s, core.ConnOpen) {
				if !known[e.Conn] {
					known[e.Conn], home, id = true, s, e.Conn
					return true
				}
			}
		}
		return false
	}
	for opened() {
	}
	c, err := r.w.Dial(n.id, r.wake)
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("ConnOpen", []*node{n}, opened)
	return c, home, id
}

func gate(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	if c, err := r.w.Dial(1, r.wake); err == nil {
		c.Close()
		t.Fatal("a client was let in before OpenGate")
	}
	c, home, _ := r.dial(n)
	said := strings.Split(string(n.find(home, core.ConnOpen)[0].Body.Bytes()), "\x00")
	if len(said) != 3 || said[0] != "PLAIN" || !strings.Contains(said[1], ":") || !strings.Contains(said[2], ":") || said[1] == said[2] {
		t.Errorf("ConnOpen says %q", said)
	}
	n.do(0, core.Effect{Kind: core.OpenGate}) // again: nothing changes
	c.Close()
	n.count(home, core.ConnClosed, 1)
}

func life(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	c, home, id := r.dial(n)
	c.Send(frame("a question"))
	f := n.count(home, core.ConnFrame, 1)[0]
	if f.Conn != id || string(f.Body.Bytes()) != "a question" || f.Check != byte('a') {
		t.Fatalf("frame %q of %d, check %v", f.Body.Bytes(), f.Conn, f.Check)
	}
	n.do(home, core.Effect{Kind: core.SendConn, Conn: id}, "an ", "", "answer")
	n.do(home, core.Effect{Kind: core.SendConn, Conn: id}, ", and more")
	r.until("the answer", nil, func() bool { return string(c.Received()) == "an answer, and more" })
	r.until("ConnSent of all", []*node{n}, func() bool { return sum(n.find(home, core.ConnSent)) == 19 })
	c.Close()
	n.count(home, core.ConnClosed, 1)
	n.do(home, core.Effect{Kind: core.SendConn, Conn: id}, "too late")
	n.do(home, core.Effect{Kind: core.CreditConn, Conn: id, N: 1})
	n.do(home, core.Effect{Kind: core.CloseConn, Conn: id})
	n.mu.Lock()
	defer n.mu.Unlock()
	said := ""
	for _, e := range n.events[home] {
		if e.Conn == id && e.Kind != core.ConnSent {
			said += fmt.Sprintf("%v ", e.Kind)
		}
	}
	if said != "ConnOpen ConnFrame ConnClosed " {
		t.Errorf("the life of a connection was%s", kinds(n.events[:]))
	}
}

func sum(list []core.Event) (n int64) {
	for _, e := range list {
		n += e.N
	}
	return n
}

func homes(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	n.do(0, core.Effect{Kind: core.OpenGate})
	var all []Client
	for range 6 {
		c, err := r.w.Dial(1, r.wake)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	n.count(0, core.ConnOpen, 3)
	n.count(1, core.ConnOpen, 3)
	for _, c := range all {
		c.Close()
	}
	n.count(0, core.ConnClosed, 3)
	n.count(1, core.ConnClosed, 3)
}

func wholeFrames(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	c, home, id := r.dial(n)
	bodies := []string{"one", "", strings.Repeat("big ", 100_000), "x", strings.Repeat("y", 20_000), "last"}
	var stream []byte
	for _, b := range bodies {
		stream = append(stream, frame(b)...)
	}
	for len(stream) > 0 { // in pieces that respect no frame
		k := min(len(stream), 1+len(stream)%9973)
		c.Send(stream[:k])
		stream = stream[k:]
	}
	for i, f := range n.count(home, core.ConnFrame, len(bodies)) {
		if f.Conn != id || string(f.Body.Bytes()) != bodies[i] {
			t.Fatalf("frame %d has %d bytes, want %d", i, f.Body.Len, len(bodies[i]))
		}
	}
	c.Send([]byte{0, 0, 0, 9, 'h', 'a', 'l', 'f'})
	c.Close()
	n.count(home, core.ConnClosed, 1)
	if got := len(n.find(home, core.ConnFrame)); got != len(bodies) {
		t.Errorf("%d frames came, the last of them half", got)
	}
}

func credits(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	c, home, id := r.dial(n)
	const all = 3 * core.Credits
	for i := range all {
		c.Send(frame(fmt.Sprintf("f%d", i)))
	}
	n.count(home, core.ConnFrame, core.Credits)
	// The same way in, later: what passes it has been read after what waits for credit.
	c2, home2, id2 := r.dial(n)
	c2.Send(frame("second"))
	r.until("a frame of the second connection", []*node{n}, func() bool {
		for _, f := range n.find(home2, core.ConnFrame) {
			if f.Conn == id2 {
				return true
			}
		}
		return false
	})
	frames := func() (k int) {
		for _, f := range n.find(home, core.ConnFrame) {
			if f.Conn == id {
				k++
			}
		}
		return k
	}
	if frames() != core.Credits {
		t.Fatalf("%d frames were read with %d credits", frames(), core.Credits)
	}
	for done := 0; done < all; done += 8 {
		n.do(home, core.Effect{Kind: core.CreditConn, Conn: id, N: 8})
		r.until("the frames that were credited", []*node{n}, func() bool { return frames() >= min(all, done+8+core.Credits) })
	}
	c.Close()
	c2.Close()
	r.until("both ends", []*node{n}, func() bool {
		return len(n.find(0, core.ConnClosed))+len(n.find(1, core.ConnClosed)) == 2
	})
}

func lyingLengths(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	good, goodHome, goodID := r.dial(n)
	for _, head := range []string{"\xff\xff\xff\xff", "\x80\x00\x00\x00", "\x7f\xff\xff\xff", "\x06\x40\x00\x01", "GET / HTTP/1.1\r\n\r\n"} {
		c, home, id := r.dial(n)
		c.Send([]byte(head))
		r.until("the end of the liar", []*node{n}, func() bool {
			l := n.find(home, core.ConnClosed)
			return len(l) > 0 && l[len(l)-1].Conn == id
		})
		r.until("the client sees it", nil, c.Ended)
		c.Close()
	}
	good.Send(frame("served on"))
	r.until("a frame of the honest", []*node{n}, func() bool {
		l := n.find(goodHome, core.ConnFrame)
		return len(l) == 1 && l[0].Conn == goodID
	})
	good.Close()
	r.until("all ends", []*node{n}, func() bool {
		return len(n.find(0, core.ConnClosed))+len(n.find(1, core.ConnClosed)) == 6
	})
}

func intakePanic(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	bad, badHome, badID := r.dial(n)
	good, goodHome, _ := r.dial(n)
	bad.Send(append(frame("fine"), frame("!")...))
	r.until("the end of the connection", []*node{n}, func() bool {
		l := n.find(badHome, core.ConnClosed)
		return len(l) == 1 && l[0].Conn == badID
	})
	if l := n.find(badHome, core.ConnFrame); len(l) != 1 || string(l[0].Body.Bytes()) != "fine" {
		t.Errorf("%d frames came before the panic, want 1", len(l))
	}
	good.Send(frame("ok"))
	n.count(goodHome, core.ConnFrame, 1)
	bad.Close()
	good.Close()
	n.count(goodHome, core.ConnClosed, 1)
}

func closeAfterAnswer(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	c, home, id := r.dial(n)
	c.Send(append(frame("a"), frame("never answered")...))
	n.count(home, core.ConnFrame, 1)
	answer := strings.Repeat("0123456789", 300_000)
	n.do(home, core.Effect{Kind: core.SendConn, Conn: id}, answer)
	n.do(home, core.Effect{Kind: core.CloseConn, Conn: id})
	r.until("the whole answer", []*node{n}, func() bool { return len(c.Received()) == len(answer) })
	r.until("the end", []*node{n}, c.Ended)
	c.Close()
	n.count(home, core.ConnClosed, 1)
	if string(c.Received()) != answer || sum(n.find(home, core.ConnSent)) != int64(len(answer)) {
		t.Errorf("%d of %d bytes arrived, ConnSent counts %d", len(c.Received()), len(answer), sum(n.find(home, core.ConnSent)))
	}
}

func regions(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	c, home, id := r.dial(n)
	content := bytes.Repeat([]byte("abcdefghij"), 100_000)
	f := core.NewFileID(home, 7)
	r.w.File(1, f, content)
	n.doRefs(home, core.Effect{Kind: core.SendConn, Conn: id}, core.RefOf([]byte("head:")),
		core.Ref{File: f, Off: 5, Len: 900_000}, core.RefOf([]byte(":mid:")), core.Ref{File: f, Off: 0, Len: 3}, core.RefOf([]byte(":tail")))
	n.do(home, core.Effect{Kind: core.SendConn, Conn: id}, "|next")
	want := "head:" + string(content[5:900_005]) + ":mid:abc:tail|next"
	r.until("the regions", []*node{n}, func() bool { return len(c.Received()) == len(want) })
	if string(c.Received()) != want {
		t.Error("other bytes arrived")
	}
	r.until("ConnSent of all", []*node{n}, func() bool { return sum(n.find(home, core.ConnSent)) == int64(len(want)) })
	c.Close()
	n.count(home, core.ConnClosed, 1)
}

func shortRegion(t *testing.T, r *rig) {
	n := r.open(1)
	defer n.close()
	for i, ref := range []core.Ref{{File: 7, Off: 5, Len: 10}, {File: 8, Len: 1}} {
		r.w.File(1, 7, []byte("0123456789"))
		c, home, id := r.dial(n)
		n.doRefs(home, core.Effect{Kind: core.SendConn, Conn: id}, ref, core.RefOf([]byte("never")))
		r.until("the end", []*node{n}, c.Ended)
		if len(c.Received()) > 5 {
			t.Errorf("case %d: %q arrived, of which the file held 5 bytes", i, c.Received())
		}
		r.until("ConnClosed", []*node{n}, func() bool {
			l := n.find(home, core.ConnClosed)
			return len(l) > 0 && l[len(l)-1].Conn == id
		})
		c.Close()
	}
}
