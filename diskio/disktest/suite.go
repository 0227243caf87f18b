// Package disktest is the conformance suite of diskio: what every disk must do, the real one and the
// simulated one. It owns the cases and a rig that waits for completions; it refuses to know how a
// disk works, so whatever needs its inside (a failing sync, the loss of power) is asked of a World.
package disktest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/diskio"
)

// World is one disk under test and its surroundings.
type World interface {
	// Open opens the same directory each time. The one opened before it is closed or cut by then.
	Open(t testing.TB, done diskio.Done) diskio.Disk
	// Advance lets outstanding operations proceed and says whether it did so. False: time is real.
	Advance() bool
	// Cut is the loss of power: what no completed sync covers is lost, all of it.
	Cut(t testing.TB, d diskio.Disk)
	// FailSync makes the next sync of the file at path fail with core.ErrIO.
	FailSync(path string)
}

// Run holds the disks that fresh makes to the contract. Each case gets its own World.
func Run(t *testing.T, fresh func(t *testing.T) World) {
	cases := []struct {
		name string
		do   func(t *testing.T, r *rig)
	}{
		{"write and read back", readBack},
		{"effects of a file keep their order", order},
		{"effects of many files", manyFiles},
		{"short read", shortRead},
		{"truncate", truncate},
		{"create makes directories", createDirectories},
		{"remove takes empty directories", removeDirectories},
		{"unknown files are gone", unknownFile},
		{"a failed sync is for ever", failedSync},
		{"region", regionOutlivesRemove},
		{"what was synced survives the loss of power", syncedSurvives},
		{"what was not synced does not", unsyncedIsLost},
		{"a sync covers what came before it only", syncCoversBefore},
		{"overwritten bytes return", overwrittenReturns},
		{"entries return and vanish", entriesFollowSyncs},
		{"boot shows what is there", bootList},
		{"what boot shows is durable", shownIsDurable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := core.Live.Load()
			r := &rig{t: t, w: fresh(t), news: make(chan struct{}, 1)}
			r.open()
			c.do(t, r)
			r.d.Close()
			if left := core.Live.Load() - before; left != 0 {
				t.Errorf("%d buffers were not released", left)
			}
		})
	}
}

// rig asks a disk and waits for its answers.
type rig struct {
	t    *testing.T
	w    World
	d    diskio.Disk
	news chan struct{}
	ops  uint64

	mu  sync.Mutex
	got []core.Event
}

func (r *rig) open() { r.d = r.w.Open(r.t, r.done) }

func (r *rig) done(s core.ShardID, events []core.Event) {
	r.mu.Lock()
	for _, e := range events {
		if e.Op.Shard() != s {
			r.t.Errorf("completion of shard %d was given to shard %d", e.Op.Shard(), s)
		}
		r.got = append(r.got, e)
	}
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func fileID(n int) core.FileID { return core.NewFileID(0, uint64(n)) }

// ask gives one effect to the disk without Flush.
func (r *rig) ask(e core.Effect, body ...string) core.OpID {
	r.ops++
	e.Op = core.NewOpID(e.File.Shard(), r.ops)
	var vec []core.Ref
	for _, b := range body {
		vec = append(vec, core.RefOf([]byte(b)))
	}
	r.d.Do(&e, vec)
	return e.Op
}

func (r *rig) flush() { r.d.Flush(0) }

// await waits for the completion of op and takes it.
func (r *rig) await(op core.OpID) core.Event {
	r.t.Helper()
	r.flush()
	late := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		for i, e := range r.got {
			if e.Op == op {
				r.got = append(r.got[:i], r.got[i+1:]...)
				r.mu.Unlock()
				return e
			}
		}
		r.mu.Unlock()
		if r.w.Advance() {
			continue
		}
		select {
		case <-r.news:
		case <-late:
			r.t.Fatalf("operation %d was not completed", op)
		}
	}
}

func (r *rig) must(op core.OpID) core.Event {
	r.t.Helper()
	e := r.await(op)
	if e.Err != core.OK {
		r.t.Fatalf("operation %d: %v", op, e.Err)
	}
	return e
}

func (r *rig) create(n int, path string) core.OpID {
	return r.ask(core.Effect{Kind: core.Create, File: fileID(n), Path: path, Sync: true})
}

func (r *rig) write(n int, off int64, sync bool, body ...string) core.OpID {
	return r.ask(core.Effect{Kind: core.Write, File: fileID(n), Off: off, Sync: sync}, body...)
}

