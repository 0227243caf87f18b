//go:build mutants

// Package mut plants seeded bugs; see off.go.
package mut

// Planted is the one mutant that this process runs with; set before the first step.
var Planted string

// On says whether the mutant is planted.
func On(name string) bool { return name == Planted }

// Scatter orders s as a range over a Go map would: differently each time, in one process too.
func Scatter[T any](s []T) {
	m := map[int]T{} //det:ok its order is the bug that this plants
	for i, x := range s {
		m[i] = x
	}
	s = s[:0]
	for _, x := range m {
		s = append(s, x)
	}
}
