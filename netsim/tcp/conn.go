package tcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

const (
	connBuffer = 16 << 10 // of a client connection: many may be open and idle
	burst      = 16       // frames posted at once, when so many are there already
)

// conn is a client connection. Its reader goroutine owns its life: it posts the first event and the
// last, and waits for a writer to end in between.
type conn struct {
	t    *Net
	id   core.ConnID
	home core.ShardID
	name string // of its listener
	nc   *net.TCPConn
	fr   frames
	pat  patient

	read    []core.Event // frames not yet posted; the reader's
	touched bool         // in the list of its shard's goroutine

	mu      sync.Mutex
	changed sync.Cond // credits, writing, stopped
	credits int
	sizes   [core.Credits]int64 // of the frames that are not credited, oldest at first
	first   int
	open    int

	out     []core.Ref // to be written
	spare   []core.Ref
	fromF   bool // out holds a file region
	writing bool // by somebody, who alone uses snd
	snd     *sender
	bye     bool // CloseConn came
	dead    bool
	stop    chan struct{} // closed with the first of bye and dead
	stopped bool

	answered atomic.Bool // something was written to it

	sent [1]core.Event // for whoever writes
}

func (t *Net) serve(nc *net.TCPConn, listener string) {
	c := &conn{t: t, id: core.ConnID(t.nextID.Add(1)), name: listener, nc: nc, credits: core.Credits,
		stop: make(chan struct{})}
	c.home = core.ShardID(t.rotate.Add(1) % uint64(len(t.lanes)))
	c.changed.L = &c.mu
	snd, err := newSender(nc)
	if err != nil {
		_ = nc.Close()
		return
	}
	c.snd = snd
	_ = nc.SetNoDelay(true)
	c.pat = patient{nc: nc, fr: &c.fr, limit: t.o.Patience, short: t.budget.short}
	c.fr = frames{src: &c.pat, limit: t.o.MaxFrame, alloc: c.alloc, in: make([]byte, connBuffer)}
	l := t.lanes[c.home]
	l.mu.Lock()
	l.conns[c.id] = c
	l.mu.Unlock()
	t.Counters.Conns.Add(1)
	if !t.start(c.run) {
		_ = nc.Close()
	}
}

// alloc takes memory of the node's budget. Before it waits for some it posts what it holds, which
// others may be waiting for.
func (c *conn) alloc(n int) (core.Ref, error) {
	if !c.t.budget.try(int64(n)) {
		c.postRead()
		if err := c.t.budget.take(int64(n), c.stop); err != nil {
			return core.Ref{}, err
		}
		c.pat.since = time.Time{} // the client is not to blame for the wait
	}
	c.mu.Lock()
	c.sizes[(c.first+c.open)%core.Credits] = int64(n)
	c.open++
	c.credits--
	c.mu.Unlock()
	return core.NewRef(n), nil
}

// run is the reader.
func (c *conn) run() {
	c.read = make([]core.Event, 0, burst)
	hello := core.RefOf([]byte(c.name + "\x00" + c.nc.LocalAddr().String() + "\x00" + c.nc.RemoteAddr().String()))
	c.read = append(c.read, core.Event{Kind: core.ConnOpen, Conn: c.id, Body: hello})
	err := c.readAll()
	c.postRead()
	if errors.Is(err, errClosing) {
		c.sayGoodbye()
	}
	c.finish(err)
}

// postRead posts the frames that were read.
func (c *conn) postRead() {
	if len(c.read) > 0 {
		c.t.post(c.home, c.read)
		c.read = c.read[:0]
	}
}

// readAll posts frames until the connection ends. A panic of Intake ends it, too.
func (c *conn) readAll() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a frame made its reader panic: %v", p)
			c.t.log.Error("connection closed", "conn", uint64(c.id), "error", err, "stack", string(debug.Stack()))
		}
	}()
	for {
		if len(c.read) == burst || !c.fr.ready() || !c.hasCredit() {
			c.postRead()
		}
		if !c.waitCredit() {
			return errClosing
		}
		e, err := c.frame()
		if err != nil {
			return err
		}
		c.read = append(c.read, e)
	}
}