func (r *rig) sync(n int) core.OpID {
	return r.ask(core.Effect{Kind: core.SyncFile, File: fileID(n), Sync: true})
}

func (r *rig) read(n int, off, size int64) core.OpID {
	return r.ask(core.Effect{Kind: core.Read, File: fileID(n), Off: off, N: size})
}

// want reads and compares.
func (r *rig) want(n int, off int64, text string) {
	r.t.Helper()
	e := r.await(r.read(n, off, int64(len(text))))
	if got := string(e.Body.Bytes()); e.Err != core.OK || got != text || e.N != int64(len(text)) {
		r.t.Fatalf("file %d at %d: %q (%v, N %d), want %q", n, off, got, e.Err, e.N, text)
	}
	e.Body.Release()
}

// cut loses the power and opens the disk again.
func (r *rig) cut() {
	r.t.Helper()
	r.w.Cut(r.t, r.d)
	r.d.Close()
	r.open()
}

// stored is what Boot shows of path.
func (r *rig) stored(path string) (string, bool) {
	r.t.Helper()
	for _, f := range r.d.List() {
		if f.Path == path {
			b := make([]byte, f.Size)
			if n, err := r.d.ReadAt(path, 0, b); err != core.OK || int64(n) != f.Size {
				r.t.Fatalf("boot reads %d of %d bytes of %s: %v", n, f.Size, path, err)
			}
			return string(b), true
		}
	}
	return "", false
}

func (r *rig) wantStored(path, text string) {
	r.t.Helper()
	if got, ok := r.stored(path); !ok || got != text {
		r.t.Fatalf("%s holds %q (there: %v), want %q", path, got, ok, text)
	}
}

func (r *rig) wantAbsent(path string) {
	r.t.Helper()
	if got, ok := r.stored(path); ok {
		r.t.Fatalf("%s is there and holds %q", path, got)
	}
}

func readBack(t *testing.T, r *rig) {
	r.create(1, "t-0/a.log")
	r.write(1, 0, false, "hello ", "wide ", "", "world")
	r.write(1, 16, true, ", again")
	r.want(1, 0, "hello wide world, again")
	r.want(1, 6, "wide")
}

// order asks for many effects at once and wants the completions in order and the last write on top.
func order(t *testing.T, r *rig) {
	var ops []core.OpID
	ops = append(ops, r.create(1, "journal/0"))
	for i := range 300 {
		switch i % 5 {
		case 0:
			ops = append(ops, r.write(1, 0, true, fmt.Sprintf("%08d", i)))
		case 1:
			ops = append(ops, r.write(1, 8, false, fmt.Sprintf("%08d", i)))
		case 2:
			ops = append(ops, r.read(1, 0, 16))
		case 3:
			ops = append(ops, r.sync(1))
		case 4:
			ops = append(ops, r.ask(core.Effect{Kind: core.Truncate, File: fileID(1), Off: 16}))
		}
		if i%7 == 0 {
			r.flush()
		}
	}
	r.want(1, 0, "0000029500000296")
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.got {
		if e.Op != ops[i] || e.Err != core.OK {
			t.Fatalf("completion %d is of operation %d (%v), want %d", i, e.Op, e.Err, ops[i])
		}
		if i > 0 && (i-1)%5 == 2 {
			if want := fmt.Sprintf("%08d%08d", i-3, i-2); string(e.Body.Bytes()) != want {
				t.Fatalf("read %d saw %q, want %q", i, e.Body.Bytes(), want)
			}
		}
		e.Body.Release()
	}
	if len(r.got) != len(ops) {
		t.Fatalf("%d completions of %d", len(r.got), len(ops))
	}
}

func manyFiles(t *testing.T, r *rig) {
	const files, rounds = 40, 20
	last := map[int]core.OpID{}
	for n := range files {
		r.create(n, fmt.Sprintf("topic-%d/%020d.log", n%9, n))
	}
	for i := range rounds {
		for n := range files {
			last[n] = r.write(n, int64(i)*4, i%3 == 0, fmt.Sprintf("%02d%02d", n, i))
		}
		r.flush()
	}
	for n := range files {
		r.must(last[n])
		var want bytes.Buffer
		for i := range rounds {
			fmt.Fprintf(&want, "%02d%02d", n, i)
		}
		r.want(n, 0, want.String())
	}
}

