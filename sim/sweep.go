package sim

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// SweepOptions are how a range of seeds is played.
type SweepOptions struct {
	Options
	Twice   bool      // each seed two times; their hashes must be equal
	Workers int       // at a time; default GOMAXPROCS
	Log     io.Writer // a line for each failure, as it happens; nil: none
	Keep    int       // failures after which no new seed is begun; default 1
}

// Summary is what a sweep did.
type Summary struct {
	Seeds    int64
	Redrawn  int64 // plans that were drawn again because a run was empty
	Empty    int64 // seeds that stayed empty
	Acked    int64 // batches, over every run that counts
	Virtual  core.Mono
	Runs     int64
	Elected  int64
	Proved   int64
	Faults   map[string]int64
	Slowest  uint64
	SlowTook time.Duration
	CPU      time.Duration
	Took     time.Duration
	Failures []Failure // by seed
	Marks    int
	Hit      int
	Unhit    []string
}

// Failure is a seed that failed and why.
type Failure struct {
	Seed   uint64
	Why    string
	Replay string
}

// Sweep plays the seeds from first to last.
func Sweep(first, last uint64, opts SweepOptions) Summary {
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	opts.Keep = max(opts.Keep, 1)
	prepare(opts.Options)
	s := sweeper{opts: opts, next: first, last: last}
	s.sum.Faults = map[string]int64{}
	began, cpu := time.Now(), cpuTime()
	live := core.Live.Load()
	var all sync.WaitGroup
	for range opts.Workers {
		all.Go(s.work)
	}
	all.Wait()
	s.sum.Took, s.sum.CPU = time.Since(began), cpuTime()-cpu
	s.judge(live)
	slices.SortFunc(s.sum.Failures, func(a, b Failure) int { return int(int64(a.Seed) - int64(b.Seed)) })
	det.Marks(func(name string, hits int64) {
		s.sum.Marks++
		if hits > 0 {
			s.sum.Hit++
		} else {
			s.sum.Unhit = append(s.sum.Unhit, name)
		}
	})
	return s.sum
}

type sweeper struct {
	opts SweepOptions
	mu   sync.Mutex
	next uint64
	last uint64
	sum  Summary
}

func (s *sweeper) take() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next > s.last || len(s.sum.Failures) >= s.opts.Keep {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

func (s *sweeper) work() {
	for {
		seed, ok := s.take()
		if !ok {
			return
		}
		began := time.Now()
		r := Run(seed, s.opts.Options)
		took := time.Since(began)
		var again *Result
		if s.opts.Twice && r.Violation == nil {
			b := Run(seed, s.opts.Options)
			again = &b
		}
		s.add(&r, again, took)
	}
}

func (s *sweeper) add(r, again *Result, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.sum
	t.Seeds++
	t.Redrawn += int64(r.Redraws)
	s.count(r)
	if took > t.SlowTook {
		t.Slowest, t.SlowTook = r.Plan.Seed, took
	}
	switch {
	case r.Violation != nil:
		s.fail(r, r.Violation.String())
	case again != nil && again.Violation != nil:
		s.fail(again, "only its second run: "+again.Violation.String())
	case again != nil && again.Hash != r.Hash:
		s.fail(r, fmt.Sprintf("violation of I22: two runs of one seed differ: hash %016x, then %016x", r.Hash, again.Hash))
	}
	if again != nil {
		s.count(again)
	}
	if r.Empty() != "" {
		t.Empty++
	}
}

func (s *sweeper) count(r *Result) {
	t := &s.sum
	t.Runs++
	t.Acked += r.Acked
	t.Proved += r.Proved
	t.Elected += r.Leaders
	t.Virtual += r.Virtual
	for k, n := range r.counters() {
		t.Faults[k] += n
	}
}

func (s *sweeper) fail(r *Result, why string) {
	f := Failure{Seed: r.Plan.Seed, Why: why, Replay: r.Replay(s.opts.Options)}
	s.sum.Failures = append(s.sum.Failures, f)
	if s.opts.Log != nil {
		fmt.Fprintf(s.opts.Log, "seed %d: %s\n%s\n", f.Seed, f.Why, f.Replay)
	}
}

// judge holds the sweep as a whole to its floors.
func (s *sweeper) judge(live int64) {
	t := &s.sum
	if len(t.Failures) > 0 {
		return
	}
	if (t.Redrawn+t.Empty)*50 > t.Seeds {
		t.Failures = append(t.Failures, Failure{Seed: s.last, Why: fmt.Sprintf("%d of %d seeds were empty: more than 2 %%", t.Redrawn+t.Empty, t.Seeds)})
	}
	if n := core.Live.Load() - live; n != 0 {
		t.Failures = append(t.Failures, Failure{Seed: s.last, Why: fmt.Sprintf("%d buffers were never released", n)})
	}
	if t.Proved == 0 {
		t.Failures = append(t.Failures, Failure{Seed: s.last, Why: "no acknowledgement was compared with the platters"})
	}
}

// String is one line, and one for each failure.
func (t *Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds (%d redrawn), %d runs, %d batches acknowledged, %.2f virtual h, %d elections; faults: %s; marks %d/%d; slowest seed %d (%.2f s); %.1f virtual s and %.0f batches a CPU s; %.0f s",
		t.Seeds, t.Redrawn, t.Runs, t.Acked, seconds(t.Virtual)/3600, t.Elected, formatCounters(t.Faults), t.Hit, t.Marks,
		t.Slowest, t.SlowTook.Seconds(), seconds(t.Virtual)/t.CPU.Seconds(), float64(t.Acked)/t.CPU.Seconds(), t.Took.Seconds())
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
