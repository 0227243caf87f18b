package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
	diskfake "github.com/karst-stream/karst/diskio/fake"
)

// written is how long what is committed may lie in journals before it is in segments as well.
const written = 2 * core.Second

// compacted is how long replicas may take until all have carried out what is decided: some try again, or fetch what
// they lost.
const compacted = 12 * core.Second

// equal says whether the disks of nodes that must have converged are equal, or have had the time to be.
func (w *World) equal() bool {
	if w.now < w.compareAt {
		return false
	}
	w.compareAt = w.now + written/8
	if id, _ := w.compareGenerations(w.converged()); id != "" && w.now <= w.entered+quiet+compacted {
		return false
	}
	id, _ := w.compareDisks()
	return id == "" || w.now > w.entered+quiet+written
}

// compareDisks holds the segment files of all nodes against each other (I21, I11), and their index files where no
// disk did harm to them (who has not read one does not know): byte-equal as far as both go. Every replica was in sync, so nothing in them waits to be cut. It answers what is wrong.
func (w *World) compareDisks() (id, what string) {
	compared := 0
	var left, right []byte
	sizes := map[string]int64{}
	nodes := w.converged()
	for _, n := range nodes {
		for _, f := range n.files() {
			if isSegment(f.Path) || isIndex(f.Path) {
				if s, ok := sizes[f.Path]; !ok || f.Size < s {
					sizes[f.Path] = f.Size
				}
			}
		}
	}
	first := nodes[0]
	if id, what = w.compareGenerations(nodes); id != "" {
		return id, what
	}
	harmed := slices.ContainsFunc(nodes, func(n *node) bool { return n.disk.Harmed() })
	for _, f := range first.files() {
		if !isSegment(f.Path) && (harmed || !isIndex(f.Path)) {
			continue
		}
		left = slices.Grow(left[:0], int(sizes[f.Path]))
		a, _ := read(first, f.Path, left[:sizes[f.Path]])
		for _, n := range nodes[1:] {
			right = slices.Grow(right[:0], int(sizes[f.Path]))
			b, ok := read(n, f.Path, right[:sizes[f.Path]])
			if !ok {
				continue // a segment that only one has begun
			}
			compared += len(b)
			if !bytes.Equal(a, b) {
				return "I21", fmt.Sprintf("%s differs between nodes %d and %d at byte %d of %d: %s / %s", f.Path, first.id, n.id, differ(a, b), len(a),
					batchAt(a, differ(a, b)), batchAt(b, differ(a, b)))
			}
		}
	}
	if compared == 0 && len(nodes) > 1 {
		return "empty", "no byte of a segment was compared"
	}
	return "", ""
}

// converged are the nodes that must be equal in the end.
func (w *World) converged() (nodes []*node) {
	for _, n := range w.nodes {
		if w.inCore(n.id) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// compareGenerations says which of the nodes is behind a compaction that others have carried out. Of a log that was compacted
// they must have the same files, from where both begin to where one of them ends, but for files that wait to be removed.
func (w *World) compareGenerations(nodes []*node) (id, what string) {
	want := generations(nodes[0])
	for _, n := range nodes[1:] {
		have := generations(n)
		for _, dir := range slices.Sorted(maps.Keys(have)) {
			a, b := want[dir], have[dir]
			if len(a) == 0 || !compactedLog(a) && !compactedLog(b) {
				continue
			}
			from, to := max(a[0].base, b[0].base), min(a[len(a)-1].base, b[len(b)-1].base)
			if x, y := stretch(a, from, to), stretch(b, from, to); !slices.Equal(x, y) {
				return "I21", fmt.Sprintf("%s: node %d has (base, generation) %v, node %d has %v: one is behind a compaction%s",
					dir, nodes[0].id, x, n.id, y, w.state())
			}
		}
	}
	return "", ""
}

// generation is a segment that holds something.
type generation struct {
	base core.Offset
	gen  uint64
}

// generations are the newest files of a node's logs.
func generations(n *node) map[string][]generation {
	all := map[string][]generation{}
	for _, f := range n.files() { // by path: of a base the oldest generation comes last
		dir, base, ok := seg.ParsePath(f.Path)
		if !ok || f.Size == 0 {
			continue
		}
		g, list := generation{base, seg.Generation(f.Path)}, all[dir]
		if k := len(list); k > 0 && list[k-1].base == base {
			list[k-1].gen = max(list[k-1].gen, g.gen)
			continue
		}
		all[dir] = append(list, g)
	}
	return all
}

func compactedLog(list []generation) bool {
	return slices.ContainsFunc(list, func(g generation) bool { return g.gen > 0 })
}

func stretch(list []generation, from, to core.Offset) (out []generation) {
	for _, g := range list {
		if g.base >= from && g.base < to {
			out = append(out, g)
		}
	}
	return out
}

// files are those of all data directories of a node: a partition lies in any of them.
func (n *node) files() []core.FileInfo {
	list := n.disk.List()
	for i := range list {
		_, list[i].Path = diskfake.Split(list[i].Path)
	}
	slices.SortStableFunc(list, func(a, b core.FileInfo) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// read fills b with the beginning of a file; nothing and false when the file has not as much.
func read(n *node, path string, b []byte) ([]byte, bool) {
	for k := range core.MaxDirs {
		if _, err := n.disk.Dir(k).ReadAt(path, 0, b); err == core.OK {
			return b, true
		} else if err != core.ErrGone {
			break
		}
	}
	return nil, false
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// batchAt tells of the batches around a position.
func batchAt(b []byte, at int) string {
	s, pos := "", 0
	for rest := b; ; {
		x, next, err := record.Next(rest)
		if err != nil {
			return s + fmt.Sprintf(" [at %d %v: % x]", pos, err, rest[:min(len(rest), 24)])
		}
		if pos+len(x) > at-200 && pos < at+400 {
			s += fmt.Sprintf(" [at %d size %d base %d epoch %d pid %d seq %d crc ok %v]", pos, len(x), x.BaseOffset(), x.LeaderEpoch(), x.ProducerID(), x.BaseSequence(), x.CRCValid())
		}
		pos += len(x)
		rest = next
		if len(rest) == 0 {
			return s
		}
	}
}
