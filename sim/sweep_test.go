package sim

import (
	"maps"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// What a sweep comes to does not depend on who plays its seeds, nor on how often.
func TestSweepsAddUp(t *testing.T) {
	opts := SweepOptions{Options: Options{For: core.Second}, Workers: 1, JudgeFrom: 50}
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
		!maps.Equal(a.Faults, b.Faults) {
		t.Errorf("two sweeps of the same seeds differ:\n%v\n%v", a.String(), b.String())
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
