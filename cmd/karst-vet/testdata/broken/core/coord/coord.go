// Package coord imports a replica, though it lies below.
package coord

import _ "example.test/broken/core/replica" // want "layers: core/coord never imports core/replica"
