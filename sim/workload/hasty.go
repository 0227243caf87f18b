package workload

import "github.com/karst-stream/karst/core"

// Producers that give up on an answer while it may still be on its way, and send the same batch again to
// whoever leads by then: what they retry is often in the log already.
var hastyLoad = kindOfLoad{
	name: "hasty", most: 32, about: "idempotent producers with request timeouts of a quarter to half a second",
	draw: sometimes(2, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			b.hurry = core.Mono(b.rng.Between(250, 500)) * core.Millisecond
			p := newProducer(b, f.number(), f.cfg.Rate/8+1, n)
			f.produce = append(f.produce, p)
			f.add(p)
		}
	},
}
