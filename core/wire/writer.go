package wire

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// inlined is the length in bytes up to which records in memory are copied between the fields: an entry
// of a vector costs more than moving so few bytes.
const inlined = 512

// Writer writes messages. Fields are gathered in one buffer that is kept from message to message;
// records are named, not copied, and end up between the fields in the vector that Vec returns. The zero
// value is ready. Whoever drops a Writer before Vec calls Reset.
type Writer struct {
	b       []byte
	cuts    []cut
	spliced int // bytes that the cuts name

	frameAt      int // of the frame begun last: its place in b
	frameSpliced int // and spliced at that time
}

// cut is a Ref that belongs between b[:at] and b[at:].
type cut struct {
	at  int
	ref core.Ref
}

const keptCapacity = 1 << 20 // bytes; a buffer that one answer made larger is dropped

// Reset forgets what was written.
func (w *Writer) Reset() {
	for i := range w.cuts {
		w.cuts[i].ref.Release()
	}
	w.clear()
}

func (w *Writer) clear() {
	clear(w.cuts)
	w.cuts, w.b, w.spliced = w.cuts[:0], w.b[:0], 0
	if cap(w.b) > keptCapacity {
		w.b = nil
	}
}

// Len is how many bytes were written, named records included.
func (w *Writer) Len() int { return len(w.b) + w.spliced }

// Bytes is what was written, valid until the next call on w. Not for messages with records.
func (w *Writer) Bytes() []byte {
	det.That(len(w.cuts) == 0, "wire: bytes of a message with records")
	return w.b
}

// Vec appends what was written to dst, in order, and empties w. The caller owns the Refs.
func (w *Writer) Vec(dst []core.Ref) []core.Ref {
	if len(w.b) == 0 && len(w.cuts) == 0 {
		return dst
	}
	head := core.RefOf(w.b)
	from := 0
	for i := range w.cuts {
		if at := w.cuts[i].at; at > from {
			dst = append(dst, head.Slice(int32(from), int32(at-from)).Retain())
			from = at
		}
		dst = append(dst, w.cuts[i].ref)
	}
	if from < len(w.b) {
		dst = append(dst, head.Slice(int32(from), int32(len(w.b)-from)).Retain())
	}
	head.Release()
	w.clear()
	return dst
}

// AppendTo appends what was written to b, in one piece, and empties w. All of it must be in memory.
func (w *Writer) AppendTo(b []byte) []byte {
	from := 0
	for i := range w.cuts {
		c := &w.cuts[i]
		b = append(append(b, w.b[from:c.at]...), c.ref.Bytes()...)
		from = c.at
	}
	b = append(b, w.b[from:]...)
	w.Reset()
	return b
}

// BeginFrame leaves room for the length of a frame. Frames do not nest.
func (w *Writer) BeginFrame() {
	w.frameAt, w.frameSpliced = len(w.b), w.spliced
	w.b = append(w.b, 0, 0, 0, 0)
}

// EndFrame fills in the length of the frame begun last.
func (w *Writer) EndFrame() {
	n := len(w.b) - w.frameAt - 4 + w.spliced - w.frameSpliced
	det.That(n >= 4 && n <= 1<<31-1, "wire: frame of an impossible length")
	binary.BigEndian.PutUint32(w.b[w.frameAt:], uint32(n))
}

func (w *Writer) version(v, lo, hi int16) {
	det.That(v >= lo && v <= hi, "wire: a message in a version that it does not have")
}

// Int8 writes one byte.
func (w *Writer) Int8(v int8) { w.b = append(w.b, byte(v)) }

// Bool writes one byte.
func (w *Writer) Bool(v bool) {
	if v {
		w.Int8(1)
	} else {
		w.Int8(0)
	}
}

// Uint16 writes two bytes.
func (w *Writer) Uint16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }

// Int16 writes two bytes.
func (w *Writer) Int16(v int16) { w.Uint16(uint16(v)) }

