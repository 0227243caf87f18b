package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
)

const commandTimeout = 30 * time.Second

func newTopic() *cobra.Command {
	return parent("topic", "Create, list, describe, change, trim and delete topics",
		newTopicCreate(), newTopicList(), newTopicDescribe(), newTopicAlter(), newTopicAddPartitions(),
		newTopicTrim(), newTopicVerify(), newTopicDelete())
}

var topics = noun{"topic", completeTopics}

// topicMade is the JSON of a created or grown topic.
type topicMade struct {
	Topic      string `json:"topic"`
	ID         string `json:"topic_id,omitempty"`
	Partitions int32  `json:"partitions"`
	Replicas   int16  `json:"replication_factor,omitempty"`
	Existed    bool   `json:"existed,omitempty"`
}

func newTopicCreate() *cobra.Command {
	var q question
	var partitions int32
	var replicas int16
	var configs []string
	var ifNot, dry bool
	c := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create topics",
		Example: "  karst topic create orders -p 6\n" +
			"  karst topic create audit -p 1 -r 3 -c min.insync.replicas=2",
		Args: atLeast(1, "at least one topic name"),
		RunE: func(c *cobra.Command, names []string) error {
			kvs, err := pairs("-c", configs)
			if err != nil {
				return err
			}
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				create := adm.CreateTopics
				if dry {
					create = adm.ValidateCreateTopics
				}
				resp, err := create(ctx, partitions, replicas, kvs, names...)
				if err != nil {
					return link.Explain(err, "", "create %s", quoted(names))
				}
				return q.created(ctx, c, adm, resp, names, replicas, ifNot)
			})
		},
	}
	c.Flags().Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1: the cluster's default")
	c.Flags().Int16VarP(&replicas, "replication-factor", "r", -1, "copies of each partition; -1: the cluster's default")
	c.Flags().StringArrayVarP(&configs, "config", "c", nil, "KEY=VALUE with Kafka's names; may be repeated")
	c.Flags().BoolVar(&ifNot, "if-not-exists", false, "it is fine when the topic exists")
	c.Flags().BoolVar(&dry, "dry-run", false, "only check whether it would work")
	q.register(c)
	return c
}

// created prints what was made; the first topic that failed is the command's error.
func (o *output) created(ctx context.Context, c *cobra.Command, adm *kadm.Client, resp kadm.CreateTopicResponses,
	names []string, replicas int16, ifNot bool) error {
	var made []topicMade
	var failed error
	for _, name := range names {
		r := resp[name]
		switch {
		case r.Err == nil:
			made = append(made, topicMade{name, topicID(r.ID), r.NumPartitions, r.ReplicationFactor, false})
		case ifNot && isKafka(r.Err, kerr.TopicAlreadyExists):
			made = append(made, topicMade{Topic: name, Existed: true})
		case failed == nil:
			failed = createError(ctx, adm, name, replicas, r)
		}
	}
	if len(made) > 0 {
		err := o.print(c, made, func(w io.Writer) {
			for _, m := range made {
				if m.Existed {
					fmt.Fprintf(w, "%s exists\n", m.Topic)
					continue
				}
				fmt.Fprintf(w, "created %s: %s, replication factor %d\n", m.Topic,
					count(int(m.Partitions), "partition"), m.Replicas)
			}
		})
		if err != nil {
			return err
		}
	}
	return failed
}

