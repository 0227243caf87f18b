// Package node runs.
package node

import (
	"sync"
	"time"

	"example.test/clean/core"
)

var mu sync.Mutex

// Run runs: outside core everything of the language is allowed.
func Run(m map[int]float64) {
	mu.Lock()
	defer mu.Unlock()
	for range m {
		go core.Get()
	}
	time.Now()
}
