//go:build !mutants

// Package mut plants seeded bugs: `if mut.On("M01") { ... }` is one line at the place where a careful
// engineer could have gone wrong. Without the build tag "mutants" On is constantly false and the
// compiler removes the line; a release holds none of them.
package mut

// On says whether the mutant is planted.
func On(string) bool { return false }
