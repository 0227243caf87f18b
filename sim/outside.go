package sim

import (
	"slices"

	"github.com/karst-stream/karst/core"
)

// The world as its network sees it: netsim/fake.Sink.

// After is asked for by the network.
func (w *World) After(at core.Mono, token uint64) { w.after(at, dueNet, nil, 0, token) }

// Node gives an event of the network to a shard.
func (w *World) Node(n core.NodeID, s core.ShardID, ev core.Event) { w.give(w.nodes[n], s, ev) }

// Opened, Bytes and Closed pass on to the clients.
func (w *World) Opened(c core.ConnID) { w.fleet.Opened(c) }

// Bytes passes on to the clients.
func (w *World) Bytes(c core.ConnID, b []byte) {
	w.line("client", 0, 0, uint64(c), 0, b)
	w.fleet.Bytes(c, b)
}

// Closed passes on to the clients.
func (w *World) Closed(c core.ConnID) { w.fleet.Closed(c) }

// Gather reads a node's memory and files.
func (w *World) Gather(n core.NodeID, b []byte, vec []core.Ref) ([]byte, bool) {
	return w.nodes[n].disk.Gather(b, vec)
}

// The world as its clients see it: workload.Env.

// Now is virtual time.
func (w *World) Now() core.Mono { return w.now }

// Dial begins a connection.
func (w *World) Dial(n core.NodeID) core.ConnID { return w.net.Dial(w.now, n) }

// Send is a client's frame.
func (w *World) Send(c core.ConnID, frame []byte) { w.net.ClientSend(w.now, c, frame) }

// Hang closes a client's connection.
func (w *World) Hang(c core.ConnID) { w.net.ClientClose(w.now, c) }

// Alarm wakes a client later.
func (w *World) Alarm(at core.Mono, client int) { w.after(at, dueClient, nil, 0, uint64(client)) }

// Fail is a client's complaint.
func (w *World) Fail(id, what string) { w.failAt(id, "%s", what) }

// over marks the end of a fault.
const over = 1 << 32

// fault lets one line of the plan happen.
func (w *World) fault(i int) {
	if w.stage != loading {
		return // calm has ended everything
	}
	if i&over != 0 {
		w.undo(w.todo[i&^over])
		return
	}
	f := w.todo[i]
	n := w.nodes[f.Node]
	w.line(f.Kind.String(), f.Node, 0, uint64(f.Peer), uint64(f.N), nil)
	if f.Kind == Aimed {
		w.aimed = append(w.aimed, f)
		return
	}
	if !w.happened(f, n) {
		return
	}
	w.result.Faults[f.Kind]++
	w.after(w.now+f.For, dueFault, nil, 0, uint64(i|over))
}

// happened begins a fault; false: it makes no sense at present.
func (w *World) happened(f Fault, n *node) bool {
	switch f.Kind {
	case Kill, Power:
		if !n.alive {
			return false
		}
		w.stop(n, f.Kind == Power)
	case PowerAll:
		w.platters()
		w.powerAll()
	case Cut:
		for _, o := range w.nodes {
			if o != n {
				w.net.Cut(n.id, o.id)
				w.net.Cut(o.id, n.id)
			}
		}
	case CutOneWay:
		w.net.Cut(f.Node, f.Peer)
	case CutClients:
		w.net.CutClients(f.Node, true)
	case Pause:
		n.paused = n.alive
		return n.alive
	case SlowDisk:
		n.disk.Latency.Slow = f.N
	case SyncError:
		n.disk.FailNextSync()
	case Delay:
		w.net.Weather.Max = core.Mono(f.N) * core.Microsecond
	}
	return true
}

// undo ends a fault.
func (w *World) undo(f Fault) {
	n := w.nodes[f.Node]
	w.line("end "+f.Kind.String(), f.Node, 0, 0, 0, nil)
	switch f.Kind {
	case Kill, Power:
		if !n.alive {
			w.start(n)
		}
	case Cut, CutOneWay, CutClients:
		w.net.Heal(w.now)
	case Pause:
		w.resume(n)
	case SlowDisk:
		n.disk.Latency.Slow = 1
	case SyncError: // whoever looks after the machine replaces the process
		if n.alive {
			w.stop(n, false)
			w.start(n)
		}
	case Delay:
		w.weather()
	case PowerAll:
		w.startAll()
	}
}

// powerAll cuts every machine's power.
func (w *World) powerAll() {
	for _, n := range w.nodes {
		w.stop(n, true)
	}
}

func (w *World) startAll() {
	for _, n := range w.nodes {
		if !n.alive {
			w.start(n)
		}
	}
}

// calm ends every fault: all nodes run on healthy disks and can reach each other.
func (w *World) calm() {
	w.net.Heal(w.now)
	w.aimed = nil
	for _, n := range w.nodes {
		n.disk.Latency.Slow = 1
		w.resume(n)
		if n.alive && n.disk.Broken() {
			w.stop(n, false)
		}
	}
	w.startAll()
}

// moment is something that an aimed crash may wait for: it comes in the next instants.
func (w *World) moment(n core.NodeID, kind int64) {
	if len(w.aimed) == 0 || w.deaf {
		return
	}
	i := slices.IndexFunc(w.aimed, func(f Fault) bool { return f.Node == n && f.N == kind })
	if i < 0 {
		return
	}
	f := w.aimed[i]
	w.aimed = slices.Delete(w.aimed, i, i+1)
	w.result.Faults[Aimed]++
	f.Kind, f.N = Kill, 0
	if w.faults.Chance(2, 3) {
		f.Kind = Power
	}
	w.todo = append(w.todo, f)
	w.after(w.now+core.Mono(w.faults.N(2*int64(core.Millisecond))), dueFault, nil, 0, uint64(len(w.todo)-1))
}
