package sim

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/sim/workload"
)

// SweepOptions are how a range of seeds is played.
type SweepOptions struct {
	Options
	Twice   bool // each seed two times; their hashes must be equal
	Workers int  // at a time; default GOMAXPROCS
	Keep    int  // failures after which no new seed is begun; default 1

	// Each is called after every seed with the sums so far, one call at a time; false: no new seed is
	// begun. Nil: nobody looks.
	Each func(so *Summary) bool

	// JudgeFrom is how many seeds a sweep needs to be held to floors as a whole: of fewer, a share says
	// nothing. 0: every sweep is.
	JudgeFrom int64

	// Alone says that nothing else in the process holds buffers, so that those that the sweep leaves are
	// counted, and fail it.
	Alone bool
}

// Summary is what a sweep did. Sums count each seed once, also when it was played twice.
type Summary struct {
	Seeds    int64
	Redrawn  int64 // seeds that were drawn again because a run was empty
	Stranded int64 // seeds on lying disks that ended early
	Runs     int64
	Acked    int64 // batches
	Virtual  core.Mono
	Elected  int64
	Rolls    int64 // segments made
	Removals int64 // ... and removed
	Steps    int64
	Proved   int64
	Hash     uint64           // over the hashes of the seeds, in order; of one seed its own
	Faults   map[string]int64 // by FaultCount.Kind
	Crashes  int64
	Cuts     int64
	Met      *workload.Met
	Hashes   []uint64 // of the seeds, in order, as far as none is missing
	Mutant   string   // planted
	Slowest  uint64
	SlowTook time.Duration
	CPU      time.Duration // until now, of the whole process
	Took     time.Duration
	Failures []Failure // by seed
	Marks    int
	Hit      int // of the marks
	Unhit    []string
}

// Failure is a seed that failed and why, or the sweep as a whole.
type Failure struct {
	Seed      uint64
	Why       string
	Replay    string     // the command that shows it again; empty for the sweep as a whole
	Violation *Violation // nil: two runs of the seed differ, or it is the sweep as a whole
}

// emptyShare is the part of the seeds, in per cent, that may be drawn again.
const emptyShare = 2

// Sweep plays the seeds from first to last, and prints nothing.
func Sweep(first, last uint64, opts SweepOptions) Summary {
	return sweep(first, last, opts, func(seed uint64) Result { return Run(seed, opts.Options) })
}

// SweepPlan is a sweep of one plan. Nobody asks whether enough happens in it.
func SweepPlan(plan Plan, opts SweepOptions) Summary {
	return sweep(plan.Seed, plan.Seed, opts, func(uint64) Result { return RunPlan(plan, opts.Options) })
}

func sweep(first, last uint64, opts SweepOptions, play func(seed uint64) Result) Summary {
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	opts.Keep = max(opts.Keep, 1)
	prepare(opts.Options)
	s := sweeper{opts: opts, play: play, first: first, next: first, last: last, hashes: map[uint64]uint64{}}
	s.sum.Faults, s.sum.Met, s.sum.Mutant = map[string]int64{}, workload.NewMet(), opts.Mutant
	before := map[string]int64{} // marks, hit by earlier sweeps of the process
	det.Marks(func(name string, hits int64) { before[name] = hits })
	began, cpu := time.Now(), cpuTime()
	live := core.Live.Load()
	var all sync.WaitGroup
	for range opts.Workers {
		all.Go(s.work)
	}
	all.Wait()
	s.sum.Took, s.sum.CPU = time.Since(began), cpuTime()-cpu
	s.sum.Hash, s.sum.Hashes = s.hash()
	s.judge(core.Live.Load() - live)
	slices.SortFunc(s.sum.Failures, func(a, b Failure) int { return cmp.Compare(a.Seed, b.Seed) })
	det.Marks(func(name string, hits int64) {
		s.sum.Marks++
		if hits > before[name] {
			s.sum.Hit++
		} else {
			s.sum.Unhit = append(s.sum.Unhit, name)
		}
	})
	return s.sum
}

type sweeper struct {
	opts     SweepOptions
	play     func(seed uint64) Result
	mu       sync.Mutex
	first    uint64
	next     uint64
	last     uint64
	over     bool
	cutShort bool // a run was told to stop, and left what it held
	sum      Summary
	hashes   map[uint64]uint64
}

func (s *sweeper) take() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next > s.last || s.over {
		return 0, false
	}
	if s.next++; s.next == 0 { // that was the last number there is
		s.over = true
	}
	return s.next - 1, true
}

// work is a worker. A seed is played by one goroutine, so the order in which seeds end matters to none.
func (s *sweeper) work() {
	for {
		seed, ok := s.take()
		if !ok {
			return
		}
		began := time.Now()
		r := s.play(seed)
		took := time.Since(began)
		var again *Result
		if s.opts.Twice && r.Violation == nil {
			b := s.play(seed)
			again = &b
		}
		if r.Stopped || again != nil && again.Stopped {
			s.stopped()
			continue
		}
		s.add(&r, again, took)
	}
}

