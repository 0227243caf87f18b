package fake

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// town is a Sink with a clock of its own: it writes down what everybody hears.
type town struct {
	t    *testing.T
	net  *Net
	now  core.Mono
	due  []struct{ at, tok uint64 }
	said []string
	file []byte // what file 9 holds
}

func newTown(t *testing.T, nodes int, seed uint64) *town {
	w := &town{t: t}
	w.net = New(nodes, det.New(seed, "net"), w)
	return w
}

func (w *town) After(at core.Mono, token uint64) {
	w.due = append(w.due, struct{ at, tok uint64 }{uint64(at), token})
	slices.SortStableFunc(w.due, func(a, b struct{ at, tok uint64 }) int { return int(int64(a.at) - int64(b.at)) })
}

func (w *town) say(format string, args ...any) { w.said = append(w.said, fmt.Sprintf(format, args...)) }

func (w *town) Node(n core.NodeID, s core.ShardID, ev core.Event) {
	switch ev.Kind {
	case core.PeerUp, core.PeerDown:
		w.say("n%d %v %d", n, ev.Kind, ev.Node)
	case core.PeerHello, core.PeerClosed:
		w.say("n%d %v from %d %s", n, ev.Kind, ev.Node, ev.Body.Bytes())
		if ev.Kind == core.PeerHello {
			w.net.AcceptPeer(n, ev.Link, core.NodeID(ev.Body.Bytes()[0]-'0'))
		}
	case core.PeerFrame:
		w.say("n%d %s", n, ev.Body.Bytes())
	case core.ConnFrame, core.ConnOpen:
		w.say("n%d %v %s", n, ev.Kind, ev.Body.Bytes())
	default:
		w.say("n%d %v %d", n, ev.Kind, ev.N)
	}
	ev.Body.Release()
}

func (w *town) Opened(core.ConnID)            { w.say("client opened") }
func (w *town) Bytes(_ core.ConnID, b []byte) { w.say("client %s", b) }
func (w *town) Closed(core.ConnID)            { w.say("client closed") }

func (w *town) Gather(n core.NodeID, b []byte, vec []core.Ref) ([]byte, bool) {
	whole := true
	for _, r := range vec {
		switch {
		case r.InMemory():
			b = append(b, r.Bytes()...)
		case r.Off+int64(r.Len) > int64(len(w.file)):
			b, whole = append(b, make([]byte, r.Len)...), false
		default:
			b = append(b, w.file[r.Off:r.Off+int64(r.Len)]...)
		}
	}
	return b, whole
}

// client connects to node 0, which is up and lets clients in from now on.
func (w *town) client() core.ConnID {
	w.net.Up(0, 0)
	w.net.OpenGate(0)
	c := w.net.Dial(w.now, 0)
	w.run(core.Second)
	return c
}

func (w *town) run(for_ core.Mono) {
	end := w.now + for_
	for len(w.due) > 0 && core.Mono(w.due[0].at) <= end {
		d := w.due[0]
		w.due = w.due[1:]
		w.now = core.Mono(d.at)
		w.net.Fire(w.now, d.tok)
	}
	w.now = end
}

// up brings two nodes up and lets node 0 say hello to node 1.
func (w *town) up() {
	w.net.Up(w.now, 0)
	w.net.Up(w.now, 1)
	w.run(core.Second)
	w.net.Seen(0, 1)
	w.send(0, "0 says hello")
	w.run(core.Second)
	w.said = nil
}

func (w *town) send(s core.ShardID, text string) {
	w.net.SendPeer(w.now, 0, s, 1, []core.Ref{core.RefOf([]byte(text))})
}

func (w *town) heard(prefix string) (all []string) {
	for _, s := range w.said {
		if strings.HasPrefix(s, prefix) {
			all = append(all, s)
		}
	}
	return all
}

func (w *town) expect(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.said, want) {
		w.t.Errorf("heard:\n  %s\nwant:\n  %s", strings.Join(w.said, "\n  "), strings.Join(want, "\n  "))
	}
	w.said = nil
}

