package sim

import (
	"fmt"
	"math/bits"

	"github.com/karst-stream/karst/core"
)

// The budget of a run. Of n nodes f = (n-1)/2 may have lost what was durable on their disks, for good
// and in the whole run; a node that is down, paused, cut off, slow or full counts only while it is.
//
//	a majority of whole nodes runs, reaches each other and clients     must serve: within patience
//	anything less                                                      may refuse, and never lies
//	more than f disks lost (only by hand: beyond-budget)               may refuse for ever, and never lies
//
// That nobody lies is judged all the time: State and Log know nothing of budgets.

// serveWithin is how long a steady majority may take until a batch is acknowledged.
const serveWithin = 8 * core.Second

// overBudget finds the fault with which a plan harms more disks than its budget has.
func (p *Plan) overBudget() *flaw {
	var harmed uint64
	for i, f := range p.Faults {
		if specs[f.Kind].harm {
			harmed |= 1 << f.Node
		}
		if most := (p.Nodes - 1) / 2; !p.Beyond && bits.OnesCount64(harmed) > most {
			return &flaw{fault: i, what: fmt.Sprintf("the disks of%s are harmed: of %d nodes at most %d may be, unless the plan says beyond-budget",
				nodesOf(harmed), p.Nodes, most)}
		}
	}
	return nil
}

// lossy says whether what was durable on n's disk may be gone, or is not there again yet.
func (w *World) lossy(n *node) bool { return n.lost || n.joining || n.own().Harmed() }

// mayHarm says whether a fault that destroys what is durable may meet a node now.
func (w *World) mayHarm(id core.NodeID) bool {
	others := 0
	for _, n := range w.nodes {
		if n.id != id && (w.lossy(n) || n.old != nil) {
			others++
		}
	}
	return w.plan.Beyond || others < (len(w.nodes)-1)/2
}

// healthy are the nodes that could serve now, as bits.
func (w *World) healthy() (set uint64) {
	for _, n := range w.nodes {
		ok := n.alive && !n.paused && !n.foreign && !w.lossy(n) && !n.disk.Broken() && !n.disk.Sick() && !n.away &&
			n.disk.Latency.Slow <= 1 && !n.disk.Stalled(w.now) && w.net.ReachClients(n.id)
		if ok {
			set |= 1 << n.id
		}
	}
	return set
}

// serving is a majority of healthy nodes that reach each other by good links, and nobody outside of
// it is able to disturb: 0 when there is none.
func (w *World) serving() uint64 {
	set := w.healthy()
	if bits.OnesCount64(set) <= len(w.nodes)/2 {
		return 0
	}
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b && set>>a.id&1 != 0 && set>>b.id&1 != 0 && (!w.net.Reach(a.id, b.id) || w.net.Air(a.id, b.id).Bad()) {
				return 0
			}
		}
	}
	return set
}

// watch holds a cluster that must serve to it. It is called every 20 ms.
func (w *World) watch() {
	w.joined()
	set := w.serving()
	if set != w.served {
		w.served, w.servedAt = set, w.now
	}
	tick := w.lookEvery()
	if set == 0 {
		w.fleet.Counts.Met.May += tick
		return
	}
	w.fleet.Counts.Met.Must += tick
	since := max(w.servedAt, w.fleet.Counts.LastAck)
	if w.plan.Sparse > 0 {
		since = max(since, w.fleet.WaitsSince()) // nothing may be due
	}
	if w.stage == loading && w.plan.Liars == 0 && !w.plan.Beyond && w.now-since > serveWithin+w.plan.grace()+2*w.net.Weather.Max*100 {
		w.failAt("unavailable", "since %.3f s%s run, reach each other and their clients, and nothing was acknowledged: %s%s",
			seconds(since), nodesOf(set), w.fleet.Stuck(), w.state())
	}
}
