package compact

import (
	"encoding/binary"
	"math/bits"
)

// A batch that came compressed and loses records must be compressed again, to the same bytes on every
// replica, whatever its version and its libraries: so the encoder is this one, for whatever codec the
// batch came with, and a golden test holds its output. It is the fast one of LZ4: greedy, one candidate
// a place. What it writes is an LZ4 frame with independent blocks of 64 KiB and no checksums, as Kafka's
// Lz4BlockOutputStream writes them.

const (
	lzBlock    = 64 << 10
	lzHash     = 13      // bits
	lzTail     = 5       // the last bytes of a block are literals
	lzMargin   = 12      // no match begins in so many last bytes
	lzStored   = 1 << 31 // flag of a block's size
	lzSpeed    = 6       // steps of one byte grow to two after 1<<lzSpeed fruitless ones, and so on
	lzMultiply = 2654435761
)

// The magic number, version 1 with independent blocks, blocks of 64 KiB, and the checksum of these two.
var lzHead = [...]byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82}

// lz4Encoder is the memory of the encoder.
type lz4Encoder struct {
	table [1 << lzHash]uint16 // where in the block four bytes with this hash were last seen
	out   []byte
}

// pack compresses plain; the result is the encoder's, until the next call.
func (z *lz4Encoder) pack(plain []byte) []byte {
	z.out = append(z.out[:0], lzHead[:]...)
	for len(plain) > 0 {
		n := min(len(plain), lzBlock)
		at := len(z.out)
		z.out = append(z.out, 0, 0, 0, 0)
		z.block(plain[:n])
		size := uint32(len(z.out) - at - 4)
		if size >= uint32(n) {
			z.out = append(z.out[:at+4], plain[:n]...)
			size = uint32(n) | lzStored
		}
		binary.LittleEndian.PutUint32(z.out[at:], size)
		plain = plain[n:]
	}
	z.out = append(z.out, 0, 0, 0, 0)
	return z.out
}

func (z *lz4Encoder) block(src []byte) {
	clear(z.table[:])
	anchor, end := 0, len(src)-lzMargin
	for i, misses := 1, 0; i < end; {
		word := binary.LittleEndian.Uint32(src[i:])
		h := word * lzMultiply >> (32 - lzHash)
		was := int(z.table[h])
		z.table[h] = uint16(i)
		if was >= i || binary.LittleEndian.Uint32(src[was:]) != word {
			misses++
			i += 1 + misses>>lzSpeed
			continue
		}
		misses = 0
		for i > anchor && was > 0 && src[i-1] == src[was-1] {
			i, was = i-1, was-1
		}
		n := 4 + common(src[i+4:len(src)-lzTail], src[was+4:])
		z.sequence(src[anchor:i], i-was, n)
		i += n
		anchor = i
		if i < end {
			z.table[binary.LittleEndian.Uint32(src[i-2:])*lzMultiply>>(32-lzHash)] = uint16(i - 2)
		}
	}
	z.sequence(src[anchor:], 0, 0)
}

// common is how many bytes a and b begin with alike; a is no longer than b.
func common(a, b []byte) (n int) {
	for len(a)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// sequence writes literals and then a match of n bytes, or no match when n is 0: the end of the block.
func (z *lz4Encoder) sequence(literals []byte, back, n int) {
	token := min(len(literals), 15) << 4
	if n > 0 {
		token |= min(n-4, 15)
	}
	z.out = append(z.out, byte(token))
	z.length(len(literals))
	z.out = append(z.out, literals...)
	if n > 0 {
		z.out = append(z.out, byte(back), byte(back>>8))
		z.length(n - 4)
	}
}

// length writes what of n does not fit the token.
func (z *lz4Encoder) length(n int) {
	if n < 15 {
		return
	}
	for n -= 15; n >= 255; n -= 255 {
		z.out = append(z.out, 255)
	}
	z.out = append(z.out, byte(n))
}
