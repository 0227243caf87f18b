package fake

import "github.com/karst-stream/karst/core"

// Cuts are counted: two faults may cut one way, and it is open again when both are over.

func (w *Net) isCut(from, to core.NodeID) bool { return w.cuts[from][to] > 0 }

// What meets a cut waits for its end without a look at it every now and then: a cut may last for hours, with
// thousands of frames before it. It goes on at the moment at which looks every 20 ms would have found the way open.
const lookAgain = 20 * core.Millisecond

// parked is a token that waits for the end of a cut, and since when.
type parked struct {
	at    core.Mono
	token uint64
}

// unpark lets go on what waited.
func (w *Net) unpark(now core.Mono, all *[]parked) {
	for _, p := range *all {
		w.sink.After(p.at+max(1, (now-p.at+lookAgain-1)/lookAgain)*lookAgain, p.token)
	}
	*all = nil
}

// Cut stops what goes from one node to another, until Uncut.
func (w *Net) Cut(from, to core.NodeID) { w.cuts[from][to]++ }

// Uncut takes one Cut back. A link that was cut carries on, late, or is reset.
func (w *Net) Uncut(now core.Mono, from, to core.NodeID) {
	if w.cuts[from][to] == 0 {
		return // Heal was faster
	}
	w.cuts[from][to]--
	if !w.isCut(from, to) {
		w.unpark(now, &w.links[int(from)*w.n+int(to)].parked)
	}
	for _, l := range []*link{&w.links[int(from)*w.n+int(to)], &w.links[int(to)*w.n+int(from)]} {
		if !w.isCut(l.from, l.to) && !w.isCut(l.to, l.from) && l.up && w.rng.Chance(1, 2) {
			w.lose(now, l)
		}
	}
}

// CutClients stops what goes between a node and every client, or takes one such stop back.
func (w *Net) CutClients(now core.Mono, n core.NodeID, on bool) {
	if on {
		w.clients[n]++
	} else if w.clients[n] > 0 {
		if w.clients[n]--; w.clients[n] == 0 {
			w.unpark(now, &w.parked[n])
		}
	}
}

// Reach says whether frames pass both ways between two nodes.
func (w *Net) Reach(a, b core.NodeID) bool { return !w.isCut(a, b) && !w.isCut(b, a) }

// ReachClients says whether clients reach a node.
func (w *Net) ReachClients(n core.NodeID) bool { return w.clients[n] == 0 }

// Heal lets everything pass again. Of the links that were cut some carry on, late, and some are reset.
func (w *Net) Heal(now core.Mono) {
	var reset []*link
	for i := range w.links {
		l := &w.links[i]
		l.air = Air{}
		was := w.isCut(l.from, l.to) || w.isCut(l.to, l.from)
		if was && l.up && w.rng.Chance(1, 2) {
			reset = append(reset, l)
		}
	}
	for i := range w.cuts {
		clear(w.cuts[i])
	}
	clear(w.clients)
	for i := range w.links {
		w.unpark(now, &w.links[i].parked)
	}
	for n := range w.parked {
		w.unpark(now, &w.parked[n])
	}
	for _, l := range reset {
		w.lose(now, l)
	}
}
