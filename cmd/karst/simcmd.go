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
	return parent("sim", "Simulate a whole cluster from one seed", newSimRun())
}

// simFlags holds the flags of `karst sim run`.
type simFlags struct {
	seed   uint64
	seeds  string
	trace  bool
	length time.Duration
	mutant string
	liars  int
	twice  bool
	out    output
}

// seedRange has both ends included.
type seedRange struct{ first, last uint64 }

const simHelp = `Runs a cluster of three brokers, its clients, disks and network under virtual time, with crashes,
cuts and other faults, and checks every promise after every event. The seed decides everything:
the same seed gives the same run, to the last byte of the trace.`

func newSimRun() *cobra.Command {
	var s simFlags
	c := &cobra.Command{
		Use:   "run --seed N [--trace] | --seeds A..B",
		Short: "Run one seed or a range of seeds",
		Long:  simHelp,
		Example: "  karst sim run --seed 7 --trace | tail -1\n" +
			"  karst sim run --seeds 1..100 --for 60s",
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return interruptible(c, func(c *cobra.Command) error { return s.run(c) })
		},
	}
	f := c.Flags()
	f.Uint64Var(&s.seed, "seed", 0, "one seed")
	f.StringVar(&s.seeds, "seeds", "", "a range of seeds, A..B")
	f.BoolVar(&s.trace, "trace", false, "print every event; the last line is the hash of the run")
	f.DurationVar(&s.length, "for", 60*time.Second, "virtual time of each seed")
	f.StringVar(&s.mutant, "mutant", "", "switch a planted bug on, in builds that carry them")
	f.IntVar(&s.liars, "liars", 0, "this many of the three disks say that they synced, and did not")
	f.BoolVar(&s.twice, "twice", false, "run each seed twice and compare the hashes of the traces")
	s.out.register(c)
	return c
}

func (s *simFlags) run(c *cobra.Command) error {
	one := c.Flags().Changed("seed")
	if one == (s.seeds != "") {
		return catalogue.SimRange.New("give either --seed or --seeds")
	}
	if s.length <= 0 {
		return catalogue.SimRange.New("--for %v: it must be more than nothing", s.length)
	}
	if s.liars < 0 || s.liars > 3 {
		return catalogue.SimRange.New("--liars %d: there are three disks", s.liars)
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
	return simulate(c, seeds, s)
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
