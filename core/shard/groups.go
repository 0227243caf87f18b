package shard

import (
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/seg"
)

// birth is a group whose directory still holds the files of an earlier one.
type birth struct {
	topic *meta.Topic
	index int32
}

// unsettled is for groups of which the metadata says nothing, or nothing yet.
var unsettled = replica.Settings{MinInsync: 1, SegmentBytes: 1 << 30, DeleteDelay: 60 * core.Second,
	RetentionMs: -1, RetentionBytes: -1, SegmentMs: 1<<63 - 1, IndexInterval: -1}

// metaSettings are those of the metadata log.
var metaSettings = replica.Settings{MinInsync: 1, SegmentBytes: 1 << 30, DeleteDelay: 60 * core.Second,
	RetentionMs: -1, RetentionBytes: -1, SegmentMs: 1<<63 - 1, IndexInterval: seg.DefaultInterval, IndexBytes: 10 << 20}

// boot opens what the disk holds for this shard.
func (s *Shard) boot() {
	if s.home != nil {
		s.home.begin()
	}
	for _, v := range s.vols {
		for _, f := range v.boot.List() {
			if dir, ok := partitionOf(f.Path); ok {
				v.stray[dir] = append(v.stray[dir], f)
			}
		}
	}
	for _, v := range s.vols {
		for i := range v.found.Groups {
			s.open(v, &v.found.Groups[i])
		}
	}
	if len(s.vols) > 1 {
		for _, g := range s.groups.Keys() {
			s.split(s.groups.At(g))
		}
	}
	s.tellWhere()
	s.bootProgress()
	s.wantBalance()
	s.timers.Arm(&s.room.at, int64(s.now.Mono+yieldEvery))
	s.timers.Arm(&s.scrub, int64(s.now.Mono+s.pace.Scrub))
	s.timers.Arm(&s.compact, int64(s.now.Mono+s.compactEvery()))
	s.timers.Arm(&s.retain.at, int64(s.now.Mono+min(s.retainEvery(), retainFirst)))
}

// open makes the replica of a group that a directory holds.
func (s *Shard) open(v *volume, g *journal.Group) {
	hash := hashDir(g.Mark.Name)
	if g.Gone || shardOf(g.ID, hash, s.cfg.Shards) != s.cfg.Shard || s.groups.At(g.ID) != nil {
		return
	}
	h := &hosted{Shard: s, vol: v, needs: 1 << v.n, group: g.ID, dir: g.Mark.Name, hash: hash}
	s.groups.Set(g.ID, h)
	set := unsettled
	if g.ID == core.MetaGroup {
		set = metaSettings
	}
	if o := s.twice(v, g.ID); o != nil {
		markTwice.Hit()
		h.needs |= 1 << o.n
		h.r = replica.Broken(s.replicaConfig(h, g.Mark.TopicID, set), h, "it lies in two data directories, "+v.path+" and "+o.path+
			": one of them is a copy; stop the node and bring back what was in the other before")
		return
	}
	h.r = replica.Open(s.replicaConfig(h, g.Mark.TopicID, set), h, g, v.stray[g.Mark.Name], v.boot)
	delete(v.stray, g.Mark.Name)
	s.hostedNow(h)
}

func (s *Shard) replicaConfig(h *hosted, topic [16]byte, set replica.Settings) replica.Config {
	return replica.Config{Node: s.cfg.Node, ID: core.NewRaftID(max(1, s.id.Incarnation), s.cfg.Node), Group: h.group, Dir: h.dir,
		TopicID: topic, Seed: uint64(det.Hash(0).U64(s.cfg.Seed).U64(uint64(h.group)).U64(uint64(s.rec.Start))),
		Settings: set, Observer: s.cfg.Observer, Unzip: s.cfg.Unzip,
		BootChecks: min(checksOfOne, checksOfAll/int64(len(s.rec.Found.Groups)+1))}
}

// How many bytes that were certainly durable a boot reads again: of a partition, and of all of the node together, which
// must not hold up the start of a thousand partitions. The scrubber reads the rest.
const (
	checksOfOne = 4 << 20
	checksOfAll = 512 << 20
)

// hostedNow attaches what a new replica needs.
func (s *Shard) hostedNow(h *hosted) {
	if h.group == core.MetaGroup {
		s.home.attachMeta(h)
	}
	s.attachCoordinator(h)
	s.markDirty(h)
}

// bootProgress tells shard 0, of each directory, once every group of the old journals is safe in the new one:
// then the old files may be used again. A group that is offline keeps them.
func (s *Shard) bootProgress() {
	for _, v := range s.vols {
		if !v.bootTold && s.bootOf(v) {
			v.bootTold = true
			s.on(0, func(t *Shard) { t.home.bootDone(v.n) })
		}
	}
}

// bootOf says whether every group of a directory is safe in its new journal.
func (s *Shard) bootOf(v *volume) bool {
	for _, g := range s.groups.Keys() {
		h := s.groups.At(g)
		if h.needs>>v.n&1 != 0 && (h.r.Offline() != "" || !h.r.Began()) {
			return false
		}
	}
	return true
}

