package posix

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
)

const lockName = "lock"

// takeDir makes the directory and locks it. A full file system is found out before anything is made.
func takeDir(dir string, minFree int64) (lock int, err error) {
	if err := checkFree(dir, minFree); err != nil {
		return -1, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return -1, unusable(dir, err)
	}
	name := filepath.Join(dir, lockName)
	fd, err := openFd(name, unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		return -1, unusable(dir, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer closeFd(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			holder, _ := os.ReadFile(name)
			return -1, fmt.Errorf("data directory %s is in use by another node (process %s): stop it, or choose another directory",
				dir, strings.TrimSpace(string(holder)))
		}
		return -1, unusable(dir, err)
	}
	if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		closeFd(fd)
		return -1, unusable(dir, err)
	}
	return fd, nil
}

func checkFree(dir string, minFree int64) error {
	if minFree < 0 {
		return nil
	}
	var st unix.Statfs_t
	at := filepath.Clean(dir)
	for {
		err := unix.Statfs(at, &st)
		if err == nil {
			break
		}
		up := filepath.Dir(at)
		if !errors.Is(err, unix.ENOENT) || up == at {
			return unusable(dir, err)
		}
		at = up
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < minFree {
		return fmt.Errorf("the disk of data directory %s is full (%d KiB free, %d KiB needed to start): free some space",
			dir, free>>10, minFree>>10)
	}
	return nil
}

// Space says how many bytes the volume of the data directory has, and how many of them this process may
// still use.
func (d *Disk) Space() (total, usable int64, err core.Errno) {
	var st unix.Statfs_t
	if err := uninterrupted(func() error { return unix.Statfs(d.o.Dir, &st) }); err != nil {
		return 0, 0, errno(err)
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), core.OK
}

func unusable(dir string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	remedy := "check that it is a directory on a working disk"
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		remedy = "make it writable for this user, or choose another directory"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		remedy = "free some space on its disk"
	}
	return fmt.Errorf("data directory %s cannot be used: %w: %s", dir, err, remedy)
}
