package sim

import (
	"fmt"
	"math"
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
	Core       uint64    // the nodes that heal in the end, as bits: a majority, which must converge
	Packed     int64     // one record in Packed comes in a compressed batch, which is stored uncompressed; 0: none
	Beyond     bool      // faults may exceed the budget: the cluster may refuse for good, and still not lie
	Dirs       int       // data directories of a node
	Entries    int64     // of a partition in memory, not more: who lags behind catches up by segments; 0: the default
	Segment    int64     // bytes of a segment of the topic; 0: the default
	Pull       int64     // bytes that a catch-up asks for at once; 0: the default
	Sparse     int64     // clients do everything so many times less often; 0: as often as in the standard world
	Ping       core.Mono // of nodes to each other; 0: the default
	Suspicion  core.Mono // after so long a silence; 0: four pings
	Scrub      core.Mono // between two pieces of old segments that a shard reads again; 0: the default
	Faults     []Fault
}

// mostNodes: the topics that brokers make for themselves have 3 copies, and the judges take it that
// every group has one on each node.
const mostNodes = 3

// What a node can work with at all.
const (
	leastWindow  = 1 << 18 // more than the largest batch
	leastJournal = 1 << 16
	leastPing    = 10 * core.Millisecond
)

// number is a line "name value" of a plan.
type number struct {
	name   string
	at     *int64
	lo, hi int64
	about  string
}

// frames is what rates count.
const frames = "of a million frames"

// nanos begins what is told of a number that may be written as a time, too.
const nanos = "nanoseconds"

// mostSparse is a week for a second.
const mostSparse = 7 * 86400

// numbers are the plan's lines of one number each, in the order in which they are written.
func (p *Plan) numbers() []number {
	r := &p.Rates
	return []number{{"rate", &p.Rate, 1, 1e5, "batches a second, of all producers"},
		{"hot", &p.Hot, 0, 100, "of 100 batches so many go to one partition"},
		{"max-record", &p.MaxRecord, 24, 60 << 10, "bytes"},
		{"large", &p.Large, 0, 1e6, "one batch in N is big enough to go straight to its segment; 0: none"},
		{"window", &p.Window, 0, 1 << 32, "bytes of batches in a node's memory; 0: the default"},
		{"journal", &p.Journal, 0, 1 << 26, "bytes of a journal file; 0: the default"},
		{"net-reset", &r.Reset, 0, 1e6, frames + ": lost, and both ends hear it"},
		{"net-drop", &r.Drop, 0, 1e6, frames + ": lost, and all behind it"},
		{"net-double", &r.Double, 0, 1e6, frames + ": they come twice"},
		{"net-spike", &r.Spike, 0, 1e6, frames + ": late by up to spike-max"},
		{"net-rot", &r.Rot, 0, 1e6, frames + ": a bit of a file flips on its way to a peer"},
		{"net-part", &r.Part, 0, 1e6, frames + ": a client gets a part, and the connection ends"},
		{"net-replay", &r.Replay, 0, 1e6, frames + ": a peer gets it again, up to replay-max later"},
		{"net-corrupt", &r.Corrupt, 0, 1e6, frames + ": any bit flips on its way to a peer"},
		{"spike-max", (*int64)(&p.SpikeMax), 0, int64(minute), nanos},
		{"replay-max", (*int64)(&p.ReplayMax), 0, int64(10 * minute), nanos},
		{"packed", &p.Packed, 0, 1e6, "one record in N comes in a compressed batch, which is stored uncompressed; 0: none"},
		{"entries", &p.Entries, 0, 1 << 20, "of a partition in a node's memory: who lags behind by more catches up by segments; 0: the default"},
		{"segment", &p.Segment, 0, 1 << 30, "bytes of a segment of the topic; 0: the default"},
		{"pull", &p.Pull, 0, 1 << 24, "bytes that a catch-up asks for at once; 0: the default"},
		{"sparse", &p.Sparse, 0, mostSparse, "clients do everything so many times less often; with 86400 a day is like a second; 0: they do not"},
		{"ping", (*int64)(&p.Ping), 0, int64(60 * minute), nanos + " between signs of life of nodes; 0: the default"},
		{"suspicion", (*int64)(&p.Suspicion), 0, int64(600 * minute), nanos + " of silence until a node is suspect; 0: four pings"},
		{"scrub", (*int64)(&p.Scrub), 0, int64(60 * minute), nanos + " between two pieces of old segments that a shard reads again; 0: the default"}}
}

// smallNumber is a number that fits an int.
type smallNumber struct {
	name   string
	at     *int
	lo, hi int
	about  string
}

