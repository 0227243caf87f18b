package fake

import (
	"slices"

	"github.com/karst-stream/karst/core"
)

// link is the connection that from dialled to reach to. Each end believes in it until it hears
// otherwise: a cut can leave one end open while the other has dialled again.
type link struct {
	from, to core.NodeID
	gen      uint32 // of what from believes; older tokens are void
	up       bool   // from believes that it is open
	refused  bool   // from was told that it is down, and not of an opening since
	seen     bool   // from's shard 0 saw the PeerUp
	hello    bool   // and sent the hello
	lost     bool   // a frame was dropped: so are all after it
	air      Air
	id       core.LinkID // what to calls it; 0: to's end is gone, frames vanish
	greeted  bool        // the hello arrived
	accepted core.NodeID // as to said, or NoNode
	out      outbox
	leaving  bool // a leave is due
	flight   []flying
	inFlight int64 // bytes
	held     []core.Ref
	last     core.Mono // arrival of the frame sent last
	parked   []parked  // frames that met a cut
}

// oldLink is an end at node at that will hear of its closing later.
type oldLink struct {
	at   core.NodeID
	peer core.NodeID
	id   core.LinkID
}

// window is what the kernel takes for a peer that cannot be reached.
const window = 64 << 10

func (w *Net) linkToken(kind uint64, l *link) uint64 {
	return token(kind, uint64(l.gen)<<16|uint64(int(l.from)*w.n+int(l.to)))
}

func (w *Net) dialSoon(now core.Mono, l *link, within core.Mono) {
	w.sink.After(now+1+core.Mono(w.rng.N(int64(within))), w.linkToken(tkDial, l))
}

func (w *Net) dial(now core.Mono, l *link) {
	switch {
	case !w.alive[l.from] || l.up:
	case w.isCut(l.from, l.to) || w.isCut(l.to, l.from):
		w.dialSoon(now, l, 200*core.Millisecond) // nobody answers
	case !w.alive[l.to]:
		w.tellDown(l)
		w.dialSoon(now, l, 100*core.Millisecond)
	default:
		w.lastID++
		l.up, l.id, l.greeted, l.accepted, l.last = true, core.LinkID(w.lastID), false, core.NoNode, now
		l.refused, l.seen, l.hello, l.lost = false, false, false, false
		w.sink.Node(l.from, 0, core.Event{Kind: core.PeerUp, Node: l.to})
	}
}

// tellDown says PeerDown to the dialler, once before each PeerUp.
func (w *Net) tellDown(l *link) {
	if !l.refused && w.alive[l.from] {
		l.refused = true
		w.sink.Node(l.from, 0, core.Event{Kind: core.PeerDown, Node: l.to, Err: core.ErrGone})
	}
}

// Seen says that the Step which is about to run on shard 0 of from sees PeerUp of to: before that,
// nothing it sends belongs to this link.
func (w *Net) Seen(from, to core.NodeID) { w.links[int(from)*w.n+int(to)].seen = true }

// SendPeer takes a SendPeer effect of a shard with its Refs.
func (w *Net) SendPeer(now core.Mono, from core.NodeID, s core.ShardID, to core.NodeID, vec []core.Ref) {
	if from == to || to < 0 || int(to) >= w.n {
		panic("netsim: a frame for nobody")
	}
	l := &w.links[int(from)*w.n+int(to)]
	if s == 0 && l.up && l.seen {
		l.hello = true
	}
	if !l.up || !l.seen || !l.hello {
		n := core.Size(vec)
		release(vec)
		w.sink.Node(from, s, core.Event{Kind: core.PeerSent, Node: to, N: n})
		return
	}
	l.out.push(s, vec)
	if !l.leaving {
		l.leaving = true
		w.sink.After(now+core.Mono(w.rng.Between(2e3, 40e3)), w.linkToken(tkLeave, l))
	}
}

