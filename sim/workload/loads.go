package workload

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core/det"
)

// Load is one kind of clients and how many of them. A run's load is a list of them, drawn by a swarm
// or written by hand: "produce 5, group 3, vandals 1".
type Load struct {
	Kind string
	N    int
}

func (l Load) String() string { return fmt.Sprintf("%s %d", l.Kind, l.N) }

// kindOfLoad is what a load is. Each has a file of its own that ends in the variable which is listed
// here; nothing else in the package, or outside, knows the kinds by name.
type kindOfLoad struct {
	name  string
	about string
	most  int
	draw  func(rng *det.Rand) int // how many a standard world has, before its faults are drawn; nil: see later
	later func(rng *det.Rand) int // the same, after the faults
	last  func(rng *det.Rand) int // the same, after all else; new kinds are drawn here
	start func(f *Fleet, n int)
}

// kinds are visited in this order, which is also that of the draws: append, never insert, or every
// seed becomes another run. For the same reason a new kind has last, not draw or later.
var kinds = []*kindOfLoad{&produceLoad, &groupLoad, &readLoad, &weakLoad, &driftLoad, &slowLoad, &vandalLoad, &topicsLoad, &deleteLoad, &offsetsLoad, &wideLoad,
	&hastyLoad, &staticLoad, &watchLoad, &trimLoad, &retainLoad, &stumbleLoad, &compactLoad, &squeezeLoad, &renewLoad}

func kindOf(name string) *kindOfLoad {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// DrawLoads draws the loads of a standard world. Some are always there, so that no world is idle.
func DrawLoads(rng *det.Rand) []Load {
	return draw(rng, func(k *kindOfLoad) func(*det.Rand) int { return k.draw })
}

// DrawLater draws the loads that are drawn when the rest of the world is.
func DrawLater(rng *det.Rand) []Load {
	return draw(rng, func(k *kindOfLoad) func(*det.Rand) int { return k.later })
}

// DrawLast draws the loads that are drawn after all else.
func DrawLast(rng *det.Rand) []Load {
	return draw(rng, func(k *kindOfLoad) func(*det.Rand) int { return k.last })
}

func draw(rng *det.Rand, how func(*kindOfLoad) func(*det.Rand) int) (out []Load) {
	for _, k := range kinds {
		if d := how(k); d != nil {
			if n := d(rng); n > 0 {
				out = append(out, Load{k.name, n})
			}
		}
	}
	return out
}

// ParseLoad reads what Load.String writes.
func ParseLoad(s string) (Load, error) {
	name, count, _ := strings.Cut(strings.TrimSpace(s), " ")
	k := kindOf(name)
	if k == nil {
		var names []string
		for _, k := range kinds {
			names = append(names, k.name)
		}
		return Load{}, fmt.Errorf("%q is no load; there are %s", name, strings.Join(names, ", "))
	}
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || n < 1 || n > k.most {
		return Load{}, fmt.Errorf("%q of load %s is no number from 1 to %d", count, name, k.most)
	}
	return Load{name, n}, nil
}

// AboutLoads tells of every kind, a line each.
func AboutLoads() string {
	var b strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&b, "%-14s %s (1 to %d)\n", k.name, k.about, k.most)
	}
	return b.String()
}

// sometimes is a draw that one in of worlds has, lo to hi of it.
func sometimes(of, lo, hi int64) func(*det.Rand) int {
	return func(rng *det.Rand) int {
		if n := int(rng.Between(lo, hi)); rng.Chance(1, of) {
			return n
		}
		return 0
	}
}

var produceLoad = kindOfLoad{
	name: "produce", most: 64, about: "idempotent producers, acks=all, five requests in flight, retries without end",
	draw: func(rng *det.Rand) int { return int(rng.Between(4, 8)) },
	start: func(f *Fleet, n int) {
		for range n {
			p := newProducer(f.base(), f.number(), f.cfg.Rate, n)
			f.produce = append(f.produce, p)
			f.add(p)
		}
	},
}

var groupLoad = kindOfLoad{
	name: "group", most: 64, about: "members of a classic group that consume and commit",
	draw: func(rng *det.Rand) int { return int(rng.Between(2, 3)) },
	start: func(f *Fleet, n int) {
		for range n {
			f.add(newMember(f.base(), "group-0"))
		}
	},
}

var readLoad = kindOfLoad{
	name: "readers", most: 64, about: "consumers without a group that follow every partition",
	draw: func(*det.Rand) int { return 1 },
	start: func(f *Fleet, n int) {
		for range n {
			f.add(newReader(f.base(), false))
		}
	},
}
