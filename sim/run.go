package sim

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/karst-stream/karst/core"
	diskfake "github.com/karst-stream/karst/diskio/fake"
	netfake "github.com/karst-stream/karst/netsim/fake"
	"github.com/karst-stream/karst/sim/workload"
)

// Violation is what a run found.
type Violation struct {
	ID   string // of RELIABILITY.md, or what kind of failure it is
	What string
	At   core.Mono
}

func (v *Violation) String() string {
	return fmt.Sprintf("violation of %s at %.6f s: %s", v.ID, seconds(v.At), v.What)
}

// Result is what a run did.
type Result struct {
	Plan      Plan
	Hash      uint64 // of the whole trace
	Virtual   core.Mono
	Steps     int64
	Acked     int64 // batches
	Offered   int64
	Proved    int64 // batches that were on a majority of platters when their answer left
	Rolls     int64 // segment files that brokers made
	Removals  int64 // ... and removed
	Platters  int64 // times at which all platters were recovered and compared with what is committed
	Leaders   int64 // elections beyond the first of each group
	Fatals    int64
	Faults    [faultKinds]int64
	Net       netfake.Faults
	Disk      diskfake.Faults
	Clients   workload.Counts
	Redraws   int
	Stopped   bool // by Options.Stop, without a verdict
	Violation *Violation

	// Stranded is how a run on lying disks ended early without a finding. A node whose disk forgot what it
	// had synced, its own name first, refuses to start or keeps partitions offline, as it must; when that
	// befalls too many, the cluster is never whole again. Only what clients miss is a violation then.
	Stranded *Violation
}

// Crashes counts the faults that ended a process at a moment that it did not choose; a loss of power
// everywhere is one. Aimed crashes, crash loops and rolling ones come as kills and losses of power.
func (r *Result) Crashes() int64 {
	return r.sum(Kill, Power, PowerAll, Boundary, Wipe, OldDisk, WrongDisk, Rejoin, DirAway)
}

// Cuts counts partitions of the network. Flapping and swizzling come as cuts.
func (r *Result) Cuts() int64 {
	return r.sum(Cut, CutOneWay, CutClients, Bridge, Isolate, IsolateHalf)
}

func (r *Result) sum(kinds ...FaultKind) (n int64) {
	for _, k := range kinds {
		n += r.Faults[k]
	}
	return n
}

// leastKinds is how many kinds of fault a run needs, however short it is.
const leastKinds = 3

// Empty says why too little happened for the run to mean anything; "" when enough did: 3 kinds of
// fault, and per minute of load 2,000 acknowledged batches, 2 crashes, 2 cuts and a change of leader.
func (r *Result) Empty() string {
	floor := func(perMinute int64) int64 {
		return (perMinute*int64(r.Plan.For) + int64(minute) - 1) / int64(minute)
	}
	var lacks []string
	for _, f := range []struct {
		name   string
		is, at int64
	}{{"acknowledged batches", r.Acked, floor(2000)}, {"crashes", r.Crashes(), floor(2)},
		{"cuts", r.Cuts(), floor(2)}, {"leader changes", r.Leaders, floor(1)}, {"kinds of fault", int64(r.Kinds()), leastKinds}} {
		if f.is < f.at {
			lacks = append(lacks, fmt.Sprintf("%d %s of %d", f.is, f.name, f.at))
		}
	}
	return strings.Join(lacks, ", ")
}

// maxRedraws of an empty seed; then it counts as it is.
const maxRedraws = 5

// Run plays the standard world of a seed. An empty run is drawn again, from the same seed.
func Run(seed uint64, opts Options) Result {
	if opts.For == 0 {
		opts.For = minute
	}
	for redraw := 0; ; redraw++ {
		plan := Swarm(seed, redraw, opts.For)
		if opts.Liars > 0 {
			plan.lie(opts.Liars)
		}
		r := RunPlan(plan, opts)
		r.Redraws = redraw
		if r.Violation != nil || r.Stopped || r.Stranded != nil || redraw == maxRedraws || r.Empty() == "" {
			return r
		}
	}
}

// forgive takes back what lying disks excuse.
func (r *Result) forgive() {
	if v := r.Violation; v != nil && r.Plan.Liars > 0 && !slices.Contains(loss, v.ID) {
		r.Violation, r.Stranded = nil, v
	}
}

