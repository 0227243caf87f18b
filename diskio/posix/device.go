package posix

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// device is every way in which this package changes the disk. The power switch, when there is one,
// sees each change before it happens and each sync before and after.
type device struct {
	root   string
	power  *powerSwitch
	before func(string) error
	fault  Fault
	on     func(time.Duration)
	blocks func(fd int, off, n int64) error // reserve; tests have others
}

func (d *device) isCut() bool { return d.power != nil && d.power.isCut() }

// enter begins a change, leave ends it; between them the power is not cut.
func (d *device) enter() error {
	if d.power == nil {
		return nil
	}
	return d.power.enter()
}

func (d *device) leave() {
	if d.power != nil {
		d.power.leave()
	}
}

// write puts vec at off and says how much arrived.
func (d *device) write(f *file, vec [][]byte, off int64) (int64, error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	if d.power != nil {
		n := 0
		for _, b := range vec {
			n += len(b)
		}
		if err := d.power.willWrite(f, off, int64(n)); err != nil {
			return 0, err
		}
	}
	n, err := d.fault.writeAll(f, vec, off)
	if err != nil && d.power != nil {
		return n, errors.Join(err, d.power.resized(f))
	}
	return n, err
}

// begin lets what was written without a sync leave at once. It promises nothing; but a checkpoint of many
// partitions that found all of it still in memory would hold up the journal's small syncs for as long as
// the disk needs for megabytes.
func (d *device) begin(f *file, off, n int64) {
	if d.isCut() || f.fd < 0 || f.gone {
		return
	}
	writeback(f.fd, off, n)
}

// truncate gives f another size; what is new is zeros.
func (d *device) truncate(f *file, size int64) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if _, err := d.fault.ask(SetSize, f.path, size, 0); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := uninterrupted(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return err
	}
	if st.Size == size {
		return nil // a boot asks this of each index file
	}
	if d.power != nil {
		if err := d.power.willTruncate(f, size); err != nil {
			return err
		}
	}
	if err := uninterrupted(func() error { return unix.Ftruncate(f.fd, size) }); err != nil {
		return err
	}
	if size > st.Size {
		if err := d.reserve(f, st.Size, size); err != nil {
			return err
		}
	}
	return nil
}

// reserve gives a file that grew the blocks of [from, to), so that no write there finds the disk full. A
// file system that cannot do that is as good as one that has room; one that has none gets the size back.
func (d *device) reserve(f *file, from, to int64) error {
	_, err := d.fault.ask(Reserve, f.path, from, to-from)
	if err == nil {
		err = d.blocks(f.fd, from, to-from)
	}
	if errno(err) != core.ErrNoSpac {
		return nil
	}
	if back := uninterrupted(func() error { return unix.Ftruncate(f.fd, from) }); back != nil {
		return back
	}
	if d.power != nil {
		return errors.Join(err, d.power.resized(f))
	}
	return err
}

// sync makes the content of f durable, with all the metadata when full.
func (d *device) sync(f *file, full bool) error {
	return d.timed(f.path, func() error {
		if err := d.enter(); err != nil {
			return err
		}
		defer d.leave()
		var mark uint64
		if d.power != nil {
			mark = d.power.willSync(f)
		}
		_, err := d.fault.ask(SyncData, f.path, 0, 0)
		if err == nil {
			err = syncFd(f.fd, full)
		}
		if err == nil && d.power != nil && syncs {
			d.power.synced(f, mark)
		}
		return err
	})
}

