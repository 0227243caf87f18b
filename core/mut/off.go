//go:build !mutants

// Package mut plants seeded bugs: `if mut.On("M01") { ... }` is one line at the place where a careful
// engineer could have gone wrong. Without the build tag "mutants" On is constantly false and the
// compiler removes the line; a release holds none of them. C0 is no bug of anybody's but the canary: a
// build that carries it must fail about one seed in a hundred, or whoever runs sweeps is deaf.
package mut

// On says whether the mutant is planted.
func On(string) bool { return false }

// Scatter orders s as a range over a Go map would.
func Scatter[T any]([]T) {}
