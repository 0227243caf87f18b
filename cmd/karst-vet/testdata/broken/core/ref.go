// Package core counts.
package core

import (
	"sync"
	"sync/atomic"
)

var (
	pool  sync.Pool
	count atomic.Int64
	mu    sync.Mutex // want "det: sync.Mutex: one goroutine owns a shard"
	once  sync.Once  //det:ok this tree allows it here
)

func Use() { // it would not be worth a comment
	mu.Lock()
	once.Do(func() { pool.Put(count.Add(1)) })
}