// RunPlan plays a plan, drawn or written by hand. A panic is a violation like others: its seed must
// not get lost. The trace shows where it happened.
func RunPlan(plan Plan, opts Options) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = Result{Plan: plan, Violation: &Violation{ID: "panic", What: fmt.Sprint(p)}, Clients: workload.Counts{Met: workload.NewMet()}}
			if opts.Trace != nil {
				fmt.Fprintf(opts.Trace, "panic: %v\n%s", p, debug.Stack())
			}
		}
		r.forgive()
	}()
	return runWith(plan, opts, karst)
}

func runWith(plan Plan, opts Options, drv driver) Result {
	prepare(opts)
	if plan.Sparse > 1 {
		debug.SetGCPercent(100) // a world that lives for long, and holds what was written in a year
	}
	w := newWorld(plan, opts, drv)
	w.result.Plan = plan
	if opts.Trace != nil {
		fmt.Fprint(opts.Trace, plan.String())
	}
	w.play()
	return w.result
}

// prepare sets what a process has one of. A sweep does it before its workers begin.
func prepare(opts Options) {
	plant(opts.Mutant)
	once.Do(func() {
		core.Poison = true
		debug.SetGCPercent(800) // worlds are small and short-lived
	})
}

var once sync.Once

// Replay is the command that plays a result's run again.
func (r *Result) Replay(opts Options) string {
	s := fmt.Sprintf("karst sim run --seed %d", r.Plan.Seed)
	if opts.File != "" {
		s = "karst sim run --plan " + opts.File
	}
	if r.Plan.For != minute && opts.File == "" {
		s += fmt.Sprintf(" --for %s", duration(r.Plan.For))
	}
	if r.Plan.Liars > 0 && opts.File == "" {
		s += fmt.Sprintf(" --liars %d", r.Plan.Liars)
	}
	if opts.Mutant != "" {
		s += " --mutant " + opts.Mutant
	}
	return s
}

func duration(t core.Mono) string {
	if t%core.Second == 0 {
		return fmt.Sprintf("%ds", t/core.Second)
	}
	return fmt.Sprintf("%dms", t/core.Millisecond)
}

// FaultCount is a kind of fault and how often it happened.
type FaultCount struct {
	Kind    string // a FaultKind, or what network and disk count themselves
	Count   int64
	Follows bool // from faults that are counted too: what a loss of power takes, what does not fit
}

// FaultCounts are the faults of a run, zeros too, in a fixed order.
func (r *Result) FaultCounts() (out []FaultCount) {
	for k, n := range r.Faults {
		if FaultKind(k) != SyncError { // the disk counts those that a sync met
			out = append(out, FaultCount{Kind: FaultKind(k).String(), Count: n})
		}
	}
	net, disk := &r.Net, &r.Disk
	out = append(out, []FaultCount{{Kind: "lost-frame", Count: net.Drops}, {Kind: "doubled-frame", Count: net.Doubles},
		{Kind: "reset-link", Count: net.Resets}, {Kind: "late-frame", Count: net.Spikes}, {Kind: "bit-rot", Count: net.Rots},
		{Kind: "corrupt-frame", Count: net.Corrupts}, {Kind: "replayed-frame", Count: net.Replays}, {Kind: "part-of-reply", Count: net.Parts},
		{Kind: "sync-error", Count: disk.SyncErrors}, {Kind: "lie", Count: disk.Lies}}...)
	return append(out, FaultCount{"full-link", net.Full, true}, FaultCount{"lost-sector", disk.LostSectors, true},
		FaultCount{"torn-file", disk.TornFiles, true}, FaultCount{"lost-entry", disk.LostEntries, true}, FaultCount{"no-room", disk.NoRoom, true},
		FaultCount{"swallowed-sector", disk.LostWrites, true}, FaultCount{"stray-sector", disk.Misdirected, true}, FaultCount{"rotten-bit", disk.Rotten, true})
}

// FaultText lists by name what happened at all.
func FaultText(counts map[string]int64) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		if counts[k] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k, counts[k]))
		}
	}
	return strings.Join(parts, ", ")
}

// String is a result in a few lines; the last one of a failure is the command that replays it.
func (r *Result) String() string {
	counts := map[string]int64{}
	for _, f := range r.FaultCounts() {
		counts[f.Kind] = f.Count
	}
	return fmt.Sprintf("seed %d: %.1f virtual s, %d of %d batches acknowledged (%d proved), %d leader changes, %d segments made and %d removed, %d steps, hash %016x\nfaults: %s",
		r.Plan.Seed, seconds(r.Virtual), r.Acked, r.Offered, r.Proved, r.Leaders, r.Rolls, r.Removals, r.Steps, r.Hash, FaultText(counts))
}
