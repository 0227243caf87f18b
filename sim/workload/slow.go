package workload

import "github.com/karst-stream/karst/core"

// slow is a reader that stops reading its sockets every now and then, so that answers pile up with
// the broker.
type slow struct {
	*reader
	deaf bool
	turn core.Mono
}

var slowLoad = kindOfLoad{
	name: "slow-readers", most: 32, about: "readers that stop reading their sockets for a second at a time",
	draw: sometimes(3, 1, 1),
	start: func(f *Fleet, n int) {
		for range n {
			r := newReader(f.base(), false)
			r.think /= 2
			f.add(&slow{reader: r})
		}
	},
}

func (s *slow) poll(now core.Mono) core.Mono {
	if now >= s.turn {
		s.deaf = !s.deaf
		s.turn = now + core.Mono(s.rng.Between(300, 1200))*core.Millisecond
		for _, x := range s.sessions {
			if x != nil && x.alive {
				s.f.env.Deafen(x.conn, s.deaf)
			}
		}
	}
	return min(s.turn, s.reader.poll(now))
}
