// Package det holds deterministic replacements for what Go leaves to chance, and the assertions that
// stay on in production. It owns seeded random streams, running digests, sorted maps, the timer
// wheel and the registry of marks; it promises the same outcome for the same inputs on every machine;
// it refuses entropy, clocks and map order.
package det

import "encoding/binary"

// Rand is a seeded stream (splitmix64, Steele et al. 2014). Each component has its own, named after
// it, so that a draw added in one place does not shift the draws of another.
type Rand struct{ s uint64 }

// New is the stream of name under seed.
func New(seed uint64, name string) *Rand { return &Rand{uint64(Hash(0).U64(seed).Str(name))} }

func (r *Rand) Uint64() uint64 {
	r.s += 0x9e3779b97f4a7c15
	z := r.s
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// N draws from [0, n).
func (r *Rand) N(n int64) int64 {
	That(n > 0, "det: empty range")
	return int64(r.Uint64() % uint64(n))
}

// Between draws from [lo, hi].
func (r *Rand) Between(lo, hi int64) int64 { return lo + r.N(hi-lo+1) }

// Chance is true num times in den.
func (r *Rand) Chance(num, den int64) bool { return r.N(den) < num }

// Hash is a running FNV-1a digest; the zero value is ready.
type Hash uint64

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func (h Hash) start() Hash {
	if h == 0 {
		return fnvOffset
	}
	return h
}

// U64 mixes a whole word at a time: FNV over bytes would cost eight multiplications.
func (h Hash) U64(v uint64) Hash {
	h = (h.start() ^ Hash(v)) * fnvPrime
	return h ^ h>>29
}

func (h Hash) I64(v int64) Hash { return h.U64(uint64(v)) }

func (h Hash) Str(s string) Hash {
	h = h.U64(uint64(len(s)))
	for i := 0; i < len(s); i++ {
		h = (h ^ Hash(s[i])) * fnvPrime
	}
	return h
}

// Bytes mixes long inputs in four strands, so that one multiplication need not wait for the one before.
func (h Hash) Bytes(b []byte) Hash {
	h = h.U64(uint64(len(b)))
	if len(b) >= 64 {
		x, y, z := h+1, h+2, h+3
		for ; len(b) >= 32; b = b[32:] {
			h, x, y, z = h.word(b), x.word(b[8:]), y.word(b[16:]), z.word(b[24:])
		}
		h = h.U64(uint64(x)).U64(uint64(y)).U64(uint64(z))
	}
	for ; len(b) >= 8; b = b[8:] {
		h = h.word(b)
	}
	for _, c := range b {
		h = (h ^ Hash(c)) * fnvPrime
	}
	return h
}

// word is U64 of the next eight bytes, of a digest that has begun.
func (h Hash) word(b []byte) Hash {
	h = (h ^ Hash(binary.LittleEndian.Uint64(b))) * fnvPrime
	return h ^ h>>29
}

// That panics with what when ok is false: an error in our own logic. The driver catches it at the
// edge of the partition or connection that it happened in.
func That(ok bool, what string) {
	if !ok {
		panic("assertion failed: " + what)
	}
}
