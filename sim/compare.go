package sim

import (
	"bytes"
	"strings"

	"github.com/karst-stream/karst/core"
)

// compareDisks holds the segment files of all nodes against each other (I21, I11): byte-equal as far
// as both go. Every replica was in sync, so nothing in them waits to be cut.
func (w *World) compareDisks() {
	compared := 0
	sizes := map[string]int64{}
	for _, n := range w.nodes {
		for _, f := range n.disk.List() {
			if strings.HasSuffix(f.Path, ".log") {
				if s, ok := sizes[f.Path]; !ok || f.Size < s {
					sizes[f.Path] = f.Size
				}
			}
		}
	}
	first := w.nodes[0]
	for _, f := range first.disk.List() {
		if !strings.HasSuffix(f.Path, ".log") {
			continue
		}
		a := read(first, f.Path, sizes[f.Path])
		for _, n := range w.nodes[1:] {
			b := read(n, f.Path, sizes[f.Path])
			if b == nil {
				continue // a segment that only one has begun
			}
			compared += len(b)
			if !bytes.Equal(a, b) {
				w.failAt("I21", "%s differs between nodes %d and %d at byte %d of %d", f.Path, first.id, n.id, differ(a, b), len(a))
				return
			}
		}
	}
	if compared == 0 && len(w.nodes) > 1 {
		w.failAt("empty", "no byte of a segment was compared")
	}
}

func read(n *node, path string, size int64) []byte {
	b := make([]byte, size)
	if _, err := n.disk.ReadAt(path, 0, b); err != core.OK {
		return nil
	}
	return b
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}
