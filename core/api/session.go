package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/wire"
)

// Conn is the session of one client connection. Its rules (DESIGN.md 11, rule 13):
//
//   - Produce and Fetch overlap with each other; any other request acts only after all earlier ones were
//     answered, and nothing acts beside it. A Produce with batches to be recompressed lets nothing
//     act behind it before the last of them is on its way.
//   - Answers leave in the order of the requests.
//   - A frame's credit goes back once, when its request is answered (or needs no answer) and the Ref of the
//     frame was released here; parts of it may live on in a replica's window, under that budget.
//   - Bytes that cannot be read, and keys and versions that nobody serves, end the connection when their
//     turn to be answered comes, as they do in Kafka, where earlier answers leave first.
type Conn struct {
	desk     *Desk
	h        Host
	id       core.ConnID
	listener string // the name of the listener that it came through
	host     string // that the client dialled
	port     int32
	remote   string // the client's address as Kafka shows it, "/10.0.0.1"; "" unknown

	reqs   []*request // unanswered, in the order of their frames
	acted  int        // reqs[:acted] have begun to act
	busy   bool       // advance is running further up the stack
	closed bool       // nothing is sent any more, and what comes is dropped

	polls   []*poll                         // fetches that wait
	watched det.Map[core.GroupID, *watched] // partitions that may still call us; grows to what was ever polled
}

// Open makes the session of a connection. body is that of core.ConnOpen: listener, local address, remote
// address, with a NUL between.
func (d *Desk) Open(id core.ConnID, body string) *Conn {
	c := &Conn{desk: d, id: id}
	f := strings.SplitN(body, "\x00", 3)
	c.listener = f[0]
	if len(f) > 1 {
		c.host, c.port = splitAddress(f[1])
	}
	if len(f) > 2 {
		host, _ := splitAddress(f[2])
		c.remote = "/" + host
	}
	return c
}

// splitAddress reads HOST:PORT, or [HOST]:PORT; a port that is none is 0.
func splitAddress(s string) (host string, port int32) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil {
		return s, 0
	}
	return strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]"), int32(n)
}

// Frame takes one frame, without its length; check is what Intake said of it, or nil.
func (c *Conn) Frame(h Host, frame core.Ref, check any) {
	c.h = h
	if c.closed {
		frame.Release()
		return
	}
	det.That(len(c.reqs) < core.Credits, "api: a connection keeps to its credits")
	in, ok := check.(*intake)
	if !ok {
		in = read(frame)
	}
	c.reqs = append(c.reqs, &request{conn: c, in: in, frame: frame})
	c.advance()
}

// Closed forgets everything: timers and watches are cancelled, and what is called back later is dropped.
func (c *Conn) Closed() {
	if len(c.reqs) > 0 {
		markUnanswered.Hit()
	}
	c.drop()
	c.watched.Each(func(g core.GroupID, w *watched) { c.h.Unwatch(w.part, c.id) })
	c.watched = det.Map[core.GroupID, *watched]{}
}

func (c *Conn) drop() {
	c.closed = true
	for _, r := range c.reqs {
		r.drop()
	}
	c.reqs, c.acted, c.polls = nil, 0, nil
}

// advance sends the answers whose turn has come and lets requests act, until neither is possible. A
// request that is answered while it acts finds advance running, and leaves the rest to it.
func (c *Conn) advance() {
	if c.busy {
		return
	}
	c.busy = true
	for c.progress() {
	}
	c.busy = false
}

func (c *Conn) progress() bool {
	if c.closed {
		return false
	}
	if len(c.reqs) > 0 && c.reqs[0].stage == answered {
		r := c.reqs[0]
		c.reqs = slices.Delete(c.reqs, 0, 1) // no more than its credits
		c.acted--
		c.leave(r)
		return true
	}
	if c.acted == len(c.reqs) || !c.mayAct(c.reqs[c.acted]) {
		return false
	}
	r := c.reqs[c.acted]
	c.acted++
	r.stage = acting
	r.act()
	return true
}

// mayAct judges the oldest request that has not acted.
func (c *Conn) mayAct(r *request) bool {
	if c.acted == 0 {
		return true
	}
	last := c.reqs[c.acted-1]
	return r.in.overlaps() && last.in.overlaps() && !last.preparing
}

