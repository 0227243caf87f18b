package journal

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// A file that was removed is neither removed again nor written over: only those that are kept are known.
func TestARemovedFileIsForgotten(t *testing.T) {
	ids := uint64(0)
	w := &Writer{cfg: Config{Spare: 1, Slot: 1 << 20, NewFile: func() core.FileID { ids++; return core.FileID(ids) }}}
	for _, path := range []string{"a", "b", "c"} {
		w.idle = append(w.idle, &slot{path: path, end: 4096})
	}
	var removed []string
	for range 3 {
		var fx core.Effects
		w.trim(&fx)
		for _, e := range fx.List {
			if e.Kind == core.Remove {
				removed = append(removed, e.Path)
			}
		}
	}
	if len(removed) != 2 || removed[0] != "b" || removed[1] != "c" || len(w.idle) != 1 || w.idle[0].path != "a" {
		t.Errorf("removed %q, and %d are kept", removed, len(w.idle))
	}
}
