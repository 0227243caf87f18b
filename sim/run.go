package sim

import (
	"fmt"
	"runtime/debug"
	"sort"
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
	Platters  int64 // times at which all platters were recovered and compared with what is committed
	Leaders   int64 // elections beyond the first of each group
	Fatals    int64
	Faults    [faultKinds]int64
	Net       netfake.Faults
	Disk      diskfake.Faults
	Clients   workload.Counts
	Redraws   int
	Violation *Violation
}

// Crashes counts processes and machines that died by the plan.
func (r *Result) Crashes() int64 { return r.Faults[Kill] + r.Faults[Power] + r.Faults[PowerAll] }

// Cuts counts partitions of the network.
func (r *Result) Cuts() int64 { return r.Faults[Cut] + r.Faults[CutOneWay] + r.Faults[CutClients] }

// Empty says why too little happened for the run to mean anything; "" when enough did. Per minute of
// load: 2,000 acknowledged batches, 2 crashes, 2 cuts and a change of leader.
func (r *Result) Empty() string {
	floor := func(perMinute int64) int64 {
		return (perMinute*int64(r.Plan.For) + int64(minute) - 1) / int64(minute)
	}
	var lacks []string
	for _, f := range []struct {
		name   string
		is, at int64
	}{{"acknowledged batches", r.Acked, floor(2000)}, {"crashes", r.Crashes(), floor(2)},
		{"cuts", r.Cuts(), floor(2)}, {"leader changes", r.Leaders, floor(1)}} {
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
		if r.Violation != nil || redraw == maxRedraws || r.Empty() == "" {
			return r
		}
	}
}

// RunPlan plays a plan, drawn or written by hand.
func RunPlan(plan Plan, opts Options) Result { return runWith(plan, opts, karst) }

func runWith(plan Plan, opts Options, drv driver) Result {
	prepare(opts)
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
		debug.SetGCPercent(400) // worlds are small and short-lived
	})
}

var once sync.Once

// Replay is the command that plays a result's run again.
func (r *Result) Replay(opts Options) string {
	s := fmt.Sprintf("karst sim run --seed %d", r.Plan.Seed)
	if r.Plan.For != minute {
		s += fmt.Sprintf(" --for %s", duration(r.Plan.For))
	}
	if r.Plan.Liars > 0 {
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

// counters are the faults of a result by name, sorted.
func (r *Result) counters() map[string]int64 {
	c := map[string]int64{"net-reset": r.Net.Resets, "net-drop": r.Net.Drops, "net-double": r.Net.Doubles, "net-spike": r.Net.Spikes,
		"bit-rot": r.Net.Rots, "sync-error": r.Disk.SyncErrors, "lost-sectors": r.Disk.LostSectors, "torn-files": r.Disk.TornFiles,
		"lost-entries": r.Disk.LostEntries, "lies": r.Disk.Lies}
	for k, n := range r.Faults {
		if FaultKind(k) != SyncError {
			c[FaultKind(k).String()] = n
		}
	}
	return c
}

func formatCounters(c map[string]int64) string {
	var names []string
	for k, n := range c {
		if n > 0 {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	for i, k := range names {
		names[i] = fmt.Sprintf("%s %d", k, c[k])
	}
	return strings.Join(names, ", ")
}

// String is a result in a few lines; the last one of a failure is the command that replays it.
func (r *Result) String() string {
	return fmt.Sprintf("seed %d: %.1f virtual s, %d of %d batches acknowledged (%d proved), %d leader changes, %d steps, hash %016x\nfaults: %s",
		r.Plan.Seed, seconds(r.Virtual), r.Acked, r.Offered, r.Proved, r.Leaders, r.Steps, r.Hash, formatCounters(r.counters()))
}
