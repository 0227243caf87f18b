// Package nettest is the conformance suite of netsim: what every network must do, the real one and
// the simulated one. It owns the cases and nodes that record what they are told; how clients connect
// and how time passes is asked of a World.
package nettest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

// World is a network under test: nodes 1 and 2, each other's peers, with one Kafka listener named
// "PLAIN" each.
type World interface {
	// Open starts the network of node cfg.Node. Close comes from the suite.
	Open(t testing.TB, cfg netsim.Config) netsim.Net
	// File is what regions of file f of the node hold from now on.
	File(node core.NodeID, f core.FileID, content []byte)
	// Dial connects a client to the node's listener, or fails; news is called when Client has some.
	Dial(node core.NodeID, news func()) (Client, error)
	// Advance lets outstanding deliveries proceed and says whether it did so. False: time is real.
	Advance() bool
}

// Client is the far end of a client connection.
type Client interface {
	Send(b []byte)
	Received() []byte // everything so far
	Ended() bool      // the node closed the connection
	Close()
}

// rig is one case: a World and its nodes.
type rig struct {
	t    *testing.T
	w    World
	news chan struct{}
}

// node records what its network tells it. Unless held, every event is seen by a step (Begin) as soon
// as it is posted.
type node struct {
	r   *rig
	id  core.NodeID
	net netsim.Net

	mu     sync.Mutex
	held   bool
	events [shards][]core.Event
	begun  [shards]int
}

const shards = 2

func (r *rig) wake() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// open starts a node. Its Intake answers with the first byte of a frame and panics at '!'; its Route
// sends a frame to the shard that its first byte names.
func (r *rig) open(id core.NodeID) *node {
	n := &node{r: r, id: id}
	n.net = r.w.Open(r.t, netsim.Config{Node: id, Shards: shards,
		Intake: func(f core.Ref) any {
			if f.Len == 0 {
				return "empty"
			}
			if f.Bytes()[0] == '!' {
				panic("planted")
			}
			return f.Bytes()[0]
		},
		Route: func(f []byte) core.ShardID {
			if f[0] == '!' {
				panic("planted")
			}
			return core.ShardID(f[0] - '0')
		},
		Post: n.post})
	return n
}

func (n *node) post(to core.ShardID, events []core.Event) {
	n.mu.Lock()
	n.events[to] = append(n.events[to], events...)
	n.mu.Unlock()
	n.r.wake()
}

// step lets every shard see what was posted.
func (n *node) step() {
	if n.held {
		return
	}
	for s := range n.events {
		n.mu.Lock()
		fresh := n.events[s][n.begun[s]:len(n.events[s]):len(n.events[s])]
		n.begun[s] = len(n.events[s])
		n.mu.Unlock()
		if len(fresh) > 0 {
			n.net.Begin(core.ShardID(s), fresh)
		}
	}
}

func (n *node) close() {
	n.net.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.events {
		for _, e := range n.events[s] {
			e.Body.Release()
		}
		n.events[s] = nil
	}
}

// do carries out one effect as a step of its own.
func (n *node) do(s core.ShardID, e core.Effect, body ...string) {
	var vec []core.Ref
	for _, b := range body {
		vec = append(vec, core.RefOf([]byte(b)))
	}
	n.doRefs(s, e, vec...)
}

func (n *node) doRefs(s core.ShardID, e core.Effect, vec ...core.Ref) {
	n.net.Do(s, &e, vec)
	n.net.Flush(s)
}

// find gives the events of a kind that the shard was told, in order.
func (n *node) find(s core.ShardID, k core.EventKind) (list []core.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events[s] {
		if e.Kind == k {
			list = append(list, e)
		}
	}
	return list
}

// patience is how many deliveries of a simulated network may pass before a wait is in vain: such a
// network dials absent peers for ever and never runs out of them.
const patience = 200_000

// until waits for a condition, while the nodes step.
func (r *rig) until(what string, nodes []*node, ok func() bool) {
	r.t.Helper()
	late := time.After(20 * time.Second)
	for left := patience; ; {
		for _, n := range nodes {
			n.step()
		}
		if ok() {
			return
		}
		if r.w.Advance() {
			if left--; left > 0 {
				continue
			}
		} else {
			select {
			case <-r.news:
				continue
			case <-late:
			}
		}
		for _, n := range nodes {
			n.mu.Lock()
			r.t.Logf("node %d was told %s", n.id, kinds(n.events[:]))
			n.mu.Unlock()
		}
		r.t.Fatalf("in vain: %s", what)
	}
}

func kinds(shards [][]core.Event) (text string) {
	for s, events := range shards {
		for _, e := range events {
			text += fmt.Sprintf(" %d:%v(%d)", s, e.Kind, e.Body.Len)
		}
	}
	return text
}

// count waits until the shard was told n events of a kind and gives them.
func (n *node) count(s core.ShardID, k core.EventKind, want int) []core.Event {
	n.r.t.Helper()
	n.r.until(fmt.Sprintf("%d %v for shard %d of node %d", want, k, s, n.id), []*node{n},
		func() bool { return len(n.find(s, k)) >= want })
	return n.find(s, k)
}

func frame(body string) []byte {
	n := len(body)
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}
