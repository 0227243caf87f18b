package det // want "tidy: package det has no comment: say what"

import (
	_ "example.test/broken/core/mut"     // want "layers: core/det may not import core/mut .docs/layers.txt.: .*; allowed: none"
	_ "example.test/broken/core/replica" // want "layers: core/det may not import core/replica"
)

// Later is empty.
// TODO: fill it. // want "tidy: TODO: do it"
func Later() {} // FIXME // want "tidy: FIXME: do it"
