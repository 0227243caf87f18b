package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/escape"
	"github.com/karst-stream/karst/cmd/karst/link"
)

// producing holds the flags of `karst produce`.
type producing struct {
	target      link.Target
	out         output
	format      string
	key         string
	partition   int32
	headers     []string
	compression string
	acks        string
}

const produceHelp = `Each line of the input becomes a record. Without -f the whole line is the value.

With -f the line is read by the format: text with %k key, %v value, %p partition, %T timestamp
in milliseconds, %h headers (name=value,..). Records with a key go to the partition that Kafka's
own clients choose for it.`

func newProduce() *cobra.Command {
	var p producing
	c := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Write lines of the input to a topic",
		Long:  produceHelp,
		Example: "  seq 10 | karst produce numbers\n" +
			"  karst produce orders -f '%k:%v' < orders.txt\n" +
			"  echo late | karst produce orders -k 42 -H source=shell",
		Args: exactly(1, "one topic name"),
		RunE: func(c *cobra.Command, args []string) error {
			return interruptible(c, func(c *cobra.Command) error { return p.run(c, args[0]) })
		},
		ValidArgsFunction: completeTopics,
	}
	c.Flags().StringVarP(&p.format, "format", "f", "%v", "how a line is read")
	c.Flags().StringVarP(&p.key, "key", "k", "", "key of every record")
	c.Flags().Int32VarP(&p.partition, "partition", "p", -1, "partition of every record; -1: by key, or in turn")
	c.Flags().StringArrayVarP(&p.headers, "header", "H", nil, "NAME=VALUE on every record; may be repeated")
	c.Flags().StringVarP(&p.compression, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	c.Flags().StringVar(&p.acks, "acks", "all", "who must have the record: all, 1 or 0")
	withTarget(c, &p.target, 0)
	p.out.register(c)
	return c
}

// options turns the flags into those of the client.
func (p *producing) options(manual bool) ([]kgo.Opt, error) {
	codec, ok := link.Codec(p.compression)
	if !ok {
		return nil, catalogue.BadFlag.New("-z %s: the codecs are none, gzip, snappy, lz4 and zstd", p.compression).
			Try("-z zstd")
	}
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}
	if manual {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	acks, ok := link.Acks(p.acks)
	if !ok {
		return nil, catalogue.BadFlag.New("--acks %s: it is all, 1 or 0", p.acks).Try("--acks all")
	}
	opts = append(opts, acks...)
	if p.target.Timeout > 0 {
		opts = append(opts, kgo.RecordDeliveryTimeout(p.target.Timeout))
	}
	return opts, nil
}

// template is what every record starts from.
func (p *producing) template(topic string) (kgo.Record, error) {
	r := kgo.Record{Topic: topic}
	if p.key != "" {
		r.Key = []byte(p.key)
	}
	if p.partition >= 0 {
		r.Partition = p.partition
	}
	hs, err := pairs("-H", p.headers)
	if err != nil {
		return r, err
	}
	for _, name := range sortedKeys(hs) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(*hs[name])})
	}
	return r, nil
}

func (p *producing) run(c *cobra.Command, topic string) error {
	reader, err := escape.ParseReader(p.format)
	if err != nil {
		return catalogue.BadFormat.New("-f %q: %v", p.format, err).Try(`-f '%k:%v'`, "karst docs K0005")
	}
	opts, err := p.options(p.partition >= 0 || reader.SetsPartition())
	if err != nil {
		return err
	}
	base, err := p.template(topic)
	if err != nil {
		return err
	}
	cl, err := p.target.Open(c.Context(), opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := topicServes(c.Context(), cl, topic, p.partition); err != nil {
		return err
	}
	sent, err := pump(c.Context(), cl, c.InOrStdin(), reader, base)
	if err != nil {
		return err
	}
	type produced struct {
		Topic   string `json:"topic"`
		Records int64  `json:"records"`
		Bytes   int64  `json:"bytes"`
	}
	return p.out.print(c, produced{topic, sent.records.Load(), sent.bytes.Load()}, func(w io.Writer) {
		fmt.Fprintf(w, "produced %s to %s\n", count(int(sent.records.Load()), "record"), topic)
	})
}

// topicServes refuses a topic or partition that does not exist, before a line is read.
func topicServes(ctx context.Context, cl *kgo.Client, topic string, partition int32) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	d, err := describeTopic(ctx, kadm.NewClient(cl), topic)
	if err != nil {
		return err
	}
	if partition >= 0 && int(partition) >= len(d.Partitions) {
		return catalogue.BadPartitions.New("%s has no partition %d: there are %d", topic, partition, len(d.Partitions))
	}
	return nil
}

