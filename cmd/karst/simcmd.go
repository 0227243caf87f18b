package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

func newSim() *cobra.Command {
	return parent("sim", "Simulate a whole cluster from one seed", newSimRun(), newSimPlan())
}

// simFlags holds the flags of `karst sim run`.
type simFlags struct {
	seed   uint64
	seeds  string
	plan   string
	trace  bool
	length time.Duration
	mutant string
	liars  int
	twice  bool
	marks  bool
	out    output
}

// seedRange has both ends included.
type seedRange struct{ first, last uint64 }

const simHelp = `Runs a cluster of three brokers, its clients, disks and network under virtual time, with crashes,
cuts and other faults, and checks every promise after every event. The seed decides everything:
the same seed gives the same run, to the last byte of the trace.

With --plan the run is what a file says: a plan that karst sim plan printed, cut down, or one
written by hand.`

func newSimRun() *cobra.Command {
	var s simFlags
	c := &cobra.Command{
		Use:   "run --seed N [--trace] | --seeds A..B | --plan FILE [--trace]",
		Short: "Run one seed, a range of seeds or a plan",
		Long:  simHelp,
		Example: "  karst sim run --seed 7 --trace | tail -1\n" +
			"  karst sim run --seeds 1..100 --for 60s\n" +
			"  karst sim plan --seed 7 | karst sim run --plan -",
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return interruptible(c, func(c *cobra.Command) error { return s.run(c) })
		},
	}
	f := c.Flags()
	f.Uint64Var(&s.seed, "seed", 0, "one seed")
	f.StringVar(&s.seeds, "seeds", "", "a range of seeds, A..B")
	f.StringVar(&s.plan, "plan", "", "a plan; - reads it from standard input")
	f.BoolVar(&s.trace, "trace", false, "print every event; the last line is the hash of the run")
	f.DurationVar(&s.length, "for", 60*time.Second, "virtual time of each seed")
	f.StringVar(&s.mutant, "mutant", "", "switch a planted bug on, in builds that carry them")
	f.IntVar(&s.liars, "liars", 0, "this many of the three disks say that they synced, and did not")
	f.BoolVar(&s.twice, "twice", false, "run each seed twice and compare the hashes of the traces")
	f.BoolVar(&s.marks, "marks", false, "list the rare places that were never reached, of few seeds too")
	s.out.register(c)
	return c
}

func (s *simFlags) run(c *cobra.Command) error {
	one := c.Flags().Changed("seed")
	chosen := 0
	for _, is := range []bool{one, s.seeds != "", c.Flags().Changed("plan")} {
		if is {
			chosen++
		}
	}
	if chosen != 1 {
		return catalogue.SimRange.New("give one of --seed, --seeds and --plan")
	}
	if c.Flags().Changed("plan") {
		return s.runPlan(c)
	}
	if err := s.checkLength(); err != nil {
		return err
	}
	seeds := seedRange{s.seed, s.seed}
	if !one {
		var err error
		if seeds, err = parseSeeds(s.seeds); err != nil {
			return err
		}
		if s.trace {
			return catalogue.SimRange.New("--trace goes with one --seed").Try(fmt.Sprintf("karst sim run --seed %d --trace", seeds.first))
		}
	}
	return s.simulate(c, seeds)
}

// runPlan plays a file. What the file says, no flag says too.
func (s *simFlags) runPlan(c *cobra.Command) error {
	for _, name := range []string{"for", "liars"} {
		if c.Flags().Changed(name) {
			return catalogue.SimRange.New("--%s goes with seeds; a plan says it by itself, in its line %q", name, name)
		}
	}
	plan, err := readPlan(c.InOrStdin(), s.plan)
	if err != nil {
		return err
	}
	return s.play(c, plan)
}

// checkLength looks at the flags that make a seed another run.
func (s *simFlags) checkLength() error {
	if s.length <= 0 || s.length > 1000*time.Hour {
		return catalogue.SimRange.New("--for %v: it must be more than nothing, and at most 1000h", s.length)
	}
	if s.liars < 0 || s.liars > 3 {
		return catalogue.SimRange.New("--liars %d: there are three disks", s.liars)
	}
	return nil
}

// parseSeeds reads A..B.
func parseSeeds(s string) (seedRange, error) {
	a, b, ok := strings.Cut(s, "..")
	first, err1 := strconv.ParseUint(a, 10, 64)
	last, err2 := strconv.ParseUint(b, 10, 64)
	if !ok || err1 != nil || err2 != nil || last < first {
		return seedRange{}, catalogue.SimRange.New("--seeds %q is not A..B", s)
	}
	return seedRange{first, last}, nil
}

const planHelp = `Prints the plan of a seed, as karst sim run --plan reads it: size, loads, rates and faults with their
moments. A seed in which too little happens is drawn again, so it is played to know. Without a seed
it prints what a plan may say.`

func newSimPlan() *cobra.Command {
	var s simFlags
	c := &cobra.Command{
		Use:   "plan [--seed N]",
		Short: "Print the plan of a seed, or what a plan may say",
		Long:  planHelp,
		Example: "  karst sim plan --seed 7 > seven.plan\n" +
			"  karst sim run --plan seven.plan --trace | tail -1",
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return interruptible(c, func(c *cobra.Command) error { return s.printPlan(c) })
		},
	}
	f := c.Flags()
	f.Uint64Var(&s.seed, "seed", 0, "the seed")
	f.DurationVar(&s.length, "for", 60*time.Second, "its virtual time")
	f.IntVar(&s.liars, "liars", 0, "this many of the three disks say that they synced, and did not")
	return c
}
