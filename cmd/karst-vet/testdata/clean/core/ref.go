// Package core counts.
package core

import "sync"

var pool sync.Pool

const second = 1e9 // an untyped constant is exact

// Get says how full the pool is: "100%, please".
func Get() (any, int64) { return pool.Get(), int64(1.5*2) * second }
