package tcp

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/netsim"
)

const (
	dialTimeout = time.Second
	firstPause  = 10 * time.Millisecond // between two dials, doubled up to
	lastPause   = 200 * time.Millisecond
)

// peer is the outgoing link to one node. Its goroutine dials, tells shard 0, and waits for the end.
//
//	down ──dialled──▶ told (PeerUp is posted) ──Begin──▶ up ──first frame of shard 0──▶ greeted
//	  ▲                                                                                   │
//	  └────────────── lost, dropped: what is queued is counted, PeerDown ◀────────────────┘
type peer struct {
	t    *Net
	id   core.NodeID
	addr string

	mu      sync.Mutex
	changed sync.Cond // writing ended
	up      bool      // shard 0 saw PeerUp of this link
	greeted bool
	gen     core.LinkID // of the link that is told or up; 0: down
	nc      *net.TCPConn
	snd     *sender
	out     outbox
	spare   outbox
	writing bool // by somebody, who alone uses snd and head

	head  []byte // length prefixes of the frames being written
	sums  []int64
	sent  [1]core.Event
	lanes []peerLane
}

// peerLane is what one shard's goroutine owns of a peer.
type peerLane struct {
	touched bool
	dropped int64 // bytes not yet counted
}

// outbox is frames to be written.
type outbox struct {
	frames []outFrame
	refs   []core.Ref
	files  bool // some are regions of files
}

type outFrame struct {
	shard  core.ShardID
	size   int64
	lo, hi int32
}

func newPeer(t *Net, id core.NodeID, addr string) *peer {
	p := &peer{t: t, id: id, addr: addr, sums: make([]int64, len(t.lanes)), lanes: make([]peerLane, len(t.lanes))}
	p.changed.L = &p.mu
	return p
}

// run dials without end.
func (p *peer) run() {
	pause, told := firstPause, false // told: shard 0 knows that the link is down
	event := make([]core.Event, 1)
	for p.t.ctx.Err() == nil {
		d := net.Dialer{Timeout: dialTimeout}
		nc, err := d.DialContext(p.t.ctx, "tcp", p.addr)
		if err == nil && p.begin(nc.(*net.TCPConn)) {
			pause, told = firstPause, false
			event[0] = core.Event{Kind: core.PeerUp, Node: p.id, Link: p.gen}
			p.t.post(0, event)
			p.watch()
			p.end(event)
		}
		if !told && p.t.ctx.Err() == nil {
			told = true
			event[0] = core.Event{Kind: core.PeerDown, Node: p.id}
			p.t.post(0, event)
		}
		select {
		case <-p.t.ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		}
	}
}

func (p *peer) begin(nc *net.TCPConn) bool {
	snd, err := newSender(nc)
	if err != nil {
		_ = nc.Close()
		return false
	}
	_ = nc.SetNoDelay(true)
	p.mu.Lock()
	p.nc, p.snd, p.gen, p.up, p.greeted = nc, snd, core.LinkID(p.t.nextID.Add(1)), false, false
	p.mu.Unlock()
	if p.t.ctx.Err() != nil { // close may have come before nc was there
		_ = nc.Close()
	}
	return true
}

// watch returns when the link is lost. The other side sends nothing on it.
func (p *peer) watch() {
	var b [1]byte
	_, _ = p.nc.Read(b[:])
	_ = p.nc.Close()
}

// end drops what is queued and counts it.
func (p *peer) end(event []core.Event) {
	p.mu.Lock()
	p.up, p.gen = false, 0
	for p.writing {
		p.changed.Wait()
	}
	for i := range p.out.frames {
		p.sums[p.out.frames[i].shard] += p.out.frames[i].size
	}
	release(p.out.refs)
	p.out.reset()
	p.mu.Unlock()
	p.count(event)
}

// count posts PeerSent for sums, which is the caller's at the moment.
func (p *peer) count(event []core.Event) {
	for s, n := range p.sums {
		if n > 0 {
			p.sums[s] = 0
			event[0] = core.Event{Kind: core.PeerSent, Node: p.id, N: n}
			p.t.post(core.ShardID(s), event)
		}
	}
}

// seen says that the step which sees PeerUp of link gen is about to run.
func (p *peer) seen(gen core.LinkID) {
	p.mu.Lock()
	p.up = p.up || p.gen != 0 && p.gen == gen
	p.mu.Unlock()
}

// drop is DropPeer. It ends no link that shard 0 has not seen.
func (p *peer) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up {
		p.up = false
		_ = p.nc.Close()
	}
}

func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nc != nil {
		_ = p.nc.Close()
	}
}

