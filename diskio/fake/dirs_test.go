package fake

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Directories are apart: names, room and syncs that fail; power fails for all of them.
func TestDirectories(t *testing.T) {
	d := New(det.New(1, "dirs"))
	ops := core.OpID(0)
	do := func(e core.Effect, vec ...core.Ref) core.Errno {
		ops++
		e.Op = ops
		d.Submit(core.Mono(ops)*core.Second, &e, vec)
		ev, _ := d.Complete(e.File)
		return ev.Err
	}
	write := func(f core.FileID, s string) core.Errno {
		return do(core.Effect{Kind: core.Write, File: f, Sync: true}, core.RefOf([]byte(s)))
	}
	one := core.NewFileID(0, 1)
	two := core.NewFileID(0, 2).In(1)
	if two.Dir() != 1 || two.Shard() != 0 || two.In(0) != core.NewFileID(0, 2) {
		t.Fatal("a file does not know its directory")
	}
	for i, f := range []core.FileID{one, two} {
		if err := do(core.Effect{Kind: core.Create, File: f, Path: "a/b", Sync: true}); err != core.OK {
			t.Fatal(err)
		}
		if err := write(f, string(rune('x'+i))); err != core.OK {
			t.Fatal(err)
		}
	}
	read := func(k int) string {
		b := make([]byte, 1)
		d.Dir(k).ReadAt("a/b", 0, b)
		return string(b)
	}
	for k := range 2 {
		if list := d.Dir(k).List(); len(list) != 1 || list[0] != (core.FileInfo{Path: "a/b", Size: 1}) || read(k) != string(rune('x'+k)) {
			t.Errorf("directory %d: %v %q", k, list, read(k))
		}
	}
	d.FullDirs = 1 << 1
	if a, b := write(one, "longer"), write(two, "longer"); a != core.OK || b != core.ErrNoSpac {
		t.Errorf("the second is full: %v, %v", a, b)
	}
	d.FullDirs, d.DeadDirs = 0, 1<<1
	if a, b := write(one, "well"), write(two, "dead"); a != core.OK || b != core.ErrIO || !d.Broken() {
		t.Errorf("the second is dead: %v, %v", a, b)
	}
	d.Kill()
	d.Start()
	d.DeadDirs = 0
	three := core.NewFileID(0, 3).In(1)
	do(core.Effect{Kind: core.Create, File: three, Path: "new"})
	d.PowerLoss()
	if read(0) != "w" || d.Platter().Dir(0).List()[0].Size != 6 {
		t.Error("what was synced in the first is gone")
	}
}
