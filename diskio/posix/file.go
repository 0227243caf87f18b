package posix

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
)

// file is one FileID.
type file struct {
	id     core.FileID
	path   string
	worker *worker

	// Owned by the worker.
	made        bool // by a Create
	entry       bool // its directory entry is durable
	held        bool // for this batch
	broken      core.Errno
	first, last int32    // its operations in this batch, plus one
	syncFrom    int32    // the first of them that a sync decides about; -1: none
	want        bool     // a sync of the content
	wantAll     bool     // of the metadata as well
	wantDir     []string // directories to sync
	lo, hi      int64    // what was written
	shadow      *shadow  // with a power switch

	// Owned by handles.mu; gone is written by the worker under it, too.
	fd         int
	refs       int
	gone       bool
	opening    bool
	prev, next *file // among those open and unused
}

func (f *file) wants() bool { return f.want || len(f.wantDir) > 0 }

func (f *file) wantDirs(dir string) {
	for _, d := range f.wantDir {
		if d == dir {
			return
		}
	}
	f.wantDir = append(f.wantDir, dir)
}

// handles keeps descriptors open: all that are in use, and of the others the latest used, so that
// there are at most max unless more are in use at once.
type handles struct {
	dev  *device
	max  int
	mu   sync.Mutex
	done sync.Cond // an opening ended
	open int
	idle file // ring, the latest used first
}

func (h *handles) init(dev *device, limit int) {
	h.dev, h.max = dev, limit
	h.done.L = &h.mu
	h.idle.prev, h.idle.next = &h.idle, &h.idle
}

// acquire opens f if need be and keeps it open until release.
func (h *handles) acquire(f *file) error {
	h.mu.Lock()
	for f.opening {
		h.done.Wait()
	}
	if f.fd >= 0 {
		h.use(f)
		h.mu.Unlock()
		return nil
	}
	if f.gone {
		h.mu.Unlock()
		return unix.ENOENT
	}
	f.opening = true
	h.mu.Unlock()
	fd := -1
	_, err := h.dev.fault.ask(OpenFile, f.path, 0, 0)
	if err == nil {
		fd, err = openFd(h.dev.abs(f.path), unix.O_RDWR, 0)
	}
	h.mu.Lock()
	f.opening = false
	h.done.Broadcast()
	if err == nil {
		h.took(f, fd)
	}
	closing := h.evict()
	h.mu.Unlock()
	closeFds(closing)
	return err
}

// adopt gives f a descriptor that Create opened, with one reference.
func (h *handles) adopt(f *file, fd int) {
	h.mu.Lock()
	for f.opening {
		h.done.Wait()
	}
	old := -1
	if f.fd >= 0 { // a reader was quicker
		h.use(f)
		old = fd
	} else {
		h.took(f, fd)
	}
	closing := h.evict()
	h.mu.Unlock()
	if old >= 0 {
		closeFd(old)
	}
	closeFds(closing)
}

func (h *handles) took(f *file, fd int) {
	f.fd = fd
	f.refs = 1
	h.open++
}

func (h *handles) use(f *file) {
	if f.refs == 0 {
		f.prev.next, f.next.prev = f.next, f.prev
		f.prev, f.next = nil, nil
	}
	f.refs++
}

func (h *handles) release(f *file) {
	h.mu.Lock()
	f.refs--
	var closing []int
	if f.refs == 0 {
		f.prev, f.next = &h.idle, h.idle.next
		f.prev.next, f.next.prev = f, f
		if f.gone {
			closing = append(closing, h.drop(f))
		} else {
			closing = h.evict()
		}
	}
	h.mu.Unlock()
	closeFds(closing)
}

// drop takes an idle file's descriptor.
func (h *handles) drop(f *file) int {
	f.prev.next, f.next.prev = f.next, f.prev
	f.prev, f.next = nil, nil
	fd := f.fd
	f.fd = -1
	h.open--
	return fd
}

func (h *handles) evict() (closing []int) {
	for h.open > h.max && h.idle.prev != &h.idle {
		closing = append(closing, h.drop(h.idle.prev))
	}
	return closing
}

// remove marks f as gone: who holds it reads on, nobody opens it again.
func (h *handles) remove(f *file) {
	h.mu.Lock()
	f.gone = true
	h.mu.Unlock()
}

// closeAll closes what is idle; a reader that still holds a file closes it on release.
func (h *handles) closeAll() {
	h.mu.Lock()
	h.max = 0
	closing := h.evict()
	h.mu.Unlock()
	closeFds(closing)
}

// region is a file held by a reader.
type region file

func (r *region) Fd() (int, bool) { return r.fd, true }
func (r *region) Release()        { r.worker.d.handles.release((*file)(r)) }

func (r *region) ReadAt(b []byte, off int64) (n int, err error) {
	n, err = preadFull(r.fd, b, off)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

// preadFull reads until b is full or the file ends.
func preadFull(fd int, b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := unix.Pread(fd, b[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, err
		case m == 0:
			return n, nil
		default:
			n += m
		}
	}
	return n, nil
}

func openFd(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// closeFd ignores the error: nothing unsynced is ever promised, and a second close would be a bug.
func closeFd(fd int) { _ = unix.Close(fd) }

func closeFds(fds []int) {
	for _, fd := range fds {
		closeFd(fd)
	}
}

// syncErrno is errno for a sync. One that found no room (delayed allocation, a network file system, a thin
// volume) has dropped pages like any other: it must not look like an operation to be tried again.
func syncErrno(err error) core.Errno {
	if e := errno(err); e == core.ErrNoSpac || e == core.ErrLimit {
		return core.ErrIO
	}
	return errno(err)
}

// errno says in the core's words how a system call ended.
func errno(err error) core.Errno {
	var e unix.Errno
	if err == nil {
		return core.OK
	}
	if !errors.As(err, &e) {
		return core.ErrIO
	}
	switch e {
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		return core.ErrNoSpac
	case unix.ENOENT, unix.ENOTDIR, unix.ESTALE:
		return core.ErrGone
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return core.ErrLimit
	case unix.EROFS, unix.EACCES, unix.EPERM:
		return core.ErrRefuse
	}
	return core.ErrIO
}
