package shim

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/link"
)

var producerScript = Script{
	Name: "kafka-console-producer.sh", Word: "console-producer",
	Short: "This tool helps to read data from standard input and publish it to Kafka.",
	run:   runProducer,
	flags: producerFlags,
}

var producerFlags = with(common, flagSet{
	"topic": true, "sync": false, "compression-codec": true, "batch-size": true, "timeout": true,
	"request-required-acks": true, "request-timeout-ms": true, "message-send-max-retries": true,
	"property": true, "reader-property": true, "producer-property": true, "command-property": true,
	"producer.config": true, "max-block-ms": true, "max-memory-bytes": true,
})

// lineReader is Kafka's LineMessageReader: its properties and the line that it is at.
type lineReader struct {
	topic                           string
	parseKey, parseHeaders, lenient bool
	keySep, headersSep, headerSep   string
	headerKeySep, nullMarker        string
	line                            int
}

func newLineReader(topic string, props map[string]string) *lineReader {
	text := func(name, otherwise string) string {
		if v, ok := props[name]; ok {
			return v
		}
		return otherwise
	}
	return &lineReader{
		topic:    topic,
		parseKey: props["parse.key"] == "true", parseHeaders: props["parse.headers"] == "true",
		lenient: props["ignore.error"] == "true",
		keySep:  text("key.separator", "\t"), headersSep: text("headers.delimiter", "\t"),
		headerSep: text("headers.separator", ","), headerKeySep: text("headers.key.separator", ":"),
		nullMarker: props["null.marker"],
	}
}

// record turns a line into a record; the errors read as Kafka's.
func (l *lineReader) record(line string) (*kgo.Record, error) {
	l.line++
	r := &kgo.Record{Topic: l.topic}
	whole := line
	if l.parseHeaders {
		headers, rest, ok := strings.Cut(line, l.headersSep)
		if !ok {
			if !l.lenient {
				return nil, fmt.Errorf("No header delimiter found on line number %d: '%s'", l.line, whole)
			}
		} else {
			line = rest
			if headers != l.nullMarker || l.nullMarker == "" {
				for _, h := range strings.Split(headers, l.headerSep) {
					k, v, ok := strings.Cut(h, l.headerKeySep)
					if !ok && !l.lenient {
						return nil, fmt.Errorf("No header key separator found in pair '%s' on line number %d", h, l.line)
					}
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: l.bytes(v)})
				}
			}
		}
	}
	if l.parseKey {
		key, rest, ok := strings.Cut(line, l.keySep)
		switch {
		case ok:
			r.Key, line = l.bytes(key), rest
		case !l.lenient:
			return nil, fmt.Errorf("No key separator found on line number %d: '%s'", l.line, whole)
		}
	}
	r.Value = l.bytes(line)
	return r, nil
}

func (l *lineReader) bytes(s string) []byte {
	if l.nullMarker != "" && s == l.nullMarker {
		return nil
	}
	return []byte(s)
}

// producerOptions turns the script's options into the client's.
func producerOptions(o *options) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.AllowAutoTopicCreation()}
	props, err := o.properties("command-config", "producer.config", "producer-property", "command-property")
	if err != nil {
		return nil, err
	}
	name := cmp.Or(o.text("compression-codec"), props["compression.type"], "none")
	codec, ok := link.Codec(name)
	if !ok {
		return nil, fmt.Errorf("Unknown compression name: %s", name)
	}
	word := cmp.Or(o.text("request-required-acks"), props["acks"], "all")
	acks, ok := link.Acks(word)
	if !ok {
		return nil, fmt.Errorf("Invalid value %s for configuration acks: String must be one of: all, -1, 0, 1", word)
	}
	opts = append(opts, kgo.ProducerBatchCompression(codec))
	opts = append(opts, acks...)
	if v := o.text("timeout"); v != "" {
		ms, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("Cannot parse argument '%s' of option timeout", v)
		}
		opts = append(opts, kgo.ProducerLinger(time.Duration(ms)*time.Millisecond))
	}
	return opts, nil
}

func runProducer(ctx context.Context, s *streams, o *options) int {
	if !o.has("topic") {
		fmt.Fprintln(s.err, `Missing required argument "[topic]"`)
		producerFlags.usage(s.err)
		return 1
	}
	o.deprecated(s.out, "Warning: --%s is deprecated and will be removed in a future version. Use --%s instead.",
		"producer-property", "command-property", "property", "reader-property", "producer.config", "command-config")
	props, err := o.properties("property", "reader-property")
	if err != nil {
		fmt.Fprintln(s.err, err)
		return 1
	}
	opts, err := producerOptions(o)
	if err != nil {
		fmt.Fprintln(s.err, err)
		return 1
	}
	cl, err := o.target().Open(ctx, opts...)
	if err != nil {
		fmt.Fprintln(s.err, err)
		return 1
	}
	defer cl.Close()
	defer cl.Flush(context.Background())
	reader := newLineReader(o.text("topic"), props)
	prompt := term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	in := bufio.NewReader(s.in)
	var failed atomic.Bool
	for ctx.Err() == nil {
		if prompt {
			fmt.Fprint(s.out, ">")
		}
		line, err := in.ReadString('\n')
		if line == "" && err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(s.err, err)
				return 1
			}
			break
		}
		r, err := reader.record(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		if err != nil {
			cl.Flush(ctx)
			fmt.Fprintf(s.err, "org.apache.kafka.common.KafkaException: %v\n", err)
			return 1
		}
		report := func(r *kgo.Record, err error) {
			if err != nil {
				failed.Store(true)
				fmt.Fprintf(s.err, "[%s] ERROR Error when sending message to topic %s with key: %s, value: %d bytes with error: (%v)\n",
					time.Now().Format("2006-01-02 15:04:05,000"), r.Topic, keyLength(r.Key), len(r.Value), err)
			}
		}
		if o.has("sync") {
			report(r, cl.ProduceSync(ctx, r).FirstErr())
			continue
		}
		cl.Produce(ctx, r, report)
	}
	cl.Flush(context.Background())
	return 0 // as Kafka's: failed sends are in the log only
}

func keyLength(k []byte) string {
	if k == nil {
		return "null"
	}
	return fmt.Sprintf("%d bytes", len(k))
}
