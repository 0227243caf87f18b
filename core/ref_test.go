package core

import "testing"

// Buffers of all sizes are counted, whichever part of the tally they fall into.
func TestTheTallyOfBuffers(t *testing.T) {
	var x Tally
	for size := range 40 {
		x.add(int64(size), size)
	}
	if got := x.Load(); got != 39*40/2 {
		t.Errorf("it counts %d", got)
	}
}