// sendPeer queues one frame, or drops it and counts it.
func (t *Net) sendPeer(s core.ShardID, to core.NodeID, vec []core.Ref) {
	size := core.Size(vec)
	det.That(size <= netsim.MaxPeerFrame, "tcp: a frame to a peer is too large")
	p := t.peers[to]
	det.That(p != nil, "tcp: a frame to a node that is no peer")
	p.mu.Lock()
	if !p.up || !p.greeted && s != 0 {
		p.mu.Unlock()
		release(vec)
		p.lanes[s].dropped += size
	} else {
		p.greeted = true
		p.out.add(s, size, vec)
		p.mu.Unlock()
	}
	if !p.lanes[s].touched {
		p.lanes[s].touched = true
		t.lanes[s].dialled = append(t.lanes[s].dialled, p)
	}
}

func (o *outbox) add(s core.ShardID, size int64, vec []core.Ref) {
	lo := int32(len(o.refs))
	o.refs = append(o.refs, vec...)
	o.frames = append(o.frames, outFrame{s, size, lo, int32(len(o.refs))})
	for i := range vec {
		o.files = o.files || vec[i].Len > 0 && !vec[i].InMemory()
	}
}

func (o *outbox) reset() {
	clear(o.refs)
	o.frames, o.refs, o.files = o.frames[:0], o.refs[:0], false
}

// flush writes the frames of a step, on the step's goroutine as far as the socket takes them.
func (p *peer) flush(s core.ShardID) {
	if n := p.lanes[s].dropped; n > 0 {
		p.lanes[s].dropped = 0
		l := p.t.lanes[s]
		l.events = append(l.events[:0], core.Event{Kind: core.PeerSent, Node: p.id, N: n})
		p.t.post(s, l.events)
	}
	p.mu.Lock()
	if p.writing || len(p.out.frames) == 0 || p.gen == 0 {
		p.mu.Unlock()
		return
	}
	p.writing = true
	out, snd := p.takeOut(), p.snd
	p.mu.Unlock()
	if !out.files {
		p.gather(snd, &out)
		if _, err := snd.send(false, false); err == nil && !snd.pending() {
			p.wrote(&out)
			p.mu.Lock()
			p.rest(out)
			p.mu.Unlock()
			return
		}
	}
	go p.drain(snd, out) // end waits for it
}

func (p *peer) takeOut() outbox {
	out := p.out
	p.out, p.spare = p.spare, outbox{}
	return out
}

// rest ends the writing; the caller holds mu.
func (p *peer) rest(out outbox) {
	out.reset()
	p.spare = out
	p.writing = false
	p.changed.Broadcast()
}

// gather queues frames of memory Refs in the sender.
func (p *peer) gather(snd *sender, out *outbox) {
	if need := 4 * len(out.frames); cap(p.head) < need {
		p.head = make([]byte, need, 2*need)
	}
	h := p.head[:cap(p.head)]
	for i, f := range out.frames {
		binary.BigEndian.PutUint32(h[4*i:], uint32(f.size))
		snd.add(h[4*i : 4*i+4])
		for _, r := range out.refs[f.lo:f.hi] {
			snd.add(r.Bytes())
		}
	}
}

// drain writes out, of which a part may be out already, and whatever is queued by then.
func (p *peer) drain(snd *sender, out outbox) {
	for {
		if !snd.pending() {
			p.load(&out)
			p.gather(snd, &out)
		}
		_, err := snd.send(true, false)
		snd.clear()
		if err != nil {
			_ = p.nc.Close() // watch sees it
			if !errors.Is(err, net.ErrClosed) {
				p.t.log.Info("peer link lost", "node", int32(p.id), "error", err)
			}
		}
		p.wrote(&out) // or lost: counted either way
		p.mu.Lock()
		if err != nil || len(p.out.frames) == 0 {
			p.rest(out)
			p.mu.Unlock()
			return
		}
		out.reset()
		next := p.out
		p.out = out
		out = next
		p.mu.Unlock()
	}
}

// load reads the file regions of out into memory, as late as possible; what a file no longer holds
// is zeros, which the receiver's checks refuse.
func (p *peer) load(out *outbox) {
	if !out.files {
		return
	}
	for i, r := range out.refs {
		if r.Len == 0 || r.InMemory() {
			continue
		}
		m := core.NewRef(int(r.Len))
		n := 0
		if p.t.o.Region != nil {
			if reg, ok := p.t.o.Region(r.File); ok {
				n, _ = reg.ReadAt(m.Bytes(), r.Off)
				reg.Release()
			}
		}
		clear(m.Bytes()[n:])
		p.t.Counters.Copied.Add(int64(n))
		out.refs[i] = m
	}
}

// wrote releases what is out and tells the shards that sent it.
func (p *peer) wrote(out *outbox) {
	release(out.refs)
	clear(out.refs)
	for i := range out.frames {
		p.sums[out.frames[i].shard] += out.frames[i].size
		p.t.Counters.PeerBytesOut.Add(out.frames[i].size + 4)
	}
	p.count(p.sent[:])
}
