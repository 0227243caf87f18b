package sim

import (
	"bufio"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/sim/workload"
)

// Fault is one line of a plan. At counts from the moment at which the topic is there.
type Fault struct {
	At   core.Mono
	Kind FaultKind
	Node core.NodeID
	Peer core.NodeID
	For  core.Mono
	N    int64
}

// String is what ParseFault reads: "12.5s slow-link n1 n2 for 2s x 40".
func (f Fault) String() string {
	k := &specs[f.Kind]
	s := fmt.Sprintf("%v %v", time.Duration(f.At), f.Kind)
	if k.node {
		s += fmt.Sprintf(" n%d", f.Node)
	}
	if k.peer {
		s += fmt.Sprintf(" n%d", f.Peer)
	}
	if k.span {
		s += fmt.Sprintf(" for %v", time.Duration(f.For))
	}
	if k.n != "" {
		s += fmt.Sprintf(" x %d", f.N)
	}
	return s
}

// Rates are the faults without a moment of their own, per million frames of the whole network.
type Rates struct{ Reset, Drop, Double, Spike, Rot, Part, Replay, Corrupt int64 }

// Plan is everything that a run is, but for the draws inside of components. It is a value: drawn
// whole from a seed by Swarm, printed at the start, parsed back by ParsePlan, and writable by hand.
type Plan struct {
	Seed       uint64
	Redraw     int // how often the seed was drawn again because it was empty
	For        core.Mono
	Nodes      int
	Shards     int
	Partitions int
	Factor     int
	Rate       int64 // batches a second
	Loads      []workload.Load
	Hot        int64 // of 100 batches so many go to one partition
	MaxRecord  int64
	Large      int64 // one batch in Large is big enough to go straight to its segment; 0: none
	Window     int64 // bytes of a node's window; 0: the default
	Journal    int64 // bytes of a journal file; 0: the default
	Rates      Rates
	SpikeMax   core.Mono
	ReplayMax  core.Mono
	Liars      int // this many disks lie about fsync
	EndPower   bool
	Core       uint64 // the nodes that heal in the end, as bits: a majority, which must converge
	Beyond     bool   // faults may exceed the budget: the cluster may refuse for good, and still not lie
	Faults     []Fault
}

// number is a line "name value" of a plan.
type number struct {
	name   string
	at     *int64
	lo, hi int64
}

// numbers are the plan's lines of one number each, in the order in which they are written.
func (p *Plan) numbers() []number {
	return []number{{"rate", &p.Rate, 1, 1e5}, {"hot", &p.Hot, 0, 100}, {"max-record", &p.MaxRecord, 24, 60 << 10},
		{"large", &p.Large, 0, 1e6}, {"window", &p.Window, 0, 1 << 32}, {"journal", &p.Journal, 0, 1 << 32},
		{"net-reset", &p.Rates.Reset, 0, 1e6}, {"net-drop", &p.Rates.Drop, 0, 1e6}, {"net-double", &p.Rates.Double, 0, 1e6},
		{"net-spike", &p.Rates.Spike, 0, 1e6}, {"net-rot", &p.Rates.Rot, 0, 1e6}, {"net-part", &p.Rates.Part, 0, 1e6},
		{"net-replay", &p.Rates.Replay, 0, 1e6}, {"net-corrupt", &p.Rates.Corrupt, 0, 1e6},
		{"spike-max", (*int64)(&p.SpikeMax), 0, int64(minute)}, {"replay-max", (*int64)(&p.ReplayMax), 0, int64(10 * minute)}}
}

// counts are the plan's small numbers.
func (p *Plan) counts() []struct {
	name   string
	at     *int
	lo, hi int
} {
	return []struct {
		name   string
		at     *int
		lo, hi int
	}{{"redraw", &p.Redraw, 0, 1e6}, {"nodes", &p.Nodes, 1, 7}, {"shards", &p.Shards, 1, 16}, {"partitions", &p.Partitions, 1, 1000},
		{"factor", &p.Factor, 1, 7}, {"liars", &p.Liars, 0, 7}}
}

