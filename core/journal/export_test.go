package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// FirstFrame is where the first frame of a file begins.
const FirstFrame = firstFrame

// Reseal makes the checksum of a file's head true again.
func Reseal(b []byte) { binary.BigEndian.PutUint32(b[4:], checksum(0, b)) }

// ResealAll makes all checksums of a file true again, and what must agree with the head, as far as
// the lengths lead: what recovery then meets is nonsense that no checksum stops.
func ResealAll(b []byte) {
	if len(b) < firstFrame {
		return
	}
	copy(b, headMagic)
	b[3] = Version
	Reseal(b)
	f, _, _ := parseHead(b)
	for at := int64(firstFrame); at+headerSize <= int64(len(b)); {
		h := b[at : at+headerSize]
		copy(h, frameMagic)
		h[3] = Version
		be := binary.BigEndian
		meta, payload := int64(be.Uint32(h[12:])), int64(be.Uint32(h[16:]))
		if left := int64(len(b)) - at - headerSize; meta > left {
			meta = left
			be.PutUint32(h[12:], uint32(meta))
		}
		be.PutUint32(h[8:], crc32.Checksum(b[at+headerSize:][:meta], castagnoli))
		be.PutUint16(h[20:], uint16(f.shard))
		be.PutUint64(h[24:], f.generation())
		be.PutUint64(h[56:], uint64(at))
		be.PutUint32(h[4:], checksum(f.salt, h))
		at = align(at + headerSize + meta + payload)
	}
}
