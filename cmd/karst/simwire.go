package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/demo"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/sim"
)

// judgeFrom is how many seeds a sweep must have to be judged as a whole.
const judgeFrom = 50

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
	live := term.IsTerminal(int(os.Stderr.Fd()))
	sum := sim.Sweep(seeds.first, seeds.last, sim.SweepOptions{Options: s.options(nil), Twice: s.twice, JudgeFrom: judgeFrom,
		Each: func(so *sim.Summary) bool {
			if live {
				fmt.Fprintf(os.Stderr, "\r\x1b[2K%d seeds, %.0f virtual s, %d batches", so.Seeds, virtual(so).Seconds(), so.Acked)
			}
			return c.Context().Err() == nil
		}})
	if live {
		fmt.Fprint(os.Stderr, "\r\x1b[2K")
	}
	t := totalOf(&sum, s.twice)
	if err := s.out.print(c, t, t.write); err != nil {
		return err
	}
	return sweepError(&sum)
}

// traced prints every event of one seed; the last line of the output is the hash.
func (s *simFlags) traced(c *cobra.Command, seed uint64) error {
	out := bufio.NewWriterSize(c.OutOrStdout(), 1<<20)
	opts := s.options(out)
	r := sim.Run(seed, opts)
	fmt.Fprintf(out, "hash %016x\n", r.Hash)
	if err := out.Flush(); err != nil || r.Violation == nil {
		return err
	}
	return broken(r.Plan.Seed, r.Violation.String(), r.Replay(opts), " --trace")
}

// broken is the error of a seed. What it says last is the command to paste.
func broken(seed uint64, why, replay, flag string) error {
	catalogue.SimViolation.New("seed %d: %s", seed, why).Try(replay+flag).Show(os.Stderr, "", "")
	fmt.Fprintln(os.Stderr, replay)
	return exitStatus(catalogue.Unhealthy)
}

// sweepError is the error of a sweep: of the first seed that failed, or of the whole.
func sweepError(t *sim.Summary) error {
	if len(t.Failures) == 0 {
		return nil
	}
	f := t.Failures[0]
	switch {
	case f.Violation != nil:
		return broken(f.Seed, f.Why, f.Replay, " --trace")
	case f.Replay != "":
		return broken(f.Seed, "two runs of it differ", f.Replay, "")
	case t.Thin():
		return catalogue.SimViolation.New("%s", f.Why).Try("simulate longer, with --for 60s")
	}
	return catalogue.SimViolation.New("%s", f.Why)
}

// simTotal is what a sweep came to; the JSON of karst sim run.
type simTotal struct {
	Seeds    int64            `json:"seeds"`
	Virtual  float64          `json:"virtual_seconds"`
	Real     float64          `json:"real_seconds"`
	Acked    int64            `json:"acknowledged_batches"`
	Leaders  int64            `json:"leader_changes"`
	Steps    int64            `json:"steps"`
	Empty    int64            `json:"drawn_again"`           // seeds in which too little happened at first
	Stranded int64            `json:"ended_early,omitempty"` // seeds on lying disks whose cluster never came back
	Twice    bool             `json:"hashes_compared"`
	Hash     string           `json:"hash"` // over the hashes of all seeds, in order
	Faults   map[string]int64 `json:"faults"`
	Violated []string         `json:"violations,omitempty"`
}

func totalOf(s *sim.Summary, twice bool) simTotal {
	t := simTotal{Seeds: s.Seeds, Virtual: virtual(s).Seconds(), Real: s.Took.Seconds(), Acked: s.Acked, Leaders: s.Elected,
		Steps: s.Steps, Empty: s.Redrawn, Stranded: s.Stranded, Twice: twice, Hash: fmt.Sprintf("%016x", s.Hash), Faults: s.Faults}
	for _, f := range s.Failures {
		if f.Violation != nil {
			t.Violated = append(t.Violated, fmt.Sprintf("seed %d: %s", f.Seed, f.Why))
		}
	}
	return t
}

// virtual is the time that passed in the worlds of a sweep.
func virtual(s *sim.Summary) time.Duration { return time.Duration(s.Virtual) }

func (t simTotal) write(w io.Writer) {
	each := 1 / max(float64(t.Seeds), 1)
	fmt.Fprintf(w, "%s, %.0f virtual s in %.1f s, %d batches acknowledged, hash %s\n", count(int(t.Seeds), "seed"),
		t.Virtual, t.Real, t.Acked, t.Hash)
	fmt.Fprintf(w, "a seed: %.1f virtual s, %.0f batches, %.1f changes of leader, %.0f steps\n",
		t.Virtual*each, float64(t.Acked)*each, float64(t.Leaders)*each, float64(t.Steps)*each)
	fmt.Fprintf(w, "faults: %s\n", sim.FaultText(t.Faults))
	if t.Empty > 0 {
		fmt.Fprintf(w, "drawn again because too little happened: %s\n", count(int(t.Empty), "seed"))
	}
	if t.Stranded > 0 {
		fmt.Fprintf(w, "never whole again after disks forgot what they had synced: %s\n", count(int(t.Stranded), "seed"))
	}
	if len(t.Violated) == 0 {
		fmt.Fprintln(w, "no violation")
	}
}

// demoSeedLength is the virtual time of a seed in the demo: short, so that many are seen.
const demoSeedLength = 20 * core.Second

// simulateForDemo is the simulator as the demo shows it.
func simulateForDemo(ctx context.Context, first uint64, lying bool, budget time.Duration,
	progress func(demo.SimReport)) (demo.SimReport, error) {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	opts := sim.SweepOptions{Options: sim.Options{For: demoSeedLength}, JudgeFrom: math.MaxInt64} // seeds alone count
	opts.Each = func(so *sim.Summary) bool {
		progress(demoReport(so))
		return ctx.Err() == nil
	}
	if lying {
		opts.Liars = 2
	}
	sum := sim.Sweep(first, ^uint64(0)-1, opts)
	rep := demoReport(&sum)
	if len(sum.Failures) > 0 {
		f := sum.Failures[0]
		rep.Violation, rep.Seed, rep.Replay = f.Why, f.Seed, f.Replay
	}
	return rep, nil
}

func demoReport(s *sim.Summary) demo.SimReport {
	rep := demo.SimReport{Seeds: int(s.Seeds), Acked: s.Acked, Virtual: virtual(s)}
	for _, k := range sortedKeys(s.Faults) {
		rep.Faults = append(rep.Faults, demo.Fault{Kind: k, Count: s.Faults[k]})
	}
	return rep
}
