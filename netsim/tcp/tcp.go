// Package tcp is the network of a machine. It owns the node's sockets: the Kafka listeners and their
// connections, the peer listener, one outgoing link to every other node. It promises the contract of
// netsim, memory for client frames within one budget, and that no connection's fault, panic included,
// reaches another. It refuses to look into frames.
//
// A reader goroutine per connection and link reads frames and posts them. What a step sends leaves
// on the goroutine of that step, as far as the socket takes it without blocking; only what is left,
// and what comes from files, is written by a goroutine of its own, which ends with its work.
package tcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

// Listener is a Kafka listener. Port 0 takes a free one.
type Listener struct {
	Name string
	Host string
	Port int
}

// Options of a network; the zero value of each below Peers is a good choice.
type Options struct {
	netsim.Config
	Listeners  []Listener
	PeerListen string                 // HOST:PORT; empty: no peers come in
	Peers      map[core.NodeID]string // HOST:PORT of the other nodes

	// Region opens a file for SendConn and SendPeer of file regions (diskio.Disk). Nil: there are none.
	Region func(core.FileID) (netsim.Region, bool)

	MaxFrame int           // bytes of a client frame (socket.request.max.bytes); default netsim.MaxFrame
	Budget   int64         // bytes for client frames in all; default 96 MiB
	Patience time.Duration // how long a frame may stand half read; default 30 s
	Linger   time.Duration // how long CloseConn lets answers leave; default 5 s
	Log      *slog.Logger  // default: slog.Default

	// Fail hears that a bound port cannot be listened on after all. Nil: it is only logged.
	Fail func(error)
}

// Counters are what the network did so far.
type Counters struct {
	BytesIn, BytesOut         atomic.Int64 // of client connections
	PeerBytesIn, PeerBytesOut atomic.Int64
	Frames, PeerFrames        atomic.Int64 // that came in
	Copied                    atomic.Int64 // bytes copied from memory to memory
	Files                     atomic.Int64 // bytes that went from files to sockets
	Conns                     atomic.Int64 // open now
	Refused                   atomic.Int64 // connections ended for what they sent
}

// Net implements netsim.Net.
type Net struct {
	o        Options
	log      *slog.Logger
	Counters Counters

	budget budget
	lanes  []*lane
	nextID atomic.Uint64 // of connections and links
	rotate atomic.Uint64
	gates  []*gate
	peerIn net.Listener
	peers  map[core.NodeID]*peer

	linksMu  sync.Mutex
	links    map[core.LinkID]*link
	accepted map[core.NodeID]*link

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // closed, and that nothing starts after it
	closed bool
	all    sync.WaitGroup
}

// lane is what belongs to one shard.
type lane struct {
	mu    sync.Mutex
	conns map[core.ConnID]*conn

	// Owned by the shard's goroutine.
	touched []*conn
	dialled []*peer
	events  []core.Event
}

var _ netsim.Net = (*Net)(nil)

// New binds all listeners, so that a port that is taken is told at once, and starts to listen for
// peers. Nothing is dialled and no event is posted before Start; no client is accepted before OpenGate.
func New(o Options) (*Net, error) {
	o.Shards = max(o.Shards, 1)
	if o.MaxFrame == 0 {
		o.MaxFrame = netsim.MaxFrame
	}
	if o.Budget == 0 {
		o.Budget = 96 << 20
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Linger == 0 {
		o.Linger = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	t := &Net{o: o, log: o.Log, peers: map[core.NodeID]*peer{}, links: map[core.LinkID]*link{},
		accepted: map[core.NodeID]*link{}}
	t.budget.total = o.Budget
	t.ctx, t.cancel = context.WithCancel(context.Background())
	for range o.Shards {
		t.lanes = append(t.lanes, &lane{conns: map[core.ConnID]*conn{}})
	}
	for _, l := range o.Listeners {
		g, err := bind(l)
		if err != nil {
			t.Close()
			return nil, err
		}
		t.gates = append(t.gates, g)
	}
	if o.PeerListen != "" {
		ln, err := net.Listen("tcp", o.PeerListen)
		if err != nil {
			t.Close()
			return nil, taken("peer listener", o.PeerListen, err)
		}
		t.peerIn = ln
	}
	for id, addr := range o.Peers {
		t.peers[id] = newPeer(t, id, addr)
	}
	return t, nil
}

// Start accepts peers and dials them.
func (t *Net) Start() {
	if t.peerIn != nil {
		t.start(func() { t.acceptPeers(t.peerIn) })
	}
	for _, p := range t.peers {
		t.start(p.run)
	}
}

// start runs f unless the network is closed; Close waits for it.
func (t *Net) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.all.Go(f)
	}
	return !t.closed
}

