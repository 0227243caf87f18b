package tcp

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

const (
	linkBuffer  = 64 << 10
	linkBudget  = 16 << 20 // bytes of frames that were posted and not yet seen by a step; a larger one alone
	helloWithin = 10 * time.Second
)

// link is an incoming link. Its goroutine reads the hello, waits for AcceptPeer, then for the link
// that this one replaces to have posted its last frame, and reads on.
type link struct {
	t      *Net
	id     core.LinkID
	nc     *net.TCPConn
	fr     frames
	pat    patient
	budget budget
	stop   chan struct{}
	over   sync.Once
	accept chan *link // the link before this one of the same node, or nil
	node   core.NodeID
	done   chan struct{} // nothing more is posted
	hello  bool
}

func (t *Net) acceptPeers(ln net.Listener) {
	t.accept(ln, func(nc *net.TCPConn) {
		l := &link{t: t, id: core.LinkID(t.nextID.Add(1)), nc: nc, node: core.NoNode, stop: make(chan struct{}),
			accept: make(chan *link, 1), done: make(chan struct{})}
		_ = nc.SetNoDelay(true)
		l.budget.total = linkBudget
		l.pat = patient{nc: nc, fr: &l.fr, limit: t.o.Patience, short: func() bool { return false }}
		l.fr = frames{src: nc, limit: netsim.MaxHello, alloc: func(n int) (core.Ref, error) { return core.NewRef(n), nil },
			in: make([]byte, linkBuffer)}
		t.linksMu.Lock()
		t.links[l.id] = l
		t.linksMu.Unlock()
		if !t.start(l.run) {
			_ = nc.Close()
		}
	})
}

func (t *Net) link(id core.LinkID) *link {
	t.linksMu.Lock()
	defer t.linksMu.Unlock()
	return t.links[id]
}

// acceptPeer is AcceptPeer.
func (t *Net) acceptPeer(id core.LinkID, node core.NodeID) {
	t.linksMu.Lock()
	defer t.linksMu.Unlock()
	l := t.links[id]
	if l == nil || l.node != core.NoNode {
		return
	}
	l.node = node
	older := t.accepted[node]
	t.accepted[node] = l
	if older != nil {
		older.close()
	}
	l.accept <- older
}

// close ends the link at once.
func (l *link) close() {
	l.over.Do(func() {
		close(l.stop)
		_ = l.nc.Close()
	})
}

func (l *link) run() {
	err := l.read()
	l.close()
	t := l.t
	t.linksMu.Lock()
	delete(t.links, l.id)
	node := l.node
	t.linksMu.Unlock()
	if errors.Is(err, errFrameSize) || errors.Is(err, errSilent) {
		t.Counters.Refused.Add(1)
		t.log.Warn("peer link refused", "node", int32(node), "address", l.nc.RemoteAddr().String(), "reason", err)
	}
	if l.hello {
		t.post(0, []core.Event{{Kind: core.PeerClosed, Link: l.id, Node: node}})
	}
	close(l.done)
	t.linksMu.Lock()
	if t.accepted[node] == l {
		delete(t.accepted, node)
	}
	t.linksMu.Unlock()
}

// read posts the hello and the frames. A panic of Route ends the link and nothing else.
func (l *link) read() (err error) {
	var to core.ShardID
	events := make([]core.Event, 0, burst)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a frame made its reader panic: %v", p)
			l.t.log.Error("peer link closed", "node", int32(l.node), "error", err, "stack", string(debug.Stack()))
		}
		if len(events) > 0 {
			l.t.post(to, events)
		}
	}()
	if err := l.greet(); err != nil {
		return err
	}
	for {
		body, err := l.fr.next()
		if err != nil {
			return err
		}
		l.t.Counters.PeerFrames.Add(1)
		l.t.Counters.PeerBytesIn.Add(int64(body.Len) + 4)
		if l.fr.copied > 0 {
			l.t.Counters.Copied.Add(l.fr.copied)
			l.fr.copied = 0
		}
		shard, err := l.route(body)
		if err != nil {
			return err
		}
		if len(events) > 0 && shard != to {
			l.t.post(to, events)
			events = events[:0]
		}
		to = shard
		events = append(events, core.Event{Kind: core.PeerFrame, Node: l.node, Link: l.id, Body: body})
		if len(events) == burst || !l.fr.ready() || l.budget.out() > linkBudget/2 {
			l.t.post(to, events)
			events = events[:0]
		}
	}
}

func (l *link) route(body core.Ref) (core.ShardID, error) {
	routed := false
	defer func() {
		if !routed {
			body.Release()
		}
	}()
	s := l.t.o.Route(body.Bytes())
	routed = int(s) < len(l.t.lanes)
	if !routed {
		return 0, fmt.Errorf("a frame for shard %d, of which there is none", s)
	}
	return s, nil
}

// greet reads the hello and waits until the link is accepted and the one before it is over.
func (l *link) greet() error {
	_ = l.nc.SetReadDeadline(time.Now().Add(helloWithin))
	hello, err := l.fr.next()
	if err != nil {
		return err
	}
	_ = l.nc.SetReadDeadline(time.Time{})
	l.hello = true
	l.t.post(0, []core.Event{{Kind: core.PeerHello, Link: l.id, Node: core.NoNode, Body: hello}})
	select {
	case older := <-l.accept:
		if older != nil {
			<-older.done
		}
	case <-l.stop:
		return errClosing
	}
	l.fr.src, l.fr.limit, l.fr.alloc = &l.pat, netsim.MaxPeerFrame, l.alloc
	return nil
}

// alloc waits until the shards have seen enough of what came before.
func (l *link) alloc(n int) (core.Ref, error) {
	if err := l.budget.take(int64(n), l.stop); err != nil {
		return core.Ref{}, err
	}
	return core.NewRef(n), nil
}