// stopped notes that a run did not end.
func (s *sweeper) stopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutShort = true
}

func (s *sweeper) add(r, again *Result, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.sum
	t.Seeds++
	t.Runs++
	if r.Redraws > 0 {
		t.Redrawn++
	}
	if r.Stranded != nil {
		t.Stranded++
	}
	t.Acked += r.Acked
	t.Proved += r.Proved
	t.Elected += r.Leaders
	t.Rolls += r.Rolls
	t.Removals += r.Removals
	t.Steps += r.Steps
	t.Virtual += r.Virtual
	t.Crashes += r.Crashes()
	t.Cuts += r.Cuts()
	t.Met.Add(r.Met())
	for _, f := range r.FaultCounts() {
		t.Faults[f.Kind] += f.Count
	}
	s.hashes[r.Plan.Seed] = r.Hash
	if took > t.SlowTook {
		t.Slowest, t.SlowTook = r.Plan.Seed, took
	}
	if again != nil {
		t.Runs++
	}
	s.look(r, again)
	s.over = s.over || len(t.Failures) >= s.opts.Keep || s.opts.Each != nil && !s.opts.Each(t)
}

// look finds what is wrong with a seed.
func (s *sweeper) look(r, again *Result) {
	f := Failure{Seed: r.Plan.Seed, Replay: r.Replay(s.opts.Options)}
	switch {
	case r.Violation != nil:
		f.Violation, f.Why = r.Violation, r.Violation.String()
	case again != nil && again.Violation != nil:
		f.Violation, f.Why = again.Violation, "only its second run: "+again.Violation.String()
	case again != nil && again.Hash != r.Hash:
		f.Why = fmt.Sprintf("violation of I22: two runs of one seed differ: hash %016x, then %016x", r.Hash, again.Hash)
		f.Replay += " --twice"
	default:
		return
	}
	s.sum.Failures = append(s.sum.Failures, f)
}

// hash joins the hashes of the seeds from the first on, as far as none is missing.
func (s *sweeper) hash() (sum uint64, all []uint64) {
	for seed := s.first; len(all) < len(s.hashes); seed++ {
		h, ok := s.hashes[seed]
		if !ok {
			break
		}
		all = append(all, h)
		sum = (sum ^ h) * 1099511628211
		sum ^= sum >> 29
	}
	if len(s.hashes) == 1 && len(all) == 1 {
		return all[0], all
	}
	return sum, all
}

// judge holds the sweep as a whole to its floors; live is how many buffers it left.
func (s *sweeper) judge(live int64) {
	t := &s.sum
	if len(t.Failures) > 0 {
		return
	}
	fail := func(format string, args ...any) {
		t.Failures = append(t.Failures, Failure{Seed: s.last, Why: fmt.Sprintf(format, args...)})
	}
	lied := s.opts.Liars > 0 // what such a seed leaves behind says nothing
	if live != 0 && s.opts.Alone && !lied && !s.cutShort && s.opts.Mutant == "" {
		fail("%d buffers were never released", live)
	}
	if t.Seeds < s.opts.JudgeFrom {
		return
	}
	if t.Thin() {
		fail("too little happened in %d of %d seeds: the sweep means nothing", t.Redrawn, t.Seeds)
	}
	if t.Proved == 0 && !lied {
		fail("no acknowledgement was compared with the platters")
	}
}

// Thin says that too little happened in too many of the seeds.
func (t *Summary) Thin() bool { return t.Redrawn*100 > t.Seeds*emptyShare }

// Coverage is the line that says what a sweep is worth: seeds, virtual time, faults by kind, marks,
// the planted bug, the slowest seed.
func (t *Summary) Coverage() string {
	mutant := ""
	if t.Mutant != "" {
		mutant = "; mutant " + t.Mutant
	}
	return fmt.Sprintf("coverage: %d seeds, %.2f virtual h; faults: %s; marks %d/%d%s; slowest seed %d (%.1f s)",
		t.Seeds, seconds(t.Virtual)/3600, FaultText(t.Faults), t.Hit, t.Marks, mutant, t.Slowest, t.SlowTook.Seconds())
}

// String is a line of sums, the line of Coverage, and one for each failure.
func (t *Summary) String() string {
	var b strings.Builder
	played := float64(t.Runs) / float64(max(t.Seeds, 1)) // times each seed
	fmt.Fprintf(&b, "%d redrawn, %d runs, %d batches acknowledged, %d elections; %.1f virtual s and %.0f batches a CPU s; %.0f s\n%s",
		t.Redrawn, t.Runs, t.Acked, t.Elected, played*seconds(t.Virtual)/t.CPU.Seconds(), played*float64(t.Acked)/t.CPU.Seconds(),
		t.Took.Seconds(), t.Coverage())
	for _, f := range t.Failures {
		fmt.Fprintf(&b, "\nseed %d: %s\n%s", f.Seed, f.Why, f.Replay)
	}
	return b.String()
}

// cpuTime is what this process has used of all cores.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
