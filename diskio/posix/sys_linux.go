package posix

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const iovMax = 1024

// pwritev writes all of vec at off, and says how much arrived when it fails.
func pwritev(fd int, vec [][]byte, off int64) (total int64, err error) {
	var store [16]unix.Iovec
	iov := store[:0]
	for len(vec) > 0 || len(iov) > 0 {
		for len(vec) > 0 && len(iov) < iovMax {
			var v unix.Iovec
			v.Base = unsafe.SliceData(vec[0])
			v.SetLen(len(vec[0]))
			iov, vec = append(iov, v), vec[1:]
		}
		at := off + total
		r, _, e := unix.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)),
			uintptr(at), uintptr(uint64(at)>>32), 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return total, e
		}
		if r == 0 {
			return total, unix.EIO
		}
		total += int64(r)
		iov = advance(iov, uint64(r))
	}
	return total, nil
}

// advance drops the first n bytes of iov, keeping its memory from the front.
func advance(iov []unix.Iovec, n uint64) []unix.Iovec {
	i := 0
	for ; i < len(iov) && n >= iov[i].Len; i++ {
		n -= iov[i].Len
	}
	if i < len(iov) && n > 0 {
		iov[i].Base = (*byte)(unsafe.Add(unsafe.Pointer(iov[i].Base), n))
		iov[i].Len -= n
	}
	return iov[:copy(iov, iov[i:])]
}

// reserve asks the file system for the blocks of n bytes at off.
func reserve(fd int, off, n int64) error {
	return uninterrupted(func() error { return unix.Fallocate(fd, 0, off, n) })
}

// writeback has the kernel begin to write n bytes at off and does not wait for it.
func writeback(fd int, off, n int64) { _ = unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) }

// readahead says whether the kernel may read more of a file than it is asked for. A hint.
func readahead(fd int, on bool) {
	advice := unix.FADV_RANDOM
	if on {
		advice = unix.FADV_NORMAL
	}
	_ = unix.Fadvise(fd, 0, 0, advice)
}

// syncVolume makes everything on the file system of fd durable. False: it could not, or the kernel is one of before 5.8,
// which says nothing of writes that failed (syncfs(2)): then each file is to be synced.
func syncVolume(fd int) bool {
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	if major < 5 || major == 5 && minor < 8 {
		return false
	}
	return !syncs || uninterrupted(func() error { return unix.Syncfs(fd) }) == nil
}

func flushFd(fd int, full bool) error {
	return uninterrupted(func() error {
		if full {
			return unix.Fsync(fd)
		}
		return unix.Fdatasync(fd)
	})
}
