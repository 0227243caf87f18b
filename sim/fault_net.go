package sim

import (
	"github.com/karst-stream/karst/core"
	netfake "github.com/karst-stream/karst/netsim/fake"
)

func init() {
	specs[Cut] = spec{name: "cut", node: true, span: true, begin: cutOff(true), end: uncutOff(true)}
	specs[CutOneWay] = spec{name: "cut-one-way", node: true, peer: true, span: true,
		begin: func(w *World, f *Fault) bool {
			w.net.Cut(f.Node, f.Peer)
			return true
		},
		end: func(w *World, f *Fault) { w.net.Uncut(w.now, f.Node, f.Peer) }}
	specs[CutClients] = spec{name: "cut-clients", node: true, span: true,
		begin: func(w *World, f *Fault) bool {
			w.net.CutClients(w.now, f.Node, true)
			return true
		},
		end: func(w *World, f *Fault) { w.net.CutClients(w.now, f.Node, false) }}
	specs[Bridge] = spec{name: "bridge", node: true, span: true, begin: cutOff(false), end: uncutOff(false)}
	specs[Isolate] = spec{name: "isolate-leader", span: true, n: "the group, in order of their ids", hi: 1e6,
		begin: func(w *World, f *Fault) bool { return w.findLeader(f) && cutOff(true)(w, f) }, end: uncutOff(true)}
	specs[IsolateHalf] = spec{name: "isolate-leader-wholly", span: true, n: "the group, in order of their ids", hi: 1e6,
		begin: func(w *World, f *Fault) bool {
			if !w.findLeader(f) {
				return false
			}
			w.net.CutClients(w.now, f.Node, true)
			return cutOff(true)(w, f)
		},
		end: func(w *World, f *Fault) {
			w.net.CutClients(w.now, f.Node, false)
			uncutOff(true)(w, f)
		}}
	specs[Flap] = spec{name: "flap", node: true, span: true, n: "milliseconds", lo: 5, hi: 60000,
		begin: func(w *World, f *Fault) bool {
			half := core.Mono(f.N) * core.Millisecond / 2
			for at := core.Mono(0); at < f.For && at < 400*half; at += 2 * half {
				w.also(at, Fault{Kind: Cut, Node: f.Node, For: half})
			}
			return true
		}}
	specs[Swizzle] = spec{name: "swizzle", span: true,
		begin: func(w *World, f *Fault) bool {
			some := false
			for _, n := range w.nodes {
				if w.faults.Chance(1, 2) {
					some = true
					from, to := core.Mono(w.faults.N(int64(f.For/2)+1)), f.For/2+core.Mono(w.faults.N(int64(f.For/2)+1))
					w.also(from, Fault{Kind: Cut, Node: n.id, For: max(to-from, core.Millisecond)})
					w.also(from, Fault{Kind: CutClients, Node: n.id, For: max(to-from, core.Millisecond)})
				}
			}
			return some
		}}
	specs[Delay] = spec{name: "delay", span: true, n: "microseconds", lo: 100, hi: 10e6,
		begin: func(w *World, f *Fault) bool {
			w.net.Weather.Max = core.Mono(f.N) * core.Microsecond
			return true
		},
		end: func(w *World, _ *Fault) { w.weather() }}
}

// These act on the way from one node to another.
func init() {
	link := func(name, n string, lo, hi int64, set func(a *netfake.Air, n int64)) spec {
		return spec{name: name, node: true, peer: true, span: true, n: n, lo: lo, hi: hi,
			begin: func(w *World, f *Fault) bool {
				set(w.net.Air(f.Node, f.Peer), f.N)
				return true
			},
			end: func(w *World, f *Fault) { set(w.net.Air(f.Node, f.Peer), 0) }}
	}
	specs[SlowLink] = link("slow-link", "milliseconds", 1, 60000, func(a *netfake.Air, n int64) { a.Delay = core.Mono(n) * core.Millisecond })
	specs[NarrowLink] = link("narrow-link", "frames", 1, 1000, func(a *netfake.Air, n int64) { a.Room = int(n) })
	specs[ThinLink] = link("thin-link", "bytes a millisecond", 10, 1e6, func(a *netfake.Air, n int64) { a.Pace = n })
	specs[LossyLink] = link("lossy-link", "frames of a million", 1, 1e6, func(a *netfake.Air, n int64) { a.Drop, a.Reset = n/2, n-n/2 })
	specs[EchoLink] = link("echo-link", "frames of a million", 1, 1e6, func(a *netfake.Air, n int64) { a.Double, a.Replay = n/2, n-n/2 })
	specs[NoisyLink] = link("noisy-link", "frames of a million", 1, 1e6, func(a *netfake.Air, n int64) { a.Corrupt = n })
}

// cutOff cuts a node off from all others, or the others from each other.
func cutOff(node bool) func(*World, *Fault) bool {
	return func(w *World, f *Fault) bool {
		some := false
		w.pairs(f.Node, node, func(a, b core.NodeID) {
			w.net.Cut(a, b)
			some = true
		})
		return some
	}
}

func uncutOff(node bool) func(*World, *Fault) {
	return func(w *World, f *Fault) {
		w.pairs(f.Node, node, func(a, b core.NodeID) { w.net.Uncut(w.now, a, b) })
	}
}

// pairs visits every ordered pair of nodes that n is part of, or not part of.
func (w *World) pairs(n core.NodeID, with bool, visit func(a, b core.NodeID)) {
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b && (a.id == n || b.id == n) == with {
				visit(a.id, b.id)
			}
		}
	}
}

// findLeader makes who was last seen to lead a group the node of a fault.
func (w *World) findLeader(f *Fault) bool {
	groups := w.leads.Keys()
	if len(groups) == 0 {
		return false
	}
	f.Node = w.leads.At(groups[f.N%int64(len(groups))])
	return true
}
