// Package fake is the network of a simulated cluster: links between nodes and connections of
// clients. It owns what is on its way and what was said about who can reach whom, and it promises
// what core's alphabet promises of a driver: frames in order or not at all, regions of files read
// only when the bytes leave, no frame of a client beyond its credits, nothing after a closing. It
// refuses to know time beyond the instants it is given: it asks for a call at an instant by token.
package fake

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Sink is the world around the network.
type Sink interface {
	// After asks for a call of Fire(token) at an instant.
	After(at core.Mono, token uint64)
	// Node hands an event to a shard of a node's process, with its Body.
	Node(n core.NodeID, s core.ShardID, ev core.Event)
	// Opened, Bytes and Closed tell the client's end of a connection. Closed comes once, last.
	Opened(c core.ConnID)
	Bytes(c core.ConnID, b []byte)
	Closed(c core.ConnID)
	// Gather appends what vec names on node n's machine to b; false: a region left its file, and
	// zeros stand for what is missing.
	Gather(n core.NodeID, b []byte, vec []core.Ref) ([]byte, bool)
}

// Weather is what the network does to whom, at present. Rates are per million frames.
type Weather struct {
	Min, Max  core.Mono // of a frame's way
	Reset     int64     // a frame is lost, and both ends hear at once that the link is
	Drop      int64     // a frame is lost and all after it, until the link is found out
	Double    int64     // a frame comes twice, as after a reconnection that repeats
	Spike     int64     // a frame is late by up to SpikeMax, and all behind it
	SpikeMax  core.Mono
	Rot       int64 // a bit flips in a file region on its way to a peer
	Corrupt   int64 // a bit flips anywhere in a frame on its way to a peer
	Replay    int64 // a frame to a peer comes once more, up to ReplayMax later, on whatever link there is
	Part      int64 // of what a client is sent a part arrives, and then the connection ends
	ReplayMax core.Mono
}

// Faults counts what happened to whom.
type Faults struct{ Resets, Drops, Doubles, Spikes, Rots, Corrupts, Replays, Parts, Full int64 }

// Net is the network. Nodes are numbered from 0 to n-1 here, as their ids are.
type Net struct {
	Weather  Weather
	Faults   Faults
	Listener string // the name of the one listener clients dial
	Address  func(core.NodeID) string
	Shards   int
	Route    func(frame []byte) core.ShardID // of a peer frame after the hello

	sink    Sink
	rng     *det.Rand
	n       int
	alive   []bool
	gate    []bool     // Kafka listeners accept
	cuts    [][]int    // [from][to]: nothing passes while it is above 0
	parked  [][]parked // per node, of its clients
	clients []int      // above 0: nothing passes between clients and this node
	links   []link     // from*n + to
	closing []oldLink  // ends that will hear later
	conns   det.Map[core.ConnID, *conn]
	homes   []int // per node: connections so far
	lastID  uint64
	again   []replay
	pieces  [][]byte // memory for flying.read
}

// token kinds
const (
	tkDial = iota + 1
	tkLeave
	tkArrive
	tkDown
	tkLost
	tkClosed
	tkConnOpen
	tkConnFrame
	tkConnLeave
	tkConnArrive
	tkReplay
)

func token(kind uint64, who uint64) uint64 { return kind<<56 | who }

// New is a calm network among n dead nodes.
func New(n int, rng *det.Rand, sink Sink) *Net {
	w := &Net{sink: sink, rng: rng, n: n, alive: make([]bool, n), gate: make([]bool, n), clients: make([]int, n), parked: make([][]parked, n),
		links: make([]link, n*n), homes: make([]int, n), Shards: 1, Route: func([]byte) core.ShardID { return 0 }, Listener: "PLAINTEXT", Address: func(core.NodeID) string { return "" },
		Weather: Weather{Min: 40 * core.Microsecond, Max: 400 * core.Microsecond}}
	for i := range n {
		w.cuts = append(w.cuts, make([]int, n))
		for j := range n {
			w.links[i*n+j].from, w.links[i*n+j].to = core.NodeID(i), core.NodeID(j)
		}
	}
	return w
}

// Up says that a node's process begins: it dials its peers.
func (w *Net) Up(now core.Mono, n core.NodeID) {
	w.alive[n], w.gate[n], w.homes[n] = true, false, 0
	for to := range w.n {
		if to != int(n) {
			w.dialSoon(now, &w.links[int(n)*w.n+to], 2*core.Millisecond)
		}
	}
}

// Down says that a node's process is gone. silent: with the machine, so that nobody is told at once.
func (w *Net) Down(now core.Mono, n core.NodeID, silent bool) {
	w.alive[n], w.gate[n] = false, false
	w.closing = slices.DeleteFunc(w.closing, func(o oldLink) bool { return o.at == n })
	for i := range w.links {
		l := &w.links[i]
		switch {
		case l.from == n:
			w.endFrom(now, l, silent)
		case l.to == n:
			w.endTo(now, l, silent)
		}
	}
	w.conns.Each(func(_ core.ConnID, c *conn) {
		if c.node == n {
			w.connLost(now, c, silent)
		}
	})
}