// leave moves what is queued into the network, as one writev.
func (w *Net) leave(now core.Mono, l *link) {
	l.leaving = false
	if w.isCut(l.from, l.to) && l.inFlight > window || l.air.Room > 0 && len(l.flight) >= l.air.Room {
		l.leaving = true
		w.sink.After(now+w.fullFor(l), w.linkToken(tkLeave, l))
		return
	}
	reset := false
	l.out.each(func(vec []core.Ref) {
		if !reset {
			reset = !w.depart(now, l, vec)
		}
	})
	w.clearOut(l)
	if reset {
		w.lose(now, l)
	}
}

// clearOut empties the outbox and tells the shards that their bytes are gone.
func (w *Net) clearOut(l *link) {
	if w.alive[l.from] {
		l.out.sums(func(s core.ShardID, n int64) {
			w.sink.Node(l.from, s, core.Event{Kind: core.PeerSent, Node: l.to, N: n})
		})
	}
	l.out.reset()
}

// depart sends one frame on its way, or not. False: the link is reset.
func (w *Net) depart(now core.Mono, l *link, vec []core.Ref) bool {
	if l.id == 0 || l.lost {
		return true
	}
	if w.hit(w.Weather.Reset + l.air.Reset) {
		w.Faults.Resets++
		return false
	}
	if w.hit(w.Weather.Drop + l.air.Drop) {
		w.Faults.Drops++
		l.lost = true
		found := now + core.Mono(w.rng.Between(int64(core.Millisecond), 400*int64(core.Millisecond)))
		w.sink.After(found, w.linkToken(tkLost, l))
		return true
	}
	body, _ := w.gather(l.from, vec)
	if w.Weather.Rot > 0 {
		w.rot(vec, body)
	}
	if body.Len > 0 && w.hit(w.Weather.Corrupt+l.air.Corrupt) {
		own := core.RefOf(body.Bytes())
		body.Release()
		body = own
		body.Bytes()[w.rng.N(int64(body.Len))] ^= 1 << w.rng.N(8)
		w.Faults.Corrupts++
	}
	first := !l.greeted && len(l.flight) == 0
	w.fly(now, l, body)
	if !first && w.hit(w.Weather.Double+l.air.Double) {
		w.Faults.Doubles++
		w.fly(now, l, core.RefOf(body.Bytes()))
	}
	if !first && w.hit(w.Weather.Replay+l.air.Replay) {
		w.record(now, l, body)
	}
	return true
}

func (w *Net) fly(now core.Mono, l *link, body core.Ref) {
	l.last = max(l.last, now+w.way()+l.air.Delay)
	if l.air.Pace > 0 {
		l.last += core.Mono(int64(body.Len) * int64(core.Millisecond) / l.air.Pace)
	}
	l.inFlight += int64(body.Len)
	l.flight = append(l.flight, flying{at: l.last, body: body})
	w.sink.After(l.last, w.linkToken(tkArrive, l))
}

// rot flips one bit of a region that was read from a file.
func (w *Net) rot(vec []core.Ref, body core.Ref) {
	var at int64
	for _, r := range vec {
		if !r.InMemory() && r.Len > 0 && w.hit(w.Weather.Rot) {
			body.Bytes()[at+w.rng.N(int64(r.Len))] ^= 1 << w.rng.N(8)
			w.Faults.Rots++
		}
		at += int64(r.Len)
	}
}

func (w *Net) arrive(now core.Mono, l *link) {
	if w.isCut(l.from, l.to) { // each frame's token waits with it, so order is kept
		l.parked = append(l.parked, parked{now, w.linkToken(tkArrive, l)})
		return
	}
	f := l.flight[0]
	l.flight = slices.Delete(l.flight, 0, 1)
	l.inFlight -= int64(f.body.Len)
	switch {
	case l.id == 0 || !w.alive[l.to]:
		f.body.Release()
	case !l.greeted:
		l.greeted = true
		w.sink.Node(l.to, 0, core.Event{Kind: core.PeerHello, Link: l.id, Body: f.body})
	case l.accepted == core.NoNode:
		l.held = append(l.held, f.body)
	default:
		w.sink.Node(l.to, w.Route(f.body.Bytes()), core.Event{Kind: core.PeerFrame, Node: l.accepted, Link: l.id, Body: f.body})
	}
}

