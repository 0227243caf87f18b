package shard

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// A frame begins with
//
//	0  version | 1  kind | 2  CRC-32C of version, kind and all from 6 on | 6  up to where |
//	10 hash of the partition's directory | 14 group | 22 what its kind says
//
// TCP's own sum is 16 bits wide and ends at the next network card or proxy, so what raft believes of its
// peers has a sum of its own. Batches lie behind what is covered: they may be regions of files that are
// read as late as they are sent, and carry sums that the receiver checks anyway.
const (
	frameVersion = 1
	frameSum     = 2
	frameCovered = 6
	frameHash    = 10
	frameGroup   = 14
	frameHead    = 22
)

var markCorrupt = det.NewMark("shard: a frame from a peer failed its checksum")

func putHead(b []byte, kind byte, hash uint32, g core.GroupID) []byte {
	b = append(b, frameVersion, kind, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, hash)
	return binary.LittleEndian.AppendUint64(b, uint64(g))
}

// say asks the driver to send a frame, whose first Ref is all but batches.
func (s *Shard) say(to core.NodeID, vec ...core.Ref) {
	b := vec[0].Bytes()
	binary.LittleEndian.PutUint32(b[frameCovered:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[frameSum:], frameCRC(b))
	s.fx.Add(core.Effect{Kind: core.SendPeer, Node: to}, vec...)
}

func frameCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:frameSum], castagnoli), castagnoli, b[frameCovered:])
}

// sealed says whether a frame is one of this version and as its sender wrote it; of its batches nothing
// is said.
func sealed(b []byte) bool {
	if len(b) < frameHead || b[0] != frameVersion {
		markStrange.Hit()
		return false
	}
	n := binary.LittleEndian.Uint32(b[frameCovered:])
	if n < frameHead || uint64(n) > uint64(len(b)) ||
		frameCRC(b[:n]) != binary.LittleEndian.Uint32(b[frameSum:]) {
		markCorrupt.Hit()
		return false
	}
	return true
}

func groupOf(frame []byte) core.GroupID {
	return core.GroupID(binary.LittleEndian.Uint64(frame[frameGroup:]))
}