// syncDir makes the entries of a directory durable.
func (d *device) syncDir(dir string) error {
	return d.timed(dir, func() error {
		if err := d.enter(); err != nil {
			return err
		}
		defer d.leave()
		if _, err := d.fault.ask(SyncDir, dir, 0, 0); err != nil {
			return err
		}
		fd, err := openFd(d.abs(dir), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer closeFd(fd)
		var mark uint64
		if d.power != nil {
			mark = d.power.now()
		}
		err = syncFd(fd, true)
		if err == nil && d.power != nil && syncs {
			d.power.syncedDir(dir, mark)
		}
		return err
	})
}

func (d *device) timed(path string, sync func() error) error {
	start := time.Now()
	if d.before != nil {
		if err := d.before(path); err != nil {
			return err
		}
	}
	err := sync()
	if err == nil && d.on != nil {
		d.on(time.Since(start))
	}
	return err
}

// maxRead bounds one Read: a shard asks for index pages and journal pieces, not for files.
const maxRead = 64 << 20

func (d *device) read(f *file, off, n int64, bare bool) (core.Ref, core.Errno) {
	det.That(n >= 0 && n <= maxRead, "posix: a read is of 0 to 64 MiB")
	if err := d.enter(); err != nil {
		return core.Ref{}, core.ErrIO
	}
	defer d.leave()
	if bare {
		readahead(f.fd, false)
		defer readahead(f.fd, true)
	}
	r := core.NewRef(int(n))
	m, err := d.fault.readAll(f, r.Bytes(), off)
	if err != nil {
		r.Release()
		return core.Ref{}, errno(err)
	}
	if int64(m) < n {
		r.Len = int32(m)
		return r, core.ErrShort
	}
	return r, core.OK
}

func dirOf(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "."
	}
	return path[:i]
}

// create carries out a Create: the entry, and the directories on the way.
func (d *Disk) create(f *file, o *op) core.Errno {
	if f.made || !filepath.IsLocal(f.path) || hidden(f.path) {
		return core.ErrRefuse
	}
	d.names.Lock()
	broken := d.brokens[f.path]
	var fd int
	var err error
	if broken == core.OK {
		if err = d.dev.makeDirs(dirOf(f.path)); err == nil {
			fd, err = d.dev.create(f)
		}
	}
	d.names.Unlock()
	if e := errno(err); e == core.ErrNoSpac || e == core.ErrLimit {
		return e // nothing is there, or nothing but directories: it may be asked for again
	}
	if broken != core.OK || err != nil {
		f.broken = max(broken, errno(err))
		return f.broken
	}
	d.handles.adopt(f, fd)
	f.made, f.held = true, true
	if o.sync {
		f.wantDirs(dirOf(f.path))
	}
	return core.OK
}

// remove carries out a Remove, but for the sync.
func (d *Disk) remove(f *file) core.Errno {
	d.names.Lock()
	defer d.names.Unlock()
	if err := d.dev.unlink(f); err != nil {
		return errno(err)
	}
	d.handles.remove(f)
	dir := dirOf(f.path)
	f.wantDir = f.wantDir[:0]
	if dir != "." {
		err := d.dev.rmdir(dir)
		switch {
		case err == nil:
			delete(d.durable, dir)
			dir = dirOf(dir)
		case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
			return errno(err)
		}
	}
	f.wantDirs(dir)
	return core.OK
}

// syncDir makes the entries of dir durable, and dir itself. A directory that was removed meanwhile
// is durable as such when its parent is.
func (d *Disk) syncDir(dir string) error {
	for {
		err := d.dev.syncDir(dir)
		gone := errors.Is(err, unix.ENOENT)
		if err != nil && !gone {
			return err
		}
		d.names.Lock()
		known := d.durable[dir] && !gone
		d.names.Unlock()
		if known {
			return nil
		}
		parent := dirOf(dir)
		if gone {
			dir = parent
			continue
		}
		if err := d.syncDir(parent); err != nil {
			return err
		}
		d.names.Lock()
		d.durable[dir] = true
		d.names.Unlock()
		return nil
	}
}

func (d *Disk) breakPath(path string, err core.Errno) {
	d.names.Lock()
	d.brokens[path] = err
	d.names.Unlock()
}

// makeDirs makes dir and those above it.
func (d *device) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := d.enter(); err != nil {
		return err
	}
	_, err := d.fault.ask(MakeDir, dir, 0, 0)
	if err == nil {
		err = uninterrupted(func() error { return unix.Mkdir(d.abs(dir), 0o755) })
	}
	if err == nil && d.power != nil {
		d.power.changed(change{kind: madeDir, path: dir})
	}
	d.leave()
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if err := d.makeDirs(dirOf(dir)); err != nil {
		return err
	}
	return d.makeDirs(dir)
}

