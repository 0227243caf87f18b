package node

import (
	"errors"
	"path/filepath"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/shard"
	"github.com/karst-stream/karst/diskio/posix"
)

// disks are the data directories of a node, by number. The first is always there; another that could not be
// opened is nil, and no shard asks for anything of it.
type disks []*posix.Disk

// openDisks opens them all. Without the first there is no node; that another cannot be had is for the shards to
// know.
func (n *node) openDisks(o *Options) (others []shard.Dir, err error) {
	for k, dir := range append([]string{o.Dir}, o.MoreDirs...) {
		d, err := posix.Open(posix.Options{Dir: dir, Shards: o.Shards, Done: n.post, PowerSwitch: o.PowerSwitch,
			BeforeSync: o.BeforeSync, OnSync: n.gauge.synced, Fault: o.Fault})
		if k == 0 && err != nil {
			return nil, err
		}
		n.disks = append(n.disks, d)
		if k == 0 {
			continue
		}
		x := shard.Dir{Path: dir}
		if abs, err := filepath.Abs(dir); err == nil {
			x.Path = abs
		}
		if err != nil {
			x.Err = err.Error()
		} else {
			x.Boot = d
		}
		others = append(others, x)
	}
	return others, nil
}

func (ds disks) do(e *core.Effect, vec []core.Ref) { ds[e.File.Dir()].Do(e, vec) }

func (ds disks) flush(s core.ShardID) {
	for _, d := range ds {
		if d != nil {
			d.Flush(s)
		}
	}
}

// space is what the volume of the directory of f has.
func (ds disks) space(f core.FileID) (total, usable int64, err core.Errno) {
	return ds[f.Dir()].Space()
}

func (ds disks) powerCut() (err error) {
	for _, d := range ds {
		if d != nil {
			err = errors.Join(err, d.PowerCut())
		}
	}
	return err
}

func (ds disks) close() {
	for _, d := range ds {
		if d != nil {
			d.Close()
		}
	}
}
