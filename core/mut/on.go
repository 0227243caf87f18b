//go:build mutants

// Package mut plants seeded bugs; see off.go.
package mut

// Planted is the one mutant that this process runs with; set before the first step.
var Planted string

// On says whether the mutant is planted.
func On(name string) bool { return name == Planted }
