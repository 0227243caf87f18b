package shard

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// fullDisk drives the disk of a shard against a driver that has no room now and then: at any operation, however
// much of it was done, and with more of the same file on their way.
type fullDisk struct {
	t    *testing.T
	rng  *det.Rand
	s    *Shard
	fx   core.Effects
	now  core.Mono
	full bool
	path map[core.FileID]string
	disk rigDisk // what the driver wrote
	want rigDisk // what it would hold if there always was room
	way  []way   // on their way, in the order of asking
	over map[core.FileID][]core.OpID
	due  map[core.FileID][]core.OpID
	errs map[core.OpID]core.Errno
}

type way struct {
	e core.Effect
	b []byte
}

func newFullDisk(t *testing.T, seed uint64) *fullDisk {
	g := &fullDisk{t: t, rng: det.New(seed, "full disk"), path: map[core.FileID]string{}, disk: rigDisk{}, want: rigDisk{},
		over: map[core.FileID][]core.OpID{}, due: map[core.FileID][]core.OpID{}, errs: map[core.OpID]core.Errno{}}
	g.s = &Shard{cfg: Config{Shard: 1, Node: 1}, ops: map[core.OpID]func(*core.Event){},
		vols: []*volume{{jrn: journal.NewWriter(journal.Config{Start: 1})}}}
	g.s.disk.ops = map[core.OpID]*lane{}
	g.s.disk.again.Fire = func(int64) { g.s.disk.look(g.s) }
	g.s.room.at.Fire = g.s.onRoom
	return g
}

// step is a step of the shard in which f asks for something.
func (g *fullDisk) step(events []core.Event, f func()) {
	g.now += 10 * core.Millisecond
	g.fx.Reset()
	g.s.now, g.s.fx = core.Now{Mono: g.now}, &g.fx
	for i := range events {
		g.s.diskDone(&events[i])
	}
	g.s.timers.Run(int64(g.now))
	f()
	g.s.disk.collect(g.s)
	for i := range g.fx.List {
		e := &g.fx.List[i]
		w := way{e: *e}
		for _, r := range g.fx.Vec(e) {
			w.b = append(w.b, r.Bytes()...)
			r.Release()
		}
		if e.File != 0 {
			g.way = append(g.way, w)
		}
	}
}

// ask adds an effect and does it to the model.
func (g *fullDisk) ask(e core.Effect, b []byte) {
	f := e.File
	if g.rng.Chance(4, 5) {
		e.Op = g.s.NewOp(func(ev *core.Event) {
			g.over[f] = append(g.over[f], ev.Op)
			g.errs[ev.Op] = ev.Err
		})
		g.due[f] = append(g.due[f], e.Op)
	}
	if e.Kind == core.Create {
		g.path[f] = e.Path
	}
	apply(g.want, g.path[f], &e, b)
	var vec []core.Ref
	if len(b) > 0 {
		k := g.rng.N(int64(len(b)) + 1)
		vec = []core.Ref{core.RefOf(b[:k]), core.RefOf(b[k:])}
	}
	g.s.fx.Add(e, vec...)
}

func apply(d rigDisk, path string, e *core.Effect, b []byte) {
	switch f := d[path]; e.Kind {
	case core.Create:
		d[path] = append([]byte{}, f...)
	case core.Write:
		if need := int(e.Off) + len(b); need > len(f) {
			f = append(f, make([]byte, need-len(f))...)
		}
		copy(f[e.Off:], b)
		d[path] = f
	case core.Truncate:
		d[path] = append(f[:min(int64(len(f)), e.Off)], make([]byte, max(0, e.Off-int64(len(f))))...)
	case core.Remove:
		delete(d, path)
	}
}

// drive ends some of what is on its way, in order per file.
func (g *fullDisk) drive() (events []core.Event) {
	var stays []way
	later := map[core.FileID]bool{}
	for _, w := range g.way {
		if later[w.e.File] || g.rng.Chance(1, 3) {
			later[w.e.File] = true
			stays = append(stays, w)
			continue
		}
		ev := core.Event{Kind: core.DiskDone, Op: w.e.Op}
		_, there := g.disk[g.path[w.e.File]]
		switch {
		case w.e.Kind != core.Create && !there:
			ev.Err = core.ErrGone
		case g.full && w.e.Kind != core.Remove && g.rng.Chance(3, 4):
			ev.Err = core.ErrNoSpac
			if g.rng.Chance(1, 4) {
				ev.Err = core.ErrLimit
			}
			if w.e.Kind == core.Write {
				apply(g.disk, g.path[w.e.File], &w.e, w.b[:g.rng.N(int64(len(w.b)))])
			}
		default:
			apply(g.disk, g.path[w.e.File], &w.e, w.b)
		}
		if ev.Op != 0 {
			events = append(events, ev)
		}
	}
	g.way = stays
	return events
}

