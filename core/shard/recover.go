package shard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// The file "node" says whose disk this is. It has two slots of 4 KiB, written in turn and synced, so
// that a torn write leaves the older one. A slot: magic, version, then the fields of Identity in
// varints, marks in eight bytes, then CRC-32C. Version 1 has no marks and no lineage, version 2 no directories:
// it is still what a node with one directory writes.
const (
	identityPath    = "node"
	identitySlot    = 4096
	identityMagic   = "KARSTNOD"
	identityVersion = 3
	identityFirst   = 1 // the oldest version that is read
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Identity is what a disk says of itself and of the nodes that it has met.
type Identity struct {
	Cluster     string // "" on an empty disk
	Node        core.NodeID
	Incarnation uint32   // of this disk, from 1
	Start       uint32   // how often a node began on this disk
	Mark        uint64   // drawn by that start
	Past        []Past   // its lineage, this start included, by start
	Writes      uint64   // of this record; the newer slot has more
	Seen        []Seen   // members that this node has met, sorted by node
	Dirs        []Volume // data directories beside this one in which partitions may live, by id
}

// Seen is the newest disk that a member has shown.
type Seen struct {
	Node        core.NodeID
	Incarnation uint32
	Start       uint32
	Mark        uint64
	Met         uint32 // the newest start of this disk that the member said to have met; 0: none
}

func (id *Identity) seen(n core.NodeID) *Seen {
	for i := range id.Seen {
		if id.Seen[i].Node == n {
			return &id.Seen[i]
		}
	}
	return nil
}

func (id *Identity) encode() []byte {
	b := append([]byte(identityMagic), identityVersion)
	if len(id.Dirs) == 0 {
		b[len(identityMagic)] = 2
	}
	b = appendText(b, id.Cluster)
	b = binary.AppendUvarint(b, uint64(uint32(id.Node)))
	b = binary.AppendUvarint(b, uint64(id.Incarnation))
	b = binary.AppendUvarint(b, uint64(id.Start))
	b = binary.LittleEndian.AppendUint64(b, id.Mark)
	b = binary.AppendUvarint(b, id.Writes)
	b = binary.AppendUvarint(b, uint64(len(id.Seen)))
	for _, x := range id.Seen {
		b = binary.AppendUvarint(b, uint64(uint32(x.Node)))
		b = binary.AppendUvarint(b, uint64(x.Incarnation))
		b = binary.AppendUvarint(b, uint64(x.Start))
		b = binary.LittleEndian.AppendUint64(b, x.Mark)
		b = binary.AppendUvarint(b, uint64(x.Met))
	}
	b = putPast(b, id.Past)
	if len(id.Dirs) > 0 {
		b = binary.AppendUvarint(b, uint64(len(id.Dirs)))
		for _, d := range id.Dirs {
			b = binary.AppendUvarint(binary.LittleEndian.AppendUint64(b, d.ID), uint64(d.Start))
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeIdentity reads one slot; ok is false when nothing valid is there.
func decodeIdentity(b []byte) (id Identity, newer, ok bool) {
	if len(b) < len(identityMagic)+1 || string(b[:len(identityMagic)]) != identityMagic {
		return id, false, false
	}
	version := b[len(identityMagic)]
	if version > identityVersion {
		return id, true, false
	}
	r := scan{b: b[len(identityMagic)+1:], bad: version < identityFirst}
	mark := func() uint64 {
		if version == 1 {
			return 0
		}
		return r.mark()
	}
	id.Cluster = r.text(64)
	id.Node = core.NodeID(uint32(r.num()))
	id.Incarnation, id.Start, id.Mark, id.Writes = uint32(r.num()), uint32(r.num()), mark(), r.num()
	for k := r.num(); k > 0 && !r.bad; k-- {
		x := Seen{Node: core.NodeID(uint32(r.num())), Incarnation: uint32(r.num()), Start: uint32(r.num()), Mark: mark()}
		if version > 1 {
			x.Met = uint32(r.num())
		}
		id.Seen = append(id.Seen, x)
	}
	if version > 1 {
		id.Past = r.past()
	}
	if version > 2 {
		for k := r.num(); k > 0 && !r.bad; k-- {
			id.Dirs = append(id.Dirs, Volume{r.mark(), uint32(r.num())})
		}
	}
	end := len(b) - len(r.b)
	if r.bad || len(r.b) < 4 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(r.b) {
		return Identity{}, false, false
	}
	return id, false, true
}

// Recovery is what a boot found on the disk, for all shards of the node.
type Recovery struct {
	Identity Identity
	Start    uint32         // the counter of the start that begins now
	Found    *journal.Found // in the first data directory
	Boot     core.Boot
	Missing  string      // why a partition that is found nowhere may still have been here; "" it is new
	dirs     []recovered // by number
}

// Recover reads identity and journals: of the first data directory, and of the others. Its errors name what is
// wrong and the remedy; nothing is changed on the disk.
func Recover(boot core.Boot, node core.NodeID, more ...Dir) (*Recovery, error) {
	rec := &Recovery{Boot: boot}
	files := boot.List()
	_, there := slices.BinarySearchFunc(files, identityPath, func(f core.FileInfo, p string) int {
		switch {
		case f.Path < p:
			return -1
		case f.Path > p:
			return 1
		}
		return 0
	})
	if there {
		if err := rec.readIdentity(boot); err != nil {
			return nil, err
		}
	}
	if id := rec.Identity; id.Cluster != "" && id.Node != node {
		return nil, fmt.Errorf("the data directory belongs to node %d, not to node %d: start it as node %d, or give this node its own directory",
			id.Node, node, id.Node)
	}
	if d, _, ok := readDirectory(boot); ok {
		return nil, fmt.Errorf("the data directory is not the first one of node %d (it has a file %q): name the one with the file %q first",
			d.node, directoryPath, identityPath)
	}
	found, err := journal.Recover(boot)
	if err != nil {
		return nil, err
	}
	if rec.Identity.Cluster == "" && len(found.Groups) > 0 {
		return nil, fmt.Errorf("the data directory holds a journal but its file %q names no node: restore that file, or move the directory away and start with an empty one", identityPath)
	}
	rec.Found = found
	rec.Start = max(rec.Identity.Start, found.Start) + 1
	rec.dirs = []recovered{{Dir: Dir{Boot: boot}, found: found}}
	if err := rec.recoverDirs(more, node); err != nil {
		return nil, err
	}
	return rec, nil
}

// blankOf is the spare journal file for a shard. Spare files are dealt out as they lie.
func blankOf(found *journal.Found, k core.ShardID) string {
	if int(k) < len(found.Blank) {
		return found.Blank[k].Path
	}
	return ""
}

// readIdentity takes the newer valid slot. None is what a crash leaves of the very first write: then
// the disk is empty, unless a journal says otherwise.
func (rec *Recovery) readIdentity(boot core.Boot) error {
	newer, any := false, false
	for slot := int64(0); slot < 2; slot++ {
		b := make([]byte, identitySlot)
		n, _ := boot.ReadAt(identityPath, slot*identitySlot, b)
		id, isNewer, ok := decodeIdentity(b[:n])
		newer = newer || isNewer
		if ok && (!any || id.Writes > rec.Identity.Writes) {
			rec.Identity, any = id, true
		}
	}
	if newer {
		return fmt.Errorf("the data directory was written by a newer version of Karst: start that version, or move the directory away")
	}
	return nil
}
