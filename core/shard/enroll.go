package shard

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// A data directory beside the first says in its file "directory" whose it is, and in which start of the node it
// last took part. The first one, in its file "node", knows the directories that partitions may live in. So a start
// can tell a directory that is new from one that was emptied, forgotten or put back.
//
//	the file "node" is durable ──▶ "directory" in each of the others, with this start ──▶ "node" names them ──▶ member
//
// Whatever lies between two of these arrows when the power fails, the next start finds a directory that is
// empty and unknown, or one that says whose it is.

// The file has two slots like the file "node", and is written once in a start. A slot: magic, version, cluster,
// node and incarnation as there, the directory's id in eight bytes, the start in a varint, then CRC-32C.
const (
	directoryPath    = "directory"
	directoryMagic   = "KARSTDIR"
	directoryVersion = 1
)

// Dir is a data directory as a driver found it.
type Dir struct {
	Path string // as clients and operators are told of it
	Boot core.Boot
	Err  string // why it cannot be used: then Boot is nil
}

// Volume is a data directory that the first one knows.
type Volume struct {
	ID    uint64 // drawn when it was taken in
	Start uint32 // the newest of the node in which it took part
}

// directory is what the file "directory" says.
type directory struct {
	cluster     string
	node        core.NodeID
	incarnation uint32
	Volume
}

