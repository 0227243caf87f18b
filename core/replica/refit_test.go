package replica

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
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

// opHost carries out what a replica asks for when the test says so.
type opHost struct {
	giver
	ops []func(*core.Event)
}

func (h *opHost) NewOp(f func(*core.Event)) core.OpID {
	h.ops = append(h.ops, f)
	return core.OpID(len(h.ops))
}
func (h *opHost) Toll(_ *Replica, _ Lane, f func(int64)) { f(1 << 20) }
func (h *opHost) Landed(int64)                           {}

// take gives the effects so far, which count as carried out.
func (h *opHost) take() (kinds []core.EffectKind) {
	for i := range h.fx.List {
		e := &h.fx.List[i]
		kinds = append(kinds, e.Kind)
		h.fx.Release(e)
	}
	h.fx.Reset()
	ops := h.ops
	h.ops = nil
	for _, f := range ops {
		f(&core.Event{})
	}
	return kinds
}

// A file that was whole and synced for one offer, and grows for the next one, is synced again before it counts as here.
func TestAFileThatGrowsIsSyncedAgain(t *testing.T) {
	var w record.Builder
	w.Append(record.Record{Value: make([]byte, 100)})
	one := w.Build()
	record.Batch(one).Patch(0, 1)
	size := int64(len(one))
	h := &opHost{}
	r := &Replica{h: h, cfg: Config{Node: 1}, log: &window{}}
	r.refit.side = []*fetched{{s: &segment{base: 0, gen: 3, file: 7, path: "x", size: size}, pos: size, scan: seg.ScannerOf(0, 3), synced: true}}
	if !r.refit.side[0].scan.Feed(one, nil) {
		t.Fatal("the batch is no batch")
	}
	here := 0
	r.fetchFiles(2, 1, []file{{base: 0, gen: 3, size: size}}, func() { here++ })
	if here != 1 || len(h.fx.List) > 0 {
		t.Fatalf("what is whole and synced is asked for again: %v", h.take())
	}
	r.fetchFiles(2, 1, []file{{base: 0, gen: 3, size: 2 * size}}, func() { here++ })
	two := append([]byte(nil), one...)
	record.Batch(two).Patch(1, 1)
	body := core.RefOf(two)
	defer body.Release()
	r.gotFile(2, Control{Kind: Chunk, Term: 1, Seg: 0, Gen: 3, Pos: size, Body: body})
	var did []core.EffectKind
	for range 3 {
		did = append(did, h.take()...)
	}
	if len(did) != 2 || did[0] != core.Write || did[1] != core.SyncFile || here != 2 {
		t.Errorf("it did %v and said %d times that the files are here", did, here)
	}
}
