package sim

import "github.com/karst-stream/karst/sim/workload"

// Kinds is how many kinds of fault a run had, without what follows from others.
func (r *Result) Kinds() (n int) {
	for _, f := range r.FaultCounts() {
		if f.Count > 0 && !f.Follows {
			n++
		}
	}
	return n
}

// Met is which situations the clients of the run were in: faults and requests, pairs of faults,
// requests and errors. A sweep adds them up.
func (r *Result) Met() *workload.Met { return r.Clients.Met }
