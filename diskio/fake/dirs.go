package fake

import (
	"slices"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
)

// A machine may keep its data in several directories, each with a device of its own. One Disk is all of them: a
// loss of power meets them together. A file of directory k other than 0 is known here, to whoever asks for files by
// name as well, under its path below "@k/".

func nameIn(dir int, path string) string {
	if dir == 0 {
		return path
	}
	return "@" + strconv.Itoa(dir) + "/" + path
}

// Split is the directory of a file, and its path there.
func Split(name string) (dir int, path string) {
	if rest, ok := strings.CutPrefix(name, "@"); ok {
		if k, path, ok := strings.Cut(rest, "/"); ok {
			if n, err := strconv.Atoi(k); err == nil {
				return n, path
			}
		}
	}
	return 0, name
}

func within(dirs uint32, name string) bool {
	if dirs == 0 {
		return false
	}
	k, _ := Split(name)
	return dirs>>k&1 != 0
}

// Dir is one directory as a fresh process finds it.
func (d *Disk) Dir(k int) core.Boot { return directory{d, k} }

type directory struct {
	d *Disk
	k int
}

func (x directory) List() []core.FileInfo {
	var list []core.FileInfo
	for _, f := range x.d.List() {
		if k, path := Split(f.Path); k == x.k {
			list = append(list, core.FileInfo{Path: path, Size: f.Size})
		}
	}
	slices.SortFunc(list, func(a, b core.FileInfo) int { return strings.Compare(a.Path, b.Path) })
	return list
}

func (x directory) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	return x.d.ReadAt(nameIn(x.k, path), off, b)
}
