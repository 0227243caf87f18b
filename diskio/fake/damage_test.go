package fake

import (
	"bytes"
	"testing"

	"github.com/karst-stream/karst/core"
)

// A lost write is there until the page cache is gone; then the sector is what it was. What is written
// over it afterwards arrives.
func TestLostWrite(t *testing.T) {
	d := opened(3)
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(2*Sector, 'A')...)
	d.LoseNextWrite()
	if ev := run(d, core.Effect{Kind: core.Write, Sync: true}, fill(2*Sector, 'B')...); ev.Err != core.OK {
		t.Fatal("a lost write says", ev.Err)
	}
	if !bytes.Equal(content(t, d, "a/b"), fill(2*Sector, 'B')) || d.OnPlatter("a/b", 0, 2*Sector) || !d.Harmed() {
		t.Error("the page cache shows it, and the platter has it not")
	}
	d.now += Unsaid
	d.PowerLoss()
	if got := content(t, d, "a/b"); bytes.Count(got, []byte("A")) != Sector || bytes.Count(got, []byte("B")) != Sector {
		t.Errorf("%d old and %d new bytes after it", bytes.Count(got, []byte("A")), bytes.Count(got, []byte("B")))
	}
	d.Start()
	run(d, core.Effect{Kind: core.Create, Path: "a/b", Sync: true})
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(2*Sector, 'C')...)
	d.PowerLoss()
	if !bytes.Equal(content(t, d, "a/b"), fill(2*Sector, 'C')) {
		t.Error("a sector stays lost for ever")
	}
}

// What a disk damaged just now looks torn to its node, which is a limit of ours and not the disk's: it is spared.
func TestDamageIsSparedWhileNobodyCanKnow(t *testing.T) {
	d := opened(3)
	d.LoseNextWrite()
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(2*Sector, 'B')...)
	d.now += Unsaid - 1
	d.PowerLoss()
	if !bytes.Equal(content(t, d, "a/b"), fill(2*Sector, 'B')) {
		t.Error("a crash showed young damage")
	}
}

func TestMisdirectedWrite(t *testing.T) {
	strayed := false
	for seed := range uint64(20) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(4*Sector, 'A')...)
		d.MisdirectNextWrite()
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(Sector, 'B')...)
		d.now += Unsaid
		d.PowerLoss()
		got := content(t, d, "a/b")
		if bytes.Contains(got[:Sector], []byte("B")) {
			t.Fatal("the sector arrived where it belongs")
		}
		strayed = strayed || bytes.Contains(got, []byte("B"))
	}
	if !strayed {
		t.Error("no sector arrived anywhere")
	}
}

func TestRotNeverTouchesWhatIsKept(t *testing.T) {
	d := opened(1)
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(1000, 'A')...)
	if n := d.Rot(5, func(string) bool { return true }); n != 0 || d.Harmed() {
		t.Errorf("%d bits flipped in a file that was to be kept", n)
	}
	if n := d.Rot(5, func(string) bool { return false }); n != 0 || d.Harmed() {
		t.Errorf("%d bits flipped of what nobody can know of yet", n)
	}
	d.now += Unsaid
	if n := d.Rot(1, func(string) bool { return false }); n != 1 || bytes.Equal(content(t, d, "a/b"), fill(1000, 'A')) {
		t.Errorf("%d bits flipped", n)
	}
}

// A full disk takes what fits where bytes are already, and says so of the rest, until there is room.
func TestFull(t *testing.T) {
	d := opened(1)
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(1000, 'A')...)
	d.Full = true
	if ev := run(d, core.Effect{Kind: core.Write, Off: 500, Sync: true}, fill(500, 'B')...); ev.Err != core.OK {
		t.Error("writing over what is there:", ev.Err)
	}
	if ev := run(d, core.Effect{Kind: core.Write, Off: 900, Sync: true}, fill(500, 'C')...); ev.Err != core.ErrNoSpac {
		t.Error("growing:", ev.Err)
	}
	if ev := run(d, core.Effect{Kind: core.Truncate, Off: 5000}); ev.Err != core.ErrNoSpac {
		t.Error("reserving:", ev.Err)
	}
	d.Full = false
	if ev := run(d, core.Effect{Kind: core.Write, Off: 900, Sync: true}, fill(500, 'C')...); ev.Err != core.OK {
		t.Error("with room again:", ev.Err)
	}
}

// An image is the disk as a power loss would leave it, and a disk that is put back holds no more.
func TestImage(t *testing.T) {
	d := opened(1)
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(600, 'A')...)
	run(d, core.Effect{Kind: core.Write, Off: 600}, fill(600, 'B')...)
	old := d.Image()
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(1200, 'C')...)
	d.Kill()
	d.Restore(old)
	if got := content(t, d, "a/b"); !bytes.Equal(got, fill(600, 'A')) {
		t.Errorf("the old disk holds %d bytes", len(got))
	}
}

// What a stalled disk is asked for waits.
func TestStall(t *testing.T) {
	d := opened(1)
	d.Stall(5 * core.Second)
	e := core.Effect{Kind: core.SyncFile, File: f1, Op: 7}
	if due := d.Submit(core.Second, &e, nil); due < 5*core.Second {
		t.Error("a stalled disk answers at", due)
	}
}
