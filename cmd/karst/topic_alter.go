package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
)

// altering holds the flags of `karst topic alter`.
type altering struct {
	question
	sets, deletes []string
	partitions    int
	dry           bool
}

// altered is the JSON of a topic that was changed.
type altered struct {
	Topic      string   `json:"topic"`
	Changed    []string `json:"changed"`
	Partitions int      `json:"partitions,omitempty"` // that it has now, when more were asked for
}

const alterHelp = `Change a topic's configuration, or give it more partitions.

Settings are changed one by one: what is not named stays as it is. With --delete a setting goes back to
what the cluster says. -p is how many partitions the topic has afterwards; there is no way back from that, and
records with the same key may then land in another partition than before.`

func newTopicAlter() *cobra.Command {
	var a altering
	c := &cobra.Command{
		Use:   "alter NAME [-c KEY=VALUE].. [--delete KEY].. [-p NUMBER]",
		Short: "Change a topic's configuration or its number of partitions",
		Long:  alterHelp,
		Example: "  karst topic alter orders -c min.insync.replicas=2\n  karst topic alter orders --delete retention.ms\n" +
			"  karst topic alter orders -p 12",
		Args:              exactly(1, "one topic name"),
		RunE:              func(c *cobra.Command, args []string) error { return a.run(c, args[0]) },
		ValidArgsFunction: completeTopics,
	}
	f := c.Flags()
	f.StringArrayVarP(&a.sets, "config", "c", nil, "KEY=VALUE to set; may be repeated")
	f.StringArrayVar(&a.deletes, "delete", nil, "KEY that goes back to its default (or --unset); may be repeated")
	f.IntVarP(&a.partitions, "partitions", "p", 0, "how many partitions the topic has then; more than now")
	f.BoolVar(&a.dry, "dry-run", false, "only check whether it would work")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "unset" {
			name = "delete"
		}
		return pflag.NormalizedName(name)
	})
	a.register(c)
	return c
}

func (a *altering) run(c *cobra.Command, topic string) error {
	kvs, err := pairs("-c", a.sets)
	if err != nil {
		return err
	}
	grows := c.Flags().Changed("partitions")
	switch {
	case len(kvs)+len(a.deletes) == 0 && !grows:
		return catalogue.BadArgument.New("nothing to change").Try(examples(c)...)
	case grows && a.partitions < 1:
		return catalogue.BadFlag.New("-p %d: a topic has at least one partition", a.partitions)
	}
	for _, k := range a.deletes {
		if _, both := kvs[k]; both {
			return catalogue.BadFlag.New("%s is to be set and to be deleted", k)
		}
	}
	return a.ask(c, func(ctx context.Context, adm *kadm.Client) error {
		out := altered{Topic: topic, Changed: append(sortedKeys(kvs), a.deletes...)}
		if len(out.Changed) > 0 {
			if err := a.configs(ctx, adm, topic, kvs); err != nil {
				return err
			}
		}
		if grows {
			if err := a.grow(ctx, adm, topic); err != nil {
				return err
			}
			out.Partitions = a.partitions
		}
		return a.print(c, out, func(w io.Writer) { out.write(w, a.dry) })
	})
}

// examples are a command's, for an error's "try".
func examples(c *cobra.Command) (lines []string) {
	for line := range strings.Lines(c.Example) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func (o altered) write(w io.Writer, dry bool) {
	altered, has := "altered", "has"
	if dry {
		altered, has = "would alter", "would have"
	}
	if len(o.Changed) > 0 {
		fmt.Fprintf(w, "%s %s: %s\n", altered, o.Topic, strings.Join(o.Changed, ", "))
	}
	if o.Partitions > 0 {
		fmt.Fprintf(w, "%s %s %s\n", o.Topic, has, count(o.Partitions, "partition"))
	}
}

// configs changes settings; all of them, or none when one is refused.
func (a *altering) configs(ctx context.Context, adm *kadm.Client, topic string, kvs map[string]*string) error {
	var changes []kadm.AlterConfig
	for _, k := range sortedKeys(kvs) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: kvs[k]})
	}
	for _, k := range slices.Compact(slices.Sorted(slices.Values(a.deletes))) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
	}
	alter := adm.AlterTopicConfigs
	if a.dry {
		alter = adm.ValidateAlterTopicConfigs
	}
	resp, err := alter(ctx, changes, topic)
	if err != nil {
		return link.Explain(err, "", "alter topic %q", topic)
	}
	for _, r := range resp {
		if r.Err != nil {
			return link.Explain(r.Err, r.ErrMessage, "alter topic %q", topic)
		}
	}
	return nil
}

func (a *altering) grow(ctx context.Context, adm *kadm.Client, topic string) error {
	update := adm.UpdatePartitions
	if a.dry {
		update = adm.ValidateUpdatePartitions
	}
	resp, err := update(ctx, a.partitions, topic)
	if err != nil {
		return link.Explain(err, "", "add partitions to %q", topic)
	}
	if r := resp[topic]; r.Err != nil {
		return link.Explain(r.Err, r.ErrMessage, "add partitions to %q", topic)
	}
	return nil
}