// frame reads one frame and has it judged.
func (c *conn) frame() (core.Event, error) {
	body, err := c.fr.next()
	if err != nil {
		return core.Event{}, err
	}
	n := &c.t.Counters
	n.BytesIn.Add(int64(body.Len) + 4)
	n.Frames.Add(1)
	if c.fr.copied > 0 {
		n.Copied.Add(c.fr.copied)
		c.fr.copied = 0
	}
	e := core.Event{Kind: core.ConnFrame, Conn: c.id, Body: body}
	if c.t.o.Intake != nil {
		judged := false
		defer func() {
			if !judged {
				body.Release()
			}
		}()
		e.Check = c.t.o.Intake(body)
		judged = true
	}
	return e, nil
}

func (c *conn) hasCredit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.credits > 0
}

// waitCredit is false when the connection is to end.
func (c *conn) waitCredit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.credits <= 0 && !c.stopped {
		c.changed.Wait()
	}
	return !c.stopped
}

func (c *conn) credit(n int) {
	det.That(n >= 0, "tcp: credit is for frames")
	c.t.budget.give(c.forgive(n))
}

// forgive gives the bytes of the oldest n frames.
func (c *conn) forgive(n int) (bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return 0 // finish gives all of it back
	}
	det.That(n <= c.open, "tcp: credit for frames that were not read")
	for range n {
		bytes += c.sizes[c.first]
		c.first = (c.first + 1) % core.Credits
		c.open--
	}
	c.credits += n
	c.changed.Broadcast()
	return bytes
}

// sayGoodbye waits until the answers are out and the client has seen the end: closing a socket with
// unread bytes would reset it, and the reset would overtake the answer.
func (c *conn) sayGoodbye() {
	c.mu.Lock()
	for c.writing && !c.dead {
		c.changed.Wait()
	}
	dead := c.dead
	c.mu.Unlock()
	if dead {
		return
	}
	_ = c.nc.CloseWrite()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, c.nc, 1<<20)
}

// finish ends the connection; nothing of it is posted after.
func (c *conn) finish(err error) {
	_ = c.nc.Close()
	c.mu.Lock()
	c.dead = true
	c.halt()
	for c.writing {
		c.changed.Wait()
	}
	release(c.out)
	c.out = nil
	var bytes int64
	for i := range c.open {
		bytes += c.sizes[(c.first+i)%core.Credits]
	}
	c.open = 0
	c.mu.Unlock()
	c.t.budget.give(bytes)
	l := c.t.lanes[c.home]
	l.mu.Lock()
	delete(l.conns, c.id)
	l.mu.Unlock()
	c.t.Counters.Conns.Add(-1)
	if errors.Is(err, errFrameSize) || errors.Is(err, errSilent) {
		c.t.Counters.Refused.Add(1)
		c.t.log.Info("connection refused", "conn", uint64(c.id), "client", c.nc.RemoteAddr().String(), "reason", err)
	}
	c.read = append(c.read, core.Event{Kind: core.ConnClosed, Conn: c.id})
	c.postRead()
}

// halt wakes the reader, whatever it waits for. The caller holds mu.
func (c *conn) halt() {
	if !c.stopped {
		c.stopped = true
		close(c.stop)
	}
	c.changed.Broadcast()
}

// kill ends the connection at once. One that never got an answer is reset: a client takes an orderly
// end in place of its first answer for a broker that wants another protocol (TLS, SASL), and gives up.
func (c *conn) kill() {
	c.mu.Lock()
	c.dead = true
	c.halt()
	c.mu.Unlock()
	if !c.answered.Load() {
		_ = c.nc.SetLinger(0)
	}
	_ = c.nc.Close()
}

// closeAfter is CloseConn.
func (c *conn) closeAfter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bye = true
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.t.o.Linger))
}
