package fake

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Only what was synced before the last two synced writes were asked for may rot in a file whose newer
// writes tell of the older ones.
func TestRotSealed(t *testing.T) {
	d := New(det.New(1, "sealed"))
	d.Submit(0, &core.Effect{Kind: core.Create, File: 1, Path: "journal/a", Sync: true}, nil)
	d.Complete(1)
	write := func(off int64) {
		d.Submit(0, &core.Effect{Kind: core.Write, File: 1, Off: off, Sync: true}, []core.Ref{core.RefOf(make([]byte, 100))})
	}
	all := func(string) bool { return false }
	write(0)
	d.Complete(1)
	write(100)
	d.Complete(1)
	if n := d.RotSealed(50, 0, all); n != 0 {
		t.Fatalf("%d bits rotted, and one write alone tells of the first", n)
	}
	write(200)
	write(300) // asked for before the third is durable
	d.Complete(1)
	d.Complete(1)
	b := make([]byte, 400)
	if n := d.RotSealed(200, 10, all); n != 200 {
		t.Fatalf("%d bits rotted", n)
	}
	if _, err := d.ReadAt("journal/a", 0, b); err != core.OK {
		t.Fatal(err)
	}
	low, high := false, false
	for i, x := range b {
		if x != 0 && (i < 10 || i >= 200) {
			t.Fatalf("byte %d rotted", i)
		}
		low, high = low || x != 0 && i < 100, high || x != 0 && i >= 100
	}
	if !low || !high {
		t.Errorf("rot below 100: %v, above: %v", low, high)
	}
	write(50) // the file is used anew
	d.Complete(1)
	if n := d.RotSealed(50, 0, all); n != 0 {
		t.Errorf("%d bits rotted in a file that was just begun anew", n)
	}
}
