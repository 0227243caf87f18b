//go:build !nosync

package posix

const syncs = true

func syncFd(fd int, full bool) error { return flushFd(fd, full) }