// tally counts acknowledged records.
type tally struct {
	records, bytes atomic.Int64
	mu             sync.Mutex
	failed         error // the first
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		t.failed = err
	}
}

func (t *tally) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// pump turns lines into records until the input ends, a record fails, or ctx does. Whatever was read
// is delivered before it returns.
func pump(ctx context.Context, cl *kgo.Client, in io.Reader, reader *escape.Reader, base kgo.Record) (*tally, error) {
	var t tally
	lines, readErr := make(chan []byte, 256), make(chan error, 1)
	go func() {
		readErr <- readLines(in, lines)
		close(lines)
	}()
	number := 0
	var bad error
	for bad == nil && t.failure() == nil {
		var line []byte
		var more bool
		select {
		case line, more = <-lines:
		case <-ctx.Done():
		}
		if !more {
			break
		}
		number++
		r := base
		if err := reader.Read(line, &r); err != nil {
			bad = catalogue.BadFormat.New("line %d does not fit the format: %v", number, err).
				Try("karst produce TOPIC -f '%k:%v'", "karst docs K0005")
			break
		}
		cl.Produce(context.Background(), &r, func(r *kgo.Record, err error) {
			if err != nil {
				t.fail(err)
				return
			}
			t.records.Add(1)
			t.bytes.Add(int64(len(r.Key) + len(r.Value)))
		})
	}
	cl.Flush(context.Background())
	if err := t.failure(); err != nil {
		e := link.Explain(err, "", "produce to %q", base.Topic)
		return &t, e.Because(fmt.Sprintf("acknowledged before: %s", count(int(t.records.Load()), "record")))
	}
	if bad != nil {
		return &t, bad
	}
	select {
	case err := <-readErr:
		if err != nil {
			return &t, catalogue.BadFile.New("cannot read the input: %v", err).Wrap(err).Try("check what is piped in")
		}
	default:
	}
	return &t, nil
}

// readLines sends each line without its end; the last one needs no newline.
func readLines(in io.Reader, lines chan<- []byte) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			lines <- bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// parseWhere reads start, end, N, -N or @time. A time is milliseconds, RFC 3339, or a duration before now.
func parseWhere(s string, now time.Time) (where, error) {
	bad := func() (where, error) {
		return where{}, catalogue.BadOffset.New("-o %q: it is start, end, a number or @time", s)
	}
	switch s {
	case "start", "beginning", "earliest":
		return where{kind: atStart}, nil
	case "end", "latest":
		return where{kind: atEnd}, nil
	}
	if t, ok := cutAt(s); ok {
		if ms, ok := parseInt(t); ok && ms >= 0 {
			return where{atTime, ms}, nil
		}
		if d, err := time.ParseDuration(t); err == nil {
			if d > 0 {
				d = -d
			}
			return where{atTime, now.Add(d).UnixMilli()}, nil
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
			if at, err := time.ParseInLocation(layout, t, time.Local); err == nil {
				return where{atTime, at.UnixMilli()}, nil
			}
		}
		return bad()
	}
	n, ok := parseInt(s)
	if !ok {
		return bad()
	}
	return where{atNumber, n}, nil
}
