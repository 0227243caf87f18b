package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/karst-stream/karst/core"
)

const (
	headAgain  = 4096            // where the second copy of a file's head lies
	firstFrame = headAgain + 512 // no sector is shared by a head and a frame on disks with 512 bytes
	headerSize = 64              // of a file's head and of a frame's header
	frameAlign = 64
)

const (
	headMagic  = "KJF"
	frameMagic = "KJL"
)

const (
	maxInt32  = 1<<31 - 1
	maxUint32 = 1<<32 - 1
	maxInt64  = 1<<63 - 1
)

// flagPastDead: every frame of an earlier start is obsolete.
const flagPastDead = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the 64 bytes of a header but for the checksum itself, which lies at 4.
func checksum(salt uint32, h []byte) uint32 {
	return crc32.Update(crc32.Update(salt, castagnoli, h[:4]), castagnoli, h[8:headerSize])
}

// head tells what a file is used for now.
type head struct {
	start, ordinal uint32
	shard          core.ShardID
	salt           uint32
	firstSeq       uint64
}

func (h head) generation() uint64 { return uint64(h.start)<<32 | uint64(h.ordinal) }

// put writes the layout magic 3, version 1, crc 4, start 4, ordinal 4, shard 2, nothing 2, salt 4,
// first sequence 8, zeroes.
func (h head) put(b []byte) {
	be := binary.BigEndian
	clear(b[:headerSize])
	copy(b, headMagic)
	b[3] = Version
	be.PutUint32(b[8:], h.start)
	be.PutUint32(b[12:], h.ordinal)
	be.PutUint16(b[16:], uint16(h.shard))
	be.PutUint32(b[20:], h.salt)
	be.PutUint64(b[24:], h.firstSeq)
	be.PutUint32(b[4:], checksum(0, b))
}

// parseHead gives the version too, so that a newer one can be told from rubbish.
func parseHead(b []byte) (h head, version byte, ok bool) {
	be := binary.BigEndian
	if len(b) < headerSize || string(b[:3]) != headMagic || checksum(0, b) != be.Uint32(b[4:]) {
		return head{}, 0, false
	}
	return head{start: be.Uint32(b[8:]), ordinal: be.Uint32(b[12:]), shard: core.ShardID(be.Uint16(b[16:])),
		salt: be.Uint32(b[20:]), firstSeq: be.Uint64(b[24:])}, b[3], true
}

// header is that of a frame.
type header struct {
	metaCRC    uint32
	metaLen    uint32
	payloadLen uint32
	shard      core.ShardID
	flags      uint16
	generation uint64
	seq        uint64 // from 1 in each start and shard
	durable    uint64 // the highest sequence known durable when this was written
	floor      uint64 // the lowest sequence that recovery may need
	at         int64  // position in the file
}

func (h *header) size() int64 { return headerSize + int64(h.metaLen) + int64(h.payloadLen) }

// put writes the layout magic 3, version 1, crc 4, then the fields in their order.
func (h *header) put(b []byte, salt uint32) {
	be := binary.BigEndian
	copy(b, frameMagic)
	b[3] = Version
	be.PutUint32(b[8:], h.metaCRC)
	be.PutUint32(b[12:], h.metaLen)
	be.PutUint32(b[16:], h.payloadLen)
	be.PutUint16(b[20:], uint16(h.shard))
	be.PutUint16(b[22:], h.flags)
	be.PutUint64(b[24:], h.generation)
	be.PutUint64(b[32:], h.seq)
	be.PutUint64(b[40:], h.durable)
	be.PutUint64(b[48:], h.floor)
	be.PutUint64(b[56:], uint64(h.at))
	be.PutUint32(b[4:], checksum(salt, b))
}

// parseHeader accepts only a frame of this use of this file, written for this position.
func parseHeader(b []byte, f head, at int64) (h header, ok bool) {
	be := binary.BigEndian
	if len(b) < headerSize || string(b[:3]) != frameMagic || b[3] != Version ||
		checksum(f.salt, b) != be.Uint32(b[4:]) {
		return header{}, false
	}
	h = header{metaCRC: be.Uint32(b[8:]), metaLen: be.Uint32(b[12:]), payloadLen: be.Uint32(b[16:]),
		shard: core.ShardID(be.Uint16(b[20:])), flags: be.Uint16(b[22:]), generation: be.Uint64(b[24:]),
		seq: be.Uint64(b[32:]), durable: be.Uint64(b[40:]), floor: be.Uint64(b[48:]), at: int64(be.Uint64(b[56:]))}
	return h, h.shard == f.shard && h.generation == f.generation() && h.at == at &&
		h.durable < h.seq && h.floor <= h.seq
}

func align(n int64) int64 { return (n + frameAlign - 1) &^ (frameAlign - 1) }

// Kinds of record in a frame's meta section.
const (
	recAppend     = 1
	recCheckpoint = 2
	recGone       = 3
)

func putHard(b []byte, h Hard) []byte {
	b = binary.AppendUvarint(b, uint64(h.Term))
	b = binary.AppendUvarint(b, uint64(h.Vote))
	return binary.AppendUvarint(b, uint64(h.Commit))
}

