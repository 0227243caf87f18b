package fake

import (
	"fmt"
	"slices"

	"github.com/karst-stream/karst/core"
)

// conn is a client's connection to a node.
type conn struct {
	id       core.ConnID
	node     core.NodeID
	home     core.ShardID
	open     bool // the node accepted it
	nodeGone bool // the node's end is closed; the client hears of it later
	credits  int
	toNode   []flying
	waiting  []core.Ref // arrived, no credit left
	ended    bool       // the client's closing arrived
	out      outbox
	leaving  bool
	closing  bool // CloseConn: after what was sent has left
	toClient []flying
	lastIn   core.Mono
	lastOut  core.Mono
	deaf     bool // its client does not read
}

// Dial begins a client's connection to a node; Opened or Closed follows.
func (w *Net) Dial(now core.Mono, n core.NodeID) core.ConnID {
	w.lastID++
	c := &conn{id: core.ConnID(w.lastID), node: n, credits: core.Credits}
	w.conns.Set(c.id, c)
	w.sink.After(now+2*w.way(), token(tkConnOpen, uint64(c.id)))
	return c.id
}

// ClientSend sends a frame without its length from a client.
func (w *Net) ClientSend(now core.Mono, id core.ConnID, frame []byte) {
	if c, ok := w.conns.Get(id); ok {
		w.toNode(now, c, flying{body: core.RefOf(frame)})
	}
}

// ClientClose ends a connection; the node hears of it after what was sent before. Closed does not come.
func (w *Net) ClientClose(now core.Mono, id core.ConnID) {
	c, ok := w.conns.Get(id)
	if !ok {
		return
	}
	for _, f := range c.toClient {
		f.body.Release()
	}
	c.toClient = nil
	if !c.open {
		w.drop(c)
		return
	}
	w.toNode(now, c, flying{end: true})
}

func (w *Net) toNode(now core.Mono, c *conn, f flying) {
	if c.ended {
		f.body.Release()
		return
	}
	c.lastIn = max(c.lastIn, now+w.way())
	c.ended = f.end
	c.toNode = append(c.toNode, f)
	w.sink.After(c.lastIn, token(tkConnFrame, uint64(c.id)))
}

// SendConn takes a SendConn effect with its Refs.
func (w *Net) SendConn(now core.Mono, id core.ConnID, vec []core.Ref) {
	c, ok := w.conns.Get(id)
	if !ok || c.nodeGone || c.closing {
		release(vec)
		return
	}
	c.out.push(c.home, vec)
	if !c.leaving {
		c.leaving = true
		w.sink.After(now+core.Mono(w.rng.Between(2e3, 40e3)), token(tkConnLeave, uint64(c.id)))
	}
}

// CloseConn is the effect.
func (w *Net) CloseConn(now core.Mono, id core.ConnID) {
	if c, ok := w.conns.Get(id); ok && !c.nodeGone {
		c.closing = true
		if !c.leaving {
			c.leaving = true
			w.sink.After(now, token(tkConnLeave, uint64(c.id)))
		}
	}
}

// Credit is the CreditConn effect.
func (w *Net) Credit(id core.ConnID, n int64) {
	c, ok := w.conns.Get(id)
	if !ok || c.nodeGone {
		return
	}
	c.credits += int(n)
	if c.credits > core.Credits {
		panic("netsim: more credits given back than frames were read")
	}
	for c.credits > 0 && len(c.waiting) > 0 {
		f := c.waiting[0]
		c.waiting = slices.Delete(c.waiting, 0, 1)
		w.frame(c, f)
	}
}

func (w *Net) frame(c *conn, body core.Ref) {
	c.credits--
	w.sink.Node(c.node, c.home, core.Event{Kind: core.ConnFrame, Conn: c.id, Body: body})
}

func (w *Net) fireConn(now core.Mono, c *conn, kind uint64) {
	switch {
	case kind != tkConnLeave && w.clients[c.node] > 0:
		w.parked[c.node] = append(w.parked[c.node], parked{now, token(kind, uint64(c.id))})
		return
	case kind == tkConnArrive && c.deaf:
		w.sink.After(now+lookAgain, token(kind, uint64(c.id)))
		return
	}
	switch kind {
	case tkConnOpen:
		w.openConn(c)
	case tkConnFrame:
		w.connFrame(c)
	case tkConnLeave:
		w.connLeave(now, c)
	case tkConnArrive:
		w.connArrive(c)
	}
}

// clientAddress is where a client's connection comes from: a host of its own.
func clientAddress(id core.ConnID) string {
	return fmt.Sprintf("10.%d.%d.%d:50000", byte(id>>16), byte(id>>8), byte(id))
}