func shortRead(t *testing.T, r *rig) {
	r.create(1, "a")
	r.write(1, 0, false, "abc")
	e := r.await(r.read(1, 1, 10))
	if e.Err != core.ErrShort || string(e.Body.Bytes()) != "bc" || e.N != 2 {
		t.Fatalf("%v %q N %d, want a short read of \"bc\"", e.Err, e.Body.Bytes(), e.N)
	}
	e.Body.Release()
	e = r.await(r.read(1, 100, 10))
	if e.Err != core.ErrShort || e.Body.Len != 0 || e.N != 0 {
		t.Fatalf("%v, %d bytes behind the end", e.Err, e.Body.Len)
	}
	e.Body.Release()
}

func truncate(t *testing.T, r *rig) {
	r.create(1, "a")
	r.write(1, 0, false, "abcdef")
	r.must(r.ask(core.Effect{Kind: core.Truncate, File: fileID(1), Off: 3, Sync: true}))
	r.write(1, 4, true, "x")
	r.want(1, 0, "abc\x00x")
}

func createDirectories(t *testing.T, r *rig) {
	r.must(r.create(1, "x/y/z/file"))
	r.must(r.create(2, "x/y/other"))
	r.must(r.write(1, 0, true, "deep"))
	r.cut()
	r.wantStored("x/y/z/file", "deep")
	r.wantStored("x/y/other", "")
	r.must(r.create(3, "x/y/z/file")) // what is there is opened
	r.want(3, 0, "deep")
}

func removeDirectories(t *testing.T, r *rig) {
	r.create(1, "t-0/1")
	r.create(2, "t-0/2")
	r.must(r.write(2, 0, true, "two"))
	r.must(r.ask(core.Effect{Kind: core.Remove, File: fileID(1)}))
	r.want(2, 0, "two")
	r.must(r.ask(core.Effect{Kind: core.Remove, File: fileID(2)}))
	r.must(r.create(3, "t-0")) // the name is free again: the directory went with its last file
	r.must(r.write(3, 0, true, "file"))
	r.cut()
	r.wantStored("t-0", "file")
	r.wantAbsent("t-0/1")
	r.wantAbsent("t-0/2")
}

func unknownFile(t *testing.T, r *rig) {
	if e := r.await(r.write(9, 0, true, "x")); e.Err != core.ErrGone {
		t.Fatalf("a write to a file without Create: %v", e.Err)
	}
	r.create(1, "a")
	r.must(r.ask(core.Effect{Kind: core.Remove, File: fileID(1)}))
	for _, op := range []core.OpID{r.write(1, 0, false, "x"), r.read(1, 0, 1), r.sync(1)} {
		if e := r.await(op); e.Err != core.ErrGone {
			t.Fatalf("after Remove: %v", e.Err)
		}
	}
}

func failedSync(t *testing.T, r *rig) {
	r.must(r.create(1, "t-0/bad"))
	r.must(r.create(2, "t-0/good"))
	r.w.FailSync("t-0/bad")
	first := r.write(1, 0, false, "a")
	second := r.write(1, 1, true, "b")
	third := r.write(1, 2, false, "c")
	r.must(first)
	for _, op := range []core.OpID{second, third, r.sync(1), r.read(1, 0, 1), r.write(1, 3, true, "d")} {
		if e := r.await(op); e.Err != core.ErrIO || e.Body.Len != 0 {
			t.Fatalf("operation %d at or after the failed sync: %v", op, e.Err)
		}
	}
	if e := r.await(r.create(3, "t-0/bad")); e.Err != core.ErrIO {
		t.Fatalf("the same path under a new name: %v", e.Err)
	}
	r.must(r.write(2, 0, true, "fine"))
	r.want(2, 0, "fine")
}

func regionOutlivesRemove(t *testing.T, r *rig) {
	r.create(1, "a/b")
	r.must(r.write(1, 0, false, "0123456789"))
	reg, ok := r.d.Region(fileID(1))
	if !ok {
		t.Fatal("no region of a file that is there")
	}
	r.must(r.ask(core.Effect{Kind: core.Remove, File: fileID(1)}))
	b := make([]byte, 4)
	if n, err := reg.ReadAt(b, 3); n != 4 || err != nil || string(b) != "3456" {
		t.Fatalf("region: %d %v %q", n, err, b)
	}
	reg.Release()
	if _, ok := r.d.Region(fileID(1)); ok {
		t.Fatal("a region of a removed file")
	}
	if _, ok := r.d.Region(fileID(2)); ok {
		t.Fatal("a region of a file that never was")
	}
}