func (d *device) create(f *file) (int, error) {
	if err := d.enter(); err != nil {
		return -1, err
	}
	defer d.leave()
	if _, err := d.fault.ask(CreateNew, f.path, 0, 0); err != nil {
		return -1, err
	}
	path := d.abs(f.path)
	fd, err := openFd(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
	made := err == nil
	if errors.Is(err, unix.EEXIST) {
		fd, err = openFd(path, unix.O_RDWR, 0)
	}
	if err == nil && d.power != nil {
		if err = d.power.opened(f, fd, made); err != nil {
			closeFd(fd)
		}
	}
	f.entry = !made
	return fd, err
}

func (d *device) unlink(f *file) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if _, err := d.fault.ask(Unlink, f.path, 0, 0); err != nil {
		return err
	}
	if d.power != nil {
		if err := d.power.willUnlink(f); err != nil {
			return err
		}
	}
	return uninterrupted(func() error { return unix.Unlink(d.abs(f.path)) })
}

func (d *device) rmdir(dir string) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	_, err := d.fault.ask(RemoveDir, dir, 0, 0)
	if err == nil {
		err = uninterrupted(func() error { return unix.Rmdir(d.abs(dir)) })
	}
	if err == nil && d.power != nil {
		d.power.changed(change{kind: removedDir, path: dir})
	}
	return err
}

func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// hidden says which paths of the data directory are this package's own: the lock and the store of
// the power switch. List does not show them and Create refuses them.
func hidden(path string) bool { return path == lockName || strings.HasPrefix(path, powerDir) }

// manyFiles is from how many files on one call for the whole file system is cheaper than one for each, which flushes the
// device each time though nothing is left of them. It also waits for what others have written there.
const manyFiles = 256

// settle makes durable what a process before this one left: files, then directories.
func (d *Disk) settle() error {
	if err := os.RemoveAll(d.dev.abs(powerDir)); err != nil {
		return err
	}
	if fd, err := openFd(filepath.Dir(d.o.Dir), unix.O_RDONLY, 0); err == nil { // the data directory's own entry
		_ = syncFd(fd, true) // a parent that may not be read is not ours to sync
		closeFd(fd)
	}
	var paths []string
	err := filepath.WalkDir(d.o.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() && !e.IsDir() {
			return err
		}
		paths = append(paths, path)
		if rel, err := filepath.Rel(d.o.Dir, path); err == nil && e.IsDir() {
			d.durable[filepath.ToSlash(rel)] = true
		}
		return nil
	})
	if err != nil || len(paths) >= manyFiles && syncVolume(d.lock) {
		return err
	}
	for _, path := range paths {
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return nil
}

func syncPath(path string) error {
	fd, err := openFd(path, unix.O_RDONLY, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer closeFd(fd)
	if err := syncFd(fd, true); err != nil {
		return &fs.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}

// List implements core.Boot.
func (d *Disk) List() (list []core.FileInfo) {
	_ = filepath.WalkDir(d.o.Dir, func(path string, e fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(d.o.Dir, path)
		rel = filepath.ToSlash(rel)
		if err != nil || relErr != nil || hidden(rel) || !e.Type().IsRegular() {
			return nil // settle walked here a moment ago and would have told
		}
		if info, err := e.Info(); err == nil {
			list = append(list, core.FileInfo{Path: rel, Size: info.Size()})
		}
		return nil
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Path < list[j].Path })
	return list
}

// ReadAt implements core.Boot.
func (d *Disk) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	if !filepath.IsLocal(path) {
		return 0, core.ErrRefuse
	}
	fd, err := openFd(d.dev.abs(path), unix.O_RDONLY, 0)
	if err != nil {
		return 0, errno(err)
	}
	defer closeFd(fd)
	n, err := preadFull(fd, b, off)
	if err == nil && n < len(b) {
		return n, core.ErrShort
	}
	return n, errno(err)
}
