package record

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
)

// Record is one record of a batch. A nil Key or Value is Kafka's null, an empty one is empty.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Timestamp  core.Wall
	Offset     core.Offset
}

// Header is one header of a record (KIP-82); Value may be null.
type Header struct {
	Key   string
	Value []byte
}

// The least that a record takes: length, attributes, two deltas, two lengths and the header count.
const minRecord = 7

// varint reads Kafka's zigzag varint; n is 0 when b does not begin with one.
func varint(b []byte) (v int64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		u := uint64(b[0])
		return int64(u>>1) ^ -int64(u&1), 1
	}
	v, n = binary.Varint(b)
	return v, max(n, 0)
}

// cursor walks over bytes and remembers the first thing that went wrong; after it, all is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) varint() int64 {
	v, n := varint(c.b)
	if n == 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) fail() { c.b, c.bad = nil, true }

// field takes n bytes; n of -1 is null and gives nil.
func (c *cursor) field(n int64) []byte {
	if n == -1 {
		return nil
	}
	if n < 0 || n > int64(len(c.b)) {
		c.fail()
		return nil
	}
	f := c.b[:n:n]
	c.b = c.b[n:]
	return f
}

// frame opens the next record of c: a cursor over its bytes behind the attributes.
func (c *cursor) frame() cursor {
	n := c.varint()
	if n < minRecord-1 { // also refuses null, and the zero of a failed read
		c.fail()
		return cursor{bad: true}
	}
	b := c.field(n)
	return cursor{b: b, bad: c.bad}
}

func (c *cursor) attributes() {
	if len(c.b) == 0 {
		c.fail()
		return
	}
	c.b = c.b[1:]
}

// headers reads the header count and bounds it by the bytes that are left.
func (c *cursor) headers() int64 {
	n := c.varint()
	if n < 0 || n > int64(len(c.b))/2 {
		c.fail()
		return 0
	}
	return n
}

// wellFormed says that b is exactly count records with the offset deltas 0, 1, 2 and so on. It fills f in,
// whose times count from base, and shows each record to see, if that is not nil.
func wellFormed(b []byte, count int32, base core.Wall, f *Facts, see func(i int32, time core.Wall, keyless bool)) bool {
	*f = noFacts()
	if int64(count)*minRecord > int64(len(b)) {
		return false
	}
	c := cursor{b: b}
	for i := range count {
		r := c.frame()
		r.attributes()
		time := base + core.Wall(r.varint())
		if r.varint() != int64(i) {
			return false
		}
		key := r.varint()
		r.field(key)
		r.field(r.varint())
		for n := r.headers(); n > 0 && !r.bad; n-- {
			key := r.varint()
			if key < 0 { // a header's key is never null
				return false
			}
			r.field(key)
			r.field(r.varint())
		}
		if r.bad || len(r.b) != 0 {
			return false
		}
		f.add(time, key < 0)
		if see != nil {
			see(i, time, key < 0)
		}
	}
	return !c.bad && len(c.b) == 0
}

// Records visits the records of an uncompressed batch in order until visit answers false. What it
// shows points into the batch. Offset deltas may have gaps, as compaction leaves them, but never go
// back and never pass the last. The errors are ErrCompressed and ErrRecords; records before the
// malformed one have been visited by then.
func (b Batch) Records(visit func(Record) bool) error {
	if b.Codec() != None {
		return ErrCompressed
	}
	return b.RecordsIn(b.Payload(), visit)
}

// RecordsIn is Records over plain, the decompressed payload of b.
func (b Batch) RecordsIn(plain []byte, visit func(Record) bool) error {
	if int64(b.Count())*minRecord > int64(len(plain)) || b.Count() < 0 {
		return ErrRecords
	}
	c := cursor{b: plain}
	appendTime, base, last := b.LogAppendTime(), b.BaseTimestamp(), int64(-1)
	for range b.Count() {
		f := c.frame()
		f.attributes()
		r := Record{Timestamp: base + core.Wall(f.varint())}
		if appendTime {
			r.Timestamp = b.MaxTimestamp()
		}
		delta := f.varint()
		if delta <= last || delta > int64(b.LastOffsetDelta()) {
			return ErrRecords
		}
		last = delta
		r.Offset = b.BaseOffset() + core.Offset(delta)
		r.Key = f.field(f.varint())
		r.Value = f.field(f.varint())
		for n := f.headers(); n > 0 && !f.bad; n-- {
			size := f.varint()
			if size < 0 {
				return ErrRecords
			}
			h := Header{Key: string(f.field(size))}
			h.Value = f.field(f.varint())
			r.Headers = append(r.Headers, h)
		}
		if f.bad || len(f.b) != 0 {
			return ErrRecords
		}
		if !visit(r) {
			return nil
		}
	}
	if c.bad || len(c.b) != 0 {
		return ErrRecords
	}
	return nil
}

