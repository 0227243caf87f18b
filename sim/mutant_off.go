//go:build !mutants

package sim

// Mutants says whether this build has seeded bugs to plant.
const Mutants = false

func plant(string) {}
