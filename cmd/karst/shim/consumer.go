package shim

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var consumerScript = Script{
	Name: "kafka-console-consumer.sh", Word: "console-consumer",
	Short: "This tool helps to read data from Kafka topics and outputs it to standard output.",
	run:   runConsumer,
	flags: consumerFlags,
}

var consumerFlags = with(common, flagSet{
	"topic": true, "include": true, "partition": true, "offset": true, "from-beginning": false,
	"max-messages": true, "timeout-ms": true, "group": true, "isolation-level": true,
	"property": true, "formatter-property": true, "consumer-property": true, "command-property": true,
	"consumer.config": true, "skip-message-on-error": false, "enable-systest-events": false,
})

// formatter is Kafka's DefaultMessageFormatter.
type formatter struct {
	timestamp, key, offset, partition, headers, value, epoch bool
	keySep, lineSep, headerSep, null                         string
}

func newFormatter(props map[string]string) *formatter {
	on := func(name string) bool { return props[name] == "true" }
	text := func(name, otherwise string) string {
		if v, ok := props[name]; ok {
			return v
		}
		return otherwise
	}
	return &formatter{
		timestamp: on("print.timestamp"), key: on("print.key"), offset: on("print.offset"),
		partition: on("print.partition"), headers: on("print.headers"), epoch: on("print.epoch"),
		value:  props["print.value"] != "false",
		keySep: text("key.separator", "\t"), lineSep: text("line.separator", "\n"),
		headerSep: text("headers.separator", ","), null: text("null.literal", "null"),
	}
}

// write appends a record: the parts that were asked for, with the key separator between any two.
func (f *formatter) write(b []byte, r *kgo.Record) []byte {
	first := true
	part := func(wanted bool, write func()) {
		if !wanted {
			return
		}
		if !first {
			b = append(b, f.keySep...)
		}
		first = false
		write()
	}
	part(f.timestamp, func() {
		kind := "CreateTime:"
		if r.Attrs.TimestampType() == 1 {
			kind = "LogAppendTime:"
		}
		b = strconv.AppendInt(append(b, kind...), r.Timestamp.UnixMilli(), 10)
	})
	part(f.partition, func() { b = strconv.AppendInt(append(b, "Partition:"...), int64(r.Partition), 10) })
	part(f.offset, func() { b = strconv.AppendInt(append(b, "Offset:"...), r.Offset, 10) })
	part(f.epoch, func() { b = strconv.AppendInt(append(b, "Epoch:"...), int64(r.LeaderEpoch), 10) })
	part(f.headers, func() {
		if len(r.Headers) == 0 {
			b = append(b, "NO_HEADERS"...)
		}
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, f.headerSep...)
			}
			b = append(append(b, h.Key...), ':')
			b = f.bytes(b, h.Value)
		}
	})
	part(f.key, func() { b = f.bytes(b, r.Key) })
	part(f.value, func() { b = f.bytes(b, r.Value) })
	return append(b, f.lineSep...)
}

func (f *formatter) bytes(b, part []byte) []byte {
	if part == nil {
		return append(b, f.null...)
	}
	return append(b, part...)
}

// consumerRun is what the options of the consumer come to.
type consumerRun struct {
	opts    []kgo.Opt
	most    int64 // -1: no limit
	silence time.Duration
	grouped bool
}

