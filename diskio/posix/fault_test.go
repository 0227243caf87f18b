package posix

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
)

// deed is one effect of the script, and what it leaves in its file.
type deed struct {
	e     core.Effect
	b     string
	after string
	gone  bool
}

// script makes files in two directories, writes, grows, cuts and removes.
func script() []deed {
	j, a, b := core.NewFileID(0, 1), core.NewFileID(0, 2), core.NewFileID(0, 3)
	zeros := strings.Repeat("\x00", 4096-8)
	return []deed{
		{e: core.Effect{Kind: core.Create, Sync: true, File: j, Path: "journal/0"}},
		{e: core.Effect{Kind: core.Write, Sync: true, File: j}, b: "identity", after: "identity"},
		{e: core.Effect{Kind: core.Truncate, Sync: true, File: j, Off: 4096}, after: "identity" + zeros},
		{e: core.Effect{Kind: core.Create, Sync: true, File: a, Path: "t-0/a"}},
		{e: core.Effect{Kind: core.Write, File: a}, b: "a batch, ", after: "a batch, "},
		{e: core.Effect{Kind: core.Write, Sync: true, File: a, Off: 9}, b: "another batch", after: "a batch, another batch"},
		{e: core.Effect{Kind: core.Truncate, File: a, Off: 12}, after: "a batch, ano"},
		{e: core.Effect{Kind: core.Create, File: b, Path: "u-0/b"}},
		{e: core.Effect{Kind: core.Write, File: b}, b: "brief", after: "brief"},
		{e: core.Effect{Kind: core.SyncFile, File: a}, after: "a batch, ano"},
		{e: core.Effect{Kind: core.Read, File: a, Off: 2, N: 5}, after: "a batch, ano"},
		{e: core.Effect{Kind: core.Remove, File: b}, gone: true},
		{e: core.Effect{Kind: core.Write, Sync: true, File: j, Off: 8}, b: "frame", after: "identityframe" + zeros[5:]},
	}
}

// failing fails the k-th call from now on that kinds holds, once; n is how much of it arrives all the same.
type failing struct {
	kinds map[CallKind]bool
	left  int
	with  error
	cut   int64 // 1/cut of a write arrives
	hit   *Call
}

func (f *failing) fault(c Call) (int64, error) {
	if f == nil || !f.kinds[c.Kind] {
		return c.N, nil
	}
	if f.left--; f.left == 0 {
		f.hit = &c
		return c.N / f.cut, f.with
	}
	return c.N, nil
}

var (
	needRoom = map[CallKind]bool{MakeDir: true, CreateNew: true, WriteAt: true, SetSize: true, Reserve: true}
	syncing  = map[CallKind]bool{SyncData: true, SyncDir: true}
	reading  = map[CallKind]bool{ReadAt: true}
)

// play asks for the script, one effect after the other, each again when it found no room, and compares the
// files with what it says. It gives the effects that failed.
func play(t *testing.T, f *failing) (failed []deed, errs []core.Errno) {
	t.Helper()
	d, done := collect(t, Options{Fault: f.fault})
	want := map[string]*deed{}
	broken := map[string]bool{}
	paths := map[core.FileID]string{}
	for _, x := range script() {
		if x.e.Path != "" {
			paths[x.e.File] = x.e.Path
		}
		path := paths[x.e.File]
		ev := do(d, done, x.e, x.b)
		if ev.Err == core.ErrNoSpac {
			failed, errs = append(failed, x), append(errs, ev.Err)
			ev = do(d, done, x.e, x.b)
		}
		if x.e.Kind == core.Read && ev.Err == core.OK && string(ev.Body.Bytes()) != "batch" {
			t.Errorf("%+v: a read gives %q", f.hit, ev.Body.Bytes())
		}
		ev.Body.Release()
		if ev.Err != core.OK {
			failed, errs = append(failed, x), append(errs, ev.Err)
			broken[path] = broken[path] || x.e.Kind != core.Read
			continue
		}
		if broken[path] {
			t.Errorf("%+v: after a failed sync of %s, %v ends well", f.hit, path, x.e.Kind)
		}
		want[path] = &x
	}
	for path, x := range want {
		b, err := os.ReadFile(filepath.Join(d.o.Dir, path))
		if !broken[path] && (x.gone != os.IsNotExist(err) || !bytes.Equal(b, []byte(x.after))) {
			t.Errorf("%+v: %s holds %.40q, %v; want %.40q", f.hit, path, b, err, x.after)
		}
	}
	return failed, errs
}

