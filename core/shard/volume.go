package shard

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/replica"
)

// A node may have several data directories, and a partition lives in one of them, for good: its segments
// and what the journals hold of it (docs/decisions/0022-several-data-directories.md). So a shard has a
// journal in each, and each fails for itself.
//
//   - The first directory, number 0, is the node's: the file "node" and the metadata log are there.
//   - A partition is born where the node has the fewest (home.place), and found again by looking into all.
//   - When a journal of another directory fails, the directory has failed: all that lives there goes
//     offline, on all shards. When one of the first fails, the partitions of its shard do, as on a node with
//     one directory.
//   - A directory that is not there at a start takes with it what nobody else has: a partition that this
//     node should have and finds nowhere may be there, with its votes, and is not born again.

// volume is a data directory as a shard has it.
type volume struct {
	n     int // number of the directory
	path  string
	found *journal.Found
	boot  core.Boot

	jrn      *journal.Writer
	awaits   []await // replicas with something in a frame, by frame
	sealed   uint64
	sealTo   uint64    // of a stop
	unsealed []*hosted // wrote since the last seal
	bootTold bool
	broke    bool // its journal failed, and that was told

	going map[string]int             //det:ok looked up, never ranged: removals outstanding, by directory of a partition
	stray map[string][]core.FileInfo //det:ok looked up, never ranged: segment files that no group owns
}

var (
	markPlaced   = det.NewMark("volume: a partition was born in another directory than the first")
	markDirDied  = det.NewMark("volume: a directory failed")
	markDirAway  = det.NewMark("volume: a partition may be in a directory that is not there")
	markTwice    = det.NewMark("volume: a partition was found in two directories")
	markSplit    = det.NewMark("volume: files of a partition lie in a directory that does not know it")
	markPartFull = det.NewMark("room: some directories of a node have no room, others do")
)

// volumes makes those that the start found.
func (s *Shard) volumes() {
	for k := range s.rec.dirs {
		d := &s.rec.dirs[k]
		s.dirs = append(s.dirs, dirState{path: d.Path, failed: d.Err})
		if d.Err != "" {
			continue
		}
		v := &volume{n: k, path: d.Path, found: d.found, boot: d.Boot, going: map[string]int{}, stray: map[string][]core.FileInfo{}}
		v.jrn = journal.NewWriter(journal.Config{Shard: s.cfg.Shard, Start: s.rec.Start, Slot: s.limits.JournalSlot,
			NewFile: func() core.FileID { return s.NewFile().In(k) }, NewOp: func() core.OpID { return s.newOp() },
			First: d.found.NextFile, Blank: blankOf(d.found, s.cfg.Shard)})
		s.vols = append(s.vols, v)
	}
	s.dirs[0].path = s.cfg.DataDir
	s.vols[0].path = s.cfg.DataDir
}

// dirState is what every shard knows of a data directory of its node.
type dirState struct {
	path   string
	failed string // why nothing of it can be used; "" it works
}

// vol is the volume of a directory; nil when it was not there at the start.
func (s *Shard) vol(n int) *volume {
	for _, v := range s.vols {
		if v.n == n {
			return v
		}
	}
	return nil
}

// hosted is the shard as its replica sees it: what depends on the directory is that of its volume.

func (h *hosted) Journal() *journal.Writer { return h.vol.jrn }
func (h *hosted) NewFile() core.FileID     { return h.Shard.NewFile().In(h.vol.n) }

func (h *hosted) Remove(dir string, id core.FileID, path string) {
	h.Shard.remove(h.vol, dir, id, path)
}

func (h *hosted) Awaits(r *replica.Replica) {
	v := h.vol
	det.That(h.Shard.groups.At(h.group) == h, "shard: a replica that writes is hosted")
	if !h.unsealed {
		h.unsealed = true
		v.unsealed = append(v.unsealed, h)
	}
	seq := v.jrn.Seq() + 1
	if k := len(v.awaits); k > 0 && v.awaits[k-1] == (await{seq, h}) {
		return
	}
	v.awaits = append(v.awaits, await{seq, h})
}

// Full says whether node n has no room where it keeps this partition.
func (h *hosted) Full(n core.NodeID) bool {
	s := h.Shard
	if n == s.cfg.Node {
		return h.full()
	}
	if s.room.peers == 0 {
		return false
	}
	p := s.peers.At(n)
	if p == nil || p.full || len(p.crowded) == 0 {
		return p != nil && p.full
	}
	_, in := slices.BinarySearch(p.crowded, h.group)
	return in
}

// full says whether this node has none.
func (h *hosted) full() bool { return (h.Shard.room.dirs|h.Shard.room.node)>>h.vol.n&1 != 0 }

// journalBroke takes what lives in a directory offline on this shard, or on all: see above.
func (s *Shard) journalBroke(v *volume, err core.Errno) {
	if v.broke {
		return
	}
	v.broke = true
	s.note(8, "msg=\"the journal of a shard failed: its partitions go offline on this node\" dir="+strconv.Quote(v.path)+
		" err="+strconv.Quote(err.String())+" try=\"look at the disk (dmesg), then restart the node; what was synced is read again\"")
	why := "the journal failed: " + err.String()
	s.failVolume(v, why)
	s.on(0, func(t *Shard) { t.home.dirFailed(v.n, why) })
}

func (s *Shard) failVolume(v *volume, why string) {
	for _, g := range append([]core.GroupID(nil), s.groups.Keys()...) {
		if h := s.groups.At(g); h.vol == v && h.r.Offline() == "" {
			h.r.Fail(why)
		}
	}
}

