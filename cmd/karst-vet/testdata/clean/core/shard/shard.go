// Package shard steps.
package shard

import (
	"fmt"

	"example.test/clean/core"
	"example.test/clean/core/det"
)

// Step steps; `%%p` prints no address, and a parameter may be a map that somebody else explains.
func Step(m *det.Map[int], seen map[int]bool) string {
	core.Get()
	sum := 0
	for _, v := range m.Each {
		sum += v
	}
	for i := range 3 {
		sum += i
	}
	if seen[sum] {
		sum++
	}
	return fmt.Sprintf("%d%% %%p", sum)
}
