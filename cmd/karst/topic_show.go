package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/cmd/karst/link"
)

// isKafka says whether err is the given error of the protocol.
func isKafka(err error, want *kerr.Error) bool {
	var ke *kerr.Error
	return errors.As(err, &ke) && ke.Code == want.Code
}

// describeTopic is the metadata of one topic that exists.
func describeTopic(ctx context.Context, adm *kadm.Client, name string) (kadm.TopicDetail, error) {
	all, err := adm.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return kadm.TopicDetail{}, link.Explain(err, "", "find topic %q", name)
	}
	d := all[name]
	if d.Err != nil {
		return d, link.Explain(d.Err, "there is no such topic", "find topic %q", name)
	}
	return d, nil
}

type listedTopic struct {
	Topic      string `json:"topic"`
	ID         string `json:"topic_id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replication_factor"`
	Internal   bool   `json:"internal"`
}

func newTopicList() *cobra.Command {
	var q question
	var internal bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Args:  nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				all, err := adm.ListTopicsWithInternal(ctx)
				if err != nil {
					return link.Explain(err, "", "list topics")
				}
				list := []listedTopic{}
				for _, d := range all.Sorted() {
					if d.IsInternal && !internal {
						continue
					}
					l := listedTopic{d.Topic, topicID(d.ID), len(d.Partitions), d.Partitions.NumReplicas(), d.IsInternal}
					list = append(list, l)
				}
				return q.print(c, list, func(w io.Writer) {
					var tb table
					tb.row("NAME", "PARTITIONS", "REPLICAS")
					for _, l := range list {
						tb.row(l.Topic, l.Partitions, l.Replicas)
					}
					tb.write(w)
				})
			})
		},
	}
	c.Flags().BoolVarP(&internal, "internal", "i", false, "internal topics too")
	q.register(c)
	return c
}

type shownPartition struct {
	Partition int32       `json:"partition"`
	Leader    int32       `json:"leader"`
	Epoch     int32       `json:"epoch"`
	Replicas  []int32     `json:"replicas"`
	ISR       []int32     `json:"isr"`
	Start     int64       `json:"log_start_offset"`
	High      int64       `json:"high_watermark"`
	Error     string      `json:"error,omitempty"`
	Size      int64       `json:"size_bytes"` // of the leader's copy; -1: not known
	Copies    []shownCopy `json:"copies"`
}

// shownCopy is one replica's share of a disk.
type shownCopy struct {
	Node int32 `json:"node"`
	Size int64 `json:"size_bytes"` // -1: its node does not answer, or has no working copy
}

type shownConfig struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

type shownTopic struct {
	listedTopic
	Shown   []shownPartition `json:"partition_list"`
	Configs []shownConfig    `json:"configs"`
}

func newTopicDescribe() *cobra.Command {
	return newDescribe(topics, "Show the partitions and the configuration of topics", showTopic)
}

// showTopic gathers what describe prints.
func showTopic(ctx context.Context, adm *kadm.Client, name string) (shownTopic, error) {
	d, err := describeTopic(ctx, adm, name)
	if err != nil {
		return shownTopic{}, err
	}
	s := shownTopic{listedTopic: listedTopic{
		d.Topic, topicID(d.ID), len(d.Partitions), d.Partitions.NumReplicas(), d.IsInternal,
	}}
	// A partition without a leader has no offsets now; the rest is worth showing all the same.
	starts, _ := adm.ListStartOffsets(ctx, name)
	ends, _ := adm.ListEndOffsets(ctx, name)
	sizes := copySizes(ctx, adm, d)
	for _, p := range d.Partitions.Sorted() {
		sp := shownPartition{Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch,
			Replicas: p.Replicas, ISR: p.ISR, Start: -1, High: -1}
		if p.Err != nil {
			sp.Error = p.Err.Error()
		}
		if o, ok := starts.Lookup(name, p.Partition); ok && o.Err == nil {
			sp.Start = o.Offset
		}
		if o, ok := ends.Lookup(name, p.Partition); ok && o.Err == nil {
			sp.High = o.Offset
		}
		sp.Size, sp.Copies = -1, []shownCopy{}
		for _, n := range p.Replicas {
			c := shownCopy{n, -1}
			if size, ok := sizes[copyOf{n, p.Partition}]; ok {
				c.Size = size
			}
			if n == p.Leader {
				sp.Size = c.Size
			}
			sp.Copies = append(sp.Copies, c)
		}
		s.Shown = append(s.Shown, sp)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return s, link.Explain(err, "", "read the configuration of %q", name)
	}
	s.Configs = []shownConfig{}
	for _, rc := range configs {
		for _, cf := range rc.Configs {
			if cf.Source != kmsg.ConfigSourceDefaultConfig {
				s.Configs = append(s.Configs, shownConfig{cf.Key, cf.MaybeValue(), cf.Source.String()})
			}
		}
	}
	return s, nil
}

type copyOf struct{ node, partition int32 }

// copySizes asks every broker what it holds of a topic; those that do not answer are missing.
func copySizes(ctx context.Context, adm *kadm.Client, d kadm.TopicDetail) map[copyOf]int64 {
	var set kadm.TopicsSet
	set.Add(d.Topic, d.Partitions.Numbers()...)
	all, _ := adm.DescribeAllLogDirs(ctx, set)
	sizes := map[copyOf]int64{}
	for node, dirs := range all {
		dirs.EachPartition(func(p kadm.DescribedLogDirPartition) {
			if !p.IsFuture {
				sizes[copyOf{node, p.Partition}] = p.Size
			}
		})
	}
	return sizes
}

func (s shownTopic) write(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, replication factor %d, id %s\n", s.Topic,
		count(s.Partitions, "partition"), s.Replicas, s.ID)
	for _, cf := range s.Configs {
		fmt.Fprintf(w, "  %s = %s  (%s)\n", cf.Key, cf.Value, strings.ToLower(strings.ReplaceAll(cf.Source, "_", " ")))
	}
	var tb table
	tb.row("PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "SIZE")
	known := func(n int64) string {
		if n < 0 {
			return "-"
		}
		return fmt.Sprint(n)
	}
	for _, p := range s.Shown {
		tb.row(p.Partition, known(int64(p.Leader)), p.Epoch, joined(p.Replicas), joined(p.ISR), known(p.Start), known(p.High), known(p.Size))
	}
	tb.write(w)
}

// watching repeats show every second until the command is interrupted, when asked to.
func watching(c *cobra.Command, again bool, show func() error) error {
	if !again {
		return show()
	}
	return interruptible(c, func(c *cobra.Command) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			fmt.Fprint(c.OutOrStdout(), "\x1b[H\x1b[2J")
			if err := show(); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-c.Context().Done():
				return nil
			}
		}
	})
}