func (w *Net) openConn(c *conn) {
	if !w.alive[c.node] || !w.gate[c.node] || c.nodeGone {
		w.drop(c)
		w.sink.Closed(c.id)
		return
	}
	c.open = true
	c.home = core.ShardID(w.homes[c.node] % w.Shards)
	w.homes[c.node]++
	w.sink.Node(c.node, c.home, core.Event{Kind: core.ConnOpen, Conn: c.id,
		Body: core.RefOf([]byte(w.Listener + "\x00" + w.Address(c.node) + "\x00" + clientAddress(c.id)))})
	w.sink.Opened(c.id)
}

func (w *Net) connFrame(c *conn) {
	f := c.toNode[0]
	c.toNode = slices.Delete(c.toNode, 0, 1)
	switch {
	case f.end:
		if !c.nodeGone {
			w.sink.Node(c.node, c.home, core.Event{Kind: core.ConnClosed, Conn: c.id})
		}
		w.drop(c)
	case c.nodeGone:
		f.body.Release()
	case c.credits == 0 || len(c.waiting) > 0:
		c.waiting = append(c.waiting, f.body)
	default:
		w.frame(c, f.body)
	}
}

func (w *Net) connLeave(now core.Mono, c *conn) {
	if c.nodeGone {
		return
	}
	if w.clients[c.node] > 0 && len(c.toClient) > 64 || c.deaf && len(c.toClient) > 4 {
		w.sink.After(now+20*core.Millisecond, token(tkConnLeave, uint64(c.id)))
		return
	}
	c.leaving = false
	var sent int64
	ok := !w.hit(w.Weather.Reset)
	if !ok {
		w.Faults.Resets++
	}
	part := ok && w.hit(w.Weather.Part)
	c.out.each(func(vec []core.Ref) {
		f, whole := w.forClient(c.node, vec)
		if ok = ok && whole; !ok {
			w.over(&f)
			return
		}
		b := f.bytes()
		sent += int64(len(b))
		if part && len(b) > 1 {
			w.Faults.Parts++
			part, ok = false, false
			cut := flying{body: core.RefOf(b[:w.rng.Between(1, int64(len(b))-1)])}
			w.over(&f)
			f = cut
		}
		w.toClient(now, c, f)
	})
	c.out.reset()
	if sent > 0 && ok {
		w.sink.Node(c.node, c.home, core.Event{Kind: core.ConnSent, Conn: c.id, N: sent})
	}
	if !ok || c.closing {
		w.sink.Node(c.node, c.home, core.Event{Kind: core.ConnClosed, Conn: c.id})
		w.connLost(now, c, false)
	}
}

func (w *Net) toClient(now core.Mono, c *conn, f flying) {
	if c.ended {
		f.body.Release()
		return
	}
	c.lastOut = max(c.lastOut, now+w.way())
	c.toClient = append(c.toClient, f)
	w.sink.After(c.lastOut, token(tkConnArrive, uint64(c.id)))
}

func (w *Net) connArrive(c *conn) {
	if len(c.toClient) == 0 {
		return // the client closed
	}
	f := c.toClient[0]
	c.toClient = slices.Delete(c.toClient, 0, 1)
	if f.end {
		w.drop(c)
		w.sink.Closed(c.id)
		return
	}
	w.sink.Bytes(c.id, f.bytes())
	w.over(&f)
}

// HangUp resets every client's connection to a node, and says how many there were.
func (w *Net) HangUp(now core.Mono, n core.NodeID) (lost int) {
	w.conns.Each(func(_ core.ConnID, c *conn) {
		if c.node == n && c.open && !c.nodeGone {
			lost++
			w.sink.Node(c.node, c.home, core.Event{Kind: core.ConnClosed, Conn: c.id})
			w.connLost(now, c, false)
		}
	})
	return lost
}

// connLost ends the node's side; the client hears of it in the order of what it was sent.
func (w *Net) connLost(now core.Mono, c *conn, silent bool) {
	if c.nodeGone {
		return
	}
	c.nodeGone = true
	c.out.reset()
	release(c.waiting)
	c.waiting = nil
	if !c.open {
		return // its opening will be refused
	}
	if c.ended {
		return // the client's closing is on its way and ends it
	}
	if silent {
		c.lastOut = max(c.lastOut, now+core.Mono(w.rng.Between(int64(core.Second), 4*int64(core.Second))))
	}
	w.toClient(now, c, flying{end: true})
}

// drop forgets a connection.
func (w *Net) drop(c *conn) {
	for _, f := range c.toNode {
		f.body.Release()
	}
	for _, f := range c.toClient {
		f.body.Release()
	}
	c.out.reset()
	release(c.waiting)
	w.conns.Delete(c.id)
}
