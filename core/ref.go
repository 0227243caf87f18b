package core

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Buf is a counted block of memory. Many Refs may point into it; the last Release gives it back to
// the pool. B never changes after a Ref to it was shared, but for the bytes that a leader patches in
// place before it proposes a batch (DESIGN.md section 5).
type Buf struct {
	B     []byte
	count atomic.Int32
	class int8 // of the pool; -1: not pooled
}

// Poison makes Release fill freed buffers with 0xCC and never reuse them, so that a reader of freed
// memory is caught. Tests and the simulator set it before any buffer exists.
var Poison bool

// Live counts the buffers that are not yet released; a simulation ends with zero.
var Live Tally

// Tally is a count that many goroutines change all the time. It is kept in parts, so that they seldom
// wait for each other's cache lines.
type Tally [16]struct {
	n atomic.Int64
	_ [56]byte
}

// Load is the sum of the parts.
func (t *Tally) Load() (n int64) {
	for i := range t {
		n += t[i].n.Load()
	}
	return n
}

// add counts for a buffer of some size, which says in which part.
func (t *Tally) add(n int64, size int) { t[size&15].n.Add(n) }

const (
	minClass = 8  // 256 B
	maxClass = 22 // 4 MiB; larger buffers are made and dropped
)

var pools [maxClass + 1]sync.Pool

// NewBuf takes a buffer of n bytes, whose content is arbitrary, with one reference.
func NewBuf(n int) *Buf {
	Live.add(1, n)
	class := max(minClass, bits.Len(uint(max(n, 1)-1)))
	if class > maxClass {
		return newExact(n)
	}
	if Poison { // never reused: room for others would only cost memory, and hide who writes behind the end
		return newExact(n)
	}
	if b, _ := pools[class].Get().(*Buf); b != nil {
		b.B = b.B[:n]
		b.count.Store(1)
		return b
	}
	b := &Buf{B: make([]byte, n, 1<<class), class: int8(class)}
	b.count.Store(1)
	return b
}

// newExact makes a buffer of its own that no pool takes back. A small one and its bytes are one piece of
// memory: the simulator makes millions.
func newExact(n int) *Buf {
	var b *Buf
	switch {
	case n <= 96:
		x := new(struct {
			Buf
			b [96]byte
		})
		b, x.B = &x.Buf, x.b[:n:n]
	case n <= 224:
		x := new(struct {
			Buf
			b [224]byte
		})
		b, x.B = &x.Buf, x.b[:n:n]
	case n <= 472:
		x := new(struct {
			Buf
			b [472]byte
		})
		b, x.B = &x.Buf, x.b[:n:n]
	default:
		b = &Buf{B: make([]byte, n)}
	}
	b.class = -1
	b.count.Store(1)
	return b
}

// poison is what freed memory holds under Poison.
const poison = "\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC" +
	"\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC" +
	"\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC" +
	"\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC\xCC"

func (b *Buf) free() {
	Live.add(-1, len(b.B))
	if Poison {
		full := b.B[:cap(b.B)]
		for n := copy(full, poison); n < len(full); {
			n += copy(full[n:], full[:n])
		}
		return
	}
	if b.class >= 0 {
		pools[b.class].Put(b)
	}
}

// Ref names bytes without copying them: a part of a Buf or, when Buf is nil and Len > 0, a region of
// a file. Whoever receives a Ref releases it; Retain makes one more.
type Ref struct {
	Buf  *Buf
	File FileID
	Off  int64
	Len  int32
}

// NewRef takes a fresh buffer of n bytes, all of it.
func NewRef(n int) Ref { return Ref{Buf: NewBuf(n), Len: int32(n)} }

// RefOf copies b into a fresh buffer.
func RefOf(b []byte) Ref {
	r := NewRef(len(b))
	copy(r.Buf.B, b)
	return r
}

// InMemory says whether Bytes may be called.
func (r Ref) InMemory() bool { return r.Buf != nil }

// Bytes is the memory itself, valid until the Ref is released.
func (r Ref) Bytes() []byte {
	if r.Len == 0 {
		return nil
	}
	return r.Buf.B[r.Off : r.Off+int64(r.Len) : r.Off+int64(r.Len)]
}

// Slice is a part of r; it borrows r's reference.
func (r Ref) Slice(off, n int32) Ref {
	if off < 0 || n < 0 || off > r.Len || n > r.Len-off {
		panic("core: slice leaves its ref")
	}
	return Ref{Buf: r.Buf, File: r.File, Off: r.Off + int64(off), Len: n}
}

// Retain adds a reference, which its holder releases.
func (r Ref) Retain() Ref {
	if r.Buf != nil && r.Buf.count.Add(1) <= 1 {
		panic("core: retain of a freed buffer")
	}
	return r
}

// Release gives a reference back.
func (r Ref) Release() {
	if r.Buf == nil {
		return
	}
	n := r.Buf.count.Add(-1)
	if n < 0 {
		panic("core: buffer released twice")
	}
	if n == 0 {
		r.Buf.free()
	}
}
