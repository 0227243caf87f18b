package replica

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// A file that was fetched to lie beside the log is the one that a catch-up goes on in: two under one name would be emptied
// by whoever is done with the other.
func TestACatchUpTakesWhatLiesBesideTheLog(t *testing.T) {
	h := &giver{}
	beside := &segment{base: 8, file: 106, path: "t-0/00000000000000000008.log", size: 400}
	newer := &segment{base: 8, gen: 9, file: 107, path: "t-0/00000000000000000008.00000000000000000009.log", size: 300}
	r := &Replica{h: h, log: &window{}, segs: []*segment{{base: 0, file: 1}}}
	r.refit.side = []*fetched{{s: newer}, {s: beside}}
	if s := r.pullSegment(8); s != beside || s.size != 0 {
		t.Errorf("it writes to file %d of %d bytes", s.file, s.size)
	}
	if len(r.refit.side) != 1 || r.refit.side[0].s != newer || len(r.spare) != 0 {
		t.Errorf("%d files lie beside the log, %d are set aside", len(r.refit.side), len(r.spare))
	}
	var did []core.EffectKind
	for i := range h.fx.List {
		if e := &h.fx.List[i]; e.File == beside.file {
			did = append(did, e.Kind)
		}
	}
	if len(did) != 1 || did[0] != core.Truncate {
		t.Errorf("the file: %v, want it emptied", did)
	}
}