func putEntries(b []byte, ents []Entry) []byte {
	b = binary.AppendUvarint(b, uint64(len(ents)))
	for i := range ents {
		e := &ents[i]
		b = binary.AppendUvarint(b, uint64(e.Index))
		b = binary.AppendUvarint(b, uint64(e.Term))
		b = append(b, e.Type)
		b = binary.AppendUvarint(b, uint64(e.Body.Len))
		b = putBytes(b, e.Data)
	}
	return b
}

func putBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

func putRecord(b []byte, kind byte, g core.GroupID, chain uint64) []byte {
	b = binary.AppendUvarint(append(b, kind), uint64(g))
	return binary.AppendUvarint(b, chain)
}

func putGone(b []byte, g core.GroupID, chain uint64, name string) []byte {
	return putBytes(putRecord(b, recGone, g, chain), []byte(name))
}

func putMark(b []byte, m *Mark) []byte {
	b = putHard(b, m.Hard)
	for _, ids := range [][]uint64{m.Voters, m.Learners, m.VotersOut, m.LearnersNext} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.AppendUvarint(b, id)
		}
	}
	b = append(b, 0)
	if m.AutoLeave {
		b[len(b)-1] = 1
	}
	for _, v := range []uint64{uint64(m.Index), uint64(m.Term), uint64(m.Offset), uint64(m.Segment),
		uint64(m.Pos), uint64(m.LogStart)} {
		b = binary.AppendUvarint(b, v)
	}
	b = putBytes(b, []byte(m.Name))
	b = append(b, m.TopicID[:]...)
	return putBytes(b, m.State)
}

// reader takes fields off bytes and remembers the first that was not there; after it all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) u64() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) i64() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// count reads a number of elements, each of which takes at least least bytes.
func (r *reader) count(least int) int {
	n := r.u64()
	if n > uint64(len(r.b)/least) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) hard() Hard {
	return Hard{Term: core.Term(r.u64()), Vote: core.RaftID(r.u64()), Commit: core.Index(r.u64())}
}

func (r *reader) ids() (ids []uint64) {
	for n := r.count(1); n > 0; n-- {
		ids = append(ids, r.u64())
	}
	return ids
}

func (r *reader) mark() (m Mark) {
	m.Hard = r.hard()
	m.Voters, m.Learners, m.VotersOut, m.LearnersNext = r.ids(), r.ids(), r.ids(), r.ids()
	m.AutoLeave = r.byte() == 1
	m.Index, m.Term = core.Index(r.u64()), core.Term(r.u64())
	m.Offset, m.Segment = core.Offset(r.u64()), core.Offset(r.u64())
	m.Pos, m.LogStart = int64(r.u64()), core.Offset(r.u64())
	m.Name = string(r.bytes(r.u64()))
	copy(m.TopicID[:], r.bytes(uint64(len(m.TopicID))))
	if state := r.bytes(r.u64()); len(state) > 0 {
		m.State = append([]byte(nil), state...)
	}
	if m.Offset < 0 || m.Segment < 0 || m.Pos < 0 || m.LogStart < 0 || m.Index > maxInt64 {
		r.fail()
	}
	return m
}

// rec is a record of a frame without its entries; ent is one of those, its Data points into the meta
// section.
type rec struct {
	kind      byte
	group     core.GroupID
	chain     uint64 // running number of the group's records in this start
	hasHard   bool
	hard      Hard
	completed core.Index
	mark      Mark
}

type ent struct {
	index core.Index
	term  core.Term
	typ   uint8
	body  int64 // bytes of the inline batch, 0: none
	data  []byte
}

// walker is where a walk is: memory for all that are made one after the other.
type walker struct {
	rec rec
	ent ent
}

// walk decodes a meta section: record is called for each record, then entry for each of its entries.
// It answers false at the first byte that makes no sense. What they are given is overwritten after
// the call.
func (at *walker) walk(meta []byte, record func(*rec), entry func(*ent)) bool {
	r := reader{b: meta}
	c, e := &at.rec, &at.ent
	for len(r.b) > 0 && !r.bad {
		*c = rec{kind: r.byte(), group: core.GroupID(r.u64()), chain: r.u64()}
		switch c.kind {
		case recAppend:
			if c.hasHard = r.byte() == 1; c.hasHard {
				c.hard = r.hard()
			}
			c.completed = core.Index(r.u64())
		case recCheckpoint:
			c.mark = r.mark()
		case recGone:
			c.mark.Name = string(r.bytes(r.u64()))
		default:
			return false
		}
		if r.bad {
			return false
		}
		record(c)
		if c.kind == recGone {
			continue
		}
		for n := r.count(5); n > 0 && !r.bad; n-- {
			*e = ent{index: core.Index(r.u64()), term: core.Term(r.u64()), typ: r.byte()}
			body := r.u64()
			e.body, e.data = int64(body), r.bytes(r.u64())
			if r.bad || body > maxInt32 || e.index == 0 || e.index > maxInt64 {
				return false
			}
			entry(e)
		}
	}
	return !r.bad
}
