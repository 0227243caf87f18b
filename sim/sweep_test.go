package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// What a sweep comes to does not depend on who plays its seeds, nor on how often.
func TestSweepsAddUp(t *testing.T) {
	opts := SweepOptions{Options: Options{For: core.Second}, Workers: 1, JudgeFrom: 50, Alone: true}
	var looks []int64
	opts.Each = func(so *Summary) bool {
		looks = append(looks, so.Seeds)
		return true
	}
	a := Sweep(21, 24, opts)
	if len(looks) != 4 || looks[3] != 4 || a.Seeds != 4 || a.Runs != 4 || a.Acked == 0 || a.Hash == 0 {
		t.Fatalf("looks %v: %v", looks, a.String())
	}
	opts.Workers, opts.Each, opts.Twice = 3, nil, true
	b := Sweep(21, 24, opts)
	if b.Runs != 8 || a.Hash != b.Hash || a.Acked != b.Acked || a.Steps != b.Steps || a.Virtual != b.Virtual ||
		!maps.Equal(a.Faults, b.Faults) || a.Crashes != b.Crashes || a.Cuts != b.Cuts || !slices.Equal(a.Hashes, b.Hashes) {
		t.Errorf("two sweeps of the same seeds differ:\n%v\n%v", a.String(), b.String())
	}
	if x, y := a.Met.Lines(), b.Met.Lines(); !slices.Equal(x, y) || len(a.Met.Under) == 0 || len(a.Met.Pairs) == 0 || len(a.Met.Answers) == 0 {
		t.Errorf("their clients met\n%v\n%v", x, y)
	}
	if a.Crashes == 0 || a.Cuts == 0 || a.Hit == 0 || a.Hit+len(a.Unhit) != a.Marks {
		t.Errorf("%d crashes, %d cuts, %d of %d marks", a.Crashes, a.Cuts, a.Hit, a.Marks)
	}
	opts.Twice = false
	one := Sweep(22, 22, opts)
	if r := Run(22, opts.Options); one.Hash != r.Hash {
		t.Errorf("a sweep of one seed has hash %016x, the seed %016x", one.Hash, r.Hash)
	}
	opts.Workers, opts.Each = 1, func(so *Summary) bool { return so.Seeds < 2 }
	if c := Sweep(21, 24, opts); c.Seeds != 2 || c.Hash == a.Hash {
		t.Errorf("told to stop after two: %v", c.String())
	}
}

// The last line of a sweep tells what it is worth, and a plan is a sweep of one.
func TestCoverage(t *testing.T) {
	p, err := ParsePlan("seed 3\nfor 2s\nfault 500ms kill n1 for 300ms\nfault 1s cut n0 for 300ms")
	if err != nil {
		t.Fatal(err)
	}
	s := SweepPlan(p, SweepOptions{Options: Options{File: "calm.plan", Mutant: "none"}, Twice: true, JudgeFrom: 50})
	if s.Seeds != 1 || s.Runs != 2 || s.Redrawn != 0 || len(s.Failures) > 0 || s.Hash != RunPlan(p, Options{}).Hash {
		t.Fatal(s.String())
	}
	line := s.Coverage()
	for _, want := range []string{"1 seeds, 0.00 virtual h", "cut 1, kill 1", fmt.Sprintf("marks %d/%d", s.Hit, s.Marks), "mutant none", "slowest seed 3 ("} {
		if !strings.Contains(line, want) || strings.Contains(line, "\n") {
			t.Errorf("%q lacks %q", line, want)
		}
	}
}

// Who is told to stop gives no verdict: a run that did not end counts nowhere.
func TestAStoppedRunCountsNowhere(t *testing.T) {
	asked := 0
	stop := func() bool {
		asked++
		return asked > 20
	}
	if r := Run(3, Options{For: core.Second, Stop: stop}); !r.Stopped || r.Violation != nil || r.Virtual > core.Second {
		t.Errorf("%v after %d questions: %v", r.Stopped, asked, r.String())
	}
	if s := Sweep(3, 9, SweepOptions{Options: Options{For: core.Second, Stop: stop}, Workers: 1, JudgeFrom: 50}); s.Seeds != 0 || s.Hash != 0 {
		t.Errorf("a stopped sweep played %d seeds", s.Seeds)
	}
}

// A share of few seeds says nothing; of many it fails the sweep.
func TestThinSweepsFail(t *testing.T) {
	for _, x := range []struct {
		seeds, redrawn int64
		fails          bool
	}{{49, 49, false}, {50, 1, false}, {50, 2, true}, {500, 10, false}, {500, 11, true}} {
		s := sweeper{opts: SweepOptions{JudgeFrom: 50}, sum: Summary{Seeds: x.seeds, Redrawn: x.redrawn, Proved: 1}}
		s.judge(0)
		if got := len(s.sum.Failures) > 0; got != x.fails || got && !strings.Contains(s.sum.Failures[0].Why, "too little happened") {
			t.Errorf("%d of %d seeds drawn again: %v", x.redrawn, x.seeds, s.sum.Failures)
		}
	}
}

// A buffer that nobody released fails a sweep of any length, unless something else may have taken it.
func TestBuffersThatAreLeftFailASweep(t *testing.T) {
	for _, x := range []struct {
		opts  SweepOptions
		cut   bool
		fails bool
	}{
		{SweepOptions{JudgeFrom: 50, Alone: true}, false, true},
		{SweepOptions{JudgeFrom: 50}, false, false},
		{SweepOptions{JudgeFrom: 50, Alone: true}, true, false},
		{SweepOptions{JudgeFrom: 50, Alone: true, Options: Options{Liars: 1}}, false, false},
	} {
		s := sweeper{opts: x.opts, cutShort: x.cut, sum: Summary{Seeds: 1}}
		s.judge(2)
		if got := len(s.sum.Failures) > 0; got != x.fails {
			t.Errorf("%+v: %v", x.opts, s.sum.Failures)
		}
	}
}

// What a press holds is given back when its process dies before a worker has it.
func TestADyingProcessGivesBackWhatItsJobsHold(t *testing.T) {
	s := Sweep(1028027, 1028027, SweepOptions{Options: Options{For: 10 * core.Second}, Workers: 1, JudgeFrom: 50, Alone: true})
	if len(s.Failures) > 0 {
		t.Error(s.Failures[0].Why)
	}
}

// A panic has a seed, and the command that shows it again.
func TestAPanicKeepsItsSeed(t *testing.T) {
	w := &trap{}
	r := Run(31, Options{For: core.Second, Trace: w})
	if r.Violation == nil || r.Violation.ID != "panic" || r.Plan.Seed != 31 {
		t.Fatalf("%v of seed %d", r.Violation, r.Plan.Seed)
	}
	if want := "karst sim run --seed 31 --for 1s"; r.Replay(Options{}) != want {
		t.Errorf("replay is %q, want %q", r.Replay(Options{}), want)
	}
	if !strings.Contains(w.rest.String(), "sweep_test.go") {
		t.Errorf("the trace does not show where: %q", w.rest.String())
	}
}

// trap is a trace that panics once.
type trap struct {
	sprung bool
	rest   strings.Builder
}

func (w *trap) Write(b []byte) (int, error) {
	if !w.sprung {
		w.sprung = true
		panic("planted")
	}
	return w.rest.Write(b)
}
