package main

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/demo"
)

const demoHelp = `Tells in about 40 seconds what Karst is: real flights stream into a cluster of three processes
while a node is killed and then the power of all nodes is cut; a simulator looks for worse; and
at the end the log itself is asked whether every row is there, once, in order.

It ends with status 0 only when everything is.`

func newDemo() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use:     "demo",
		Short:   "Watch a cluster survive kills and power cuts on real data",
		Long:    demoHelp,
		Example: "  karst demo\n  karst demo --full-speed --file flights-3m.csv.zst",
		Args:    nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Nodes < 1 || o.Nodes > 9 {
				return catalogue.BadFlag.New("--nodes %d: the demo runs with one to nine", o.Nodes)
			}
			o.Out = c.OutOrStdout()
			o.Live = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb"
			o.Colour = colourful(os.Stdout)
			o.Simulate = simulateForDemo
			program, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program = program
			return interruptible(c, func(c *cobra.Command) error { return demo.Run(c.Context(), o) })
		},
	}
	f := c.Flags()
	f.IntVar(&o.Nodes, "nodes", 3, "number of nodes")
	f.StringVar(&o.File, "file", "", "all flights as CSV in zstd; default: a sample of 200,000 in the binary")
	f.BoolVar(&o.FullSpeed, "full-speed", false, "do not pace the stream")
	f.StringVar(&o.Dir, "data", "", "directory for the cluster; default: a temporary one")
	f.BoolVar(&o.Keep, "keep", false, "leave the cluster and its data running at the end")
	return c
}
