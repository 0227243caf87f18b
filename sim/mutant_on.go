//go:build mutants

package sim

import "github.com/karst-stream/karst/core/mut"

// Mutants says whether this build has seeded bugs to plant.
const Mutants = true

func plant(name string) {
	if mut.Planted != name { // a sweep plants one, and its workers share it
		mut.Planted = name
	}
}
