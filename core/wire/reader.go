package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/karst-stream/karst/core"
)

// What can be wrong with the bytes of a message. Reader.Err wraps one of them in a DecodeError.
var (
	ErrTruncated = errors.New("it ends before its last field")
	ErrLength    = errors.New("a length is negative or beyond its limit")
	ErrCount     = errors.New("an array claims more elements than the bytes behind it can hold")
	ErrNull      = errors.New("null where this version allows none")
	ErrVarint    = errors.New("a varint is longer than it need be, or than 32 bits")
	ErrTags      = errors.New("tagged fields are repeated, out of order, too many or lie about their size")
	ErrBudget    = errors.New("it asks for more memory than four times its size")
	ErrVersion   = errors.New("its version cannot be read")
	ErrTrailing  = errors.New("bytes follow its last field")
	ErrRecords   = errors.New("records outside of a frame")
)

// DecodeError says where a message went wrong.
type DecodeError struct {
	At  int // bytes from the start of what the Reader was given
	Err error
}

func (e *DecodeError) Error() string { return fmt.Sprintf("wire: byte %d: %v", e.At, e.Err) }

// Unwrap is the bare reason, one of the Err variables of this package.
func (e *DecodeError) Unwrap() error { return e.Err }

const (
	budgetFactor = 4         // memory a message may ask for, in its own size
	budgetBase   = 64 << 10  // and in bytes above that
	maxTags      = 1024      // tagged fields of one structure
	maxElements  = 1_000_000 // of one array; Kafka 4.4's limit
	maxString    = 1<<15 - 1 // bytes, in compact strings too; Kafka's limit
)

// Reader reads one message. Its error is sticky: after the first, every read yields zero values.
type Reader struct {
	b       []byte
	pos     int
	end     int      // of b, or of the tagged field being read
	frame   core.Ref // what b are the bytes of; zero when they are no frame
	budget  int64    // bytes of memory still allowed
	unknown int
	err     error
}

// NewReader reads a frame, which it borrows: Records that it yields are parts of it without a reference
// of their own. Everything else is copied.
func NewReader(frame core.Ref) *Reader {
	r := new(Reader)
	r.Reset(frame)
	return r
}

// NewBytesReader reads bytes that are no frame; messages with Records fail in it.
func NewBytesReader(b []byte) *Reader {
	r := new(Reader)
	r.start(b)
	return r
}

// Reset makes r read another frame.
func (r *Reader) Reset(frame core.Ref) {
	r.start(frame.Bytes())
	r.frame = frame
}

func (r *Reader) start(b []byte) {
	*r = Reader{b: b, end: len(b), budget: budgetFactor*int64(len(b)) + budgetBase}
}

// SetBudget replaces the bytes of memory that the message may ask for. For clients, who trust their
// broker: an answer may be denser than a request.
func (r *Reader) SetBudget(bytes int64) { r.budget = bytes }

// Err is the first error, a *DecodeError, or nil.
func (r *Reader) Err() error { return r.err }

// Finish is Err, or ErrTrailing when bytes are left.
func (r *Reader) Finish() error {
	if r.err == nil && r.pos != len(r.b) {
		r.fail(ErrTrailing)
	}
	return r.err
}

// Remaining is how many bytes are left.
func (r *Reader) Remaining() int { return r.end - r.pos }

// UnknownTags is how many tagged fields were skipped because no definition names them.
func (r *Reader) UnknownTags() int { return r.unknown }

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = &DecodeError{At: r.pos, Err: err}
	}
	r.end = r.pos
}

func (r *Reader) version(v, lo, hi int16) bool {
	if v < lo || v > hi {
		r.fail(ErrVersion)
	}
	return r.err == nil
}

// charge takes n bytes of memory from the budget, rounded up as Go's allocator does, roughly. What fits
// 16 bytes shares a block with its neighbours.
func (r *Reader) charge(n int) bool {
	switch {
	case n > 1024:
		n += n / 8
	case n > 16:
		n = (n + 15) &^ 15
	}
	r.budget -= int64(n)
	if r.budget < 0 {
		r.fail(ErrBudget)
		return false
	}
	return true
}

func (r *Reader) short(n int) bool {
	if n > r.end-r.pos {
		r.fail(ErrTruncated)
		return true
	}
	return false
}

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if r.short(1) {
		return 0
	}
	r.pos++
	return int8(r.b[r.pos-1])
}

// Bool reads one byte; any but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if r.short(2) {
		return 0
	}
	r.pos += 2
	return binary.BigEndian.Uint16(r.b[r.pos-2:])
}

// Int16 reads two bytes.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Error reads an error code.
func (r *Reader) Error() Error { return Error(r.Uint16()) }

// Int32 reads four bytes.
func (r *Reader) Int32() int32 {
	if r.short(4) {
		return 0
	}
	r.pos += 4
	return int32(binary.BigEndian.Uint32(r.b[r.pos-4:]))
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if r.short(8) {
		return 0
	}
	r.pos += 8
	return int64(binary.BigEndian.Uint64(r.b[r.pos-8:]))
}

// UUID reads sixteen bytes.
func (r *Reader) UUID() (u UUID) {
	if !r.short(16) {
		r.pos += copy(u[:], r.b[r.pos:])
	}
	return u
}

// Uvarint reads an unsigned varint of 32 bits in its only form.
func (r *Reader) Uvarint() uint32 {
	var x uint64
	for i := 0; i < 5; i++ {
		if r.short(1) {
			return 0
		}
		c := r.b[r.pos]
		r.pos++
		x |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if x > 1<<32-1 || c == 0 && i > 0 {
				break
			}
			return uint32(x)
		}
	}
	r.fail(ErrVarint)
	return 0
}

