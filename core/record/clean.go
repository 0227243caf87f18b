package record

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
)

// What compaction does to a batch: records go, the rest of it stays what it was (the comment "On
// Compaction" of DefaultRecordBatch.java; MemoryRecords.filterTo).

const attrHorizon = 0x40 // bit of Attributes: KIP-534

// DeleteHorizon is when the delete markers of the batch, or the transaction marker that it is, may go
// (KIP-534). Compaction sets it, in the place of the base timestamp; false: it has not.
func (b Batch) DeleteHorizon() (core.Wall, bool) {
	if b.Attributes()&attrHorizon == 0 {
		return -1, false
	}
	return b.BaseTimestamp(), true
}

// Raw is a record as it lies in a batch.
type Raw struct {
	Offset    core.Offset
	Timestamp core.Wall
	Key       []byte // nil is null
	Null      bool   // the value is null: with a key, a delete marker
	tail      []byte // the key's length and all behind it
}

// RawsIn visits the records in plain, the decompressed payload of b, as RecordsIn does, but makes
// nothing: what it shows is valid until the next one. The error is ErrRecords.
func (b Batch) RawsIn(plain []byte, visit func(*Raw)) error {
	if int64(b.Count())*minRecord > int64(len(plain)) || b.Count() < 0 {
		return ErrRecords
	}
	c, last := cursor{b: plain}, int64(-1)
	appendTime, base, most := b.LogAppendTime(), b.BaseTimestamp(), int64(b.LastOffsetDelta())
	var r Raw
	for range b.Count() {
		f := c.frame()
		f.attributes()
		r.Timestamp = base + core.Wall(f.varint())
		if appendTime {
			r.Timestamp = b.MaxTimestamp()
		}
		delta := f.varint()
		if delta <= last || delta > most {
			return ErrRecords
		}
		last = delta
		r.Offset, r.tail = b.BaseOffset()+core.Offset(delta), f.b
		r.Key = f.field(f.varint())
		size := f.varint()
		f.field(size)
		r.Null = size == -1
		for n := f.headers(); n > 0 && !f.bad; n-- {
			key := f.varint()
			if key < 0 { // a header's key is never null
				return ErrRecords
			}
			f.field(key)
			f.field(f.varint())
		}
		if f.bad || len(f.b) != 0 {
			return ErrRecords
		}
		visit(&r)
	}
	if c.bad || len(c.b) != 0 {
		return ErrRecords
	}
	return nil
}

// Rewriter writes a batch anew with some of its records: Begin, Keep each, End.
type Rewriter struct {
	from    Batch
	buf     []byte
	at      int // where the batch begins in buf
	horizon core.Wall
	count   int32
	base    core.Wall
	max     core.Wall
}

// Begin starts the batch behind the bytes of dst. horizon becomes its delete horizon, -1 is none.
func (w *Rewriter) Begin(dst []byte, from Batch, horizon core.Wall) {
	*w = Rewriter{from: from, at: len(dst), horizon: horizon, base: horizon, max: -1}
	w.buf = append(dst, from[:HeaderSize]...)
}

// Keep adds a record of the batch; they come in order.
func (w *Rewriter) Keep(r *Raw) {
	if w.count == 0 && w.horizon < 0 {
		w.base = r.Timestamp
	}
	w.count++
	w.max = max(w.max, r.Timestamp)
	time, offset := int64(r.Timestamp-w.base), int64(r.Offset-w.from.BaseOffset())
	w.buf = binary.AppendVarint(w.buf, int64(1+varintSize(time)+varintSize(offset)+len(r.tail)))
	w.buf = append(w.buf, 0)
	w.buf = binary.AppendVarint(w.buf, time)
	w.buf = binary.AppendVarint(w.buf, offset)
	w.buf = append(w.buf, r.tail...)
}

// Plain is the payload so far.
func (w *Rewriter) Plain() []byte { return w.buf[w.at+HeaderSize:] }

// Pack puts a compressed payload in the place of Plain.
func (w *Rewriter) Pack(codec Codec, payload []byte) (dst []byte) {
	w.buf = append(w.buf[:w.at+HeaderSize], payload...)
	return w.end(codec)
}

// End fills the header in. First and last offset, sequence, epochs and kind are what they were, so
// that the batch stands for the same numbers as before. Times are those of the records that were kept; with
// LogAppendTime all have that of the batch.
func (w *Rewriter) End() (dst []byte) { return w.end(None) }

func (w *Rewriter) end(codec Codec) []byte {
	b := Batch(w.buf[w.at:])
	attr := w.from.Attributes()&(attrLogAppendTime|attrTransactional|attrControl) | int16(codec)
	if w.horizon >= 0 {
		attr |= attrHorizon
	}
	b.rewrite(attr, w.base, w.max, w.count)
	return w.buf
}

// AppendEmpty adds to dst what is left of a batch whose records are all gone: the header. It keeps the
// largest timestamp and has no base timestamp (DefaultRecordBatch.writeEmptyHeader).
func AppendEmpty(dst []byte, from Batch) []byte {
	at := len(dst)
	dst = append(dst, from[:HeaderSize]...)
	attr := from.Attributes() & (attrLogAppendTime | attrTransactional | attrControl)
	Batch(dst[at:]).rewrite(attr, -1, from.MaxTimestamp(), 0)
	return dst
}

// rewrite makes b, which begins with the header of the batch that it comes from, whole.
func (b Batch) rewrite(attr int16, base, most core.Wall, count int32) {
	be := binary.BigEndian
	be.PutUint32(b[atLength:], uint32(len(b)-sizeEnd))
	be.PutUint16(b[atAttr:], uint16(attr))
	be.PutUint64(b[atBaseTime:], uint64(base))
	be.PutUint64(b[atMaxTime:], uint64(most))
	be.PutUint32(b[atCount:], uint32(count))
	b.seal()
}
