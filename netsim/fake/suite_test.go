package fake

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/netsim"
	"github.com/karst-stream/karst/netsim/nettest"
)

func TestMain(m *testing.M) {
	core.Poison = true
	os.Exit(m.Run())
}

// TestConformance holds the simulated network to what the real one is held to, in calm weather and in
// weather that only delays. Faults are kept out: the contract lets them lose what the suite waits for.
func TestConformance(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			nettest.Run(t, func(t *testing.T) nettest.World { return newWorld(t, seed) })
		})
	}
}

// world drives a Net as a world of the simulator does. The suite's nodes 1 and 2 are 0 and 1 here, so
// that every node there is has a process.
type world struct {
	t       *testing.T
	net     *Net
	now     core.Mono
	due     []dueCall
	nodes   map[core.NodeID]*process
	files   map[core.NodeID]map[core.FileID][]byte
	clients map[core.ConnID]*client
}

type dueCall struct {
	at  core.Mono
	tok uint64
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, nodes: map[core.NodeID]*process{}, clients: map[core.ConnID]*client{},
		files: map[core.NodeID]map[core.FileID][]byte{0: {}, 1: {}}}
	w.net = New(2, det.New(seed, "net"), w)
	w.net.Listener = "PLAIN"
	w.net.Address = func(n core.NodeID) string { return fmt.Sprintf("192.0.2.%d:9092", outer(n)) }
	if seed%2 == 1 {
		w.net.Weather.Spike, w.net.Weather.SpikeMax = 3e5, 80*core.Millisecond
	}
	return w
}

// inner and outer translate the ids of nodes, and leave nobody alone.
func inner(n core.NodeID) core.NodeID { return n - 1 }

func outer(n core.NodeID) core.NodeID {
	if n == core.NoNode {
		return n
	}
	return n + 1
}

func (w *world) Open(_ testing.TB, cfg netsim.Config) netsim.Net {
	w.net.Shards, w.net.Route = cfg.Shards, cfg.Route
	p := &process{w: w, id: inner(cfg.Node), cfg: cfg}
	w.nodes[p.id] = p
	w.net.Up(w.now, p.id)
	return p
}

func (w *world) File(node core.NodeID, f core.FileID, content []byte) {
	w.files[inner(node)][f] = content
}

// Dial waits for the answer, as a caller of connect does.
func (w *world) Dial(node core.NodeID, news func()) (nettest.Client, error) {
	c := &client{w: w, news: news}
	c.id = w.net.Dial(w.now, inner(node))
	w.clients[c.id] = c
	for !c.opened && !c.ended {
		if !w.Advance() {
			w.t.Fatal("nobody answers a client")
		}
	}
	if c.ended {
		return nil, errors.New("refused")
	}
	return c, nil
}

// Advance fires what is due next.
func (w *world) Advance() bool {
	if len(w.due) == 0 {
		return false
	}
	// The first of several at one instant: in the order of asking.
	next := slices.MinFunc(w.due, func(a, b dueCall) int { return cmp.Compare(a.at, b.at) })
	i := slices.IndexFunc(w.due, func(d dueCall) bool { return d == next })
	w.due = slices.Delete(w.due, i, i+1)
	w.now = max(w.now, next.at)
	w.net.Fire(w.now, next.tok)
	return true
}

// After, Node, Opened, Bytes, Closed and Gather are the Sink.

func (w *world) After(at core.Mono, tok uint64) { w.due = append(w.due, dueCall{at, tok}) }

func (w *world) Node(n core.NodeID, s core.ShardID, ev core.Event) {
	p := w.nodes[n]
	if p == nil || p.closed {
		w.t.Errorf("node %d was told %v and has no process", outer(n), ev.Kind)
		ev.Body.Release()
		return
	}
	switch ev.Kind {
	case core.ConnFrame:
		ev.Check = p.cfg.Intake(ev.Body)
	case core.PeerUp, core.PeerDown, core.PeerSent, core.PeerFrame, core.PeerClosed:
		ev.Node = outer(ev.Node)
	case core.PeerHello:
		ev.Node = core.NoNode // the Net leaves it 0: a hello is nobody's yet, and no shard looks
	}
	p.cfg.Post(s, []core.Event{ev})
}

func (w *world) Opened(c core.ConnID) { w.clients[c].opened = true }

func (w *world) Bytes(c core.ConnID, b []byte) {
	w.clients[c].got.Write(b)
	w.clients[c].news()
}

func (w *world) Closed(c core.ConnID) {
	w.clients[c].ended = true
	w.clients[c].news()
}

func (w *world) Gather(n core.NodeID, b []byte, vec []core.Ref) ([]byte, bool) {
	whole := true
	for _, r := range vec {
		if r.Len == 0 {
			continue
		}
		if r.InMemory() {
			b = append(b, r.Bytes()...)
			continue
		}
		part := make([]byte, r.Len)
		content := w.files[n][r.File]
		got := copy(part, content[min(r.Off, int64(len(content))):])
		b, whole = append(b, part...), whole && got == len(part)
	}
	return b, whole
}

// process is the network as one node has it.
type process struct {
	w      *world
	id     core.NodeID
	cfg    netsim.Config
	closed bool
}

func (p *process) Do(s core.ShardID, e *core.Effect, vec []core.Ref) {
	n, now := p.w.net, p.w.now
	switch e.Kind {
	case core.SendConn:
		n.SendConn(now, e.Conn, vec)
	case core.CreditConn:
		n.Credit(e.Conn, e.N)
	case core.CloseConn:
		n.CloseConn(now, e.Conn)
	case core.OpenGate:
		n.OpenGate(p.id)
	case core.SendPeer:
		n.SendPeer(now, p.id, s, inner(e.Node), vec)
	case core.AcceptPeer:
		n.AcceptPeer(p.id, e.Link, inner(e.Node))
	case core.ClosePeer:
		n.ClosePeer(now, p.id, e.Link)
	case core.DropPeer:
		n.DropPeer(now, p.id, inner(e.Node))
	default:
		p.w.t.Errorf("%v is no effect of a network", e.Kind)
	}
}

func (p *process) Flush(core.ShardID) {}

func (p *process) Begin(s core.ShardID, events []core.Event) {
	for _, e := range events {
		if s == 0 && e.Kind == core.PeerUp {
			p.w.net.Seen(p.id, inner(e.Node))
		}
	}
}

func (p *process) Close() {
	p.closed = true
	p.w.net.Down(p.w.now, p.id, false)
	for _, other := range p.w.nodes {
		if !other.closed {
			return
		}
	}
	p.w.net.Shut()
}

// client is the far end of a connection. Its bytes become frames here: the simulated network carries
// nothing smaller.
type client struct {
	w      *world
	id     core.ConnID
	news   func()
	opened bool
	ended  bool
	part   []byte
	got    bytes.Buffer
}

func (c *client) Send(b []byte) {
	c.part = append(c.part, b...)
	for len(c.part) >= 4 {
		end := 4 + int64(binary.BigEndian.Uint32(c.part))
		if int64(len(c.part)) < end {
			return
		}
		c.w.net.ClientSend(c.w.now, c.id, c.part[4:end])
		c.part = c.part[end:]
	}
}

func (c *client) Received() []byte { return c.got.Bytes() }
func (c *client) Ended() bool      { return c.ended }
func (c *client) Close()           { c.w.net.ClientClose(c.w.now, c.id) }