// createError adds to a refused creation what the cluster looks like when that is the reason.
func createError(ctx context.Context, adm *kadm.Client, name string, replicas int16, r kadm.CreateTopicResponse) error {
	e := link.Explain(r.Err, r.ErrMessage, "create topic %q", name)
	switch e.Entry {
	case catalogue.TooFewNodes:
		md, err := adm.BrokerMetadata(ctx)
		if err != nil {
			return e
		}
		alive := make([]string, len(md.Brokers))
		for i, b := range md.Brokers {
			alive[i] = fmt.Sprintf("n%d", b.NodeID)
		}
		slices.Sort(alive)
		if replicas > 0 {
			e.Message = fmt.Sprintf("cannot create topic %q: replication factor %d needs %s, %d alive",
				name, replicas, count(int(replicas), "node"), len(alive))
		}
		e.Because(fmt.Sprintf("alive: %d (%s)", len(alive), strings.Join(alive, " ")))
		e.Try("karst cluster info        to see the nodes",
			fmt.Sprintf("karst topic create %s -r %d", name, max(1, len(alive))))
	case catalogue.TopicThere:
		e.Try("karst topic describe "+name, "karst topic create "+name+" --if-not-exists")
	}
	return e
}

func newTopicAddPartitions() *cobra.Command {
	var q question
	var num int
	c := &cobra.Command{
		Use:     "add-partitions NAME -n NUMBER",
		Short:   "Add partitions to a topic",
		Long:    "Add partitions to a topic. Records with the same key may then land in another partition than before.",
		Example: "  karst topic add-partitions orders -n 6        six more",
		Args:    exactly(1, "one topic name"),
		RunE: func(c *cobra.Command, args []string) error {
			if num < 1 {
				return catalogue.BadFlag.New("-n %d: at least one partition is added", num).Try(c.UseLine())
			}
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				resp, err := adm.CreatePartitions(ctx, num, args[0])
				if err != nil {
					return link.Explain(err, "", "add partitions to %q", args[0])
				}
				if r := resp[args[0]]; r.Err != nil {
					return link.Explain(r.Err, r.ErrMessage, "add partitions to %q", args[0])
				}
				detail, err := describeTopic(ctx, adm, args[0])
				if err != nil {
					return err
				}
				made := topicMade{Topic: args[0], ID: topicID(detail.ID), Partitions: int32(len(detail.Partitions))}
				return q.print(c, made, func(w io.Writer) {
					fmt.Fprintf(w, "%s has %s now\n", args[0], count(len(detail.Partitions), "partition"))
				})
			})
		},
		ValidArgsFunction: completeTopics,
	}
	c.Flags().IntVarP(&num, "num", "n", 0, "how many to add")
	q.register(c)
	return c
}

func newTopicDelete() *cobra.Command {
	type deleted struct {
		Topic   string `json:"topic"`
		Deleted bool   `json:"deleted"`
	}
	check := func(ctx context.Context, adm *kadm.Client, name string, _ bool) error {
		_, err := describeTopic(ctx, adm, name)
		return err
	}
	remove := func(ctx context.Context, adm *kadm.Client, name string) error {
		if r, err := adm.DeleteTopic(ctx, name); err != nil {
			return link.Explain(err, r.ErrMessage, "delete topic %q", name)
		}
		return nil
	}
	return newDelete(topics, "Delete topics and everything in them", check, remove,
		func(name string, gone bool) any { return deleted{name, gone} })
}

// confirm has the name typed on a terminal, and refuses where nobody can be asked. what is what goes: "",
// or "12 records of ".
func confirm(c *cobra.Command, yes bool, what, name string) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return catalogue.NotConfirmed.New("deleting %s%q needs to be confirmed", what, name)
	}
	fmt.Fprintf(c.ErrOrStderr(), "This deletes %s%q for ever. Type its name to go on: ", what, name)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(line) != name {
		return catalogue.NotConfirmed.New("%q was not typed, nothing was deleted", name)
	}
	return nil
}

// pairs reads KEY=VALUE flags.
func pairs(flag string, in []string) (map[string]*string, error) {
	out := map[string]*string{}
	for _, s := range in {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, catalogue.BadFlag.New("%s %q is not KEY=VALUE", flag, s).Try(flag + " min.insync.replicas=2")
		}
		out[k] = &v
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}

// topicID is an id as Kafka's tools show it, URL-safe and without padding.
func topicID(id kadm.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }
