package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
)

func newLogs() *cobra.Command {
	return parent("log", "Look into the files of a node, without the node", newLogDump(), newLogVerify(), newLogRepair())
}

// stillDir is a data directory as the next start would find it. It opens for reading only and takes no
// lock, so a node may be at work in it: what is read then is out of date by the next line.
type stillDir struct {
	root  string
	files []core.FileInfo
}

func openStillDir(root string) (*stillDir, error) {
	d := &stillDir{root: root}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed between the two looks
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		d.files = append(d.files, core.FileInfo{Path: filepath.ToSlash(rel), Size: info.Size()})
		return err
	})
	if err != nil {
		return nil, catalogue.BadLog.New("%v", err).Wrap(err)
	}
	slices.SortFunc(d.files, func(a, b core.FileInfo) int { return strings.Compare(a.Path, b.Path) })
	return d, nil
}

// List and ReadAt make it a core.Boot.
func (d *stillDir) List() []core.FileInfo { return d.files }

func (d *stillDir) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	f, err := os.Open(filepath.Join(d.root, filepath.FromSlash(path)))
	if err != nil {
		return 0, core.ErrGone
	}
	defer f.Close()
	n, err := f.ReadAt(b, off)
	switch {
	case errors.Is(err, io.EOF):
		return n, core.ErrShort
	case err != nil:
		return n, core.ErrIO
	}
	return n, core.OK
}
