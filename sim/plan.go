package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// FaultKind is what befalls a node or a link.
type FaultKind uint8

const (
	Kill       FaultKind = iota // the process dies, the page cache stays; For later it starts again
	Power                       // the machine loses power; For later it starts again
	PowerAll                    // so do all
	Cut                         // Node and the others cannot reach each other
	CutOneWay                   // what Node sends to Peer does not arrive
	CutClients                  // Node and all clients cannot reach each other
	Pause                       // the process does not run
	SlowDisk                    // its disk takes N times as long
	SyncError                   // the next sync of its disk fails, once
	Delay                       // every frame of the network takes up to N microseconds
	Aimed                       // a crash that waits for its moment: the next vote or append of Node
	faultKinds
)

var faultNames = [...]string{"kill", "power", "power-all", "cut", "cut-one-way", "cut-clients", "pause", "slow-disk",
	"sync-error", "delay", "aimed"}

func (k FaultKind) String() string { return faultNames[k] }

// Fault is one line of a plan. At counts from the moment at which the topic is there.
type Fault struct {
	At   core.Mono
	Kind FaultKind
	Node core.NodeID
	Peer core.NodeID
	For  core.Mono
	N    int64
}

func (f Fault) String() string {
	s := fmt.Sprintf("%8.3f %-11s n%d", seconds(f.At), f.Kind, f.Node)
	switch f.Kind {
	case CutOneWay:
		s += fmt.Sprintf(" -> n%d", f.Peer)
	case SlowDisk, Delay:
		s += fmt.Sprintf(" x%d", f.N)
	case Aimed:
		s += " after its next " + aims[f.N%int64(len(aims))]
	}
	if f.For > 0 {
		s += fmt.Sprintf(" for %.3f", seconds(f.For))
	}
	return s
}

// what an aimed crash waits for
var aims = [...]string{"vote", "append", "election"}

// Rates are the faults without a moment of their own, per million frames.
type Rates struct{ Reset, Drop, Double, Spike, Rot int64 }

// Plan is everything that a run is, but for the draws inside of components. It is a value: drawn
// whole from a seed by Swarm, printed at the start, and writable by hand.
type Plan struct {
	Seed       uint64
	Redraw     int // how often the seed was drawn again because it was empty
	For        core.Mono
	Nodes      int
	Shards     int
	Partitions int
	Factor     int
	Rate       int64 // batches a second
	Producers  int
	Groups     int
	Members    int
	Readers    int
	MaxRecord  int64
	Large      int64 // one batch in Large is big enough to go straight to its segment; 0: none
	Window     int64 // bytes of a node's window; 0: the default
	Journal    int64 // bytes of a journal file; 0: the default
	Rates      Rates
	SpikeMax   core.Mono
	Liars      int // this many disks lie about fsync
	EndPower   bool
	Faults     []Fault
}

// String is the plan, a line for each fault.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan: seed %d", p.Seed)
	if p.Redraw > 0 {
		fmt.Fprintf(&b, " (drawn again %d times)", p.Redraw)
	}
	fmt.Fprintf(&b, ", %.0f s, %d nodes x %d shards, %d partitions x %d, %d batches/s, %d producers, %d x %d members, %d readers, records to %d B",
		seconds(p.For), p.Nodes, p.Shards, p.Partitions, p.Factor, p.Rate, p.Producers, p.Groups, p.Members, p.Readers, p.MaxRecord)
	fmt.Fprintf(&b, "\nplan: per million frames %+v, large 1/%d, window %d, journal %d, liars %d, power cut at the end %v\n",
		p.Rates, p.Large, p.Window, p.Journal, p.Liars, p.EndPower)
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "plan: %v\n", f)
	}
	return b.String()
}

// Swarm draws a plan of the standard world: 3 brokers, 8 partitions in 3 copies, 200 batches a
// second; crashes, restarts and cuts always, a drawn subset of the other faults.
func Swarm(seed uint64, redraw int, length core.Mono) Plan {
	rng := det.New(seed+uint64(redraw)<<40, "swarm")
	p := Plan{Seed: seed, Redraw: redraw, For: length, Nodes: 3, Shards: int(rng.Between(1, 2)), Partitions: 8, Factor: 3,
		Rate: 200, Producers: int(rng.Between(4, 8)), Groups: 1, Members: int(rng.Between(2, 3)), Readers: 1,
		MaxRecord: rng.Between(60, 500), EndPower: rng.Chance(1, 2)}
	if rng.Chance(1, 3) {
		p.Large = rng.Between(20, 100)
	}
	if rng.Chance(1, 2) {
		p.Window = 1 << rng.Between(18, 21) // more than the largest batch
	}
	if rng.Chance(2, 3) {
		p.Journal = 1 << rng.Between(17, 21)
	}
	s := swarm{p: &p, rng: rng}
	s.crashes()
	s.cuts()
	s.others()
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	return p
}

