package posix

import "golang.org/x/sys/unix"

// pwritev writes all of vec at off, and says how much arrived when it fails.
func pwritev(fd int, vec [][]byte, off int64) (total int64, err error) {
	for _, b := range vec {
		for len(b) > 0 {
			n, err := unix.Pwrite(fd, b, off+total)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return total, err
			}
			if n == 0 {
				return total, unix.EIO
			}
			b, total = b[n:], total+int64(n)
		}
	}
	return total, nil
}

// flushFd asks the drive itself: fsync on darwin stops at the drive's cache. Some file systems do not
// know F_FULLFSYNC; there fsync is all there is.
func flushFd(fd int, _ bool) error {
	return uninterrupted(func() error {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0); err == nil || err == unix.EINTR {
			return err
		}
		return unix.Fsync(fd)
	})
}

// reserve does nothing here: blocks come with the writes.
func reserve(int, int64, int64) error { return nil }

// writeback does nothing here: the kernel begins when it likes.
func writeback(int, int64, int64) {}

// readahead is Linux's business.
func readahead(int, bool) {}

// syncVolume: there is no call that syncs a volume and says how it went.
func syncVolume(int) bool { return false }