// Error writes an error code.
func (w *Writer) Error(e Error) { w.Uint16(uint16(e)) }

// Int32 writes four bytes.
func (w *Writer) Int32(v int32) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }

// Int64 writes eight bytes.
func (w *Writer) Int64(v int64) { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }

// UUID writes sixteen bytes.
func (w *Writer) UUID(u UUID) { w.b = append(w.b, u[:]...) }

// Uvarint writes an unsigned varint.
func (w *Writer) Uvarint(v uint32) { w.b = binary.AppendUvarint(w.b, uint64(v)) }

// length writes a length or count; -1 is null. Wide lengths outside of flexible versions have four
// bytes, the others two.
func (w *Writer) length(flex, wide bool, n int) {
	switch {
	case flex:
		w.Uvarint(uint32(n + 1))
	case wide:
		w.Int32(int32(n))
	default:
		w.Int16(int16(n))
	}
}

func (w *Writer) arrayLen(flex bool, n int, null bool) {
	if null {
		n = -1
	}
	w.length(flex, true, n)
}

// String writes a string, compact in flexible versions. Kafka's limit of 32,767 bytes cannot be met by
// a name that was read, only by an error message that quotes one: such a text is cut.
func (w *Writer) String(flex bool, s string) {
	s = s[:min(len(s), maxString)]
	w.length(flex, false, len(s))
	w.b = append(w.b, s...)
}

// NullString writes a string that may be null if nullable; else nil is written as empty.
func (w *Writer) NullString(flex, nullable bool, s *string) {
	switch {
	case s != nil:
		w.String(flex, *s)
	case nullable:
		w.length(flex, false, -1)
	default:
		w.length(flex, false, 0)
	}
}

// PutBytes writes bytes.
func (w *Writer) PutBytes(flex bool, b []byte) {
	w.length(flex, true, len(b))
	w.b = append(w.b, b...)
}

// NullBytes writes bytes that may be null if nullable; else nil is written as empty.
func (w *Writer) NullBytes(flex, nullable bool, b []byte) {
	if b == nil && nullable {
		w.length(flex, true, -1)
		return
	}
	w.PutBytes(flex, b)
}

// Records names r as the next bytes, or copies them when they are few. r stays the caller's: Writer
// retains what it names. If nullable the zero Ref is written as null, else as empty.
func (w *Writer) Records(flex, nullable bool, r core.Ref) {
	if nullable && r == (core.Ref{}) {
		w.length(flex, true, -1)
		return
	}
	w.length(flex, true, int(r.Len))
	switch {
	case r.Len == 0:
	case r.InMemory() && r.Len <= inlined:
		w.b = append(w.b, r.Bytes()...)
	default:
		w.cuts = append(w.cuts, cut{len(w.b), r.Retain()})
		w.spliced += int(r.Len)
	}
}

// Int32s writes an array of int32.
func (w *Writer) Int32s(flex bool, s []int32, null bool) {
	w.arrayLen(flex, len(s), null)
	for _, v := range s {
		w.Int32(v)
	}
}

// Strings writes an array of strings.
func (w *Writer) Strings(flex bool, s []string, null bool) {
	w.arrayLen(flex, len(s), null)
	for _, v := range s {
		w.String(flex, v)
	}
}

// beginTag begins a tagged field and returns where its content starts.
func (w *Writer) beginTag(id uint32) int {
	w.Uvarint(id)
	return len(w.b)
}

// endTag puts the size of the content in front of it. Contents are short: moving them is cheap.
func (w *Writer) endTag(at int) {
	det.That(len(w.cuts) == 0 || w.cuts[len(w.cuts)-1].at <= at, "wire: records in a tagged field")
	var size [5]byte
	n := binary.PutUvarint(size[:], uint64(len(w.b)-at))
	w.b = append(w.b, size[:n]...)
	copy(w.b[at+n:], w.b[at:len(w.b)-n])
	copy(w.b[at:], size[:n])
}