// every plays the script with the first call that fails, with the second, until no call is left.
func every(t *testing.T, least int, kinds map[CallKind]bool, with error, cut int64, judge func(c Call, failed []deed, errs []core.Errno)) {
	t.Helper()
	for k := 1; ; k++ {
		f := &failing{kinds: kinds, left: k, with: with, cut: cut}
		failed, errs := play(t, f)
		if f.hit == nil {
			if k <= least {
				t.Errorf("only %d calls could fail: too little happened", k-1)
			}
			return
		}
		judge(*f.hit, failed, errs)
	}
}

// Whichever call finds no room: its operation ends so, whole or in part, and works when asked again. Nothing else
// notices.
func TestNoRoomAtEveryCall(t *testing.T) {
	for _, cut := range []int64{1 << 40, 2} {
		for _, with := range []error{unix.ENOSPC, unix.EDQUOT} {
			every(t, 10, needRoom, with, cut, func(c Call, failed []deed, errs []core.Errno) {
				if len(failed) != 1 || errs[0] != core.ErrNoSpac {
					t.Errorf("%+v: %d operations fail, with %v", c, len(failed), errs)
				}
			})
		}
	}
}

// Whichever sync fails, with whatever error: the operations that it covers and all later ones of its file fail,
// for ever, and those of other files do not.
func TestAFailedSyncAtEveryCall(t *testing.T) {
	for _, with := range []error{unix.EIO, unix.ENOSPC} {
		every(t, 6, syncing, with, 1, func(c Call, failed []deed, errs []core.Errno) {
			if len(failed) == 0 {
				t.Errorf("%+v: nothing fails", c)
			}
			for i, x := range failed {
				if errs[i] != core.ErrIO || x.e.File != failed[0].e.File {
					t.Errorf("%+v: %v of file %d fails with %v", c, x.e.Kind, x.e.File, errs[i])
				}
			}
		})
	}
}

// A write that the system takes in pieces is one write; a read as well.
func TestShortCalls(t *testing.T) {
	pieces := map[CallKind]int{}
	f := func(c Call) (int64, error) {
		pieces[c.Kind]++
		return min(c.N, 3), nil
	}
	d, done := collect(t, Options{Fault: f})
	id := core.NewFileID(0, 1)
	do(d, done, core.Effect{Kind: core.Create, File: id, Path: "t-0/a"}, "")
	if ev := do(d, done, core.Effect{Kind: core.Write, Sync: true, File: id}, "a batch of bytes"); ev.Err != core.OK {
		t.Fatal(ev.Err)
	}
	ev := do(d, done, core.Effect{Kind: core.Read, Bare: true, File: id, N: 20}, "")
	if ev.Err != core.ErrShort || string(ev.Body.Bytes()) != "a batch of bytes" {
		t.Errorf("%v %q", ev.Err, ev.Body.Bytes())
	}
	ev.Body.Release()
	if pieces[WriteAt] != 6 || pieces[ReadAt] < 6 {
		t.Errorf("calls: %v", pieces)
	}
}

// A sector that cannot be read fails that read.
func TestAnUnreadableSector(t *testing.T) {
	every(t, 1, reading, unix.EIO, 1<<40, func(c Call, failed []deed, errs []core.Errno) {
		if len(failed) != 1 || failed[0].e.Kind != core.Read || errs[0] != core.ErrIO {
			t.Errorf("%+v: %v", c, errs)
		}
	})
}

func TestCallNames(t *testing.T) {
	seen := map[string]bool{}
	for k := MakeDir; k <= RemoveDir; k++ {
		if name := k.String(); name == "?" || seen[name] {
			t.Errorf("call %d is called %s", k, name)
		}
		seen[fmt.Sprint(k)] = true
	}
}
