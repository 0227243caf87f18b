package det

import (
	"cmp"
	"slices"
)

// Map is a map that is visited in key order. Lookups cost what a Go map costs; inserting and deleting
// a key cost a move in a sorted slice, so it is for sets that are visited more often than they change.
type Map[K cmp.Ordered, V any] struct {
	m    map[K]V //det:ok looked up, never ranged
	keys []K
}

func (m *Map[K, V]) Len() int { return len(m.keys) }

func (m *Map[K, V]) Get(k K) (V, bool) { v, ok := m.m[k]; return v, ok }

// At is Get without the second result: the zero value when absent.
func (m *Map[K, V]) At(k K) V { return m.m[k] }

func (m *Map[K, V]) Set(k K, v V) {
	if m.m == nil {
		m.m = map[K]V{}
	}
	if _, ok := m.m[k]; !ok {
		i, _ := slices.BinarySearch(m.keys, k)
		m.keys = slices.Insert(m.keys, i, k)
	}
	m.m[k] = v
}

func (m *Map[K, V]) Delete(k K) {
	if _, ok := m.m[k]; !ok {
		return
	}
	delete(m.m, k)
	i, _ := slices.BinarySearch(m.keys, k)
	m.keys = slices.Delete(m.keys, i, i+1)
}

// Keys are the keys in order; the slice is the map's own, do not change the map while ranging over it.
func (m *Map[K, V]) Keys() []K { return m.keys }

// Each visits in key order. visit may delete the key it was given.
func (m *Map[K, V]) Each(visit func(K, V)) {
	for i := 0; i < len(m.keys); {
		k := m.keys[i]
		visit(k, m.m[k])
		if i < len(m.keys) && m.keys[i] == k {
			i++
		}
	}
}