// AcceptPeer is the effect.
func (w *Net) AcceptPeer(at core.NodeID, id core.LinkID, peer core.NodeID) {
	for i := range w.links {
		if l := &w.links[i]; l.to == at && l.id == id && id != 0 {
			l.accepted = peer
			for _, body := range l.held {
				w.sink.Node(at, w.Route(body.Bytes()), core.Event{Kind: core.PeerFrame, Node: peer, Link: id, Body: body})
			}
			l.held = l.held[:0]
		}
	}
}

// ClosePeer is the effect: the end at this node is closed, the dialler hears of it.
func (w *Net) ClosePeer(now core.Mono, at core.NodeID, id core.LinkID) {
	for i := range w.links {
		if l := &w.links[i]; l.to == at && l.id == id && id != 0 {
			w.sink.Node(at, 0, core.Event{Kind: core.PeerClosed, Link: id, Node: l.accepted})
			w.endTo(now, l, false)
		}
	}
}

// DropPeer is the effect: the dialler ends its link and dials again.
func (w *Net) DropPeer(now core.Mono, from, to core.NodeID) {
	if l := &w.links[int(from)*w.n+int(to)]; l.up {
		w.endFrom(now, l, false)
		w.tellDown(l)
		w.dialSoon(now, l, 20*core.Millisecond)
	}
}

// lose resets a link: both ends hear of it, sooner or later.
func (w *Net) lose(now core.Mono, l *link) { w.DropPeer(now, l.from, l.to) }

// endFrom ends from's belief in the link and lets to hear of it.
func (w *Net) endFrom(now core.Mono, l *link, silent bool) {
	l.gen++
	l.leaving = false
	w.clearOut(l)
	w.forget(l, true)
	if l.greeted && l.id != 0 {
		w.closing = append(w.closing, oldLink{at: l.to, peer: l.accepted, id: l.id})
		w.sink.After(now+w.news(l.from, l.to, silent), token(tkClosed, uint64(l.id)))
	}
	l.up, l.id = false, 0
}

// endTo ends to's end and lets from hear of it.
func (w *Net) endTo(now core.Mono, l *link, silent bool) {
	if l.id == 0 {
		return
	}
	l.id = 0
	w.forget(l, false)
	w.sink.After(now+w.news(l.to, l.from, silent), w.linkToken(tkDown, l))
}

// forget drops what is on its way. Frames keep their places when their tokens stay valid.
func (w *Net) forget(l *link, void bool) {
	for i := range l.flight {
		l.flight[i].body.Release()
		l.flight[i].body = core.Ref{}
	}
	if void {
		l.flight = l.flight[:0]
	}
	release(l.held)
	l.held = l.held[:0]
	l.inFlight = 0
}

// news is how long the word of a closing takes.
func (w *Net) news(from, to core.NodeID, silent bool) core.Mono {
	if silent || w.isCut(from, to) {
		return core.Mono(w.rng.Between(int64(core.Second), 4*int64(core.Second)))
	}
	return w.way()
}

func (w *Net) down(now core.Mono, l *link) {
	if !l.up || l.id != 0 {
		return
	}
	l.gen++
	l.up, l.leaving = false, false
	w.clearOut(l)
	w.forget(l, true)
	if w.alive[l.from] {
		w.tellDown(l)
		w.dialSoon(now, l, 20*core.Millisecond)
	}
}

func (w *Net) closed(id uint64) {
	i := slices.IndexFunc(w.closing, func(o oldLink) bool { return uint64(o.id) == id })
	if i < 0 {
		return // the process that would have heard is gone
	}
	o := w.closing[i]
	w.closing = slices.Delete(w.closing, i, i+1)
	if w.alive[o.at] {
		w.sink.Node(o.at, 0, core.Event{Kind: core.PeerClosed, Link: o.id, Node: o.peer})
	}
}
