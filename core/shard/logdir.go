package shard

import (
	"cmp"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
)

// held is what a shard knows of one of its copies.
type held struct {
	group core.GroupID
	dir   int
	bytes int64
	lag   core.Offset
}

// LogDirs asks every shard what it holds, and the driver how much room there is; see api.Host.
func (s *Shard) LogDirs(done func([]api.LogDir)) {
	ds := make([]api.LogDir, len(s.dirs))
	for n := range ds {
		ds[n] = api.LogDir{Path: s.dirs[n].path, Total: -1, Usable: -1}
	}
	from, left := s.cfg.Shard, s.cfg.Shards+1
	one := func() {
		if left--; left > 0 {
			return
		}
		for n := range ds {
			d := &ds[n]
			if s.dirs[n].failed != "" {
				d.Failed, d.Total, d.Usable = true, -1, -1
			}
			slices.SortFunc(d.Held, func(a, b api.Held) int {
				return cmp.Or(cmp.Compare(a.Topic.Name, b.Topic.Name), cmp.Compare(a.Index, b.Index))
			})
		}
		done(ds)
	}
	for k := range s.cfg.Shards {
		s.on(core.ShardID(k), func(t *Shard) {
			list := t.holds()
			t.on(from, func(*Shard) {
				for _, h := range list {
					// By one view for all shards: no partition is named twice.
					if topic, p := s.view.Group(h.group); topic != nil {
						d := &ds[h.dir]
						d.Held = append(d.Held, api.Held{Part: api.Part{Topic: topic, Index: p}, Bytes: h.bytes, Lag: h.lag})
					}
				}
				one()
			})
		})
	}
	for n := range ds {
		d := &ds[n]
		if s.dirs[n].failed != "" {
			continue
		}
		left++
		op := s.NewOp(func(ev *core.Event) {
			defer ev.Body.Release()
			d.Total, d.Usable = core.SpaceOf(ev)
			one()
		})
		s.fx.Add(core.Effect{Kind: core.Space, File: core.NewFileID(s.cfg.Shard, 0).In(n), Op: op})
	}
	one()
}

// holds are the copies of this shard that work.
func (s *Shard) holds() (list []held) {
	s.groups.Each(func(g core.GroupID, h *hosted) {
		if h.r.Offline() == "" && !h.r.Closed() {
			list = append(list, held{g, h.vol.n, h.r.Bytes(), max(h.r.High()-h.r.End(), 0)})
		}
	})
	return list
}
