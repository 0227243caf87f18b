package fake

import "github.com/karst-stream/karst/core"

// Air is what one directed link has of its own, beside the weather of the whole network. Rates are
// per million frames, as there, and add to it.
type Air struct {
	Delay   core.Mono // added to each frame's way
	Pace    int64     // bytes a millisecond; 0: as fast as any
	Room    int       // frames on their way; more wait at the sender; 0: as many as there are
	Drop    int64
	Reset   int64
	Double  int64
	Replay  int64
	Corrupt int64
}

// Bad says whether it is anything but still.
func (a *Air) Bad() bool { return *a != Air{} }

// Air is the air of a directed link, for the caller to change.
func (w *Net) Air(from, to core.NodeID) *Air { return &w.links[int(from)*w.n+int(to)].air }

// fullFor is how long a sender waits before it tries again on a link that takes nothing.
func (w *Net) fullFor(l *link) core.Mono {
	if l.air.Room > 0 && !w.isCut(l.from, l.to) {
		w.Faults.Full++
		return core.Millisecond
	}
	return 20 * core.Millisecond
}

// replay is a frame that will come once more. TCP does not do that by itself; a relay that resends
// after a reconnection does.
type replay struct {
	from, to core.NodeID
	body     core.Ref
}

func (w *Net) record(now core.Mono, l *link, body core.Ref) {
	w.again = append(w.again, replay{l.from, l.to, core.RefOf(body.Bytes())})
	late := core.Mono(w.rng.N(int64(w.Weather.ReplayMax) + 1))
	w.sink.After(now+core.Millisecond+late, token(tkReplay, uint64(len(w.again)-1)))
}

// replay gives a recorded frame to whoever listens to that node now.
func (w *Net) replay(i int) {
	r := w.again[i]
	w.again[i].body = core.Ref{}
	l := &w.links[int(r.from)*w.n+int(r.to)]
	if l.id == 0 || !w.alive[l.to] || l.accepted == core.NoNode || w.isCut(l.from, l.to) {
		r.body.Release()
		return
	}
	w.Faults.Replays++
	w.sink.Node(l.to, w.Route(r.body.Bytes()), core.Event{Kind: core.PeerFrame, Node: l.accepted, Link: l.id, Body: r.body})
}

// Deafen makes a client stop reading, or read on. What it was sent waits: some of it on the way, the
// rest with the node.
func (w *Net) Deafen(id core.ConnID, on bool) {
	if c, ok := w.conns.Get(id); ok {
		c.deaf = on
	}
}