// String is the plan, a line for each thing, as ParsePlan reads it.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan: seed %d\nplan: for %v\n", p.Seed, time.Duration(p.For))
	for _, c := range p.counts() {
		fmt.Fprintf(&b, "plan: %s %d\n", c.name, *c.at)
	}
	for _, n := range p.numbers() {
		if *n.at != 0 {
			fmt.Fprintf(&b, "plan: %s %d\n", n.name, *n.at)
		}
	}
	fmt.Fprintf(&b, "plan: core%s\n", nodesOf(p.Core))
	if p.EndPower {
		b.WriteString("plan: end-power\n")
	}
	if p.Beyond {
		b.WriteString("plan: beyond-budget\n")
	}
	for _, l := range p.Loads {
		fmt.Fprintf(&b, "plan: load %v\n", l)
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "plan: fault %v\n", f)
	}
	return b.String()
}

func nodesOf(set uint64) (s string) {
	for ; set != 0; set &= set - 1 {
		s += fmt.Sprintf(" n%d", bits.TrailingZeros64(set))
	}
	return s
}

// maxFaults bounds what a hand-written plan costs.
const maxFaults = 10000

// ParsePlan reads what Plan.String writes. The prefix "plan: " may be missing, so may every line that
// is to be as in the standard world without faults; empty lines and what follows a # are skipped. An
// error names the line and what would be right.
func ParsePlan(text string) (Plan, error) {
	p := Plan{For: minute, Nodes: 3, Shards: 1, Partitions: 8, Factor: 3, Rate: 200, MaxRecord: 300}
	lines := bufio.NewScanner(strings.NewReader(text))
	for no := 1; lines.Scan(); no++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "plan:"))
		if line == "" {
			continue
		}
		if err := p.line(line); err != nil {
			return Plan{}, fmt.Errorf("line %d: %w", no, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Plan{}, fmt.Errorf("a line is too long: %w", err)
	}
	if len(p.Loads) == 0 {
		p.Loads = []workload.Load{{Kind: "produce", N: 4}, {Kind: "group", N: 2}, {Kind: "readers", N: 1}}
	}
	if p.Core == 0 {
		p.Core = 1<<p.Nodes - 1
	}
	return p, p.Check()
}

func (p *Plan) line(line string) (err error) {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch name {
	case "seed":
		p.Seed, err = strconv.ParseUint(rest, 10, 64)
		return err
	case "for":
		p.For, err = parseTime(rest)
		return err
	case "end-power":
		p.EndPower = true
		return nil
	case "beyond-budget":
		p.Beyond = true
		return nil
	case "core":
		for _, w := range strings.Fields(rest) {
			n, err := parseNode(w)
			if err != nil {
				return err
			}
			p.Core |= 1 << n
		}
		return nil
	case "load":
		l, err := workload.ParseLoad(rest)
		p.Loads = append(p.Loads, l)
		return err
	case "fault":
		f, err := ParseFault(rest)
		if len(p.Faults) == maxFaults {
			return fmt.Errorf("more than %d faults", maxFaults)
		}
		p.Faults = append(p.Faults, f)
		return err
	}
	for _, c := range p.counts() {
		if c.name == name {
			v, err := strconv.Atoi(rest)
			if err != nil || v < c.lo || v > c.hi {
				return fmt.Errorf("%s %q: it must be a number from %d to %d", name, rest, c.lo, c.hi)
			}
			*c.at = v
			return nil
		}
	}
	for _, n := range p.numbers() {
		if n.name == name {
			v, err := strconv.ParseInt(rest, 10, 64)
			if err != nil || v < n.lo || v > n.hi {
				return fmt.Errorf("%s %q: it must be a number from %d to %d", name, rest, n.lo, n.hi)
			}
			*n.at = v
			return nil
		}
	}
	return fmt.Errorf("%q begins no line of a plan", name)
}

func parseTime(s string) (core.Mono, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > 1000*time.Hour {
		return 0, fmt.Errorf("%q is no time from 0s to 1000h", s)
	}
	return core.Mono(d), nil
}

