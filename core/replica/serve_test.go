package replica

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// The kernel reads ahead for who is in a hurry, and for nobody who is throttled.
func TestWhoIsThrottledHasNothingReadAhead(t *testing.T) {
	for _, x := range []struct {
		name  string
		asks  Control
		reads int
		bare  int // of them
	}{
		{"at full speed", Control{Next: 8 * chunkBytes}, 8, 0},
		{"under a throttle", Control{Next: chunkBytes}, 1, 1},
		{"a repair", Control{}, 1, 1},
		{"a file of a compacted log", Control{Next: chunkBytes, Last: true}, 1, 1},
	} {
		h := &giver{}
		r := &Replica{h: h, cfg: Config{Node: 1}, log: &window{first: 1, at0: place{pos: 16 * chunkBytes}}, leads: true, term: 3}
		r.segs = []*segment{{size: 16 * chunkBytes}}
		r.match = []matched{{id: core.NewRaftID(1, 2)}}
		x.asks.Kind, x.asks.Term = Pull, 3
		r.servePull(2, x.asks)
		reads, bare := 0, 0
		for _, e := range h.fx.List {
			if e.Kind == core.Read {
				if reads++; e.Bare {
					bare++
				}
			}
		}
		if reads != x.reads || bare != x.bare {
			t.Errorf("%s: %d reads, %d of them bare, want %d and %d", x.name, reads, bare, x.reads, x.bare)
		}
	}
}