func syncedSurvives(t *testing.T, r *rig) {
	r.create(1, "t-0/a")
	r.write(1, 0, false, "one ")
	r.must(r.write(1, 4, true, "two"))
	r.must(r.create(2, "t-0/b"))
	r.write(2, 0, false, "three")
	r.must(r.sync(2))
	r.cut()
	r.wantStored("t-0/a", "one two")
	r.wantStored("t-0/b", "three")
}

func unsyncedIsLost(t *testing.T, r *rig) {
	r.create(1, "t-0/a")
	r.must(r.write(1, 0, true, "durable"))
	r.must(r.write(1, 7, false, " tail"))
	r.cut()
	r.wantStored("t-0/a", "durable")
}

func syncCoversBefore(t *testing.T, r *rig) {
	r.create(1, "a")
	r.create(2, "b")
	r.must(r.write(1, 0, true, "one"))
	r.must(r.write(2, 0, false, "two"))
	r.must(r.sync(1)) // of another file
	r.must(r.write(1, 3, false, "three"))
	r.cut()
	r.wantStored("a", "one")
	r.wantStored("b", "")
}

func overwrittenReturns(t *testing.T, r *rig) {
	r.create(1, "journal/0")
	r.must(r.write(1, 0, true, "0123456789"))
	r.must(r.write(1, 2, false, "xx"))
	r.must(r.write(1, 3, false, "yyyy"))
	r.must(r.ask(core.Effect{Kind: core.Truncate, File: fileID(1), Off: 5}))
	r.must(r.write(1, 5, false, "zzzzzzzzzzzz"))
	r.cut()
	r.wantStored("journal/0", "0123456789")
	r.create(2, "journal/0")
	r.must(r.write(2, 4, true, "____"))
	r.must(r.write(2, 6, false, "!!!!!!"))
	r.cut()
	r.wantStored("journal/0", "0123____89")
}

func entriesFollowSyncs(t *testing.T, r *rig) {
	r.must(r.create(1, "keep/a"))
	r.must(r.create(2, "keep/b"))
	r.must(r.write(2, 0, true, "bee"))
	r.must(r.create(3, "gone/c"))
	r.must(r.ask(core.Effect{Kind: core.Remove, File: fileID(3)}))
	r.must(r.ask(core.Effect{Kind: core.Create, File: fileID(4), Path: "keep/unsynced"}))
	r.must(r.ask(core.Effect{Kind: core.Create, File: fileID(5), Path: "new/unsynced"}))
	r.cut()
	r.wantStored("keep/a", "")
	r.wantStored("keep/b", "bee")
	r.wantAbsent("gone/c")
	r.wantAbsent("keep/unsynced")
	r.wantAbsent("new/unsynced")
}

func bootList(t *testing.T, r *rig) {
	if l := r.d.List(); len(l) != 0 {
		t.Fatalf("an empty disk lists %v", l)
	}
	for i, p := range []string{"t-1/b", "t-1/a", "node", "journal/1", "t-10/x"} {
		r.create(i, p)
		r.must(r.write(i, 0, true, p))
	}
	r.cut()
	var got []string
	for _, f := range r.d.List() {
		got = append(got, fmt.Sprint(f.Path, ":", f.Size))
	}
	want := "[journal/1:9 node:4 t-1/a:5 t-1/b:5 t-10/x:6]"
	if fmt.Sprint(got) != want {
		t.Fatalf("%v, want %v", got, want)
	}
	b := make([]byte, 10)
	if n, err := r.d.ReadAt("node", 2, b); n != 2 || err != core.ErrShort || string(b[:n]) != "de" {
		t.Fatalf("%d %v", n, err)
	}
	if _, err := r.d.ReadAt("absent", 0, b); err != core.ErrGone {
		t.Fatalf("an absent file: %v", err)
	}
}

// shownIsDurable: a process counts as its own what the one before it left in the page cache.
func shownIsDurable(t *testing.T, r *rig) {
	r.must(r.create(1, "t-0/a"))
	r.must(r.write(1, 0, true, "0123456789"))
	r.must(r.write(1, 2, false, "unsynced, and longer"))
	r.must(r.ask(core.Effect{Kind: core.Create, File: fileID(2), Path: "t-1/b"}))
	r.must(r.write(2, 0, false, "entry and all"))
	r.d.Close()
	r.open()
	r.wantStored("t-0/a", "01unsynced, and longer")
	r.wantStored("t-1/b", "entry and all")
	r.cut()
	r.wantStored("t-0/a", "01unsynced, and longer")
	r.wantStored("t-1/b", "entry and all")
}
