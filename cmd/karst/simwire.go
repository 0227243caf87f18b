package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/demo"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/sim"
)

// emptyShare is the part of a sweep that may have to be drawn again because too little happened.
const (
	emptyShare = 0.02
	emptyFrom  = 50 // seeds from which on the share means something
)

// options are those of the simulator.
func (s *simFlags) options(trace io.Writer) sim.Options {
	return sim.Options{For: core.Mono(s.length), Trace: trace, Mutant: s.mutant, Liars: s.liars}
}

// simulate runs the seeds that the flags name.
func simulate(c *cobra.Command, seeds seedRange, s *simFlags) error {
	if s.mutant != "" && !sim.Mutants {
		return catalogue.SimMutant.New("this build does not carry mutant %s", s.mutant)
	}
	if s.trace {
		return s.traced(c, seeds.first)
	}
	sw := newSweep(seeds.first, seeds.last)
	began := time.Now()
	var bar func()
	if term.IsTerminal(int(os.Stderr.Fd())) {
		bar = func() {
			fmt.Fprintf(os.Stderr, "\r\x1b[2K%d seeds, %.0f virtual s, %d batches", sw.total.Seeds, sw.total.Virtual, sw.total.Acked)
		}
	}
	sw.run(c.Context(), s.options(nil), s.twice, bar)
	if bar != nil {
		fmt.Fprint(os.Stderr, "\r\x1b[2K")
	}
	sw.total.Real = time.Since(began).Seconds()
	if err := s.out.print(c, sw.total, sw.total.write); err != nil {
		return err
	}
	return sw.verdict(s.options(nil))
}

// traced prints every event of one seed; the last line of the output is the hash.
func (s *simFlags) traced(c *cobra.Command, seed uint64) error {
	out := bufio.NewWriterSize(c.OutOrStdout(), 1<<20)
	opts := s.options(out)
	r := play(seed, opts)
	fmt.Fprintf(out, "hash %016x\n", r.Hash)
	if err := out.Flush(); err != nil {
		return err
	}
	return violated(&r, opts)
}

// play runs one seed. A panic of the world is a violation like others: its seed must not get lost. A
// trace shows where it happened.
func play(seed uint64, opts sim.Options) (r sim.Result) {
	defer func() {
		if p := recover(); p != nil {
			r.Plan.Seed, r.Plan.For, r.Plan.Liars = seed, opts.For, opts.Liars
			r.Violation = &sim.Violation{ID: "panic", What: fmt.Sprint(p)}
			if opts.Trace != nil {
				fmt.Fprintf(opts.Trace, "panic: %v\n%s", p, debug.Stack())
			}
		}
	}()
	return sim.Run(seed, opts)
}

// violated is the error of a run that broke a promise. What it says last is the command to paste.
func violated(r *sim.Result, opts sim.Options) error {
	if r.Violation == nil {
		return nil
	}
	e := catalogue.SimViolation.New("seed %d: %v", r.Plan.Seed, r.Violation).Try(r.Replay(opts) + " --trace")
	e.Show(os.Stderr, "", "")
	fmt.Fprintln(os.Stderr, r.Replay(opts))
	return exitStatus(catalogue.Unhealthy)
}

// simTotal is what a sweep came to; the JSON of karst sim run.
type simTotal struct {
	Seeds    int              `json:"seeds"`
	Virtual  float64          `json:"virtual_seconds"`
	Real     float64          `json:"real_seconds"`
	Acked    int64            `json:"acknowledged_batches"`
	Leaders  int64            `json:"leader_changes"`
	Steps    int64            `json:"steps"`
	Empty    int              `json:"drawn_again"` // seeds in which too little happened at first
	Twice    bool             `json:"hashes_compared"`
	Hash     string           `json:"hash"` // over the hashes of all seeds, in order
	Faults   map[string]int64 `json:"faults"`
	Violated []string         `json:"violations,omitempty"`
}

func (t simTotal) write(w io.Writer) {
	each := 1 / max(float64(t.Seeds), 1)
	fmt.Fprintf(w, "%s, %.0f virtual s in %.1f s, %d batches acknowledged, hash %s\n", count(t.Seeds, "seed"),
		t.Virtual, t.Real, t.Acked, t.Hash)
	fmt.Fprintf(w, "a seed: %.1f virtual s, %.0f batches, %.1f changes of leader, %.0f steps\n",
		t.Virtual*each, float64(t.Acked)*each, float64(t.Leaders)*each, float64(t.Steps)*each)
	var parts []string
	for _, k := range sortedKeys(t.Faults) {
		if t.Faults[k] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k, t.Faults[k]))
		}
	}
	fmt.Fprintf(w, "faults: %s\n", strings.Join(parts, ", "))
	if t.Empty > 0 {
		fmt.Fprintf(w, "drawn again because too little happened: %s\n", count(t.Empty, "seed"))
	}
	if len(t.Violated) == 0 {
		fmt.Fprintln(w, "no violation")
	}
}

// sweep runs seeds on every core. A seed is played by one goroutine, so the order in which seeds end
// does not matter to any of them.
type sweep struct {
	first, last uint64
	next        atomic.Uint64
	mu          sync.Mutex
	total       simTotal
	hashes      map[uint64]uint64
	worst       *sim.Result // the violation of the lowest seed
	unequal     []uint64    // seeds whose two runs differ
	stops       func(*sim.Violation) bool
	over        atomic.Bool
}

func newSweep(first, last uint64) *sweep {
	s := &sweep{first: first, last: last, hashes: map[uint64]uint64{}}
	s.stops = func(*sim.Violation) bool { return true }
	s.total.Faults = map[string]int64{}
	s.next.Store(first)
	return s
}

