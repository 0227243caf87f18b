package fake

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/diskio"
	"github.com/karst-stream/karst/diskio/disktest"
)

func TestMain(m *testing.M) {
	core.Poison = true
	os.Exit(m.Run())
}

// TestConformance holds the simulated disk to what the real one is held to. Latencies decide how the
// operations of different files overtake each other, so several seeds are tried.
func TestConformance(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 4, 5} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			disktest.Run(t, func(t *testing.T) disktest.World { return &world{d: New(det.New(seed, "disk"))} })
		})
	}
}

// world drives a Disk as a world of the simulator does: it calls Complete when an operation is due.
type world struct {
	d    *Disk
	done diskio.Done
	now  core.Mono
	due  []due
}

type due struct {
	at   core.Mono
	file core.FileID
}

func (w *world) Open(_ testing.TB, done diskio.Done) diskio.Disk {
	w.d.Start()
	w.done = done
	return &process{w}
}

// Advance completes what is due next.
func (w *world) Advance() bool {
	if len(w.due) == 0 {
		return false
	}
	next := slices.MinFunc(w.due, func(a, b due) int { return cmp.Compare(a.at, b.at) })
	i := slices.Index(w.due, next)
	w.due = slices.Delete(w.due, i, i+1)
	w.now = next.at
	if ev, answer := w.d.Complete(next.file); answer {
		w.done(ev.Op.Shard(), []core.Event{ev})
	}
	return true
}

// Cut draws the worst that a loss of power may do. What Platter foretells to checkers must be just that.
func (w *world) Cut(t testing.TB, _ diskio.Disk) {
	t.Helper()
	foretold := w.d.Platter()
	w.due = nil
	w.d.Lies = true // loses all that it can, and every sync so far was honest
	w.d.PowerLoss()
	w.d.Lies = false
	left, want := w.d.List(), foretold.List()
	if !slices.Equal(left, want) {
		t.Fatalf("after the cut the disk lists %v, foretold was %v", left, want)
	}
	for _, f := range left {
		a, b := make([]byte, f.Size), make([]byte, f.Size)
		_, errA := w.d.ReadAt(f.Path, 0, a)
		_, errB := foretold.ReadAt(f.Path, 0, b)
		if errA != core.OK || errB != core.OK || !bytes.Equal(a, b) {
			t.Fatalf("%s holds %q (%v) after the cut, foretold was %q (%v)", f.Path, a, errA, b, errB)
		}
	}
}

// FailSync arms the next sync; the suite asks for no other one before it.
func (w *world) FailSync(string) { w.d.FailNextSync() }

// process is the disk as one process has it.
type process struct{ w *world }

func (p *process) List() []core.FileInfo { return p.w.d.List() }

func (p *process) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	return p.w.d.ReadAt(path, off, b)
}

func (p *process) Do(e *core.Effect, vec []core.Ref) {
	p.w.due = append(p.w.due, due{p.w.d.Submit(p.w.now, e, vec), e.File})
}

func (p *process) Flush(core.ShardID) {}

func (p *process) Region(f core.FileID) (diskio.Region, bool) {
	h := p.w.d.open[f]
	if h == nil || h.f == nil || h.f.unlinked {
		return nil, false
	}
	return &region{p.w.d, f}, true
}

// Close is a graceful end: what was asked for happens, and the page cache stays.
func (p *process) Close() {
	for p.w.Advance() {
	}
	p.w.d.Kill()
}

// region reads as the simulated network does when bytes leave.
type region struct {
	d *Disk
	f core.FileID
}

func (r *region) ReadAt(b []byte, off int64) (int, error) {
	_, whole := r.d.Gather(b[:0], []core.Ref{{File: r.f, Off: off, Len: int32(len(b))}})
	if !whole {
		return 0, io.ErrUnexpectedEOF
	}
	return len(b), nil
}

func (r *region) Fd() (int, bool) { return 0, false }
func (r *region) Release()        {}