// Builder makes batches. The zero value is ready; Reset makes it ready again and keeps its memory.
// What Build gives belongs to the builder until then.
type Builder struct {
	buf      []byte
	started  bool
	count    int32
	baseTime core.Wall
	maxTime  core.Wall
	base     core.Offset
	epoch    core.Epoch
	attr     int16
	pid      int64
	pepoch   int16
	seq      int32
}

// Reset forgets everything but the memory.
func (w *Builder) Reset() { *w = Builder{buf: w.buf[:0]} }

func (w *Builder) start() {
	if w.started {
		return
	}
	w.started = true
	w.buf = append(w.buf[:0], make([]byte, HeaderSize)...)
	w.epoch, w.pid, w.pepoch, w.seq = -1, -1, -1, -1
}

// At sets what a leader would patch; without it the batch begins at 0 in epoch -1, as clients send.
func (w *Builder) At(base core.Offset, epoch core.Epoch) {
	w.start()
	w.base, w.epoch = base, epoch
}

// Producer makes the batch idempotent: seq is that of its first record.
func (w *Builder) Producer(id int64, epoch int16, seq int32) {
	w.start()
	w.pid, w.pepoch, w.seq = id, epoch, seq
}

// Transactional marks the batch as part of its producer's transaction.
func (w *Builder) Transactional() { w.attr |= attrTransactional }

// Control marks the batch as one that only brokers may write.
func (w *Builder) Control() { w.attr |= attrControl }

// Append adds a record. Its offset is the next one, whatever r.Offset says.
func (w *Builder) Append(r Record) {
	w.start()
	if w.count == 0 {
		w.baseTime, w.maxTime = r.Timestamp, r.Timestamp
	}
	w.maxTime = max(w.maxTime, r.Timestamp)
	w.buf = binary.AppendVarint(w.buf, int64(w.bodySize(r)))
	w.buf = append(w.buf, 0)
	w.buf = binary.AppendVarint(w.buf, int64(r.Timestamp-w.baseTime))
	w.buf = binary.AppendVarint(w.buf, int64(w.count))
	w.buf = appendField(w.buf, r.Key)
	w.buf = appendField(w.buf, r.Value)
	w.buf = binary.AppendVarint(w.buf, int64(len(r.Headers)))
	for _, h := range r.Headers {
		w.buf = binary.AppendVarint(w.buf, int64(len(h.Key)))
		w.buf = append(w.buf, h.Key...)
		w.buf = appendField(w.buf, h.Value)
	}
	w.count++
}

// Count is how many records were appended; Size is the batch's size in bytes so far.
func (w *Builder) Count() int32 { return w.count }
func (w *Builder) Size() int    { return max(len(w.buf), HeaderSize) }

// Build fills the header in and computes the CRC. More records may be appended and Build called
// again. Without a record the batch is the empty one that Check refuses: count 0, last delta -1.
func (w *Builder) Build() Batch {
	w.start()
	if len(w.buf) > 1<<31-1 {
		panic("record: a batch is smaller than 2 GiB")
	}
	b, be := Batch(w.buf), binary.BigEndian
	be.PutUint64(b[atBase:], uint64(w.base))
	be.PutUint32(b[atLength:], uint32(len(b)-sizeEnd))
	be.PutUint32(b[atEpoch:], uint32(w.epoch))
	b[atMagic] = magic2
	be.PutUint16(b[atAttr:], uint16(w.attr))
	be.PutUint32(b[atLastDelta:], uint32(w.count-1))
	be.PutUint64(b[atBaseTime:], uint64(w.baseTime))
	be.PutUint64(b[atMaxTime:], uint64(w.maxTime))
	be.PutUint64(b[atPID:], uint64(w.pid))
	be.PutUint16(b[atPEpoch:], uint16(w.pepoch))
	be.PutUint32(b[atSequence:], uint32(w.seq))
	be.PutUint32(b[atCount:], uint32(w.count))
	b.seal()
	return b
}

func appendField(dst, f []byte) []byte {
	if f == nil {
		return append(dst, 1) // -1 in zigzag
	}
	return append(binary.AppendVarint(dst, int64(len(f))), f...)
}

func (w *Builder) bodySize(r Record) int {
	n := 1 + varintSize(int64(r.Timestamp-w.baseTime)) + varintSize(int64(w.count)) +
		fieldSize(r.Key) + fieldSize(r.Value) + varintSize(int64(len(r.Headers)))
	for _, h := range r.Headers {
		n += varintSize(int64(len(h.Key))) + len(h.Key) + fieldSize(h.Value)
	}
	return n
}

func fieldSize(f []byte) int {
	if f == nil {
		return 1
	}
	return varintSize(int64(len(f))) + len(f)
}

func varintSize(v int64) int {
	u, n := uint64(v<<1)^uint64(v>>63), 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