// dirFailed is told to shard 0 by whoever finds that a directory does not work.
func (h *home) dirFailed(n int, why string) {
	s := h.s
	if s.dirs[n].failed != "" {
		return
	}
	markDirDied.Hit()
	if n > 0 {
		s.note(8, "msg=\"a data directory failed: its partitions are offline on this node, the others are served\" dir="+strconv.Quote(s.dirs[n].path)+
			" err="+strconv.Quote(why)+" try=\"look at its disk (dmesg), then restart the node\"")
	}
	f := func(t *Shard) {
		t.dirs[n].failed = why
		if v := t.vol(n); v != nil && n > 0 {
			t.failVolume(v, why)
		}
	}
	f(s)
	s.onOthers(f)
}

// sayAway tells of a directory that the start could not use.
func (h *home) sayAway(n int, why string) {
	h.s.note(8, "msg=\"a data directory cannot be used: its partitions are offline on this node, the others are served\" dir="+
		strconv.Quote(h.s.dirs[n].path)+" err="+strconv.Quote(why)+" try=\"mend it or mount it, then restart the node\"")
}

// place is the directory in which a partition is born: the one that works and has the fewest, of these the
// first. The metadata log does not count.
func (h *home) place(g core.GroupID) int {
	s := h.s
	if n, ok := h.where.Get(g); ok && s.dirs[n].failed == "" {
		return n
	}
	counts := make([]int, len(s.dirs))
	h.where.Each(func(_ core.GroupID, n int) { counts[n]++ })
	best := 0
	for n := range counts {
		if s.dirs[n].failed == "" && (s.dirs[best].failed != "" || counts[n] < counts[best]) {
			best = n
		}
	}
	h.where.Set(g, best)
	return best
}

// tellWhere tells shard 0 where the partitions of this shard live.
func (s *Shard) tellWhere() {
	if len(s.dirs) == 1 {
		return
	}
	var groups []core.GroupID
	var dirs []int
	for _, g := range s.groups.Keys() {
		if g != core.MetaGroup {
			groups, dirs = append(groups, g), append(dirs, s.groups.At(g).vol.n)
		}
	}
	s.on(0, func(t *Shard) {
		for i, g := range groups {
			t.home.where.Set(g, dirs[i])
		}
	})
}

// bornIn tells shard 0 where a partition begins.
func (s *Shard) bornIn(v *volume, g core.GroupID) {
	if len(s.dirs) > 1 && g != core.MetaGroup {
		s.on(0, func(t *Shard) { t.home.where.Set(g, v.n) })
	}
}

// forgetWhere is called when a partition does not live here any more, or was not born after all.
func (s *Shard) forgetWhere(g core.GroupID) {
	if len(s.dirs) > 1 {
		s.on(0, func(t *Shard) { t.home.where.Delete(g) })
	}
}

// volumeFor is where a partition is to be born; nil: shard 0 is asked, and calls again then.
func (s *Shard) volumeFor(b birth) *volume {
	if len(s.dirs) == 1 {
		return s.vols[0]
	}
	g := b.topic.Partitions[b.index].Group
	if n, ok := s.placed.Get(g); ok {
		s.placed.Delete(g)
		if s.dirs[n].failed == "" || n == 0 {
			return s.vol(n)
		}
	}
	from := s.cfg.Shard
	s.on(0, func(t *Shard) {
		t.home.known(func() {
			n := t.home.place(g)
			t.on(from, func(u *Shard) {
				if u.groups.At(g) != nil {
					return
				}
				u.placed.Set(g, n)
				u.bear(b)
				if u.placed.Delete(g); u.groups.At(g) == nil && !slices.Contains(u.births, b) {
					u.forgetWhere(g)
				}
			})
		})
	})
	return nil
}

// lost says why a partition that is found nowhere may still have been here, "" when it cannot; and which
// directories' old journals say so, for the next start as well.
func (s *Shard) lost() (why string, in uint32) {
	for _, v := range s.vols {
		if v.found.Lost != "" {
			why, in = cmp.Or(why, v.found.Lost), in|1<<v.n
		}
	}
	if why != "" {
		return "the journal lost its records: " + why, in
	}
	return s.rec.Missing, 0
}

// strays says whether files of a partition lie anywhere.
func (s *Shard) strays(dir string) bool {
	return slices.ContainsFunc(s.vols, func(v *volume) bool { return len(v.stray[dir]) > 0 })
}

// twice finds the volume of which another one has the same group as well: what each of them promised, the
// other has forgotten.
func (s *Shard) twice(v *volume, g core.GroupID) *volume {
	for _, o := range s.vols {
		if o == v {
			continue
		}
		gs := o.found.Groups
		i, ok := slices.BinarySearchFunc(gs, g, func(x journal.Group, g core.GroupID) int { return cmp.Compare(x.ID, g) })
		if ok && !gs[i].Gone {
			return o
		}
	}
	return nil
}

// split says of files in another directory than the one whose journal knows the partition that they are not
// its own. They may be remains of an earlier partition of the name; or somebody has moved or copied it.
func (s *Shard) split(h *hosted) {
	for _, o := range s.vols {
		if o != h.vol && len(o.stray[h.dir]) > 0 && !o.knew(h.dir) {
			markSplit.Hit()
			s.note(8, "msg=\"a partition lies in two data directories: only one counts, the one whose journal knows it\" partition="+strconv.Quote(h.dir)+
				" dir="+strconv.Quote(h.vol.path)+" other="+strconv.Quote(o.path)+
				" try=\"stop the node and move the files out of the other directory, or back if you moved them there\"")
		}
	}
}

// knew says whether the volume's journal knows of a group that had the name, or has it.
func (v *volume) knew(dir string) bool {
	return slices.ContainsFunc(v.found.Groups, func(g journal.Group) bool { return g.Mark.Name == dir })
}