// PeerAddr is where peers are awaited, nil without PeerListen.
func (t *Net) PeerAddr() net.Addr {
	if t.peerIn == nil {
		return nil
	}
	return t.peerIn.Addr()
}

// Addrs are the bound addresses of Options.Listeners, in their order.
func (t *Net) Addrs() (addrs []*net.TCPAddr) {
	for _, g := range t.gates {
		addrs = append(addrs, g.addr)
	}
	return addrs
}

// BudgetUsed is how many bytes of client frames are in memory.
func (t *Net) BudgetUsed() int64 { return t.budget.out() }

// Do implements netsim.Net.
func (t *Net) Do(s core.ShardID, e *core.Effect, vec []core.Ref) {
	switch e.Kind {
	case core.SendConn:
		if c := t.conn(s, e.Conn); c == nil || !c.enqueue(vec) {
			release(vec)
		} else {
			t.lanes[s].touch(c)
		}
	case core.CloseConn:
		if c := t.conn(s, e.Conn); c != nil {
			c.closeAfter()
			t.lanes[s].touch(c)
		}
	case core.CreditConn:
		if c := t.conn(s, e.Conn); c != nil {
			c.credit(int(e.N))
		}
	case core.SendPeer:
		t.sendPeer(s, e.Node, vec)
	case core.DropPeer:
		if p := t.peers[e.Node]; p != nil {
			p.drop()
		}
	case core.AcceptPeer:
		t.acceptPeer(e.Link, e.Node)
	case core.ClosePeer:
		if l := t.link(e.Link); l != nil {
			l.close()
		}
	case core.OpenGate:
		t.openGates()
	default:
		panic(fmt.Sprintf("tcp: %v is not an effect of the network", e.Kind))
	}
}

// Flush implements netsim.Net.
func (t *Net) Flush(s core.ShardID) {
	l := t.lanes[s]
	for i, c := range l.touched {
		c.touched = false
		l.touched[i] = nil
		c.flush()
	}
	l.touched = l.touched[:0]
	for i, p := range l.dialled {
		p.lanes[s].touched = false
		l.dialled[i] = nil
		p.flush(s)
	}
	l.dialled = l.dialled[:0]
}

func (l *lane) touch(c *conn) {
	if !c.touched {
		c.touched = true
		l.touched = append(l.touched, c)
	}
}

func (t *Net) conn(s core.ShardID, id core.ConnID) *conn {
	l := t.lanes[s]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns[id]
}

// Begin implements netsim.Net.
func (t *Net) Begin(s core.ShardID, events []core.Event) {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case core.PeerUp:
			if p := t.peers[e.Node]; p != nil {
				p.seen(e.Link)
			}
		case core.PeerFrame:
			if l := t.link(e.Link); l != nil {
				l.budget.give(int64(e.Body.Len))
			}
		}
	}
}

// CloseGates lets no more clients in: the node is about to stop.
func (t *Net) CloseGates() {
	for _, g := range t.gates {
		g.close()
	}
}

// Close implements netsim.Net.
func (t *Net) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	for _, g := range t.gates {
		g.close()
	}
	if t.peerIn != nil {
		_ = t.peerIn.Close()
	}
	for _, l := range t.lanes {
		l.mu.Lock()
		for _, c := range l.conns {
			c.kill()
		}
		l.mu.Unlock()
	}
	t.linksMu.Lock()
	for _, l := range t.links {
		l.close()
	}
	t.linksMu.Unlock()
	for _, p := range t.peers {
		p.close()
	}
	t.all.Wait()
}

func release(vec []core.Ref) {
	for _, r := range vec {
		r.Release()
	}
}

// post gives events away and forgets them, so that the slice can be used again.
func (t *Net) post(to core.ShardID, events []core.Event) {
	t.o.Post(to, events)
	clear(events)
}
