// Package det keeps maps in order.
package det

import "slices"

// Map is visited in key order.
type Map[V any] struct {
	m    map[string]V //det:ok looked up, never ranged
	keys []string
}

// Set sets.
func (m *Map[V]) Set(k string, v V) {
	if m.m == nil {
		m.m = map[string]V{} // an assignment declares nothing
	}
	if _, ok := m.m[k]; !ok {
		m.keys = append(m.keys, k)
		slices.Sort(m.keys)
	}
	m.m[k] = v
}

// Each visits; a function may be ranged over.
func (m *Map[V]) Each(visit func(string, V) bool) {
	for _, k := range m.keys {
		if !visit(k, m.m[k]) {
			return
		}
	}
}
