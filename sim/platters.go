package sim

import (
	"slices"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/shard"
	diskfake "github.com/karst-stream/karst/diskio/fake"
)

// platters recovers every node's journals as a loss of power now would leave them at worst, and asks
// whether what is committed is on a majority of them (I5). Replicas have no say in it.
func (w *World) platters() {
	if w.plan.Liars > 0 || w.failed || slices.ContainsFunc(w.nodes, w.lossy) {
		return // what a lost disk held counts, and nobody can look
	}
	copies := map[core.GroupID][]checker.Platter{}
	for _, n := range w.nodes {
		groups, err := w.groupsOn(n.own().Platter())
		if err != nil {
			w.failAt("I5", "the platter of node %d cannot be recovered: %v", n.id, err)
			return
		}
		for i := range groups {
			g := &groups[i]
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

// groupsOn is what the journals of a disk hold, of all its data directories.
func (w *World) groupsOn(d *diskfake.Disk) (groups []journal.Group, err error) {
	for k := range w.plan.Dirs {
		found, err := journal.Recover(d.Dir(k))
		if err != nil {
			return nil, err
		}
		groups = append(groups, found.Groups...)
	}
	return groups, nil
}

// installed is told that raft has a snapshot up to end: the segment that holds the batch before it is on the platter.
func (w *World) installed(n *node, g core.GroupID, end core.Offset) {
	if end == 0 {
		return
	}
	for _, l := range n.shards {
		s, ok := l.m.(*shard.Shard)
		if !ok {
			continue
		}
		if path, size, ok := s.Base(g); ok && w.missing(n, path, size) {
			w.failAt("I5", "group %d: node %d has installed a snapshot up to offset %d, and some of the %d bytes of %s are not on its platter",
				g, n.id, end, size, path)
		}
	}
}

// noted is told that a checkpoint will name what a catch-up has brought.
func (w *World) noted(n *node, g core.GroupID, path string, size int64) {
	if w.missing(n, path, size) {
		w.failAt("I5", "group %d: node %d notes a catch-up up to byte %d of %s, and some of them are not on its platter", g, n.id, size, path)
	}
}

// missing says that some of the first bytes of a file are not on the platter, as far as that is known: with several
// directories it may be in any, and on a dead one.
func (w *World) missing(n *node, path string, size int64) bool {
	return w.plan.Liars == 0 && w.plan.Dirs == 1 && !w.failed && !w.lossy(n) && size > 0 && !n.own().OnPlatter(path, 0, size)
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
		groups, err := w.groupsOn(n.own())
		if err != nil {
			w.failAt("I5", "the disk of node %d cannot be recovered: %v", n.id, err)
			return
		}
		for i := range groups {
			there[groups[i].ID] = there[groups[i].ID] || !groups[i].Gone
		}
	}
	w.judge.Settle(func(g core.GroupID) bool { return !there[g] })
}
