package sim

import (
	"slices"

	"github.com/karst-stream/karst/core"
)

func init() {
	specs[Kill] = spec{name: "kill", node: true, span: true, begin: crash, end: restart}
	specs[Power] = spec{name: "power", node: true, span: true, begin: crash, end: restart}
	specs[PowerAll] = spec{name: "power-all", span: true,
		begin: func(w *World, _ *Fault) bool {
			w.platters()
			w.powerAll()
			return true
		},
		end: func(w *World, _ *Fault) { w.startAll() }}
	specs[Pause] = spec{name: "pause", node: true, span: true,
		begin: func(w *World, f *Fault) bool {
			n := w.nodes[f.Node]
			n.paused = n.alive
			return n.alive
		},
		end: func(w *World, f *Fault) { w.resume(w.nodes[f.Node]) }}
	specs[Aimed] = spec{name: "aimed", node: true, span: true, n: "what it waits for: 0 a vote, 1 an append, 2 an election, 3 a piece of its catch-up, 4 one of another's from it", hi: 4,
		begin: func(w *World, f *Fault) bool {
			w.aimed = append(w.aimed, *f)
			return true
		}}
	specs[Boundary] = spec{name: "boundary", node: true, span: true, n: "the effect", lo: 1, hi: 1e6,
		begin: func(w *World, f *Fault) bool {
			n := w.nodes[f.Node]
			n.fuse = f.N
			return n.alive
		},
		end: func(w *World, f *Fault) {
			w.nodes[f.Node].fuse = 0
			restart(w, f)
		}}
	specs[CrashLoop] = spec{name: "crash-loop", node: true, span: true, n: "crashes", lo: 2, hi: 20,
		begin: func(w *World, f *Fault) bool {
			every := f.For / core.Mono(f.N)
			for i := range core.Mono(f.N) {
				k := Kill
				if w.faults.Chance(1, 3) {
					k = Power
				}
				w.also(i*every+core.Mono(w.faults.N(max(1, int64(every/2)))), Fault{Kind: k, Node: f.Node, For: max(every/4, core.Millisecond)})
			}
			return true
		}}
	specs[Rolling] = spec{name: "rolling", span: true,
		begin: func(w *World, f *Fault) bool {
			each := f.For / core.Mono(len(w.nodes))
			for i, n := range w.nodes {
				w.also(each*core.Mono(i), Fault{Kind: Kill, Node: n.id, For: max(each/2, core.Millisecond)})
			}
			return true
		}}
}

func crash(w *World, f *Fault) bool {
	n := w.nodes[f.Node]
	if !n.alive {
		return false
	}
	w.stop(n, f.Kind == Power)
	return true
}

func restart(w *World, f *Fault) {
	if n := w.nodes[f.Node]; !n.alive {
		w.start(n)
	}
}

// burn is asked before each effect: true says that the process dies instead.
func (w *World) burn(n *node, s core.ShardID, rest []core.Effect) bool {
	if n.fuse == 0 {
		return false
	}
	if n.fuse--; n.fuse > 0 {
		return false
	}
	w.line("boundary", n.id, 0, 0, 0, nil)
	w.result.Faults[Boundary]++
	for i := range rest { // what holds memory beside its Refs gives it back to its reader, see lastLetters
		if e := &rest[i]; e.Kind == core.MailOut {
			pair := int(s)*len(n.shards) + int(e.Shard)
			n.mail[pair] = append(n.mail[pair], e.Mail)
		}
	}
	w.stop(n, w.faults.Chance(1, 2))
	return true
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

// startCore starts what must converge; the others stay dead.
func (w *World) startCore() {
	for _, n := range w.nodes {
		if w.inCore(n.id) && !n.alive {
			w.start(n)
		}
	}
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
	w.also(core.Mono(w.faults.N(2*int64(core.Millisecond))), f)
}