func (d *directory) encode() []byte {
	b := appendText(append([]byte(directoryMagic), directoryVersion), d.cluster)
	b = binary.AppendUvarint(b, uint64(uint32(d.node)))
	b = binary.AppendUvarint(b, uint64(d.incarnation))
	b = binary.LittleEndian.AppendUint64(b, d.ID)
	b = binary.AppendUvarint(b, uint64(d.Start))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeDirectory reads one slot; ok is false when nothing valid is there.
func decodeDirectory(b []byte) (d directory, newer, ok bool) {
	if len(b) < len(directoryMagic)+1 || string(b[:len(directoryMagic)]) != directoryMagic {
		return d, false, false
	}
	if version := b[len(directoryMagic)]; version != directoryVersion {
		return d, version > directoryVersion, false
	}
	r := scan{b: b[len(directoryMagic)+1:]}
	d.cluster = r.text(64)
	d.node, d.incarnation = core.NodeID(uint32(r.num())), uint32(r.num())
	d.ID, d.Start = r.mark(), uint32(r.num())
	end := len(b) - len(r.b)
	if r.bad || d.ID == 0 || len(r.b) < 4 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(r.b) {
		return directory{}, false, false
	}
	return d, false, true
}

// readDirectory takes the newer valid slot; ok is false when there is none.
func readDirectory(boot core.Boot) (dir directory, newer, ok bool) {
	for slot := int64(0); slot < 2; slot++ {
		b := make([]byte, identitySlot)
		n, _ := boot.ReadAt(directoryPath, slot*identitySlot, b)
		d, isNewer, valid := decodeDirectory(b[:n])
		newer = newer || isNewer
		if valid && (!ok || d.Start > dir.Start) {
			dir, ok = d, true
		}
	}
	return dir, newer, ok
}

// recovered is a data directory as a start takes it: Err is why it does not.
type recovered struct {
	Dir
	found *journal.Found
	id    uint64 // 0: it is new
}

// recoverDirs looks into the directories beside the first. What is wrong with one of them makes it fail, unless
// it was never meant to be here: then the node must not start.
func (rec *Recovery) recoverDirs(more []Dir, node core.NodeID) error {
	if 1+len(more) > core.MaxDirs {
		return fmt.Errorf("%d data directories are named: a node may have %d", 1+len(more), core.MaxDirs)
	}
	known := slices.Clone(rec.Identity.Dirs)
	for _, d := range more {
		x := recovered{Dir: d}
		if x.Err == "" {
			if err := rec.recoverDir(&x, node); err != nil {
				return err
			}
		}
		for i := range rec.dirs {
			if o := &rec.dirs[i]; x.id != 0 && o.id == x.id {
				return fmt.Errorf("the data directories %s and %s are copies of each other: leave out the one that is not of the node's last run",
					o.Path, x.Path)
			}
		}
		known = slices.DeleteFunc(known, func(v Volume) bool { return x.Err == "" && v.ID == x.id })
		rec.dirs = append(rec.dirs, x)
	}
	if len(known) > 0 {
		rec.miss(len(known))
	}
	return nil
}

// miss is a start without directories that partitions may live in. An empty one does not take their place: that
// would hide that they are gone.
func (rec *Recovery) miss(n int) {
	rec.Missing = fmt.Sprintf("it may be in a data directory that is not here: %d that this node had cannot be used", n)
	for i := range rec.dirs {
		d := &rec.dirs[i]
		if i > 0 && d.Err == "" && d.id == 0 {
			d.Err = "it is empty, but a data directory that this node had is not here: bring that one back, or, when it is gone for good, " +
				"empty all data directories of the node and start it with --rejoin"
		}
		if d.Err != "" {
			rec.Missing += "; " + d.Path + ": " + d.Err
		}
	}
}

// recoverDir judges one directory by its file and reads its journals.
func (rec *Recovery) recoverDir(x *recovered, node core.NodeID) error {
	id := &rec.Identity
	if slots := Slots(x.Boot); slots[0] != nil || slots[1] != nil {
		return fmt.Errorf("the data directory %s has a file %q: it is the first one of a node, and must be named first", x.Path, identityPath)
	}
	d, newer, ok := readDirectory(x.Boot)
	var err error
	switch {
	case newer:
		return fmt.Errorf("the data directory %s was written by a newer version of Karst: start that version, or leave the directory out", x.Path)
	case ok && id.Cluster == "":
		return fmt.Errorf("the data directory %s belongs to node %d of cluster %s, but the first one is empty: bring back the first one, or, when it is gone for good, empty them all and start with --rejoin",
			x.Path, d.node, d.cluster)
	case ok && (d.cluster != id.Cluster || d.node != node):
		return fmt.Errorf("the data directory %s belongs to node %d of cluster %s, not to node %d of cluster %s: leave it out, or give that node its directory back",
			x.Path, d.node, d.cluster, node, id.Cluster)
	case ok && d.incarnation != id.Incarnation:
		return fmt.Errorf("the data directory %s belongs to incarnation %d of node %d, which has incarnation %d now: empty it, nothing in it counts any more",
			x.Path, d.incarnation, node, id.Incarnation)
	}
	if x.found, err = journal.Recover(x.Boot); err != nil {
		x.Err = err.Error()
		return nil
	}
	i := slices.IndexFunc(id.Dirs, func(v Volume) bool { return ok && v.ID == d.ID })
	switch {
	case !ok && len(x.found.Groups) > 0:
		x.Err = fmt.Sprintf("it holds a journal but its file %q says nothing: restore that file", directoryPath)
	case i >= 0 && d.Start < id.Dirs[i].Start:
		x.Err = fmt.Sprintf("it is an old copy: it took part in start %d of the node, and says %d: bring the newer one back", id.Dirs[i].Start, d.Start)
	case ok:
		x.id = d.ID
	}
	rec.Start = max(rec.Start, x.found.Start+1)
	return nil
}

// enroll counts this start in the directories beside the first; the node is a member when the first one knows
// them all.
func (h *home) enroll() {
	s := h.s
	left := 1
	one := func() {
		if left--; left == 0 {
			h.enrolled()
		}
	}
	for k := 1; k < len(s.rec.dirs); k++ {
		x := &s.rec.dirs[k]
		if s.dirs[k].failed != "" {
			continue
		}
		fresh := x.id == 0
		if fresh {
			x.id = s.rng.Uint64() | 1
		}
		left++
		d := directory{cluster: s.id.Cluster, node: s.cfg.Node, incarnation: s.id.Incarnation, Volume: Volume{x.id, s.id.Start}}
		file := s.NewFile().In(k)
		op := s.NewOp(func(ev *core.Event) {
			if ev.Err != core.OK {
				h.dirFailed(k, "cannot write its file \""+directoryPath+"\": "+ev.Err.String())
			}
			one()
		})
		s.fx.Add(core.Effect{Kind: core.Create, File: file, Path: directoryPath, Sync: true})
		if fresh { // both slots: a later start shall not wait for room here
			s.fx.Add(core.Effect{Kind: core.Truncate, File: file, Off: 2 * identitySlot})
		}
		s.fx.Add(core.Effect{Kind: core.Write, File: file, Off: int64(d.Start%2) * identitySlot, Sync: true, Op: op}, core.RefOf(d.encode()))
	}
	for k, d := range s.dirs {
		if k > 0 && s.rec.dirs[k].Err != "" {
			h.sayAway(k, d.failed)
		}
	}
	one()
}

// enrolling is what waits until the first directory names the others.
type enrolling struct {
	over bool
	then []func()
}

// known calls f once every directory in which a partition can be born is named by the first. A node may lead the
// metadata log, and bear partitions, before it is a member: when it is alone.
func (h *home) known(f func()) {
	if h.enrolls.over {
		f()
		return
	}
	h.enrolls.then = append(h.enrolls.then, f)
}

// enrolled writes into the first directory which others there are.
func (h *home) enrolled() {
	s := h.s
	if len(s.dirs) == 1 {
		h.becomeMember()
		return
	}
	dirs := slices.Clone(s.id.Dirs)
	for k := 1; k < len(s.dirs); k++ {
		id := s.rec.dirs[k].id
		if s.dirs[k].failed != "" || id == 0 {
			continue
		}
		dirs = slices.DeleteFunc(dirs, func(v Volume) bool { return v.ID == id })
		dirs = append(dirs, Volume{id, s.id.Start})
	}
	slices.SortFunc(dirs, func(a, b Volume) int { return cmp.Compare(a.ID, b.ID) })
	s.id.Dirs = dirs
	h.persist(func() {
		h.becomeMember()
		h.enrolls.over = true
		for _, f := range h.enrolls.then {
			f()
		}
		h.enrolls.then = nil
	})
}
