package sim

import (
	"slices"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// platters recovers every node's journals as a loss of power now would leave them at worst, and asks
// whether what is committed is on a majority of them (I5). Replicas have no say in it.
func (w *World) platters() {
	if w.plan.Liars > 0 || w.failed || slices.ContainsFunc(w.nodes, w.lossy) {
		return // what a lost disk held counts, and nobody can look
	}
	copies := map[core.GroupID][]checker.Platter{}
	for _, n := range w.nodes {
		found, err := journal.Recover(n.own().Platter())
		if err != nil {
			w.failAt("I5", "the platter of node %d cannot be recovered: %v", n.id, err)
			return
		}
		for i := range found.Groups {
			g := &found.Groups[i]
			if g.Damaged != "" || g.Gone {
				continue // it will not vote: as good as not there
			}
			p := checker.Platter{Node: n.id, Mark: g.Mark.Index}
			for j := range g.Tail {
				p.Terms = append(p.Terms, g.Tail[j].Term)
			}
			copies[g.ID] = append(copies[g.ID], p)
		}
	}
	w.judge.OnPlatters(func(g core.GroupID) []checker.Platter { return copies[g] })
	w.result.Platters++
}

// settle tells the judge which of the groups that it doubts are there no more: those that no node which
// must have converged knows, as its disk stands.
func (w *World) settle() {
	if len(w.judge.Doubted()) == 0 {
		return
	}
	there := map[core.GroupID]bool{}
	for _, n := range w.nodes {
		if !w.inCore(n.id) {
			continue
		}
		found, err := journal.Recover(n.own())
		if err != nil {
			w.failAt("I5", "the disk of node %d cannot be recovered: %v", n.id, err)
			return
		}
		for i := range found.Groups {
			there[found.Groups[i].ID] = there[found.Groups[i].ID] || !found.Groups[i].Gone
		}
	}
	w.judge.Settle(func(g core.GroupID) bool { return !there[g] })
}
