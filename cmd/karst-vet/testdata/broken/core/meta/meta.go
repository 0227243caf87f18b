// Package meta imports what it must not.
package meta

import (
	"math/rand" // want "core/meta may not import .math/rand. .*: draw from a det.Rand"
	"os"        // want "core/meta may not import .os. .*: give out a disk effect"
	"sync"      // want "core/meta may not import .sync. .*: one goroutine owns a shard"
	"time"      // want "core/meta may not import .time. .*: time is an argument"

	_ "net/netip" // want "core/meta may not import .net/netip. .*: let the driver do it"

	"example.test/broken/core"
)

func Now() (time.Time, int, error) {
	var mu sync.Mutex // want "det: sync.Mutex"
	mu.Lock()
	core.Use()
	return time.Now(), rand.Int(), os.ErrExist
}
