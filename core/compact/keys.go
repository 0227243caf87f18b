package compact

import (
	"math/bits"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// KeyBytes is what a key may cost in memory. An entry of the map is 24 bytes, and of the places for
// entries at least 4 in 5 are taken once a part has grown out of its first few.
const KeyBytes = 32

const parts = 256

// keys maps the hash of a key to the offset of its last record. It is many small tables, of which each
// grows for itself by an eighth: what a growth copies, and holds twice meanwhile, is small.
type keys struct {
	k0, k1 uint64
	limit  int64 // of n
	n      int64
	part   [parts]table
}

type table struct {
	slots []slot
	n     int
}

// slot is empty when next is 0.
type slot struct {
	h1, h2 uint64
	next   core.Offset // the offset behind the record
}

// put says that the record of key at offset is the last so far. It answers false, and changes nothing,
// when the key is new and there is no room.
func (m *keys) put(key []byte, offset core.Offset) bool {
	h1, h2 := hash(m.k0, m.k1, key)
	t := &m.part[h1%parts]
	if s := t.find(h1, h2); s != nil && s.next != 0 {
		s.next = offset + 1
		return true
	}
	if m.n >= m.limit {
		return false
	}
	if (t.n+1)*10 > len(t.slots)*9 {
		t.grow()
	}
	*t.find(h1, h2) = slot{h1, h2, offset + 1}
	t.n++
	m.n++
	return true
}

// last is the offset of the key's last record that was put, -1 without one.
func (m *keys) last(key []byte) core.Offset {
	h1, h2 := hash(m.k0, m.k1, key)
	if s := m.part[h1%parts].find(h1, h2); s != nil {
		return s.next - 1
	}
	return -1
}

// find is the place of a hash, or the empty one where it would go; nil when there are none at all.
func (t *table) find(h1, h2 uint64) *slot {
	if len(t.slots) == 0 {
		return nil
	}
	at, _ := bits.Mul64(h2, uint64(len(t.slots)))
	for i := int(at); ; i++ {
		if i == len(t.slots) {
			i = 0
		}
		if s := &t.slots[i]; s.next == 0 || s.h1 == h1 && s.h2 == h2 {
			return s
		}
	}
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, len(old)+len(old)/8+2)
	for i := range old {
		if s := &old[i]; s.next != 0 {
			to := t.find(s.h1, s.h2)
			det.That(to.next == 0, "compact: a hash is in the map once")
			*to = *s
		}
	}
}

// bytes is the memory of the entries.
func (m *keys) bytes() (n int64) {
	for i := range m.part {
		n += int64(len(m.part[i].slots)) * 24
	}
	return n
}
