package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
)

const intro = `Karst is an event streaming platform that speaks Kafka's protocol.

A first round, on this machine:
  karst dev                        a cluster (add -n 3 for three nodes)
  karst topic create orders -p 6
  karst produce orders < lines
  karst consume orders`

// newRoot builds the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "karst",
		Short:         "Kafka-compatible event streaming",
		Long:          intro,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run a cluster:"},
		&cobra.Group{ID: "use", Title: "Use a cluster:"},
		&cobra.Group{ID: "know", Title: "Know more:"},
	)
	root.SetHelpCommandGroupID("know")
	root.SetCompletionCommandGroupID("know")
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", newDev(), newStart(), newDemo(), newSim())
	add("use", newTopic(), newProduce(), newConsume(), newGroup(), newCluster(), newCheck(), newLogs(), newKafka())
	add("know", newDocs(), newVersion())
	root.SetFlagErrorFunc(flagError)
	return root
}

// parent is a command that only holds others.
func parent(use, short string, cmds ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(cmds...)
	return c
}

// noSuchCommand refuses words that name no command, and suggests the nearest ones.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := catalogue.UnknownCommand.New("%s has no command %q", c.CommandPath(), args[0])
	var lines []string
	c.SuggestionsMinimumDistance = 2
	for _, s := range c.SuggestionsFor(args[0]) {
		lines = append(lines, fmt.Sprintf("did you mean `%s %s`?", c.CommandPath(), s))
	}
	return e.Try(append(lines, c.CommandPath()+" --help        to see the commands")...)
}

// flagError puts cobra's own flag errors into the catalogue's shape.
func flagError(c *cobra.Command, err error) error {
	e := catalogue.BadFlag.New("%s: %v", c.CommandPath(), err).Wrap(err)
	lines := []string{c.CommandPath() + " --help        to see the flags"}
	if _, name, ok := strings.Cut(err.Error(), "unknown flag: --"); ok {
		if near := nearestFlag(c, name); near != "" {
			lines = append([]string{"did you mean --" + near + "?"}, lines...)
		}
	}
	return e.Try(lines...)
}

// exactly and atLeast are the argument checks of the tree.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return catalogue.BadArgument.New("%s takes %s, %d given", c.CommandPath(), what, len(args)).
				Try(c.UseLine())
		}
		return nil
	}
}

func atLeast(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < n {
			return catalogue.BadArgument.New("%s takes %s", c.CommandPath(), what).Try(c.UseLine())
		}
		return nil
	}
}

func nothing(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return catalogue.BadArgument.New("%s takes no argument, but %q was given", c.CommandPath(), args[0]).
			Try(c.UseLine())
	}
	return nil
}

// withTarget gives a command -B and --timeout.
func withTarget(c *cobra.Command, t *link.Target, timeout time.Duration) {
	c.Flags().StringVarP(&t.Bootstrap, "bootstrap-server", "B", link.Default(),
		"addresses of brokers, HOST:PORT,.. (or KARST_BOOTSTRAP)")
	c.Flags().DurationVar(&t.Timeout, "timeout", timeout, "give up after this long; 0: never")
}

// interruptible is the command's context, which ends at ^C or SIGTERM.
func interruptible(c *cobra.Command, run func(c *cobra.Command) error) error {
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.SetContext(ctx)
	return run(c)
}