func planConsumer(o *options) (*consumerRun, error) {
	c := &consumerRun{most: -1}
	var err error
	if v := o.text("max-messages"); v != "" {
		if c.most, err = strconv.ParseInt(v, 10, 64); err != nil {
			return nil, fmt.Errorf("Cannot parse argument '%s' of option max-messages", v)
		}
	}
	if v := o.text("timeout-ms"); v != "" {
		ms, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("Cannot parse argument '%s' of option timeout-ms", v)
		}
		c.silence = time.Duration(ms) * time.Millisecond
	}
	if o.has("topic") == o.has("include") {
		return nil, fmt.Errorf("Exactly one of --include/--topic is required. ")
	}
	if o.has("offset") && !o.has("partition") {
		return nil, fmt.Errorf("The partition is required when offset is specified.")
	}
	if o.has("partition") && !o.has("topic") {
		return nil, fmt.Errorf("The topic is required when partition is specified.")
	}
	if o.has("from-beginning") && o.has("offset") {
		return nil, fmt.Errorf("Options from-beginning and offset cannot be specified together.")
	}
	props, err := o.properties("command-config", "consumer.config", "consumer-property", "command-property")
	if err != nil {
		return nil, err
	}
	start := kgo.NewOffset().AtEnd()
	if o.has("from-beginning") || props["auto.offset.reset"] == "earliest" {
		start = kgo.NewOffset().AtStart()
	}
	c.opts = append(c.opts, kgo.AllowAutoTopicCreation(), kgo.ConsumeResetOffset(start), kgo.ConsumeStartOffset(start))
	if v := o.text("isolation-level"); v == "read_committed" {
		c.opts = append(c.opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	group := o.text("group")
	if group == "" {
		group = props["group.id"]
	}
	switch {
	case o.has("partition"):
		return c, c.assign(o, start)
	case group != "":
		c.grouped = true
		c.opts = append(c.opts, kgo.ConsumerGroup(group), kgo.AutoCommitMarks())
	}
	if o.has("include") {
		c.opts = append(c.opts, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:"+o.text("include")+")$"))
	} else {
		c.opts = append(c.opts, kgo.ConsumeTopics(o.text("topic")))
	}
	return c, nil
}

// assign reads one partition from the offset that was asked for.
func (c *consumerRun) assign(o *options, start kgo.Offset) error {
	p, err := strconv.ParseInt(o.text("partition"), 10, 32)
	if err != nil {
		return fmt.Errorf("Cannot parse argument '%s' of option partition", o.text("partition"))
	}
	at := start
	switch v := o.text("offset"); v {
	case "":
	case "earliest":
		at = kgo.NewOffset().AtStart()
	case "latest":
		at = kgo.NewOffset().AtEnd()
	default:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", v)
		}
		at = kgo.NewOffset().At(n)
	}
	c.opts = append(c.opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.text("topic"): {int32(p): at}}))
	return nil
}

func runConsumer(ctx context.Context, s *streams, o *options) int {
	c, err := planConsumer(o)
	if err != nil {
		fmt.Fprintln(s.err, err)
		consumerFlags.usage(s.err)
		return 1
	}
	o.deprecated(s.out, "Option --%s is deprecated and will be removed in a future version. Use --%s instead.",
		"consumer-property", "command-property", "consumer.config", "command-config", "property", "formatter-property")
	props, err := o.properties("property", "formatter-property")
	if err != nil {
		fmt.Fprintln(s.err, err)
		return 1
	}
	cl, err := o.target().Open(ctx, c.opts...)
	if err != nil {
		fmt.Fprintln(s.err, err)
		return 1
	}
	n, status := c.loop(ctx, s, cl, newFormatter(props))
	if c.grouped {
		bye, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if err := cl.CommitMarkedOffsets(bye); err != nil {
			fmt.Fprintln(s.err, err)
		}
		cancel()
	}
	cl.Close()
	fmt.Fprintf(s.err, "Processed a total of %d messages\n", n)
	return status
}

// loop prints until the limit, the silence or an interruption.
func (c *consumerRun) loop(ctx context.Context, s *streams, cl *kgo.Client, f *formatter) (n int64, status int) {
	out := bufio.NewWriter(s.out)
	defer out.Flush()
	var buf bytes.Buffer
	for ctx.Err() == nil && (c.most < 0 || n < c.most) {
		most := 500
		if c.most >= 0 {
			most = int(min(c.most-n, 500))
		}
		poll, cancel := ctx, context.CancelFunc(func() {})
		if c.silence > 0 {
			poll, cancel = context.WithTimeout(ctx, c.silence)
		}
		fetches := cl.PollRecords(poll, most)
		silent := poll.Err() != nil && ctx.Err() == nil
		cancel()
		if fetches.NumRecords() == 0 && silent {
			fmt.Fprintf(s.err, "[%s] ERROR Error processing message, terminating consumer process:  (org.apache.kafka.tools.consumer.ConsoleConsumer)\n"+
				"org.apache.kafka.common.errors.TimeoutException\n", time.Now().Format("2006-01-02 15:04:05,000"))
			return n, 0
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			if ctx.Err() == nil && !silent && status == 0 {
				fmt.Fprintln(s.err, err)
				status = 1
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			buf.Reset()
			out.Write(f.write(buf.AvailableBuffer(), r))
			if c.grouped {
				cl.MarkCommitRecords(r)
			}
		})
		out.Flush()
		if status != 0 {
			return n, status
		}
	}
	return n, 0
}