// leave ends the oldest request.
func (c *Conn) leave(r *request) {
	r.frame.Release()
	r.frame = core.Ref{}
	switch r.end {
	case hangUp:
		c.drop()
		c.h.Close(c.id)
		return
	case reply:
		c.h.Send(c.id, r.vec)
		r.vec = nil
	}
	r.stage = gone
	c.h.Credit(c.id, 1)
}

type stage uint8

const (
	queued   stage = iota
	acting         // the handler has begun; its callbacks may come
	answered       // the end is known; earlier requests are still without theirs
	gone           // sent, or the connection is closed
)

// ending is how a request leaves.
type ending uint8

const (
	reply  ending = iota
	silent        // acks=0
	hangUp        // the connection ends instead of an answer
)

// request is one frame on its way to its answer.
type request struct {
	conn  *Conn
	in    *intake
	frame core.Ref
	stage stage
	end   ending
	vec   []core.Ref  // the answer, while stage is answered
	room  [2]core.Ref // for vec, of most answers
	timer func()      // cancels what after armed
	undo  func()      // set by a handler that holds Refs: releases them when the connection closes

	preparing bool // a batch of it is with a worker: those after it must not pass it
}

func (r *request) h() Host           { return r.conn.h }
func (r *request) version() int16    { return r.in.header.ApiVersion }
func (r *request) acting() bool      { return r.stage == acting }
func (r *request) clientID() string  { return text(r.in.header.ClientId) }
func (r *request) now() core.Now     { return r.conn.h.Now() }
func (r *request) node() core.NodeID { return r.conn.h.Node() }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (r *request) act() {
	if r.in.refused {
		markUnreadable.Hit()
		r.finish(hangUp)
		return
	}
	if r.in.tooNew {
		unsupportedVersion(r)
		return
	}
	handlerOf(r.in.header.ApiKey)(r, r.in.body)
}

// after calls f once d from now, unless the request is answered before. There is one timer a request.
func (r *request) after(d core.Mono, f func()) {
	r.cancel()
	r.timer = r.h().After(max(d, 0), func() {
		r.timer = nil
		if r.acting() {
			f()
		}
	})
}

func (r *request) cancel() {
	if r.timer != nil {
		r.timer()
		r.timer = nil
	}
}

// answer encodes m as the response. It is called once a request, or finish is.
func (r *request) answer(m wire.Message) { r.answerAs(r.version(), m, nil) }

// answerAs encodes m in a version of its own, and puts the bytes of the n-th part where m has part(n, _).
func (r *request) answerAs(version int16, m wire.Message, parts [][]core.Ref) {
	w := &r.conn.desk.w
	w.Response(r.in.header.ApiKey, version, r.in.header.CorrelationId, m)
	r.vec = w.Vec(r.room[:0])
	if len(parts) > 0 {
		r.vec = splice(r.vec, parts)
	}
	r.finish(reply)
}

func (r *request) finish(e ending) {
	det.That(r.stage == acting, "api: one answer a request")
	r.cancel()
	r.stage, r.end, r.undo = answered, e, nil
	r.conn.advance()
}

// drop ends a request whose connection is closed.
func (r *request) drop() {
	r.cancel()
	if r.undo != nil {
		r.undo()
		r.undo = nil
	}
	for i := range r.vec {
		r.vec[i].Release()
	}
	r.frame.Release()
	r.stage, r.vec, r.frame = gone, nil, core.Ref{}
}

// gather calls done when the function that it returns was called n times; at once when n is 0.
func gather(n int, done func()) func() {
	if n == 0 {
		done()
	}
	return func() {
		if n--; n == 0 {
			done()
		}
	}
}

// abreast is how many metadata commands of one request are under way at once. The metadata machine
// remembers the outcomes of 256 a node (meta.Remembered), and other requests want some too.
const abreast = 32

// inTurn calls act for 0 to n-1 in order, each of which calls one when it is through, and then done.
func inTurn(n int, act func(i int, one func()), done func()) {
	begun, through, busy := 0, 0, false
	var run func()
	one := func() {
		through++
		run()
	}
	run = func() {
		if busy {
			return
		}
		busy = true
		for begun < n && begun-through < abreast {
			begun++
			act(begun-1, one)
		}
		busy = false
		if through == n {
			done()
		}
	}
	run()
}