func (g *fullDisk) random(f core.FileID) {
	b := bytes.Repeat([]byte{byte('a' + g.rng.N(26))}, int(1+g.rng.N(20)))
	at := int64(len(g.want[g.path[f]]))
	switch g.rng.N(5) {
	case 0:
		g.ask(core.Effect{Kind: core.Truncate, File: f, Off: g.rng.N(at + 10)}, nil)
	case 1:
		g.ask(core.Effect{Kind: core.SyncFile, File: f}, nil)
	case 2:
		g.ask(core.Effect{Kind: core.Write, Sync: true, File: f, Off: g.rng.N(at + 1)}, b)
	default:
		g.ask(core.Effect{Kind: core.Write, File: f, Off: at}, b)
	}
}

func TestWhatWaitedForRoomIsDoneInOrder(t *testing.T) {
	blocked := 0
	for seed := range uint64(300) {
		live := core.Live.Load()
		g := newFullDisk(t, seed)
		for f := core.FileID(1); f <= 4; f++ {
			g.step(nil, func() { g.ask(core.Effect{Kind: core.Create, File: f, Path: fmt.Sprint("f", f)}, nil) })
		}
		for range 200 {
			if g.rng.Chance(1, 20) {
				g.full = !g.full
			}
			g.step(g.drive(), func() {
				for range g.rng.N(4) {
					g.random(core.FileID(g.rng.Between(1, 4)))
				}
			})
			if g.s.disk.full() {
				blocked++
			}
		}
		g.full = false
		for range 400 {
			g.step(g.drive(), func() {})
		}
		if g.s.disk.full() || g.s.room.here || len(g.way) > 0 {
			t.Fatalf("seed %d: there is room and something still waits", seed)
		}
		for f := core.FileID(1); f <= 4; f++ {
			if p := g.path[f]; !bytes.Equal(g.disk[p], g.want[p]) {
				t.Fatalf("seed %d: %s holds %q, want %q", seed, p, g.disk[p], g.want[p])
			}
			if !slices.Equal(g.over[f], g.due[f]) {
				t.Fatalf("seed %d: operations %v of file %d ended as %v", seed, g.due[f], f, g.over[f])
			}
		}
		for op, err := range g.errs {
			if err != core.OK {
				t.Fatalf("seed %d: operation %x ended with %v", seed, op, err)
			}
		}
		if n := core.Live.Load() - live; n != 0 {
			t.Fatalf("seed %d: %d buffers are left", seed, n)
		}
	}
	if blocked < 1000 {
		t.Errorf("only %d steps had something that waits", blocked)
	}
}

// A file that is removed makes room: its removal does not wait, and what waited for it ends.
func TestARemovalDoesNotWaitForRoom(t *testing.T) {
	live := core.Live.Load()
	g := newFullDisk(t, 1)
	g.step(nil, func() { g.ask(core.Effect{Kind: core.Create, File: 1, Path: "f1"}, nil) })
	for len(g.way) > 0 {
		g.step(g.drive(), func() {})
	}
	g.full = true
	for !g.s.disk.full() {
		g.step(g.drive(), func() { g.random(1) })
	}
	for range 50 {
		g.step(g.drive(), func() { g.random(1) })
	}
	g.step(nil, func() { g.ask(core.Effect{Kind: core.Remove, File: 1, Path: "f1"}, nil) })
	for range 50 {
		g.step(g.drive(), func() {})
	}
	if _, there := g.disk["f1"]; there || g.s.disk.full() || g.s.room.here {
		t.Errorf("the file is there: %v; full: %v %v", there, g.s.disk.full(), g.s.room.here)
	}
	if len(g.over[1]) != len(g.due[1]) {
		t.Errorf("%d of %d operations ended", len(g.over[1]), len(g.due[1]))
	}
	if n := core.Live.Load() - live; n != 0 || g.s.disk.lanes.Len() != 0 {
		t.Errorf("%d buffers, %d lanes are left", n, g.s.disk.lanes.Len())
	}
}

// A device that fails is no disk without room: that is told at once, also behind an operation that waits.
func TestAFailedDeviceIsToldAtOnce(t *testing.T) {
	g := newFullDisk(t, 1)
	var got []core.Errno
	ops := make([]core.OpID, 3)
	g.step(nil, func() {
		for i := range ops {
			ops[i] = g.s.NewOp(func(ev *core.Event) { got = append(got, ev.Err) })
			g.s.fx.Add(core.Effect{Kind: core.Write, Sync: true, File: 1, Off: int64(i), Op: ops[i]}, core.RefOf([]byte("x")))
		}
	})
	g.step([]core.Event{{Kind: core.DiskDone, Op: ops[0], Err: core.ErrNoSpac}, {Kind: core.DiskDone, Op: ops[1], Err: core.ErrIO}}, func() {})
	if !slices.Equal(got, []core.Errno{core.ErrIO}) {
		t.Errorf("told %v", got)
	}
}