func parseNode(s string) (core.NodeID, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "n"), 10, 8)
	if err != nil || !strings.HasPrefix(s, "n") || n > 6 {
		return 0, fmt.Errorf("%q is no node: they are n0, n1 and on", s)
	}
	return core.NodeID(n), nil
}

// ParseFault reads what Fault.String writes.
func ParseFault(s string) (f Fault, err error) {
	w := strings.Fields(s)
	if len(w) < 2 {
		return f, fmt.Errorf("a fault is a time, a kind and what the kind asks for")
	}
	if f.At, err = parseTime(w[0]); err != nil {
		return f, err
	}
	if f.Kind, err = parseKind(w[1]); err != nil {
		return f, err
	}
	k := &specs[f.Kind]
	w = w[2:]
	take := func(what string) string {
		if err == nil && len(w) == 0 {
			err = fmt.Errorf("%v lacks %s: %s", f.Kind, what, k.form(f.Kind))
		}
		if err != nil {
			return ""
		}
		x := w[0]
		w = w[1:]
		return x
	}
	node := func(what string) (n core.NodeID) {
		if x := take(what); err == nil {
			n, err = parseNode(x)
		}
		return n
	}
	if k.node {
		f.Node = node("its node")
	}
	if k.peer {
		f.Peer = node("its other node")
	}
	if k.span {
		if x := take("\"for\""); err == nil && x != "for" {
			err = fmt.Errorf("%q where %v wants \"for\": %s", x, f.Kind, k.form(f.Kind))
		}
		if x := take("its time"); err == nil {
			f.For, err = parseTime(x)
		}
	}
	if k.n != "" {
		if x := take("\"x\""); err == nil && x != "x" {
			err = fmt.Errorf("%q where %v wants \"x\": %s", x, f.Kind, k.form(f.Kind))
		}
		if x := take(k.n); err == nil {
			f.N, err = strconv.ParseInt(x, 10, 64)
		}
	}
	if err == nil && len(w) > 0 {
		err = fmt.Errorf("%q is too much: %s", strings.Join(w, " "), k.form(f.Kind))
	}
	return f, err
}

// Check says what is impossible in a plan; nil: it can be played.
func (p *Plan) Check() error {
	switch {
	case p.For <= 0 || p.For > 1000*60*minute:
		return fmt.Errorf("for %v: a run lasts from 1ns to 1000h", time.Duration(p.For))
	case p.Factor > p.Nodes:
		return fmt.Errorf("factor %d: there are %d nodes", p.Factor, p.Nodes)
	case p.Liars > p.Nodes:
		return fmt.Errorf("liars %d: there are %d disks", p.Liars, p.Nodes)
	case p.Core>>p.Nodes != 0 || bits.OnesCount64(p.Core) <= p.Nodes/2:
		return fmt.Errorf("core%s: it must be a majority of n0 to n%d", nodesOf(p.Core), p.Nodes-1)
	}
	for _, f := range p.Faults {
		if err := f.check(p); err != nil {
			return fmt.Errorf("fault %v: %w", f, err)
		}
	}
	return p.checkBudget()
}

func (f *Fault) check(p *Plan) error {
	k := &specs[f.Kind]
	switch {
	case f.At >= p.For:
		return fmt.Errorf("the run is over by then")
	case k.node && (f.Node < 0 || int(f.Node) >= p.Nodes):
		return fmt.Errorf("there is no node n%d", f.Node)
	case k.peer && (f.Peer < 0 || int(f.Peer) >= p.Nodes || f.Peer == f.Node):
		return fmt.Errorf("n%d is no other node", f.Peer)
	case k.span && f.For <= 0:
		return fmt.Errorf("it must last for some time")
	case k.n != "" && (f.N < k.lo || f.N > k.hi):
		return fmt.Errorf("%s must be from %d to %d", k.n, k.lo, k.hi)
	}
	return nil
}

const minute = 60 * core.Second

func seconds(t core.Mono) float64 { return float64(t) / 1e9 }