// length reads a length or count with its null: -1 is null, and on any error. Wide lengths outside of
// flexible versions have four bytes, the others two.
func (r *Reader) length(flex, wide, nullable bool) int {
	n := -1
	switch {
	case flex:
		n = int(r.Uvarint()) - 1
	case wide:
		n = int(r.Int32())
	default:
		n = int(r.Int16())
	}
	switch {
	case r.err != nil:
		return -1
	case n < -1 || n > 1<<31-1:
		r.fail(ErrLength)
		return -1
	case n == -1 && !nullable:
		r.fail(ErrNull)
	}
	return n
}

// text reads n bytes as a string.
func (r *Reader) text(n int) string {
	if n > maxString {
		r.fail(ErrLength)
		return ""
	}
	if n <= 0 || r.short(n) || !r.charge(n) {
		return ""
	}
	r.pos += n
	return string(r.b[r.pos-n : r.pos])
}

// String reads a string, compact in flexible versions.
func (r *Reader) String(flex bool) string { return r.text(r.length(flex, false, false)) }

// NullString reads a string that may be null if nullable.
func (r *Reader) NullString(flex, nullable bool) *string {
	n := r.length(flex, false, nullable)
	if n < 0 || !r.charge(16) {
		return nil
	}
	s := r.text(n)
	return &s
}

// Bytes reads bytes and copies them.
func (r *Reader) Bytes(flex bool) []byte { return r.NullBytes(flex, false) }

// NullBytes reads bytes that may be null if nullable, and copies them.
func (r *Reader) NullBytes(flex, nullable bool) []byte {
	n := r.length(flex, true, nullable)
	if n < 0 || r.short(n) || !r.charge(n) {
		return nil
	}
	r.pos += n
	return append(make([]byte, 0, n), r.b[r.pos-n:r.pos]...)
}

// Records reads bytes without copying them: the Ref is a part of the frame and borrows its reference.
// The zero Ref is null, wherever it stands.
func (r *Reader) Records(flex bool) core.Ref {
	n := r.length(flex, true, true)
	if n < 0 || r.short(n) {
		return core.Ref{}
	}
	if r.frame.Buf == nil {
		r.fail(ErrRecords)
		return core.Ref{}
	}
	r.pos += n
	return r.frame.Slice(int32(r.pos-n), int32(n))
}

// count reads how many elements an array has, each of at least least bytes on the wire and exactly
// size bytes in memory: -1 for null and on any error.
func (r *Reader) count(flex, nullable bool, least, size int) int {
	n := r.length(flex, true, nullable)
	if n <= 0 {
		return n
	}
	if n > maxElements || n > (r.end-r.pos)/least {
		r.fail(ErrCount)
		return -1
	}
	if !r.charge(n * size) {
		return -1
	}
	return n
}

// array makes room for the elements of an array; nil is null.
func array[T any](r *Reader, flex, nullable bool, least, size int) []T {
	n := r.count(flex, nullable, least, size)
	if n < 0 {
		return nil
	}
	return make([]T, n)
}

// one makes room for a structure that may be absent.
func one[T any](r *Reader, size int) *T {
	r.charge(size)
	return new(T)
}

// Int32s reads an array of int32; nil is null.
func (r *Reader) Int32s(flex, nullable bool) []int32 {
	s := array[int32](r, flex, nullable, 4, 4)
	for i := range s {
		s[i] = r.Int32()
	}
	return s
}

// Strings reads an array of strings; nil is null.
func (r *Reader) Strings(flex, nullable bool) []string {
	least := 2
	if flex {
		least = 1
	}
	s := array[string](r, flex, nullable, least, 16)
	for i := range s {
		if s[i] = r.String(flex); r.err != nil {
			break
		}
	}
	return s
}

// tagged walks the tagged fields of one structure (KIP-482).
type tagged struct {
	left  uint32 // fields not yet begun
	id    uint32 // of the field being read
	next  int64  // least id that may come
	outer int    // Reader.end outside of the field
}

func (r *Reader) tags() (t tagged) {
	t.left = r.Uvarint()
	if t.left > maxTags || int(t.left) > (r.end-r.pos)/2 {
		r.fail(ErrTags)
	}
	return t
}

// nextTag begins a field: until endTag, r reads no further than the field's size.
func (r *Reader) nextTag(t *tagged) bool {
	if t.left == 0 || r.err != nil {
		return false
	}
	t.left--
	t.id = r.Uvarint()
	size := r.Uvarint()
	if r.err != nil {
		return false
	}
	if int64(t.id) < t.next {
		r.fail(ErrTags)
		return false
	}
	if int64(size) > int64(r.end-r.pos) {
		r.fail(ErrTruncated)
		return false
	}
	t.next = int64(t.id) + 1
	t.outer, r.end = r.end, r.pos+int(size)
	return true
}

func (r *Reader) endTag(t *tagged) {
	switch {
	case r.err != nil:
	case r.pos != r.end:
		r.fail(ErrTags)
	default:
		r.end = t.outer
	}
}

// skipTag passes over a field that no definition names.
func (r *Reader) skipTag(*tagged) {
	r.unknown++
	r.pos = r.end
}

// skipTags passes over all tagged fields of a structure that has none.
func (r *Reader) skipTags() {
	for t := r.tags(); r.nextTag(&t); r.endTag(&t) {
		r.skipTag(&t)
	}
}
