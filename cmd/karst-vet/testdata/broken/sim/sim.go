// Package sim meets the real world.
package sim

import (
	_ "example.test/broken/fake"
	_ "example.test/broken/node" // want "layers: sim never imports node"
)