// lie makes some disks lie about fsync and lets the power fail everywhere at once, which is when the
// truth comes out.
func (p *Plan) lie(disks int) {
	p.Liars, p.EndPower = disks, true
	p.Faults = append(p.Faults, Fault{At: p.For * 3 / 5, Kind: PowerAll, For: min(core.Second, p.For/8)})
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
}

type swarm struct {
	p   *Plan
	rng *det.Rand
}

// times scales a count per minute to the length of the run; what is there in a minute is there once.
func (s *swarm) times(lo, hi int64) int64 {
	n := s.rng.Between(lo, hi)
	if n == 0 {
		return 0
	}
	return max(1, (n*int64(s.p.For)+int64(30*core.Second))/int64(minute))
}

func (s *swarm) node() core.NodeID { return core.NodeID(s.rng.N(int64(s.p.Nodes))) }

func (s *swarm) span(lo, hi core.Mono) core.Mono {
	return core.Mono(s.rng.Between(int64(lo), int64(hi)))
}

func (s *swarm) add(k FaultKind, lo, hi core.Mono, n int64) {
	f := Fault{Kind: k, Node: s.node(), At: core.Mono(s.rng.N(int64(s.p.For) * 9 / 10)), For: s.span(lo, hi), N: n}
	f.Peer = core.NodeID((int64(f.Node) + s.rng.Between(1, int64(s.p.Nodes)-1)) % int64(s.p.Nodes))
	f.For = min(f.For, s.p.For/4)
	s.p.Faults = append(s.p.Faults, f)
}

func (s *swarm) crashes() {
	for range s.times(2, 4) {
		k := Kill
		if s.rng.Chance(1, 2) {
			k = Power
		}
		s.add(k, 100*core.Millisecond, 4*core.Second, 0)
	}
	for range s.times(2, 5) {
		s.add(Aimed, 50*core.Millisecond, 2*core.Second, s.rng.N(int64(len(aims))))
	}
	if s.rng.Chance(1, 2) {
		s.add(PowerAll, 100*core.Millisecond, core.Second, 0)
	}
}

func (s *swarm) cuts() {
	for range s.times(2, 5) {
		s.add(Cut, 200*core.Millisecond, 4*core.Second, 0)
	}
	if s.rng.Chance(1, 2) {
		for range s.times(1, 3) {
			s.add(CutOneWay, 200*core.Millisecond, 4*core.Second, 0)
		}
	}
	if s.rng.Chance(1, 3) {
		for range s.times(1, 3) {
			s.add(CutClients, 200*core.Millisecond, 3*core.Second, 0)
		}
	}
}

// others draws the faults that only some seeds have.
func (s *swarm) others() {
	p, rng := s.p, s.rng
	half := func() bool { return rng.Chance(1, 2) }
	if half() {
		for range s.times(1, 4) {
			s.add(Pause, 50*core.Millisecond, 3*core.Second, 0)
		}
	}
	if half() {
		for range s.times(1, 3) {
			s.add(SlowDisk, core.Second, 8*core.Second, rng.Between(5, 100))
		}
	}
	if rng.Chance(1, 3) {
		s.add(SyncError, 2*core.Second, 8*core.Second, 0)
	}
	if half() {
		for range s.times(1, 3) {
			s.add(Delay, core.Second, 6*core.Second, rng.Between(2000, 60000))
		}
	}
	if half() {
		p.Rates.Reset = rng.Between(1, 300)
	}
	if half() {
		p.Rates.Drop = rng.Between(1, 300)
	}
	if half() {
		p.Rates.Double = rng.Between(1, 5000)
	}
	if half() {
		p.Rates.Spike, p.SpikeMax = rng.Between(10, 2000), s.span(5*core.Millisecond, 300*core.Millisecond)
	}
	if half() {
		p.Rates.Rot = rng.Between(100, 2e4)
	}
}

const minute = 60 * core.Second

func seconds(t core.Mono) float64 { return float64(t) / 1e9 }
