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
// varints, marks in eight bytes, then CRC-32C. Version 1 has no marks and no lineage.
const (
	identityPath    = "node"
	identitySlot    = 4096
	identityMagic   = "KARSTNOD"
	identityVersion = 2
	identityFirst   = 1 // the oldest version that is read
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Identity is what a disk says of itself and of the nodes that it has met.
type Identity struct {
	Cluster     string // "" on an empty disk
	Node        core.NodeID
	Incarnation uint32 // of this disk, from 1
	Start       uint32 // how often a node began on this disk
	Mark        uint64 // drawn by that start
	Past        []Past // its lineage, this start included, by start
	Writes      uint64 // of this record; the newer slot has more
	Seen        []Seen // members that this node has met, sorted by node
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
	end := len(b) - len(r.b)
	if r.bad || len(r.b) < 4 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(r.b) {
		return Identity{}, false, false
	}
	return id, false, true
}

// Recovery is what a boot found on the disk, for all shards of the node.
type Recovery struct {
	Identity Identity
	Start    uint32 // the counter of the start that begins now
	Found    *journal.Found
	Boot     core.Boot
}

// Recover reads identity and journals. Its errors name what is wrong and the remedy; nothing is
// changed on the disk.
func Recover(boot core.Boot, node core.NodeID) (*Recovery, error) {
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
	found, err := journal.Recover(boot)
	if err != nil {
		return nil, err
	}
	if rec.Identity.Cluster == "" && len(found.Groups) > 0 {
		return nil, fmt.Errorf("the data directory holds a journal but its file %q names no node: restore that file, or move the directory away and start with an empty one", identityPath)
	}
	rec.Found = found
	rec.Start = max(rec.Identity.Start, found.Start) + 1
	return rec, nil
}

// blankOf is the spare journal file for a shard. Spare files are dealt out as they lie.
func (rec *Recovery) blankOf(k core.ShardID, shards int) string {
	if int(k) < len(rec.Found.Blank) {
		return rec.Found.Blank[k].Path
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
