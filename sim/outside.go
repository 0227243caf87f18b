package sim

import "github.com/karst-stream/karst/core"

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

// Clocks are those of the nodes.
func (w *World) Clocks() (earliest, latest core.Wall) {
	earliest = w.nodes[0].clock.wall(w.now)
	for _, n := range w.nodes[1:] {
		earliest = min(earliest, n.clock.wall(w.now))
	}
	return earliest, w.latest
}

// Deafen makes a client stop reading, or read on.
func (w *World) Deafen(c core.ConnID, on bool) { w.net.Deafen(c, on) }
