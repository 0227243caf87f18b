package posix

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
)

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by another node (process "+strconv.Itoa(os.Getpid())+")") {
		t.Fatalf("a second node on the directory: %v", err)
	}
	d.Close()
	again, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestUnusableDirectories(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: file}); err == nil || !strings.Contains(err.Error(), "check that it is a directory") {
		t.Errorf("a file as directory: %v", err)
	}
	absent := filepath.Join(base, "a", "b")
	_, err := Open(Options{Dir: absent, MinFree: 1 << 60})
	if err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("a full disk: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(absent)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was touched: %v", err)
	}
}

// collect opens a disk whose completions come by channel.
func collect(t *testing.T, o Options) (*Disk, chan core.Event) {
	t.Helper()
	ch := make(chan core.Event, 10_000)
	o.Dir = t.TempDir()
	o.Done = func(_ core.ShardID, es []core.Event) {
		for _, e := range es {
			ch <- e
		}
	}
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d, ch
}

// TestGroupCommit asks for many synced writes while one sync is held: one more serves them all.
func TestGroupCommit(t *testing.T) {
	var content atomic.Int64
	reached, release := make(chan struct{}, 100), make(chan struct{})
	d, done := collect(t, Options{BeforeSync: func(path string) error {
		if path == "journal/0" {
			content.Add(1)
			reached <- struct{}{}
			<-release
		}
		return nil
	}})
	f := core.NewFileID(0, 1)
	d.Do(&core.Effect{Kind: core.Create, File: f, Path: "journal/0"}, nil)
	write := func(i int) {
		d.Do(&core.Effect{Kind: core.Write, File: f, Off: int64(i) * 4, Sync: true, Op: core.OpID(i + 1)},
			[]core.Ref{core.RefOf([]byte("abcd"))})
		d.Flush(0)
	}
	write(0)
	<-reached
	for i := 1; i < 2000; i++ {
		write(i)
	}
	close(release)
	for i := range 2000 {
		if e := <-done; e.Op != core.OpID(i+1) || e.Err != core.OK {
			t.Fatalf("completion %d is of operation %d: %v", i+1, e.Op, e.Err)
		}
	}
	if content.Load() != 2 {
		t.Errorf("%d syncs for 2000 writes, want 2", content.Load())
	}
}

// TestFileKeepsItsDescriptor reads regions of many files while few descriptors may be open.
func TestFileKeepsItsDescriptor(t *testing.T) {
	d, done := collect(t, Options{MaxOpen: 2})
	const files = 20
	for i := range files {
		f := core.NewFileID(0, uint64(i))
		d.Do(&core.Effect{Kind: core.Create, File: f, Path: "t-" + strconv.Itoa(i%3) + "/" + strconv.Itoa(i)}, nil)
		d.Do(&core.Effect{Kind: core.Write, File: f, Op: core.OpID(i + 1)}, []core.Ref{core.RefOf([]byte(strconv.Itoa(i + 100)))})
	}
	d.Flush(0)
	for range files {
		<-done
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				n := (i*7 + g) % files
				r, ok := d.Region(core.NewFileID(0, uint64(n)))
				if !ok {
					t.Errorf("file %d is gone", n)
					return
				}
				b := make([]byte, 3)
				if _, err := r.ReadAt(b, 0); err != nil || string(b) != strconv.Itoa(n+100) {
					t.Errorf("file %d holds %q: %v", n, b, err)
				}
				r.Release()
			}
		})
	}
	wg.Wait()
	// The worker lets go of what it wrote before it takes the next operation.
	d.Do(&core.Effect{Kind: core.SyncFile, File: core.NewFileID(0, 0), Op: files + 1}, nil)
	d.Flush(0)
	<-done
	d.handles.mu.Lock()
	defer d.handles.mu.Unlock()
	if d.handles.open > 2 {
		t.Errorf("%d descriptors are open, at most 2 may be when unused", d.handles.open)
	}
}

func TestCreateRefusesForeignPaths(t *testing.T) {
	d, done := collect(t, Options{})
	for i, p := range []string{"../x", "/etc/x", "lock", ".power/1", ""} {
		d.Do(&core.Effect{Kind: core.Create, File: core.NewFileID(0, uint64(i)), Path: p, Op: 1}, nil)
		d.Flush(0)
		if e := <-done; e.Err != core.ErrRefuse {
			t.Errorf("path %q: %v", p, e.Err)
		}
	}
}

func TestSyncsAreMeasured(t *testing.T) {
	var n atomic.Int64
	d, done := collect(t, Options{OnSync: func(time.Duration) { n.Add(1) }})
	f := core.NewFileID(0, 1)
	d.Do(&core.Effect{Kind: core.Create, File: f, Path: "a", Sync: true}, nil)
	d.Do(&core.Effect{Kind: core.Write, File: f, Sync: true, Op: 1}, []core.Ref{core.RefOf([]byte("x"))})
	d.Flush(0)
	<-done
	if n.Load() != 2 { // the file and its directory
		t.Errorf("%d syncs heard, want 2", n.Load())
	}
}

func TestErrnoNames(t *testing.T) {
	for e, want := range map[error]core.Errno{nil: core.OK, unix.ENOSPC: core.ErrNoSpac, unix.EDQUOT: core.ErrNoSpac,
		unix.EIO: core.ErrIO, unix.EMFILE: core.ErrLimit, unix.EROFS: core.ErrRefuse, unix.EACCES: core.ErrRefuse,
		unix.ENOENT: core.ErrGone, errors.New("other"): core.ErrIO, &os.PathError{Err: unix.ENOSPC}: core.ErrNoSpac} {
		if got := errno(e); got != want {
			t.Errorf("%v is %v, want %v", e, got, want)
		}
	}
}

func BenchmarkSyncedWrites(b *testing.B) {
	for _, power := range []bool{false, true} {
		b.Run("power="+strconv.FormatBool(power), func(b *testing.B) {
			ch := make(chan core.Event, 1024)
			d, err := Open(Options{Dir: b.TempDir(), PowerSwitch: power, Done: func(_ core.ShardID, es []core.Event) {
				for _, e := range es {
					ch <- e
				}
			}})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			f := core.NewFileID(0, 1)
			d.Do(&core.Effect{Kind: core.Create, File: f, Path: "journal/0", Sync: true}, nil)
			b.ReportAllocs()
			for i := range b.N {
				d.Do(&core.Effect{Kind: core.Write, File: f, Off: int64(i%1000) * 4096, Sync: true, Op: 1}, []core.Ref{core.NewRef(4096)})
				d.Flush(0)
				<-ch
			}
		})
	}
}