func (h *home) bootDone(n int) {
	h.boots[n]++
	if h.boots[n] < h.s.cfg.Shards {
		return
	}
	f := func(t *Shard) {
		var mine []core.FileInfo
		v := t.vol(n)
		for i, x := range v.found.Files {
			if i%t.cfg.Shards == int(t.cfg.Shard) {
				mine = append(mine, x)
			}
		}
		if k := t.cfg.Shards; t.home != nil && len(v.found.Blank) > k { // of a start with more shards
			mine = append(mine, v.found.Blank[k:]...)
		}
		v.jrn.Adopt(mine)
	}
	f(h.s)
	h.s.onOthers(f)
}

// bearMeta makes shard 0 a voter of the metadata group, unless it has been one before.
func (s *Shard) bearMeta() {
	if s.groups.At(core.MetaGroup) != nil {
		return
	}
	var voters []core.RaftID
	for _, n := range s.cfg.Peers {
		voters = append(voters, core.NewRaftID(1, n))
	}
	if lost := s.rec.Found.Lost; lost != "" {
		h := &hosted{Shard: s, vol: s.vols[0], needs: 1, group: core.MetaGroup, dir: metaDir, hash: hashDir(metaDir)}
		s.groups.Set(core.MetaGroup, h)
		h.r = replica.Broken(s.replicaConfig(h, [16]byte{}, unsettled), h, "the journal lost its records: "+lost)
		s.hostedNow(h)
		return
	}
	s.birth(s.vols[0], core.MetaGroup, metaDir, [16]byte{}, voters, metaSettings)
	if len(s.cfg.Peers) > 0 && s.cfg.Peers[0] == s.cfg.Node {
		s.groups.At(core.MetaGroup).r.Prefer()
	}
}

func (s *Shard) birth(v *volume, g core.GroupID, dir string, topic [16]byte, voters []core.RaftID, set replica.Settings) {
	h := &hosted{Shard: s, vol: v, needs: 1 << v.n, group: g, dir: dir, hash: hashDir(dir)}
	s.groups.Set(g, h)
	h.r = replica.Birth(s.replicaConfig(h, topic, set), h, voters)
	s.bornIn(v, g)
	s.hostedNow(h)
}

// setView takes a new version of the metadata: topics come, go and change their settings.
func (s *Shard) setView(v *meta.View) {
	old := s.view
	s.view = v
	s.wantBalance()
	s.resolve()
	for _, g := range append([]core.GroupID(nil), s.groups.Keys()...) {
		h := s.groups.At(g)
		if g == core.MetaGroup {
			continue
		}
		t, i := v.Group(g)
		switch {
		case t != nil:
			if o, _ := old.Group(g); o != t || !slices.Equal(old.ClusterConfigs, v.ClusterConfigs) {
				h.r.Set(s.settings(t, i))
			}
		case v.Born(g): // it was there, and is not any more
			s.removeGroup(h)
		}
	}
	for _, t := range v.Topics {
		if o := old.Topic(t.Name); o != nil && o.ID == t.ID && len(o.Partitions) == len(t.Partitions) {
			continue
		}
		for i := range t.Partitions {
			s.host(t, int32(i))
		}
	}
	s.forgetLeaders(old)
	s.renewed(old)
}

// renewed lets the groups that are led here look whether a voter has a newer disk.
func (s *Shard) renewed(old *meta.View) {
	for i := range s.view.Brokers {
		b := &s.view.Brokers[i]
		if o := old.Broker(b.ID); o == nil || o.Incarnation == b.Incarnation {
			continue
		}
		for _, g := range append([]core.GroupID(nil), s.groups.Keys()...) {
			h := s.groups.At(g)
			s.guard(h, h.r.Reconsider)
		}
		return
	}
}

// forgetLeaders drops what was known of the leaders of partitions that are gone.
func (s *Shard) forgetLeaders(old *meta.View) {
	for _, t := range old.Topics {
		if n := s.view.Topic(t.Name); n != nil && n.ID == t.ID {
			continue
		}
		for i := range t.Partitions {
			g := t.Partitions[i].Group
			delete(s.leaders, g)
			s.leaderChanged(g)
		}
		s.topicGone(t)
	}
}

// settings are those of partition i.
func (s *Shard) settings(t *meta.Topic, i int32) replica.Settings {
	l := s.view.Layers(t, s.cfg.Node, s.cfg.Static)
	v, b := l.TopicValues(), l.BrokerValues()
	return replica.Settings{MinInsync: int(v.MinInsync), SegmentBytes: v.SegmentBytes, Deletes: v.Deletes,
		DeleteDelay: core.Mono(v.FileDeleteDelayMs) * core.Millisecond,
		RetentionMs: core.Wall(v.RetentionMs), RetentionBytes: v.RetentionBytes,
		SegmentMs: core.Wall(v.SegmentMs), SegmentJitter: core.Wall(v.SegmentJitterMs),
		IndexInterval: v.IndexInterval, IndexBytes: v.IndexBytes,
		Compacts: v.Compacts && (!t.Internal || t.Name == meta.OffsetsTopic), Compaction: replica.Compaction{
			Policy:    compact.Policy{MinLag: v.MinCompactionLagMs, MaxLag: v.MaxCompactionLagMs, MinDirty: v.MinDirty},
			Retention: v.DeleteRetentionMs, Memory: b.CleanerMemory},
		SlowIn:  config.Throttles(v.SlowFollowers, i, int32(s.cfg.Node)),
		SlowOut: config.Throttles(v.SlowLeaders, i, int32(s.cfg.Node))}
}

