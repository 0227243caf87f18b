package journal

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// Kinds of entry data: its first byte. Empty data is raft's no-op.
const (
	KindBatch = 1 // a Stub
	KindStart = 2 // the log begins at an offset from here on, see AppendStart

	KindCompact = 3 // segments are to be compacted, see AppendCompact
)

// Flags of a Stub.
const (
	Roll          uint8 = 1 << iota // a new segment begins with this batch; its base is Base
	Transactional                   // the batch is part of its producer's transaction
	Control                         // the batch is a transaction's marker
)

const (
	stubVersion = 1

	startVersion = 1 // the segments stay as they are
	startRolls   = 2 // ... and the next batch begins one
	flagBits     = 0x0f

	compactVersion = 1
)

// Stub is what raft carries in place of a batch.
type Stub struct {
	Flags   uint8
	Base    core.Offset
	Count   int32 // offsets that the batch takes: its last offset delta + 1
	Len     int32 // bytes of the whole batch
	CRC     uint32
	PID     int64 // -1: not idempotent; then PEpoch and Seq are -1 too
	PEpoch  int16
	Seq     int32 // of the first record
	MaxTime core.Wall
}

// StubOf tells of a batch whose base offset is patched.
func StubOf(b record.Batch) Stub {
	s := Stub{Base: b.BaseOffset(), Count: b.LastOffsetDelta() + 1, Len: int32(len(b)), CRC: b.CRC(),
		PID: b.ProducerID(), PEpoch: b.ProducerEpoch(), Seq: b.BaseSequence(), MaxTime: b.MaxTimestamp()}
	if b.Transactional() {
		s.Flags |= Transactional
	}
	if b.Control() {
		s.Flags |= Control
	}
	return s
}

// Next is the offset after the batch.
func (s Stub) Next() core.Offset { return s.Base + core.Offset(s.Count) }

// Append writes the stub as entry data: kind, version and flags, then 20 to 45 bytes.
func (s Stub) Append(dst []byte) []byte {
	dst = append(dst, KindBatch, stubVersion<<4|s.Flags&flagBits)
	dst = binary.BigEndian.AppendUint32(dst, s.CRC)
	dst = binary.AppendUvarint(dst, uint64(s.Base))
	dst = binary.AppendUvarint(dst, uint64(s.Count))
	dst = binary.AppendUvarint(dst, uint64(s.Len))
	dst = binary.AppendVarint(dst, s.PID)
	dst = binary.AppendVarint(dst, int64(s.PEpoch))
	dst = binary.AppendVarint(dst, int64(s.Seq))
	return binary.AppendVarint(dst, int64(s.MaxTime))
}

// DecodeStub reads entry data back; false when it is not a stub of this version, or tells of a batch
// that cannot be.
func DecodeStub(b []byte) (Stub, bool) {
	if len(b) < 6 || b[0] != KindBatch || b[1]>>4 != stubVersion {
		return Stub{}, false
	}
	s := Stub{Flags: b[1] & flagBits, CRC: binary.BigEndian.Uint32(b[2:])}
	r := reader{b: b[6:]}
	base, count, size := r.u64(), r.u64(), r.u64()
	s.PID = r.i64()
	pepoch, seq := r.i64(), r.i64()
	s.MaxTime = core.Wall(r.i64())
	s.Base, s.Count, s.Len = core.Offset(base), int32(count), int32(size)
	s.PEpoch, s.Seq = int16(pepoch), int32(seq)
	ok := !r.bad && len(r.b) == 0 && count >= 1 && count <= maxInt32 && base <= maxInt64-count &&
		size >= record.HeaderSize && size <= maxInt32 && int64(s.PEpoch) == pepoch && int64(s.Seq) == seq
	if !ok {
		return Stub{}, false
	}
	return s, true
}

// AppendStart writes entry data that says: the log of this partition starts at offset start.
func AppendStart(dst []byte, start core.Offset) []byte {
	return binary.AppendUvarint(append(dst, KindStart, startVersion), uint64(start))
}

// AppendRollingStart is AppendStart for a start at the very end of the log: a new segment begins there, so that
// all before it can go.
func AppendRollingStart(dst []byte, start core.Offset) []byte {
	return binary.AppendUvarint(append(dst, KindStart, startRolls), uint64(start))
}

// StartRolls says of an entry's data that DecodeStart can read whether a new segment begins at the start.
func StartRolls(b []byte) bool { return b[1] == startRolls }

// DecodeStart reads back what AppendStart or AppendRollingStart wrote; false when it is neither.
func DecodeStart(b []byte) (core.Offset, bool) {
	if len(b) < 3 || b[0] != KindStart || b[1] != startVersion && b[1] != startRolls {
		return 0, false
	}
	r := reader{b: b[2:]}
	start := r.u64()
	if r.bad || len(r.b) > 0 || start > maxInt64 {
		return 0, false
	}
	return core.Offset(start), true
}

// AppendCompact writes entry data that says: every replica compacts its segments as decision says, which is in the
// words of core/compact. A node that does not know it would go on without, so it is never proposed where one could be.
func AppendCompact(dst, decision []byte) []byte {
	return append(append(dst, KindCompact, compactVersion), decision...)
}

// DecodeCompact reads back what AppendCompact wrote; false when it is none.
func DecodeCompact(b []byte) (decision []byte, ok bool) {
	if len(b) < 2 || b[0] != KindCompact || b[1] != compactVersion {
		return nil, false
	}
	return b[2:], true
}
