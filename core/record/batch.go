// Package record owns Kafka's record batch, format v2 (KIP-98, DefaultRecordBatch.java), seen in
// place: a Batch is the bytes that a producer sent, that a segment file holds and that a consumer
// gets. It promises that hostile bytes are refused within bounded time and memory and never panic
// once Next has cut them. It refuses to know how bytes are compressed (Press is given that), to copy what
// it can point into, and to know anything of message formats v0 and v1, which Kafka 4 dropped.
package record

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/karst-stream/karst/core"
)

const (
	HeaderSize = 61 // bytes before the records
	Unchecked  = 21 // leading bytes that the CRC does not cover: up to and with the CRC itself
	sizeEnd    = 12 // the length field counts what follows it
	magic2     = 2
)

// Where the fields of the header begin.
const (
	atBase      = 0
	atLength    = 8
	atEpoch     = 12
	atMagic     = 16
	atCRC       = 17
	atAttr      = 21
	atLastDelta = 23
	atBaseTime  = 27
	atMaxTime   = 35
	atPID       = 43
	atPEpoch    = 51
	atSequence  = 53
	atCount     = 57
)

// Bits of Attributes.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

var (
	// ErrShort says that the bytes end before the batch does: more are needed.
	ErrShort = errors.New("record: batch is cut short")
	// ErrSize says that the length field cannot be that of a batch.
	ErrSize = errors.New("record: batch length is impossible")
	// ErrMagic says that this is not format v2; Kafka answers UNSUPPORTED_FOR_MESSAGE_FORMAT.
	ErrMagic = errors.New("record: message format is not v2")
	// ErrRecords says that the records do not parse, or not to the number that the header tells.
	ErrRecords = errors.New("record: malformed records")
	// ErrCompressed says that the records must be decompressed first; see RecordsIn.
	ErrCompressed = errors.New("record: records are compressed")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one whole batch of format v2. Next makes one that is at least HeaderSize long; the
// accessors of a shorter one panic.
type Batch []byte

// Codec is how the records of a batch are compressed.
type Codec int8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

func (c Codec) String() string {
	names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}
	if c >= 0 && int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// SizeAt is the whole size in bytes of the batch that begins in b, of which 12 bytes are needed:
// false when there are fewer, or when no batch of v2 has the size that they tell.
func SizeAt(b []byte) (int, bool) {
	if len(b) < sizeEnd {
		return 0, false
	}
	n := int64(int32(binary.BigEndian.Uint32(b[atLength:]))) + sizeEnd
	if n < HeaderSize || n > 1<<31-1 {
		return 0, false
	}
	return int(n), true
}

// Next cuts the first batch off b. It looks at size and magic only; Check judges the rest. The
// errors are ErrShort, ErrSize and ErrMagic; b itself comes back as rest with them.
func Next(b []byte) (first Batch, rest []byte, err error) {
	if len(b) <= atMagic {
		return nil, b, ErrShort
	}
	if b[atMagic] != magic2 {
		return nil, b, ErrMagic
	}
	n, ok := SizeAt(b)
	if !ok {
		return nil, b, ErrSize
	}
	if n > len(b) {
		return nil, b, ErrShort
	}
	return Batch(b[:n:n]), b[n:], nil
}

func (b Batch) i64(at int) int64  { return int64(binary.BigEndian.Uint64(b[at:])) }
func (b Batch) u32(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
func (b Batch) i32(at int) int32  { return int32(b.u32(at)) }
func (b Batch) i16(at int) int16  { return int16(binary.BigEndian.Uint16(b[at:])) }

func (b Batch) BaseOffset() core.Offset { return core.Offset(b.i64(atBase)) }

// Size is the whole size in bytes that the header tells, the 12 bytes before the length included.
// It is len(b) for a batch that Next has cut; the length field of other batches may be any lie, and
// the sum wraps then.
func (b Batch) Size() int32 { return b.i32(atLength) + sizeEnd }

func (b Batch) LeaderEpoch() core.Epoch { return core.Epoch(b.i32(atEpoch)) }
func (b Batch) Magic() int8             { return int8(b[atMagic]) }
func (b Batch) CRC() uint32             { return b.u32(atCRC) }
func (b Batch) Attributes() int16       { return b.i16(atAttr) }
func (b Batch) Codec() Codec            { return Codec(b.Attributes() & attrCodec) }
func (b Batch) Transactional() bool     { return b.Attributes()&attrTransactional != 0 }
func (b Batch) Control() bool           { return b.Attributes()&attrControl != 0 }

// LogAppendTime says that MaxTimestamp, set by a broker, is the time of every record.
func (b Batch) LogAppendTime() bool { return b.Attributes()&attrLogAppendTime != 0 }

func (b Batch) LastOffsetDelta() int32 { return b.i32(atLastDelta) }

// LastOffset is that of the last record the batch had when it was produced (compaction keeps it).
func (b Batch) LastOffset() core.Offset {
	return b.BaseOffset() + core.Offset(b.LastOffsetDelta())
}

func (b Batch) BaseTimestamp() core.Wall { return core.Wall(b.i64(atBaseTime)) }
func (b Batch) MaxTimestamp() core.Wall  { return core.Wall(b.i64(atMaxTime)) }

// ProducerID is -1 when the producer is not idempotent.
func (b Batch) ProducerID() int64    { return b.i64(atPID) }
func (b Batch) ProducerEpoch() int16 { return b.i16(atPEpoch) }
func (b Batch) BaseSequence() int32  { return b.i32(atSequence) }
func (b Batch) Count() int32         { return b.i32(atCount) }

// Payload is what follows the header: the records, compressed or not.
func (b Batch) Payload() []byte { return b[HeaderSize:] }

// CRCValid computes the CRC-32C over everything after the CRC field.
func (b Batch) CRCValid() bool {
	return len(b) >= HeaderSize && crc32.Checksum(b[Unchecked:], castagnoli) == b.CRC()
}

// Patch writes the 12 bytes that a leader owns: the base offset and the leader epoch. The CRC does
// not cover them, so it stays true.
func (b Batch) Patch(base core.Offset, epoch core.Epoch) {
	binary.BigEndian.PutUint64(b[atBase:], uint64(base))
	binary.BigEndian.PutUint32(b[atEpoch:], uint32(epoch))
}

// Stamp makes now the time of every record (message.timestamp.type=LogAppendTime). Like Kafka's
// DefaultRecordBatch.setMaxTimestamp it leaves the base timestamp and computes the CRC anew.
func (b Batch) Stamp(now core.Wall) {
	b[atAttr+1] |= attrLogAppendTime
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(now))
	b.seal()
}

// Date makes the times of the records those that their producer gave them, of which max is the latest.
// It is setMaxTimestamp for CreateTime: the CRC is computed anew only when something changes.
func (b Batch) Date(max core.Wall) {
	if !b.LogAppendTime() && b.MaxTimestamp() == max {
		return
	}
	b[atAttr+1] &^= attrLogAppendTime
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(max))
	b.seal()
}

