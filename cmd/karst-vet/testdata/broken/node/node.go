// Package node imports outside modules.
package node

import (
	_ "example.test/broken/core/meta"
	_ "example.test/broken/fake" // want "layers: node may not import fake"
	_ "example.test/broken/posix"
	_ "github.com/elsewhere/thing" // want "layers: node may not import the outside module github.com/elsewhere/thing"
)