// counts are the plan's small numbers.
func (p *Plan) counts() []smallNumber {
	return []smallNumber{{"redraw", &p.Redraw, 0, 1e6, "how often the seed was drawn anew; a remark"},
		{"nodes", &p.Nodes, 1, mostNodes, "brokers"}, {"shards", &p.Shards, 1, 16, "of each broker"},
		{"partitions", &p.Partitions, 1, 1000, "of the topic"},
		{"factor", &p.Factor, 1, mostNodes, "copies of a partition: as many as there are nodes"},
		{"liars", &p.Liars, 0, mostNodes, "disks that say that they synced, and did not"},
		{"dirs", &p.Dirs, 1, 3, "data directories of each broker"}}
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

// What a hand-written plan may cost: faults, and bytes of a line.
const (
	maxFaults = 10000
	maxLine   = 1000
)

// ParsePlan reads what Plan.String writes. The prefix "plan: " may be missing, so may every line that
// is to be as in the standard world without faults; empty lines and what follows a # are skipped. An
// error names the line and what would be right.
func ParsePlan(text string) (Plan, error) {
	r := planReader{lines: map[string]int{},
		p: Plan{For: minute, Nodes: 3, Shards: 1, Partitions: 8, Dirs: 1, Rate: 200, MaxRecord: 300}}
	no := 0
	for line := range strings.Lines(text) {
		no++
		if len(line) > maxLine {
			return Plan{}, fmt.Errorf("line %d: it is too long for a plan: %d bytes, not more than %d", no, len(line), maxLine)
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "plan:"))
		if line == "" {
			continue
		}
		if err := r.line(no, line); err != nil {
			return Plan{}, fmt.Errorf("line %d: %w", no, err)
		}
	}
	p := &r.p
	if len(p.Loads) == 0 {
		p.Loads = []workload.Load{{Kind: "produce", N: 4}, {Kind: "group", N: 2}, {Kind: "readers", N: 1}}
	}
	if p.Core == 0 {
		p.Core = 1<<p.Nodes - 1
	}
	if p.Factor == 0 {
		p.Factor = p.Nodes
	}
	if f := p.flaw(); f != nil {
		return Plan{}, r.located(f)
	}
	return *p, nil
}

// planReader reads a plan line by line, and remembers where what stands.
type planReader struct {
	p      Plan
	lines  map[string]int // by their first word; of loads by the first two
	faults []int
}

// located names the line of a flaw. Where what is wrong does not stand, what it contradicts does.
func (r *planReader) located(f *flaw) error {
	no := 0
	for _, name := range f.lines {
		if no == 0 {
			no = r.lines[name]
		}
	}
	if len(f.lines) == 0 {
		no = r.faults[f.fault]
	}
	if no == 0 {
		return f
	}
	return fmt.Errorf("line %d: %w", no, f)
}

func (r *planReader) line(no int, line string) (err error) {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	p := &r.p
	if name == "fault" {
		f, err := ParseFault(rest)
		if len(p.Faults) == maxFaults {
			return fmt.Errorf("more than %d faults", maxFaults)
		}
		p.Faults, r.faults = append(p.Faults, f), append(r.faults, no)
		return err
	}
	key := name
	if name == "load" {
		l, err := workload.ParseLoad(rest)
		if err != nil {
			return err
		}
		p.Loads = append(p.Loads, l)
		key += " " + l.Kind
	}
	if before, ok := r.lines[key]; ok {
		return fmt.Errorf("%s stands in line %d already", key, before)
	}
	r.lines[key] = no
	switch name {
	case "load":
		return nil
	case "seed":
		if p.Seed, err = strconv.ParseUint(rest, 10, 64); err != nil {
			return fmt.Errorf("seed %.30q: it must be a number from 0 to %d", rest, uint64(math.MaxUint64))
		}
		return nil
	case "for":
		p.For, err = parseTime(rest)
		return err
	case "core":
		return p.readCore(rest)
	case "end-power", "beyond-budget":
		if rest != "" {
			return fmt.Errorf("%s stands alone: %.60q is too much", name, rest)
		}
		p.EndPower, p.Beyond = p.EndPower || name == "end-power", p.Beyond || name == "beyond-budget"
		return nil
	}
	return p.readNumber(name, rest)
}

func (p *Plan) readCore(list string) error {
	for _, w := range strings.Fields(list) {
		n, err := parseNode(w)
		if err != nil {
			return err
		}
		p.Core |= 1 << n
	}
	if p.Core == 0 {
		return fmt.Errorf("core names nobody: core n0 n1")
	}
	return nil
}

func (p *Plan) readNumber(name, text string) error {
	wrong := func(lo, hi int64) error {
		return fmt.Errorf("%s %.30q: it must be a number from %d to %d", name, text, lo, hi)
	}
	for _, c := range p.counts() {
		if c.name == name {
			v, err := strconv.Atoi(text)
			if err != nil || v < c.lo || v > c.hi {
				return wrong(int64(c.lo), int64(c.hi))
			}
			*c.at = v
			return nil
		}
	}
	for _, n := range p.numbers() {
		if n.name == name {
			v, err := strconv.ParseInt(text, 10, 64)
			if d, e := time.ParseDuration(text); e == nil && strings.HasPrefix(n.about, nanos) {
				v, err = int64(d), nil
			}
			if err != nil || v < n.lo || v > n.hi {
				return wrong(n.lo, n.hi)
			}
			*n.at = v
			return nil
		}
	}
	return fmt.Errorf("%.30q begins no line of a plan", name)
}

