package shim

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

var topicsScript = Script{
	Name: "kafka-topics.sh", Word: "topics",
	Short: "This tool helps to create, delete, describe, or change a topic.",
	run:   runTopics,
	flags: topicsFlags,
}

var topicsFlags = with(common, flagSet{
	"alter": false, "create": false, "delete": false, "describe": false, "list": false,
	"topic": true, "partitions": true, "replication-factor": true, "config": true, "replica-assignment": true,
	"if-exists": false, "if-not-exists": false, "exclude-internal": false,
	"under-replicated-partitions": false, "unavailable-partitions": false, "topics-with-overrides": false,
})

const collisionWarning = "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') " +
	"could collide. To avoid issues it is best to use either, but not both."

// topicTool is one run of kafka-topics.sh.
type topicTool struct {
	s   *streams
	o   *options
	cl  *kgo.Client
	adm *kadm.Client
}

func runTopics(ctx context.Context, s *streams, o *options) int {
	actions := 0
	for _, a := range []string{"create", "list", "alter", "describe", "delete"} {
		if o.has(a) {
			actions++
		}
	}
	if actions != 1 {
		fmt.Fprintln(s.err, "Command must include exactly one action: --list, --describe, --create, --alter or --delete")
		topicsFlags.usage(s.err)
		return 1
	}
	if (o.has("create") || o.has("alter") || o.has("delete")) && !o.has("topic") {
		fmt.Fprintln(s.err, `Missing required argument "[topic]"`)
		topicsFlags.usage(s.err)
		return 1
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cl, err := o.target().Open(ctx)
	if err != nil {
		return topicError(s, err, "")
	}
	defer cl.Close()
	t := &topicTool{s: s, o: o, cl: cl, adm: kadm.NewClient(cl)}
	switch {
	case o.has("create"):
		return t.create(ctx)
	case o.has("alter"):
		return t.alter(ctx)
	case o.has("list"):
		return t.list(ctx)
	case o.has("delete"):
		return t.remove(ctx)
	}
	return t.describe(ctx)
}

// javaNames are the exceptions as which Kafka's tools log these errors.
var javaNames = map[int16]string{
	kerr.TopicAlreadyExists.Code:       "TopicExistsException",
	kerr.InvalidReplicationFactor.Code: "InvalidReplicationFactorException",
	kerr.InvalidTopicException.Code:    "InvalidTopicException",
	kerr.InvalidPartitions.Code:        "InvalidPartitionsException",
	kerr.InvalidConfig.Code:            "InvalidConfigurationException",
	kerr.UnknownTopicOrPartition.Code:  "UnknownTopicOrPartitionException",
	kerr.InvalidRequest.Code:           "InvalidRequestException",
	kerr.RequestTimedOut.Code:          "TimeoutException",
}

// topicError prints an error as TopicCommand does: the message on the output, the exception in the log.
func topicError(s *streams, err error, message string) int {
	exception := "java.lang.IllegalArgumentException"
	var ke *kerr.Error
	var known *catalogue.Error
	switch {
	case errors.As(err, &ke):
		if message == "" {
			message = ke.Description
		}
		exception = "org.apache.kafka.common.errors.ApiException"
		if name, ok := javaNames[ke.Code]; ok {
			exception = "org.apache.kafka.common.errors." + name
		}
	case errors.As(err, &known):
		message = known.Message
		exception = "org.apache.kafka.common.errors.TimeoutException"
	case message == "":
		message = err.Error()
	}
	fmt.Fprintf(s.out, "Error while executing topic command : %s\n", message)
	fmt.Fprintf(s.err, "[%s] ERROR %s: %s\n (org.apache.kafka.tools.TopicCommand)\n",
		time.Now().Format("2006-01-02 15:04:05,000"), exception, message)
	return 1
}

func (t *topicTool) create(ctx context.Context) int {
	name := t.o.text("topic")
	if strings.ContainsAny(name, "._") {
		fmt.Fprintln(t.s.out, collisionWarning)
	}
	partitions, replicas := int64(-1), int64(-1)
	var err error
	if v := t.o.text("partitions"); v != "" {
		if partitions, err = strconv.ParseInt(v, 10, 32); err != nil || partitions < 1 {
			return topicError(t.s, errors.New("The partitions must be greater than 0"), "")
		}
	}
	if v := t.o.text("replication-factor"); v != "" {
		if replicas, err = strconv.ParseInt(v, 10, 16); err != nil || replicas < 1 {
			return topicError(t.s, errors.New("The replication factor must be between 1 and 32767 inclusive"), "")
		}
	}
	configs, err := t.o.properties("config")
	if err != nil {
		return topicError(t.s, err, "")
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 60_000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, int32(partitions), int16(replicas)
	if t.o.has("replica-assignment") {
		if rt.ReplicaAssignment, err = assignment(t.o.text("replica-assignment")); err != nil {
			return topicError(t.s, err, "")
		}
	}
	for _, k := range sorted(configs) {
		v := configs[k]
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		rt.Configs = append(rt.Configs, c)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return topicError(t.s, err, "")
	}
	for _, r := range resp.Topics {
		err := kerr.ErrorForCode(r.ErrorCode)
		if errors.Is(err, kerr.TopicAlreadyExists) && t.o.has("if-not-exists") {
			return 0
		}
		if err != nil {
			return topicError(t.s, err, optional(r.ErrorMessage))
		}
		fmt.Fprintf(t.s.out, "Created topic %s.\n", name)
	}
	return 0
}

// assignment reads broker:broker,broker:broker: the replicas of each partition.
func assignment(s string) ([]kmsg.CreateTopicsRequestTopicReplicaAssignment, error) {
	var out []kmsg.CreateTopicsRequestTopicReplicaAssignment
	for i, part := range strings.Split(s, ",") {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition = int32(i)
		for _, b := range strings.Split(part, ":") {
			id, err := strconv.ParseInt(strings.TrimSpace(b), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("For input string: %q", b)
			}
			a.Replicas = append(a.Replicas, int32(id))
		}
		out = append(out, a)
	}
	return out, nil
}

func optional(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func sorted(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// chosen are the topics that --topic, an expression, selects; without it all.
func (t *topicTool) chosen(ctx context.Context) ([]string, error) {
	all, err := t.adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, err
	}
	pattern := t.o.text("topic")
	var names []string
	var re *regexp.Regexp
	if pattern != "" {
		if re, err = regexp.Compile("^(?:" + strings.ReplaceAll(pattern, ",", "|") + ")$"); err != nil {
			return nil, fmt.Errorf("%s is an invalid regex.", pattern)
		}
	}
	for _, d := range all.Sorted() {
		if d.IsInternal && t.o.has("exclude-internal") || re != nil && !re.MatchString(d.Topic) {
			continue
		}
		names = append(names, d.Topic)
	}
	if pattern != "" && len(names) == 0 && !t.o.has("list") && !t.o.has("if-exists") {
		return nil, fmt.Errorf("Topic '%s' does not exist as expected", pattern)
	}
	return names, nil
}

func (t *topicTool) list(ctx context.Context) int {
	names, err := t.chosen(ctx)
	if err != nil {
		return topicError(t.s, err, "")
	}
	for _, n := range names {
		fmt.Fprintln(t.s.out, n)
	}
	return 0
}

func (t *topicTool) alter(ctx context.Context) int {
	names, err := t.chosen(ctx)
	if err != nil {
		return topicError(t.s, err, "")
	}
	n, err := strconv.Atoi(t.o.text("partitions"))
	if err != nil {
		fmt.Fprintln(t.s.err, `Missing required argument "[partitions]"`)
		return 1
	}
	if len(names) == 0 {
		return 0
	}
	resp, err := t.adm.UpdatePartitions(ctx, n, names...)
	if err != nil {
		return topicError(t.s, err, "")
	}
	for _, r := range resp.Sorted() {
		if r.Err != nil {
			return topicError(t.s, r.Err, r.ErrMessage)
		}
	}
	return 0
}

func (t *topicTool) remove(ctx context.Context) int {
	names, err := t.chosen(ctx)
	if err != nil {
		return topicError(t.s, err, "")
	}
	if len(names) == 0 {
		return 0
	}
	resp, err := t.adm.DeleteTopics(ctx, names...)
	if err != nil {
		return topicError(t.s, err, "")
	}
	for _, r := range resp.Sorted() {
		if r.Err != nil {
			return topicError(t.s, r.Err, r.ErrMessage)
		}
	}
	return 0
}
