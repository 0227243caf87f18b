// Package replica is left to chance.
package replica

import "fmt"

type table struct {
	by    map[string]int            // want "det: map: use det.Map, or say"
	known map[string]int            //det:ok looked up, never ranged
	deep  []map[string]func(string) // want "det: map: use det.Map"
	load  float64                   // want "det: float .float64.: count in integers"
	done  chan int                  // want "det: channel: between shards use mail"
}

var all = map[int]bool{} // want "det: map: use det.Map"

type named map[int]int

func (t *table) walk(each named) string {
	for k := range t.known { // want "det: range over a map: .*; there is no exception"
		delete(t.by, k)
	}
	for range each { //det:ok really /* want "there is no exception" "excuses nothing" */
		t.by["x"]++
	}
	seen := make(map[int]bool, 3) // want "det: map: use det.Map"
	twice := map[int]bool{}       //det:ok looked up, never ranged
	go func() {                   // want "det: go statement: .* core.Job"
		t.done <- 1 // want "det: channel"
	}()
	select { // want "det: select: the driver waits"
	case <-t.done: // want "det: channel"
	default:
	}
	for range t.done { // want "det: channel"
	}
	t.load += 1.5               // want "det: float"
	part := float32(len(twice)) // want "det: float .float32."
	_ = seen[1] || all[2]
	return fmt.Sprintf("%p %v", t, part > 1) // want "%p prints an address"  "det: float"
}

func generic[M ~map[K]V, K comparable, V any](m M) {
	for range m { // want "det: range over a map"
	}
}

var plain = 3                            /* want "an exception says why" */ //det:ok
var other = fmt.Sprintf("%-10p", &plain) //det:ok the tree says so