// run plays seeds until the last one, a violation, or the end of ctx.
func (s *sweep) run(ctx context.Context, opts sim.Options, twice bool, after func()) {
	s.total.Twice = twice
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for ctx.Err() == nil && !s.over.Load() {
				seed := s.next.Add(1) - 1
				if seed > s.last || seed < s.first {
					return
				}
				r := play(seed, opts)
				same := true
				if twice {
					again := play(seed, opts)
					same = again.Hash == r.Hash
				}
				s.add(&r, same, after)
			}
		}()
	}
	workers.Wait()
	var sum uint64
	for seed := s.first; ; seed++ {
		h, ok := s.hashes[seed]
		if !ok {
			break
		}
		sum = (sum ^ h) * 1099511628211
		sum ^= sum >> 29
	}
	s.total.Hash = fmt.Sprintf("%016x", sum)
	if len(s.hashes) == 1 {
		s.total.Hash = fmt.Sprintf("%016x", s.hashes[s.first])
	}
}

func (s *sweep) add(r *sim.Result, same bool, after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.total
	t.Seeds++
	t.Virtual += float64(r.Virtual) / float64(core.Second)
	t.Acked += r.Acked
	t.Leaders += r.Leaders
	t.Steps += r.Steps
	if r.Redraws > 0 {
		t.Empty++
	}
	s.hashes[r.Plan.Seed] = r.Hash
	for _, f := range faultCounts(r) {
		t.Faults[f.Kind] += f.Count
	}
	if !same {
		s.unequal = append(s.unequal, r.Plan.Seed)
		s.over.Store(true)
	}
	if r.Violation != nil && s.stops(r.Violation) {
		t.Violated = append(t.Violated, fmt.Sprintf("seed %d: %v", r.Plan.Seed, r.Violation))
		if s.worst == nil || r.Plan.Seed < s.worst.Plan.Seed {
			s.worst = r
		}
		s.over.Store(true)
	}
	if after != nil {
		after()
	}
}

// verdict is the error of the sweep.
func (s *sweep) verdict(opts sim.Options) error {
	if s.worst != nil {
		return violated(s.worst, opts)
	}
	if len(s.unequal) > 0 {
		slices.Sort(s.unequal)
		again := fmt.Sprintf("karst sim run --seed %d --twice", s.unequal[0])
		catalogue.SimViolation.New("seed %d: two runs of it differ", s.unequal[0]).Try(again).Show(os.Stderr, "", "")
		fmt.Fprintln(os.Stderr, again)
		return exitStatus(catalogue.Unhealthy)
	}
	if n := s.total.Seeds; n >= emptyFrom && float64(s.total.Empty) > emptyShare*float64(n) {
		return catalogue.SimViolation.New("too little happened in %d of %d seeds: the sweep means nothing", s.total.Empty, n).
			Try("simulate longer, with --for 60s")
	}
	return nil
}

// faultCounts are the faults of a run by kind, in a fixed order.
func faultCounts(r *sim.Result) (out []demo.Fault) {
	for k, n := range r.Faults {
		if sim.FaultKind(k) != sim.SyncError {
			out = append(out, demo.Fault{Kind: sim.FaultKind(k).String(), Count: n})
		}
	}
	return append(out,
		demo.Fault{Kind: "lost-frame", Count: r.Net.Drops}, demo.Fault{Kind: "doubled-frame", Count: r.Net.Doubles},
		demo.Fault{Kind: "reset-link", Count: r.Net.Resets}, demo.Fault{Kind: "late-frame", Count: r.Net.Spikes},
		demo.Fault{Kind: "bit-rot", Count: r.Net.Rots}, demo.Fault{Kind: "sync-error", Count: r.Disk.SyncErrors},
		demo.Fault{Kind: "lost-sector", Count: r.Disk.LostSectors}, demo.Fault{Kind: "torn-file", Count: r.Disk.TornFiles},
		demo.Fault{Kind: "lost-entry", Count: r.Disk.LostEntries}, demo.Fault{Kind: "lie", Count: r.Disk.Lies})
}

// demoSeedLength is the virtual time of a seed in the demo: short, so that many are seen.
const demoSeedLength = 20 * core.Second

// simulateForDemo is the simulator as the demo shows it.
func simulateForDemo(ctx context.Context, first uint64, lying bool, budget time.Duration,
	progress func(demo.SimReport)) (demo.SimReport, error) {
	opts := sim.Options{For: demoSeedLength}
	if lying {
		opts.Liars = 2
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	sw := newSweep(first, ^uint64(0)-1)
	if lying {
		// Disks that lie break nodes in many ways; the story is of a record that clients miss, which
		// the checkers of the log (A1 and on) report.
		sw.stops = func(v *sim.Violation) bool { return strings.HasPrefix(v.ID, "A") }
	}
	sw.run(ctx, opts, false, func() { progress(demoReport(sw)) })
	rep := demoReport(sw)
	if sw.worst != nil {
		rep.Violation = sw.worst.Violation.String()
		rep.Seed = sw.worst.Plan.Seed
		rep.Replay = sw.worst.Replay(opts)
	}
	return rep, nil
}

func demoReport(sw *sweep) demo.SimReport {
	rep := demo.SimReport{Seeds: sw.total.Seeds, Acked: sw.total.Acked,
		Virtual: time.Duration(sw.total.Virtual * float64(time.Second))}
	for _, k := range sortedKeys(sw.total.Faults) {
		rep.Faults = append(rep.Faults, demo.Fault{Kind: k, Count: sw.total.Faults[k]})
	}
	return rep
}