func TestFramesInOrder(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	var want []string
	for i := range 50 {
		w.send(0, fmt.Sprint("frame ", i))
		want = append(want, fmt.Sprint("n1 frame ", i))
		w.run(core.Mono(i) * 10 * core.Microsecond)
	}
	w.run(core.Second)
	if got := w.heard("n1"); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// What a process sends before its step saw PeerUp, and before the hello, belongs to no link; all of
// it is counted.
func TestBeforeHello(t *testing.T) {
	w := newTown(t, 2, 1)
	w.send(0, "nobody is there")
	w.net.Up(w.now, 0)
	w.run(core.Second)
	w.net.Up(w.now, 1)
	w.run(core.Second)
	w.expect("n0 PeerSent 15", "n0 PeerDown 1", "n1 PeerUp 0", "n0 PeerUp 1")
	w.send(0, "unseen")
	w.net.Seen(0, 1)
	w.send(1, "too early")
	w.send(0, "0 hello")
	w.send(1, "shard one")
	w.run(core.Second)
	w.expect("n0 PeerSent 6", "n0 PeerSent 9", "n0 PeerSent 7", "n0 PeerSent 9", "n1 PeerHello from 0 0 hello", "n1 shard one")
}

// A region of a file is read when it leaves, and zeros stand for what is gone.
func TestLateGathering(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	w.file = []byte("abcdef")
	w.net.SendPeer(w.now, 0, 0, 1, []core.Ref{core.RefOf([]byte("x:")), {File: 9, Off: 2, Len: 3}})
	w.file = []byte("ABCDEF")
	w.run(core.Second)
	w.net.SendPeer(w.now, 0, 0, 1, []core.Ref{{File: 9, Off: 4, Len: 3}})
	w.run(core.Second)
	if got := w.heard("n1"); !slices.Equal(got, []string{"n1 x:CDE", "n1 \x00\x00\x00"}) {
		t.Errorf("got %q", got)
	}
}

func TestRot(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	w.file = []byte("abcdef")
	w.net.Weather.Rot = 1e6
	w.net.SendPeer(w.now, 0, 0, 1, []core.Ref{core.RefOf([]byte("mem ")), {File: 9, Len: 6}})
	w.run(core.Second)
	got := w.heard("n1 mem ")
	if len(got) != 1 || got[0] == "n1 mem abcdef" || w.net.Faults.Rots != 1 {
		t.Errorf("got %q after %d flips", got, w.net.Faults.Rots)
	}
}

func TestCutAndHeal(t *testing.T) {
	late, lost := 0, 0
	for seed := range uint64(20) {
		w := newTown(t, 2, seed)
		w.up()
		w.net.Cut(0, 1)
		w.send(0, "into the cut")
		w.run(3 * core.Second)
		if len(w.heard("n1")) > 0 {
			t.Fatal("a cut lets frames pass")
		}
		w.net.Heal(w.now)
		w.run(core.Second)
		switch {
		case slices.Contains(w.said, "n1 into the cut"):
			late++
		case slices.Contains(w.said, "n0 PeerDown 1") && slices.Contains(w.said, "n0 PeerUp 1") && len(w.heard("n1 PeerClosed from 0")) == 1:
			lost++
		default:
			t.Errorf("seed %d heard %v", seed, w.said)
		}
	}
	if late == 0 || lost == 0 {
		t.Errorf("%d links carried on, %d were reset", late, lost)
	}
}

// After a frame is lost nothing follows it before the link is up again.
func TestDrop(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	w.net.Weather.Drop = 1e6
	w.send(0, "lost")
	w.run(core.Millisecond / 2)
	w.net.Weather.Drop = 0
	w.send(0, "lost too")
	w.run(2 * core.Second)
	w.expect("n0 PeerSent 4", "n0 PeerSent 8", "n0 PeerDown 1", "n1 PeerClosed from 0 ", "n0 PeerUp 1")
}

func TestDeath(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	w.send(0, "last words")
	w.run(core.Millisecond)
	w.said = nil
	w.net.Down(w.now, 0, false)
	w.run(5 * core.Second)
	slices.Sort(w.said) // two connections, no order between them
	w.expect("n1 PeerClosed from 0 ", "n1 PeerDown 0")
	w.net.Up(w.now, 0)
	w.run(core.Second)
	w.expect("n0 PeerUp 1", "n1 PeerUp 0")
}

func TestConnections(t *testing.T) {
	w := newTown(t, 1, 1)
	w.net.Up(0, 0)
	w.net.Dial(w.now, 0)
	w.run(core.Second)
	w.expect("client closed") // the gate is shut
	w.net.OpenGate(0)
	c := w.net.Dial(w.now, 0)
	w.run(core.Second)
	w.expect("n0 ConnOpen PLAINTEXT\x00\x0010.0.0.2:50000", "client opened")
	for i := range core.Credits + 2 {
		w.net.ClientSend(w.now, c, fmt.Append(nil, i))
	}
	w.run(core.Second)
	if n := len(w.heard("n0 ConnFrame")); n != core.Credits {
		t.Errorf("%d frames were read on %d credits", n, core.Credits)
	}
	w.said = nil
	w.net.Credit(c, 1)
	w.expect(fmt.Sprint("n0 ConnFrame ", core.Credits))
	w.net.SendConn(w.now, c, []core.Ref{core.RefOf([]byte("answer"))})
	w.net.CloseConn(w.now, c)
	w.net.SendConn(w.now, c, []core.Ref{core.RefOf([]byte("after"))})
	w.run(core.Second)
	w.expect("n0 ConnSent 6", "n0 ConnClosed 0", "client answer", "client closed")
	if w.net.conns.Len() != 0 {
		t.Error("a connection is remembered for ever")
	}
}

func TestClientHangsUp(t *testing.T) {
	w := newTown(t, 1, 1)
	c := w.client()
	w.net.ClientSend(w.now, c, []byte("bye"))
	w.net.ClientClose(w.now, c)
	w.run(core.Second)
	w.expect("n0 ConnOpen PLAINTEXT\x00\x0010.0.0.1:50000", "client opened", "n0 ConnFrame bye", "n0 ConnClosed 0")
}

// A region that left its file ends the connection: wrong bytes never leave.
func TestShortRegion(t *testing.T) {
	w := newTown(t, 1, 1)
	c := w.client()
	w.said = nil
	w.file = []byte("ab")
	w.net.SendConn(w.now, c, []core.Ref{{File: 9, Len: 3}})
	w.run(core.Second)
	w.expect("n0 ConnClosed 0", "client closed")
}

func TestNothingLeaks(t *testing.T) {
	live := core.Live.Load()
	w := newTown(t, 3, 7)
	w.net.Weather.Reset, w.net.Weather.Drop, w.net.Weather.Double = 1e5, 1e5, 1e5
	for n := range core.NodeID(3) {
		w.net.Up(w.now, n)
		w.net.OpenGate(n)
	}
	rng := det.New(7, "test")
	for i := range 3000 {
		from, to := core.NodeID(rng.N(3)), core.NodeID(rng.N(3))
		switch {
		case rng.Chance(1, 200):
			w.net.Down(w.now, from, rng.Chance(1, 2))
			w.net.Up(w.now, from)
			w.net.OpenGate(from)
		case rng.Chance(1, 100):
			w.net.Cut(from, to)
		case rng.Chance(1, 100):
			w.net.Heal(w.now)
		case from != to:
			w.net.Seen(from, to)
			w.net.SendPeer(w.now, from, 0, to, []core.Ref{core.RefOf(fmt.Append(nil, from, i))})
		default:
			c := w.net.Dial(w.now, from)
			w.run(core.Millisecond)
			w.net.ClientSend(w.now, c, []byte("x"))
			w.net.SendConn(w.now, c, []core.Ref{core.RefOf([]byte("y"))})
			if rng.Chance(1, 2) {
				w.net.ClientClose(w.now, c)
			}
		}
		w.run(core.Mono(rng.N(int64(core.Millisecond))))
	}
	w.net.Shut()
	if n := core.Live.Load() - live; n != 0 {
		t.Errorf("%d buffers were never released", n)
	}
}
