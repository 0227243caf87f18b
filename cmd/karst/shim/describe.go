package shim

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (t *topicTool) describe(ctx context.Context) int {
	names, err := t.chosen(ctx)
	if err != nil {
		return topicError(t.s, err, "")
	}
	if len(names) == 0 {
		return 0
	}
	topics, err := t.details(ctx, names)
	if err != nil {
		return topicError(t.s, err, "")
	}
	configs, err := t.adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return topicError(t.s, err, "")
	}
	some := t.o.has("under-replicated-partitions") || t.o.has("unavailable-partitions")
	for _, d := range topics {
		given := overrides(configs, *d.Topic)
		if t.o.has("topics-with-overrides") && given == "" {
			continue
		}
		if !some {
			replicas := 0
			if len(d.Partitions) > 0 {
				replicas = len(d.Partitions[0].Replicas)
			}
			fmt.Fprintf(t.s.out, "Topic: %s\tTopicId: %s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n",
				*d.Topic, uuid(d.TopicID), len(d.Partitions), replicas, given)
		}
		if t.o.has("topics-with-overrides") {
			continue
		}
		for _, p := range d.Partitions {
			missing := len(p.ISR) < len(p.Replicas)
			if some && !(t.o.has("under-replicated-partitions") && missing || t.o.has("unavailable-partitions") && p.LeaderID < 0) {
				continue
			}
			t.partition(*d.Topic, p)
		}
	}
	return 0
}

func (t *topicTool) partition(topic string, p kmsg.DescribeTopicPartitionsResponseTopicPartition) {
	leader := "none"
	if p.LeaderID >= 0 {
		leader = fmt.Sprint(p.LeaderID)
	}
	fmt.Fprintf(t.s.out, "\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s\tElr: %s\tLastKnownElr: %s\n",
		topic, p.Partition, leader, ids(p.Replicas), ids(p.ISR),
		orNone(p.EligibleLeaderReplicas), orNone(p.LastKnownELR))
}

// details asks page by page, as the Java client does.
func (t *topicTool) details(ctx context.Context, names []string) ([]kmsg.DescribeTopicPartitionsResponseTopic, error) {
	var out []kmsg.DescribeTopicPartitionsResponseTopic
	var cursor *kmsg.DescribeTopicPartitionsRequestCursor
	for {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = 2000
		req.Cursor = cursor
		for _, n := range names {
			rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
			rt.Topic = n
			req.Topics = append(req.Topics, rt)
		}
		resp, err := req.RequestWith(ctx, t.cl)
		if err != nil {
			return nil, err
		}
		for _, d := range resp.Topics {
			if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
				return nil, err
			}
			if n := len(out); n > 0 && *out[n-1].Topic == *d.Topic {
				out[n-1].Partitions = append(out[n-1].Partitions, d.Partitions...)
				continue
			}
			out = append(out, d)
		}
		if resp.NextCursor == nil {
			return out, nil
		}
		next := kmsg.NewDescribeTopicPartitionsRequestCursor()
		next.Topic, next.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
		cursor = &next
	}
}

// overrides are the settings that do not come from the defaults, as Kafka joins them.
func overrides(configs kadm.ResourceConfigs, topic string) string {
	var parts []string
	for _, rc := range configs {
		if rc.Name != topic {
			continue
		}
		for _, c := range rc.Configs {
			if c.Source != kmsg.ConfigSourceDefaultConfig {
				parts = append(parts, c.Key+"="+c.MaybeValue())
			}
		}
	}
	return strings.Join(parts, ",")
}

func ids(nodes []int32) string {
	parts := make([]string, len(nodes))
	for i, n := range nodes {
		parts[i] = fmt.Sprint(n)
	}
	return strings.Join(parts, ",")
}

// orNone is how the tool shows a list that the broker does not know.
func orNone(nodes []int32) string {
	if nodes == nil {
		return "N/A"
	}
	return ids(nodes)
}