// OpenGate lets clients of a node in.
func (w *Net) OpenGate(n core.NodeID) { w.gate[n] = true }

// Fire is the call that After asked for.
func (w *Net) Fire(now core.Mono, tok uint64) {
	who := tok & (1<<56 - 1)
	switch tok >> 56 {
	case tkDial, tkLeave, tkArrive, tkDown, tkLost:
		l := &w.links[who&0xffff]
		if uint32(who>>16) != l.gen {
			return
		}
		switch tok >> 56 {
		case tkDial:
			w.dial(now, l)
		case tkLeave:
			w.leave(now, l)
		case tkArrive:
			w.arrive(now, l)
		case tkDown:
			w.down(now, l)
		case tkLost:
			w.lose(now, l)
		}
	case tkReplay:
		w.replay(int(who))
	case tkClosed:
		w.closed(who)
	default:
		if c, ok := w.conns.Get(core.ConnID(who)); ok {
			w.fireConn(now, c, tok>>56)
		}
	}
}

// Shut releases everything that is on its way.
func (w *Net) Shut() {
	for i := range w.links {
		l := &w.links[i]
		l.out.reset()
		w.forget(l, true)
	}
	for i := range w.again {
		w.again[i].body.Release()
	}
	w.again = nil
	w.conns.Each(func(_ core.ConnID, c *conn) { w.drop(c) })
}

// flying is a frame on its way.
type flying struct {
	at   core.Mono
	body core.Ref
	read []byte // instead of body: what a client will read, in one piece
	end  bool   // the closing of the connection by the other side
}

// way draws how long a frame takes.
func (w *Net) way() core.Mono {
	d := core.Mono(w.rng.Between(int64(w.Weather.Min), int64(w.Weather.Max)))
	if w.hit(w.Weather.Spike) {
		w.Faults.Spikes++
		d += core.Mono(w.rng.N(int64(w.Weather.SpikeMax) + 1))
	}
	return d
}

func (w *Net) hit(perMillion int64) bool { return perMillion > 0 && w.rng.Chance(perMillion, 1e6) }

// gather is a vector in one piece. What is one piece of memory already is that piece: nobody changes it.
func (w *Net) gather(n core.NodeID, vec []core.Ref) (body core.Ref, whole bool) {
	if len(vec) == 1 && vec[0].InMemory() {
		return vec[0].Retain(), true
	}
	body = core.NewRef(int(core.Size(vec)))
	_, whole = w.sink.Gather(n, body.Buf.B[:0], vec)
	return body, whole
}

// forClient brings what a node sends into one piece of memory that no node sees again.
func (w *Net) forClient(n core.NodeID, vec []core.Ref) (f flying, whole bool) {
	if len(vec) == 1 && vec[0].InMemory() {
		return flying{body: vec[0].Retain()}, true
	}
	var b []byte
	if k := len(w.pieces); k > 0 {
		b, w.pieces = w.pieces[k-1], w.pieces[:k-1]
	}
	f.read, whole = w.sink.Gather(n, slices.Grow(b[:0], int(core.Size(vec))), vec)
	return f, whole
}

// bytes are what flies.
func (f *flying) bytes() []byte {
	if f.read != nil {
		return f.read
	}
	return f.body.Bytes()
}

// over gives up what has flown.
func (w *Net) over(f *flying) {
	f.body.Release()
	if f.read != nil && len(w.pieces) < maxPieces {
		w.pieces = append(w.pieces, f.read)
	}
}

const maxPieces = 32

func release(vec []core.Ref) {
	for _, r := range vec {
		r.Release()
	}
}

// outbox holds vectors that a process wrote and the kernel did not take yet.
type outbox struct {
	refs []core.Ref
	vecs []outVec
}

type outVec struct {
	end   int // in refs
	shard core.ShardID
	bytes int64
}

func (o *outbox) push(s core.ShardID, vec []core.Ref) {
	o.refs = append(o.refs, vec...)
	o.vecs = append(o.vecs, outVec{len(o.refs), s, core.Size(vec)})
}

func (o *outbox) each(visit func(vec []core.Ref)) {
	at := 0
	for _, v := range o.vecs {
		visit(o.refs[at:v.end])
		at = v.end
	}
}

// sums calls visit with the bytes of each shard that sent some.
func (o *outbox) sums(visit func(s core.ShardID, n int64)) {
	for i, v := range o.vecs {
		if v.bytes == 0 {
			continue
		}
		n := int64(0)
		for j := i; j < len(o.vecs); j++ {
			if o.vecs[j].shard == v.shard {
				n += o.vecs[j].bytes
				o.vecs[j].bytes = 0
			}
		}
		visit(v.shard, n)
	}
}

// reset releases everything.
func (o *outbox) reset() {
	release(o.refs)
	clear(o.refs)
	o.refs, o.vecs = o.refs[:0], o.vecs[:0]
}
