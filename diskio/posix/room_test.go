package posix

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
)

// do carries one effect out and gives its completion.
func do(d *Disk, done chan core.Event, e core.Effect, b string) core.Event {
	var vec []core.Ref
	if b != "" {
		vec = []core.Ref{core.RefOf([]byte(b))}
	}
	e.Op = 1
	d.Do(&e, vec)
	d.Flush(0)
	return <-done
}

// An operation that finds no room spoils nothing: it may be asked for again, on the same file.
func TestWithoutRoomAFileIsNotBroken(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("no device that is always full: only reservations are tried")
	}
	d, done := collect(t, Options{})
	full := true
	d.dev.blocks = func(fd int, off, n int64) error {
		if full {
			return unix.ENOSPC
		}
		return reserve(fd, off, n)
	}
	f := core.NewFileID(0, 1)
	do(d, done, core.Effect{Kind: core.Create, Sync: true, File: f, Path: "journal/a"}, "")
	do(d, done, core.Effect{Kind: core.Write, Sync: true, File: f}, "head")
	if ev := do(d, done, core.Effect{Kind: core.Truncate, Sync: true, File: f, Off: 1 << 20}, ""); ev.Err != core.ErrNoSpac {
		t.Fatalf("a reservation on a full disk ends with %v", ev.Err)
	}
	if at, _ := os.Stat(filepath.Join(d.o.Dir, "journal/a")); at.Size() != 4 {
		t.Errorf("the file has %d bytes after a reservation that failed", at.Size())
	}
	full = false
	for _, e := range []core.Effect{{Kind: core.Truncate, Sync: true, File: f, Off: 1 << 20}, {Kind: core.Write, Sync: true, File: f, Off: 4}, {Kind: core.SyncFile, File: f}} {
		if ev := do(d, done, e, map[bool]string{true: "x"}[e.Kind == core.Write]); ev.Err != core.OK {
			t.Errorf("with room %v ends with %v", e.Kind, ev.Err)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	if err := os.Mkdir(filepath.Join(d.o.Dir, "t-0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(d.o.Dir, "t-0", "log")); err != nil {
		t.Fatal(err)
	}
	g := core.NewFileID(0, 2)
	do(d, done, core.Effect{Kind: core.Create, File: g, Path: "t-0/log"}, "")
	for range 2 {
		if ev := do(d, done, core.Effect{Kind: core.Write, File: g}, "more"); ev.Err != core.ErrNoSpac {
			t.Errorf("a write to a full device ends with %v", ev.Err)
		}
	}
}

// A sync that finds no room has lost pages, as any sync that fails: it must not look as if it could be
// tried again.
func TestASyncWithoutRoomIsFinal(t *testing.T) {
	full := true
	d, done := collect(t, Options{BeforeSync: func(path string) error {
		if full && path == "journal/a" {
			return unix.ENOSPC
		}
		return nil
	}})
	f := core.NewFileID(0, 1)
	do(d, done, core.Effect{Kind: core.Create, Sync: true, File: f, Path: "journal/a"}, "")
	for range 2 {
		if ev := do(d, done, core.Effect{Kind: core.Write, Sync: true, File: f}, "frame"); ev.Err != core.ErrIO {
			t.Errorf("the sync ends with %v", ev.Err)
		}
		full = false
	}
}

// A file that could not be made may be made later, under the same name and id.
func TestWithoutRoomAFileIsMadeLater(t *testing.T) {
	d, done := collect(t, Options{})
	f := core.NewFileID(0, 1)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	ev := do(d, done, core.Effect{Kind: core.Create, File: f, Path: "t-0/a"}, "")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if ev.Err != core.ErrLimit {
		t.Fatalf("a Create without descriptors ends with %v", ev.Err)
	}
	if ev := do(d, done, core.Effect{Kind: core.Write, File: f}, "x"); ev.Err != core.ErrGone {
		t.Errorf("a write to a file that was not made ends with %v", ev.Err)
	}
	for _, e := range []core.Effect{{Kind: core.Create, Sync: true, File: f, Path: "t-0/a"}, {Kind: core.Write, Sync: true, File: f}} {
		if ev := do(d, done, e, map[bool]string{true: "x"}[e.Kind == core.Write]); ev.Err != core.OK {
			t.Errorf("later %v ends with %v", e.Kind, ev.Err)
		}
	}
}