// AboutPlans is what may stand in a plan, line by line.
func AboutPlans() string {
	var p Plan
	var b strings.Builder
	b.WriteString(`A plan has a line for each thing, in any order; what follows a # is a remark. What is missing is as in
the standard world without faults. TIME is like 1.5s, NODE is from 0 on.

seed N
for TIME
core nNODE nNODE  who must converge in the end, a majority; others stay as the faults leave them
end-power         everybody loses power in the end
beyond-budget     faults may harm more disks than a cluster can bear: it may refuse for good, and not lie
`)
	for _, c := range p.counts() {
		fmt.Fprintf(&b, "%s N: %s (%d to %d)\n", c.name, c.about, c.lo, c.hi)
	}
	for _, n := range p.numbers() {
		fmt.Fprintf(&b, "%s N: %s (%d to %d)\n", n.name, n.about, n.lo, n.hi)
	}
	for about := range strings.Lines(workload.AboutLoads()) {
		name, rest, _ := strings.Cut(about, " ")
		fmt.Fprintf(&b, "load %s N: %s", name, strings.TrimLeft(rest, " "))
	}
	for about := range strings.Lines(AboutFaults()) {
		b.WriteString("fault " + about)
	}
	return b.String()
}

func parseTime(s string) (core.Mono, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > mostHours*time.Hour {
		return 0, fmt.Errorf("%q is no time from 0s to %dh", s, mostHours)
	}
	return core.Mono(d), nil
}

func parseNode(s string) (core.NodeID, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "n"), 10, 8)
	if err != nil || !strings.HasPrefix(s, "n") || n >= mostNodes {
		return 0, fmt.Errorf("%q is no node: they are n0 to n%d", s, mostNodes-1)
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

// mostHours is how long a run and its faults may last: a year, and some more.
const mostHours = 10000

// flaw is what is impossible in a plan, and which line is to be changed.
type flaw struct {
	what  string
	lines []string // by their first words, best first; none: it is a fault's
	fault int
}

func (f *flaw) Error() string { return f.what }

// Check says what is impossible in a plan; nil: it can be played.
func (p *Plan) Check() error {
	if f := p.flaw(); f != nil {
		return f
	}
	return nil
}

func (p *Plan) flaw() *flaw {
	wrong := func(lines []string, format string, args ...any) *flaw {
		return &flaw{what: fmt.Sprintf(format, args...), lines: lines}
	}
	switch {
	case p.For <= 0 || p.For > mostHours*60*minute:
		return wrong([]string{"for"}, "for %v: a run lasts from 1ns to %dh", time.Duration(p.For), mostHours)
	case p.Factor != p.Nodes:
		return wrong([]string{"factor", "nodes"}, "factor %d: each of the %d nodes has a copy of everything", p.Factor, p.Nodes)
	case p.Window != 0 && p.Window < leastWindow:
		return wrong([]string{"window"}, "window %d: it is 0, which stands for the default, or at least %d", p.Window, leastWindow)
	case p.Journal != 0 && p.Journal < leastJournal:
		return wrong([]string{"journal"}, "journal %d: it is 0, which stands for the default, or at least %d", p.Journal, leastJournal)
	case p.Ping != 0 && p.Ping < leastPing || p.Scrub != 0 && p.Scrub < leastPing:
		return wrong([]string{"ping", "scrub"}, "ping %v, scrub %v: each is 0, which stands for the default, or at least %v",
			time.Duration(p.Ping), time.Duration(p.Scrub), time.Duration(leastPing))
	case p.pace().Doubt < 2*p.pace().Ping:
		return wrong([]string{"suspicion", "ping"}, "suspicion %v: it is at least twice the ping, %v", time.Duration(p.pace().Doubt), time.Duration(p.pace().Ping))
	case p.Liars > p.Nodes:
		return wrong([]string{"liars", "nodes"}, "liars %d: there are %d disks", p.Liars, p.Nodes)
	case p.Core>>p.Nodes != 0 || bits.OnesCount64(p.Core) <= p.Nodes/2:
		return wrong([]string{"core", "nodes"}, "core%s: it must be a majority of n0 to n%d", nodesOf(p.Core), p.Nodes-1)
	}
	for i, f := range p.Faults {
		if err := f.check(p); err != nil {
			return &flaw{what: fmt.Sprintf("fault %v: %v", f, err), fault: i}
		}
	}
	return p.overBudget()
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
