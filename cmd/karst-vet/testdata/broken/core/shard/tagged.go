//go:build never

package shard

import "os" // want "core/shard may not import .os."

func tagged() { go os.Exit(1) } // want "det: go statement"
