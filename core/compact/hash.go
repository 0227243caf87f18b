package compact

import (
	"encoding/binary"
	"math/bits"
)

// hash is the 128-bit SipHash-2-4 of a key (Aumasson and Bernstein, 2012). Two keys with one hash are
// one key to a compaction, as in Kafka, which takes MD5. It is salted with the decision, so that keys
// which fall together cannot be prepared for every log and every time.
func hash(k0, k1 uint64, key []byte) (h1, h2 uint64) {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d^0xee
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(key)) << 56
	for ; len(key) >= 8; key = key[8:] {
		m := binary.LittleEndian.Uint64(key)
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	for i, c := range key {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xee
	for range 4 {
		round()
	}
	h1 = v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	for range 4 {
		round()
	}
	return h1, v0 ^ v1 ^ v2 ^ v3
}