// partitionOf is the directory of a file that belongs to a partition: a segment or an index of one.
func partitionOf(path string) (dir string, ok bool) {
	if dir, _, ok := seg.ParsePath(path); ok {
		return dir, true
	}
	if dir, _, _, ok := seg.ParseIndexPath(path); ok {
		return dir, true
	}
	dir, _, ok = seg.ParseTxnPath(path)
	return dir, ok
}

// host makes the replica of a partition when this node and this shard should have one.
func (s *Shard) host(t *meta.Topic, i int32) {
	p := &t.Partitions[i]
	dir := seg.Dir(t.Name, i)
	if !slices.Contains(p.Replicas, s.cfg.Node) || shardOf(p.Group, hashDir(dir), s.cfg.Shards) != s.cfg.Shard ||
		s.groups.At(p.Group) != nil || !s.settled {
		return
	}
	if lost, in := s.lost(); lost != "" && (s.arriving || s.strays(dir)) {
		// Its files are here, or it may have been, but what was known of it is lost: damaged, not new.
		if in == 0 {
			markDirAway.Hit()
		}
		h := &hosted{Shard: s, vol: s.vols[0], needs: in, group: p.Group, dir: dir, hash: hashDir(dir)}
		s.groups.Set(p.Group, h)
		h.r = replica.Broken(s.replicaConfig(h, t.ID, s.settings(t, i)), h, lost)
		return
	}
	wait := false
	for _, v := range s.vols {
		wait = v.going[dir] > 0 || s.sweep(v, dir) || wait
	}
	if wait {
		s.births = append(s.births, birth{t, i})
		return
	}
	v := s.volumeFor(birth{t, i})
	if v == nil {
		return
	}
	if v.n > 0 {
		markPlaced.Hit()
	}
	s.birth(v, p.Group, dir, t.ID, p.Voters, s.settings(t, i))
	if p.Replicas[0] == s.cfg.Node {
		s.groups.At(p.Group).r.Prefer()
	}
}

// settleView is called when this start of the node is in the metadata log, and so the view no older than the
// start. A replay may show less: topics whose deletion is committed and not yet known here to be. Born again, such
// a group would have forgotten its votes and records, so until now nothing was born.
func (s *Shard) settleView() {
	s.settled, s.arriving = true, true
	for _, t := range s.view.Topics {
		for i := range t.Partitions {
			s.host(t, int32(i))
		}
	}
	s.arriving = false
}

// sweep removes segment files that a directory holds and no group owns; false when there are none.
func (s *Shard) sweep(v *volume, dir string) bool {
	files := v.stray[dir]
	delete(v.stray, dir)
	for _, f := range files {
		id := s.NewFile().In(v.n)
		s.fx.Add(core.Effect{Kind: core.Create, File: id, Path: f.Path})
		s.remove(v, dir, id, f.Path)
	}
	return len(files) > 0
}

// remove deletes a file; births in its directory wait.
func (s *Shard) remove(v *volume, dir string, id core.FileID, path string) {
	v.going[dir]++
	op := s.NewOp(func(ev *core.Event) {
		if ev.Err != core.OK {
			s.note(8, "msg=\"cannot remove a file\" file="+strconv.Quote(path)+" err="+strconv.Quote(ev.Err.String()))
		}
		if v.going[dir]--; v.going[dir] == 0 {
			delete(v.going, dir)
			births := s.births
			s.births = nil
			for _, b := range births {
				s.bear(b)
			}
		}
	})
	s.fx.Add(core.Effect{Kind: core.Remove, File: id, Path: path, Op: op})
}

// bear makes the replica of a partition that waited, unless its topic is gone.
func (s *Shard) bear(b birth) {
	if t := s.view.Topic(b.topic.Name); t != nil && t.ID == b.topic.ID {
		s.host(t, b.index)
	}
}

func (s *Shard) removeGroup(h *hosted) {
	s.groups.Delete(h.group)
	s.forgetWhere(h.group)
	s.busy = nil
	s.detachCoordinator(h)
	s.guard(h, func() {
		h.r.Close(func(id core.FileID, path string) { s.remove(h.vol, h.dir, id, path) })
	})
	delete(s.leaders, h.group)
}

// Hosted visits the replicas of this shard, for checkers and metrics.
func (s *Shard) Hosted(visit func(r *replica.Replica)) {
	for _, g := range s.groups.Keys() {
		visit(s.groups.At(g).r)
	}
}

// View is the newest metadata of this shard.
func (s *Shard) View() *meta.View { return s.view }
