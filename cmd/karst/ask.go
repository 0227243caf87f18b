package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/karst-stream/karst/cmd/karst/link"
)

// question is what a command needs that asks a cluster something and prints the answer: -B, --timeout
// and -o.
type question struct {
	link.Target
	output
}

func (q *question) register(c *cobra.Command) {
	withTarget(c, &q.Target, commandTimeout)
	q.output.register(c)
}

// ask connects to the cluster while do runs.
func (q *question) ask(c *cobra.Command, do func(ctx context.Context, adm *kadm.Client) error) error {
	ctx, cancel := q.Context(c.Context())
	defer cancel()
	adm, err := q.Admin(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	return do(ctx, adm)
}

// noun is what a command is about, and how the shell completes its names.
type noun struct {
	one      string // "topic"
	complete func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)
}

func (n noun) names() cobra.PositionalArgs { return atLeast(1, "at least one "+n.one+" name") }

// newDescribe shows things by their names, again and again with -w.
func newDescribe[T interface{ write(io.Writer) }](n noun, short string,
	show func(ctx context.Context, adm *kadm.Client, name string) (T, error)) *cobra.Command {
	var q question
	var watch bool
	c := &cobra.Command{
		Use:   "describe NAME...",
		Short: short,
		Args:  n.names(),
		RunE: func(c *cobra.Command, names []string) error {
			return watching(c, watch, func() error {
				return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
					var shown []T
					for _, name := range names {
						x, err := show(ctx, adm, name)
						if err != nil {
							return err
						}
						shown = append(shown, x)
					}
					return q.print(c, shown, func(w io.Writer) {
						for i, x := range shown {
							if i > 0 {
								fmt.Fprintln(w)
							}
							x.write(w)
						}
					})
				})
			})
		},
		ValidArgsFunction: n.complete,
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "again every second, until ^C")
	q.register(c)
	return c
}

// newDelete deletes things by their names, each after it was confirmed. check refuses before anything is
// done; row is the JSON of one.
func newDelete(n noun, short string, check func(ctx context.Context, adm *kadm.Client, name string, dry bool) error,
	remove func(ctx context.Context, adm *kadm.Client, name string) error, row func(name string, deleted bool) any) *cobra.Command {
	var q question
	var yes, dry bool
	c := &cobra.Command{
		Use:   "delete NAME...",
		Short: short,
		Args:  n.names(),
		RunE: func(c *cobra.Command, names []string) error {
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				for _, name := range names {
					if err := check(ctx, adm, name, dry); err != nil {
						return err
					}
				}
				var rows []any
				for _, name := range names {
					rows = append(rows, row(name, !dry))
					if dry {
						continue
					}
					if err := confirm(c, yes, "", name); err != nil {
						return err
					}
					if err := remove(ctx, adm, name); err != nil {
						return err
					}
				}
				return q.print(c, rows, func(w io.Writer) {
					word := "deleted"
					if dry {
						word = "would delete"
					}
					for _, name := range names {
						fmt.Fprintf(w, "%s %s\n", word, name)
					}
				})
			})
		},
		ValidArgsFunction: n.complete,
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be deleted")
	q.register(c)
	return c
}