func (b Batch) seal() {
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[Unchecked:], castagnoli))
}

// Prefix derives the bytes that the CRC does not cover from what raft knows of a batch: a copy on
// disk whose first 21 bytes differ is another batch, though its CRC may agree. size is the whole
// size in bytes.
func Prefix(base core.Offset, size int32, epoch core.Epoch, crc uint32) (p [Unchecked]byte) {
	binary.BigEndian.PutUint64(p[atBase:], uint64(base))
	binary.BigEndian.PutUint32(p[atLength:], uint32(size-sizeEnd))
	binary.BigEndian.PutUint32(p[atEpoch:], uint32(epoch))
	p[atMagic] = magic2
	binary.BigEndian.PutUint32(p[atCRC:], crc)
	return p
}

// Problem is why a produced batch is refused.
type Problem uint8

const (
	Fine       Problem = iota
	Corrupt            // size or CRC: CORRUPT_MESSAGE
	Invalid            // counts, offsets, records, or a control batch: INVALID_RECORD
	WrongMagic         // not v2: UNSUPPORTED_FOR_MESSAGE_FORMAT
)

func (p Problem) String() string {
	names := [...]string{"fine", "corrupt message", "invalid record", "message format is not v2"}
	if int(p) < len(names) {
		return names[p]
	}
	return "?"
}

// Check is what a batch from a client must satisfy, in the order in which Kafka's UnifiedLog and
// LogValidator look: magic, size, CRC, then the header's counts, then, when the records are not
// compressed, each record's offset delta. Its cost is one pass for the CRC and one over the lengths;
// it allocates nothing.
func (b Batch) Check() Problem {
	p, _ := b.Inspect()
	return p
}

// Inspect is Check, and tells what it saw of the records on its way; of compressed ones that is nothing.
func (b Batch) Inspect() (Problem, Facts) {
	f := noFacts()
	return b.inspect(&f), f
}

func (b Batch) inspect(f *Facts) Problem {
	if len(b) > atMagic && b[atMagic] != magic2 {
		return WrongMagic
	}
	if n, ok := SizeAt(b); !ok || n != len(b) || !b.CRCValid() {
		return Corrupt
	}
	if b.Control() || b.Codec() > Zstd {
		return Invalid
	}
	if b.Count() < 1 || int64(b.LastOffsetDelta()) != int64(b.Count())-1 {
		return Invalid
	}
	if b.ProducerID() >= 0 && (b.BaseSequence() < 0 || b.ProducerEpoch() < 0) {
		return Invalid
	}
	if b.Transactional() && b.ProducerID() < 0 {
		return Invalid
	}
	if b.Codec() == None && !wellFormed(b.Payload(), b.Count(), b.BaseTimestamp(), f, nil) {
		return Invalid
	}
	return Fine
}
