package sim

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/sim/workload"
)

// Swarm draws a plan of the standard world: 3 brokers, 8 partitions in 3 copies, 200 batches a
// second; crashes, restarts and cuts always, a drawn subset of the other faults and loads. A quarter
// of each run, at its end, is quieter than the rest, so that deep states are reached.
func Swarm(seed uint64, redraw int, length core.Mono) Plan {
	rng := det.New(seed+uint64(redraw)<<40, "swarm")
	p := Plan{Seed: seed, Redraw: redraw, For: length, Nodes: 3, Shards: int(rng.Between(1, 2)), Partitions: 8, Factor: 3, Dirs: 1,
		Rate: 200, MaxRecord: rng.Between(60, 500), EndPower: rng.Chance(1, 2), Core: 7}
	p.Loads = workload.DrawLoads(rng)
	if rng.Chance(1, 3) {
		p.Large = rng.Between(20, 100)
	}
	if rng.Chance(1, 2) {
		p.Window = 1 << rng.Between(18, 21) // more than the largest batch
	}
	if rng.Chance(2, 3) {
		p.Journal = 1 << rng.Between(17, 21)
	}
	if rng.Chance(1, 5) {
		p.Hot = rng.Between(20, 90)
	}
	if rng.Chance(1, 2) {
		p.Core &^= 1 << rng.N(int64(p.Nodes)) // one node stays as the faults leave it
	}
	s := swarm{p: &p, rng: rng, victim: core.NodeID(rng.N(int64(p.Nodes)))}
	s.crashes()
	s.cuts()
	for _, d := range draws {
		if rng.Chance(1, d.of) {
			for range s.times(d.lo, d.hi) {
				s.add(d.kind, d.short, d.long, d.n(rng))
			}
		}
	}
	s.rates()
	if rng.Chance(1, 3) {
		p.Packed = rng.Between(1, 20)
	}
	p.Loads = append(p.Loads, workload.DrawLater(rng)...)
	for _, d := range late {
		if rng.Chance(1, d.of) {
			for range s.times(d.lo, d.hi) {
				s.add(d.kind, d.short, d.long, d.n(rng))
			}
		}
	}
	if rng.Chance(1, 4) {
		p.Dirs = 2
		for _, d := range lastDir {
			for range s.times(d.lo, d.hi) {
				s.add(d.kind, d.short, d.long, d.n(rng))
			}
		}
	}
	if rng.Chance(1, 4) {
		s.lagging()
	}
	p.Loads = append(p.Loads, workload.DrawLast(rng)...)
	if p.Segment > 0 || workload.Compacts(p.Loads) {
		p.Scrub = 100 * ms // there are hundreds of files, of which a piece is one, and readers wait for rot to be found
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	return p
}

// lagging makes catch-ups by segments the rule, in small pieces over small files, and cuts them in the middle.
func (s *swarm) lagging() {
	p, rng := s.p, s.rng
	p.Entries = rng.Between(4, 40)
	p.Pull = 1 << rng.Between(8, 15)
	if p.Large > 0 {
		p.Pull = max(p.Pull, 4<<10) // what is large in pieces of 512 bytes, each with a job, takes longer than the patience at the end
	}
	if rng.Chance(3, 4) {
		p.Segment = 1 << rng.Between(12, 17) // smaller ones, a batch each, took as long as six other worlds
	}
	for range s.times(2, 8) {
		s.add(Aimed, 50*ms, 2*sec, rng.Between(3, 4))
	}
	for range s.times(1, 4) {
		s.add(Power, sec, 4*sec, 0)
	}
	if rng.Chance(1, 2) {
		s.add(CrashLoop, sec, 4*sec, rng.Between(2, 8))
	}
	if rng.Chance(1, 2) {
		s.add(Flap, sec, 5*sec, rng.Between(30, 1500))
	}
}

// lie makes some disks lie about fsync and lets the power fail everywhere at once, which is when the
// truth comes out. Nothing else may harm a disk then.
func (p *Plan) lie(disks int) {
	p.Liars, p.EndPower = disks, true
	p.Core = 1<<p.Nodes - 1
	p.Faults = slices.DeleteFunc(p.Faults, func(f Fault) bool { return specs[f.Kind].harm || f.Kind == WrongDisk })
	p.Faults = append(p.Faults, Fault{At: p.For * 3 / 5, Kind: PowerAll, For: min(core.Second, p.For/8)})
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
}

type swarm struct {
	p      *Plan
	rng    *det.Rand
	victim core.NodeID // the one node whose disk may come to harm
}

// draw is how the swarm draws one kind of fault: one in of seeds has it, lo to hi times a minute.
type draw struct {
	kind        FaultKind
	of          int64
	lo, hi      int64
	short, long core.Mono
	n           func(*det.Rand) int64
}

func between(lo, hi int64) func(*det.Rand) int64 {
	return func(rng *det.Rand) int64 { return rng.Between(lo, hi) }
}

// either draws small values mostly, and now and then one from the far end.
func either(lo, mid, hi int64) func(*det.Rand) int64 {
	return func(rng *det.Rand) int64 {
		if rng.Chance(1, 4) {
			return rng.Between(mid, hi)
		}
		return rng.Between(lo, mid)
	}
}

// sign draws from the values up to n on both sides of 0.
func sign(n int64) func(*det.Rand) int64 {
	return func(rng *det.Rand) int64 { return rng.Between(0, 2*n) - n }
}

var none = between(0, 0)

const (
	ms   = core.Millisecond
	sec  = core.Second
	hour = 3600 * 1000 // milliseconds
)

// draws are visited in this order: append, never insert, or every seed becomes another run.
var draws = []draw{
	{Pause, 2, 1, 4, 50 * ms, 3 * sec, none},
	{Pause, 6, 1, 1, 5 * sec, 20 * sec, none},
	{SlowDisk, 2, 1, 3, sec, 8 * sec, between(5, 100)},
	{SyncError, 3, 1, 1, 2 * sec, 8 * sec, none},
	{Delay, 2, 1, 3, sec, 6 * sec, between(2000, 60000)},
	{CutOneWay, 2, 1, 3, 200 * ms, 4 * sec, none},
	{CutClients, 3, 1, 3, 200 * ms, 3 * sec, none},
	{Boundary, 2, 2, 6, 50 * ms, 2 * sec, either(1, 50, 5000)},
	{CrashLoop, 6, 1, 1, sec, 4 * sec, between(2, 5)},
	{Rolling, 8, 1, 1, 2 * sec, 6 * sec, none},
	{Bridge, 4, 1, 2, 300 * ms, 4 * sec, none},
	{Isolate, 3, 1, 3, 300 * ms, 4 * sec, between(0, 1000)},
	{IsolateHalf, 4, 1, 2, 300 * ms, 3 * sec, between(0, 1000)},
	{Flap, 6, 1, 1, sec, 5 * sec, between(30, 1500)},
	{Swizzle, 5, 1, 2, sec, 6 * sec, none},
	{SlowLink, 3, 1, 3, sec, 8 * sec, between(1, 120)},
	{NarrowLink, 4, 1, 2, sec, 8 * sec, between(1, 20)},
	{ThinLink, 5, 1, 2, sec, 8 * sec, between(50, 1000)},
	{LossyLink, 4, 1, 2, sec, 8 * sec, either(1000, 20000, 300000)},
	{EchoLink, 4, 1, 2, sec, 8 * sec, either(1000, 100000, 500000)},
	{NoisyLink, 4, 1, 2, sec, 8 * sec, between(10, 10000)},
	{Stall, 3, 1, 2, 10 * ms, 6 * sec, none},
	{DiskFull, 4, 1, 2, sec, 8 * sec, none},
	{Wipe, 20, 1, 1, 0, 0, none},
	{OldDisk, 20, 1, 1, 2 * sec, 8 * sec, none},
	{WrongDisk, 8, 1, 1, 300 * ms, 3 * sec, none},
	{ClockSkew, 4, 1, 2, sec, 10 * sec, sign(hour)},
	{ClockJump, 4, 1, 2, 0, 0, sign(24 * hour)},
	{ClockDrift, 5, 1, 2, sec, 10 * sec, sign(10000)},
	{ClockFreeze, 6, 1, 1, 500 * ms, 8 * sec, none},
	{LoadBurst, 4, 1, 2, 200 * ms, sec, between(2, 6)},
	{Reconnect, 4, 1, 3, 0, 0, none},
	{RotSealed, 6, 1, 2, 0, 0, between(1, 3)},
	{Rot, 6, 1, 2, 0, 0, between(1, 5)},
	{LostWrite, 8, 1, 2, 0, 0, none},
	{StrayWrite, 8, 1, 2, 0, 0, none},
}

// late are drawn after everything else: seeds without them are the runs that they were.
var late = []draw{
	{Rejoin, 5, 1, 3, 0, 0, func(rng *det.Rand) int64 { return int64(b2u(rng.Chance(1, 4))) }},
}

// lastDir are drawn for nodes with several data directories.
var lastDir = []draw{
	{DirError, 1, 0, 2, sec, 8 * sec, none},
	{DirFull, 1, 0, 2, sec, 8 * sec, none},
	{DirAway, 1, 0, 2, sec, 8 * sec, none},
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
	x := &specs[k]
	f := Fault{Kind: k, Node: s.node(), At: core.Mono(s.rng.N(int64(s.p.For) * 9 / 10)), N: n}
	f.Peer = core.NodeID((int64(f.Node) + s.rng.Between(1, int64(s.p.Nodes)-1)) % int64(s.p.Nodes))
	f.For = max(min(s.span(lo, hi), s.p.For/4), ms)
	if x.harm {
		f.Node = s.victim
	}
	if !x.span {
		f.For = 0
	}
	if !x.peer {
		f.Peer = 0
	}
	if !x.node {
		f.Node = 0
	}
	if x.n == "" {
		f.N = 0
	}
	s.p.Faults = append(s.p.Faults, f)
}

func (s *swarm) crashes() {
	for range s.times(2, 4) {
		k := Kill
		if s.rng.Chance(1, 2) {
			k = Power
		}
		s.add(k, 100*ms, 4*sec, 0)
	}
	for range s.times(2, 5) {
		s.add(Aimed, 50*ms, 2*sec, s.rng.N(3))
	}
	if s.rng.Chance(1, 2) {
		s.add(PowerAll, 100*ms, sec, 0)
	}
}

func (s *swarm) cuts() {
	for range s.times(2, 5) {
		s.add(Cut, 200*ms, 4*sec, 0)
	}
}

// rates draws the faults that befall frames.
func (s *swarm) rates() {
	r, rng := &s.p.Rates, s.rng
	half := func() bool { return rng.Chance(1, 2) }
	if half() {
		r.Reset = rng.Between(1, 300)
	}
	if half() {
		r.Drop = rng.Between(1, 300)
	}
	if half() {
		r.Double = rng.Between(1, 5000)
	}
	if half() {
		r.Spike, s.p.SpikeMax = rng.Between(10, 2000), s.span(5*ms, 300*ms)
	}
	if half() {
		r.Rot = rng.Between(100, 2e4)
	}
	if half() {
		r.Part = rng.Between(10, 2000)
	}
	if half() {
		r.Replay = rng.Between(10, 5000)
	}
	s.p.ReplayMax = s.span(100*ms, 60*sec)
}
