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
func (s *simFlags) options(c *cobra.Command, trace io.Writer) sim.Options {
	return sim.Options{For: core.Mono(s.length), Trace: trace, Mutant: s.mutant, Liars: s.liars, File: s.plan,
		Stop: func() bool { return c.Context().Err() != nil }}
}

// simulate runs the seeds that the flags name.
func (s *simFlags) simulate(c *cobra.Command, seeds seedRange) error {
	return s.show(c, s.trace, func(opts sim.Options) sim.Result { return sim.Run(seeds.first, opts) },
		func(opts sim.SweepOptions) sim.Summary { return sim.Sweep(seeds.first, seeds.last, opts) })
}

// play runs a plan.
func (s *simFlags) play(c *cobra.Command, plan sim.Plan) error {
	return s.show(c, s.trace, func(opts sim.Options) sim.Result { return sim.RunPlan(plan, opts) },
		func(opts sim.SweepOptions) sim.Summary { return sim.SweepPlan(plan, opts) })
}

// show plays and prints: one run event by event, or what a sweep came to.
func (s *simFlags) show(c *cobra.Command, trace bool, one func(sim.Options) sim.Result, many func(sim.SweepOptions) sim.Summary) error {
	if s.mutant != "" && !sim.Mutants {
		return catalogue.SimMutant.New("this build does not carry mutant %s", s.mutant)
	}
	if trace {
		return s.traced(c, one)
	}
	live := term.IsTerminal(int(os.Stderr.Fd()))
	sum := many(sim.SweepOptions{Options: s.options(c, nil), Twice: s.twice, JudgeFrom: judgeFrom, Alone: true,
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
	t.listMarks = s.marks || sum.Seeds >= judgeFrom
	if err := s.out.print(c, t, t.write); err != nil {
		return err
	}
	return s.outcome(c, &sum)
}

// outcome is the error of a sweep: of what it found, or that it did not end by itself.
func (s *simFlags) outcome(c *cobra.Command, sum *sim.Summary) error {
	if len(sum.Failures) == 0 && c.Context().Err() != nil {
		return catalogue.SimStopped.New("stopped after %s", count(int(sum.Seeds), "seed"))
	}
	return sweepError(sum)
}

// traced prints every event of one run; the last line of the output is the hash.
func (s *simFlags) traced(c *cobra.Command, one func(sim.Options) sim.Result) error {
	out := bufio.NewWriterSize(c.OutOrStdout(), 1<<20)
	opts := s.options(c, out)
	r := one(opts)
	if !r.Stopped {
		fmt.Fprintf(out, "hash %016x\n", r.Hash)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if r.Stopped {
		return catalogue.SimStopped.New("stopped after %.3f virtual s", time.Duration(r.Virtual).Seconds())
	}
	if r.Violation == nil {
		return nil
	}
	return broken(r.Plan.Seed, r.Violation.String(), r.Replay(opts), " --trace")
}

// mostPlan is how many bytes a plan may have.
const mostPlan = 4 << 20

// readPlan reads a plan from a file, or from standard input when that is "-".
func readPlan(stdin io.Reader, name string) (sim.Plan, error) {
	wrong := func(err error) (sim.Plan, error) {
		return sim.Plan{}, catalogue.SimPlan.New("%s: %v", name, err).Wrap(err)
	}
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return wrong(err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, mostPlan+1))
	if err == nil && len(text) > mostPlan {
		err = fmt.Errorf("it has more than %d bytes", mostPlan)
	}
	if err != nil {
		return wrong(err)
	}
	plan, err := sim.ParsePlan(string(text))
	if err != nil {
		return wrong(err)
	}
	return plan, nil
}

// printPlan prints the plan of a seed, or what may stand in one.
func (s *simFlags) printPlan(c *cobra.Command) error {
	if !c.Flags().Changed("seed") {
		_, err := fmt.Fprint(c.OutOrStdout(), sim.AboutPlans())
		return err
	}
	if err := s.checkLength(); err != nil {
		return err
	}
	r := sim.Run(s.seed, s.options(c, nil))
	if r.Stopped {
		return catalogue.SimStopped.New("stopped before the seed was played")
	}
	_, err := fmt.Fprint(c.OutOrStdout(), r.Plan.String())
	return err
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
