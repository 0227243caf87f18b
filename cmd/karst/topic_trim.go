package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
)

// trimming holds the flags of `karst topic trim`.
type trimming struct {
	question
	before   string
	only     []int32
	yes, dry bool
}

// trimmed is what becomes of one partition.
type trimmed struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // the log start before
	To        int64  `json:"to"`   // ... and after
	End       int64  `json:"end"`
	Records   int64  `json:"records"` // offsets between From and To
}

const trimHelp = `Delete the records of a topic before an offset, a time, or the end (DeleteRecords).

Reads below the new start are refused at once. The room comes back when whole segments lie below it: a file is
removed file.delete.delay.ms later, and the last one stays until the next batch begins another.

An offset counts in each partition for itself: with several partitions name one with -p, or give a time.
A topic whose cleanup.policy lacks delete is not trimmed.`

func newTopicTrim() *cobra.Command {
	var t trimming
	c := &cobra.Command{
		Use:   "trim NAME --before OFFSET|@TIME|end",
		Short: "Delete the oldest records of a topic",
		Long:  trimHelp,
		Example: "  karst topic trim orders --before @-24h        what is older than a day\n" +
			"  karst topic trim orders --before 1000 -p 3\n" +
			"  karst topic trim orders --before end -y       everything",
		Args:              exactly(1, "one topic name"),
		RunE:              func(c *cobra.Command, args []string) error { return t.run(c, args[0]) },
		ValidArgsFunction: completeTopics,
	}
	f := c.Flags()
	f.StringVar(&t.before, "before", "", "N (negative: from the end), @time, or end: the first offset that stays")
	f.Int32SliceVarP(&t.only, "partition", "p", nil, "only these partitions")
	f.BoolVarP(&t.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&t.dry, "dry-run", false, "only show what would be deleted")
	t.register(c)
	return c
}

func (t *trimming) run(c *cobra.Command, topic string) error {
	if t.before == "" {
		return catalogue.BadFlag.New("--before is missing: trim needs to know what stays").Try(c.UseLine())
	}
	at, err := parseWhere(t.before, time.Now())
	if err != nil {
		return catalogue.BadOffset.New("--before %q: it is a number, @time or end", t.before).Try(examples(c)...)
	}
	return t.ask(c, func(ctx context.Context, adm *kadm.Client) error {
		rows, err := t.plan(ctx, adm, topic, at)
		if err != nil {
			return err
		}
		if !t.dry {
			if err := t.carryOut(ctx, c, adm, topic, rows); err != nil {
				return err
			}
		}
		return t.print(c, rows, func(w io.Writer) { t.write(w, topic, rows) })
	})
}

// plan decides the new start of each partition. A number beyond the end of one is refused before anything is
// deleted: it was meant for another.
func (t *trimming) plan(ctx context.Context, adm *kadm.Client, topic string, at where) ([]trimmed, error) {
	d, err := describeTopic(ctx, adm, topic)
	if err != nil {
		return nil, err
	}
	for _, p := range t.only {
		if _, ok := d.Partitions[p]; !ok {
			return nil, catalogue.BadPartitions.New("%s has no partition %d: there are %d", topic, p, len(d.Partitions))
		}
	}
	starts, err := resolve(ctx, adm, topic, where{kind: atStart})
	if err != nil {
		return nil, err
	}
	ends, err := resolve(ctx, adm, topic, where{kind: atEnd})
	if err != nil {
		return nil, err
	}
	places, err := resolve(ctx, adm, topic, at)
	if err != nil {
		return nil, err
	}
	rows := []trimmed{}
	for _, p := range sortedPartitions(places) {
		if len(t.only) > 0 && !slices.Contains(t.only, p) {
			continue
		}
		if at.kind == atNumber && at.n > ends[p] {
			return nil, catalogue.BadOffset.New("--before %d: %s/%d ends at %d", at.n, topic, p, ends[p]).
				Try(fmt.Sprintf("karst topic trim %s --before end -p %d", topic, p),
					"karst topic describe "+topic+"        to see where partitions start and end")
		}
		from := min(starts[p], places[p])
		rows = append(rows, trimmed{topic, p, from, places[p], ends[p], places[p] - from})
	}
	return rows, nil
}

// carryOut deletes what plan says, after it was confirmed; rows then say what the leaders answered.
func (t *trimming) carryOut(ctx context.Context, c *cobra.Command, adm *kadm.Client, topic string, rows []trimmed) error {
	os, total := kadm.Offsets{}, int64(0)
	for _, r := range rows {
		if r.Records > 0 {
			os.AddOffset(topic, r.Partition, r.To, -1)
			total += r.Records
		}
	}
	if total == 0 {
		return nil
	}
	if err := confirm(c, t.yes, count(int(total), "record")+" of ", topic); err != nil {
		return err
	}
	done, err := adm.DeleteRecords(ctx, os)
	if err != nil {
		return link.Explain(err, "", "trim %q", topic)
	}
	for i := range rows {
		r := &rows[i]
		if r.Records == 0 {
			continue
		}
		got, ok := done.Lookup(topic, r.Partition)
		switch {
		case !ok:
			return catalogue.NoAnswer.New("cannot trim %s/%d: nobody answered", topic, r.Partition)
		case isKafka(got.Err, kerr.PolicyViolation), isKafka(got.Err, kerr.InvalidTopicException):
			return catalogue.NotTrimmed.New("cannot trim %q: its cleanup.policy lacks delete, or it is internal", topic).Wrap(got.Err)
		case got.Err != nil:
			return link.Explain(got.Err, "", "trim %s/%d", topic, r.Partition)
		}
		r.To = got.LowWatermark // somebody else may have gone further
		r.Records = r.To - r.From
	}
	return nil
}

func (t *trimming) write(w io.Writer, topic string, rows []trimmed) {
	var tb table
	tb.row("PARTITION", "START", "NEW START", "END", "DELETED")
	total := int64(0)
	for _, r := range rows {
		tb.row(r.Partition, r.From, r.To, r.End, r.Records)
		total += r.Records
	}
	tb.write(w)
	word := "deleted"
	if t.dry {
		word = "would delete"
	}
	fmt.Fprintf(w, "%s %s of %s\n", word, count(int(total), "record"), topic)
}
