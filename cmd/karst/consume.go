package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/escape"
	"github.com/karst-stream/karst/cmd/karst/link"
)

// where is a place in a log.
type where struct {
	kind whereKind
	n    int64 // atNumber: the offset, negative from the end; atTime: ms since 1970
}

type whereKind int

const (
	atStart whereKind = iota
	atEnd
	atNumber
	atTime
)

func cutAt(s string) (string, bool) { return strings.CutPrefix(s, "@") }

func parseInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// offset is the place as the client library names it.
func (w where) offset() kgo.Offset {
	switch {
	case w.kind == atEnd:
		return kgo.NewOffset().AtEnd()
	case w.kind == atTime:
		return kgo.NewOffset().AfterMilli(w.n)
	case w.kind == atNumber && w.n < 0:
		return kgo.NewOffset().AtEnd().Relative(w.n)
	case w.kind == atNumber:
		return kgo.NewOffset().At(w.n)
	}
	return kgo.NewOffset().AtStart()
}

// consuming holds the flags of `karst consume`.
type consuming struct {
	target    link.Target
	from      string
	count     int64
	group     string
	format    string
	partition int32
	toEnd     bool
	follower  *follower
}

const consumeHelp = `Reads from the start unless -o says otherwise, and waits for more until -n records were
printed, -e says to stop at the end, or ^C.

The format -f is text with %t topic, %p partition, %o offset, %k key, %v or %s value, %h headers,
%T timestamp in milliseconds, %d date, %K and %S lengths, %% a percent sign, \n \t \xNN;
%h{%k is %v; } writes each header by a format of its own; -f json prints an object a line.

With -g the records are read as a member of a group, which commits what was printed; -o then says
only where a partition starts that the group has never read.`

func newConsume() *cobra.Command {
	var s consuming
	c := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a topic",
		Long:  consumeHelp,
		Example: "  karst consume orders -n 10\n" +
			"  karst consume orders -o end -f '%p/%o %k: %v\\n'\n" +
			"  karst consume orders -o @-10m -e        the last ten minutes",
		Args: exactly(1, "one topic name"),
		RunE: func(c *cobra.Command, args []string) error {
			return interruptible(c, func(c *cobra.Command) error { return s.run(c, args[0]) })
		},
		ValidArgsFunction: completeTopics,
	}
	c.Flags().StringVarP(&s.from, "offset", "o", "start", "start, end, N (negative: from the end) or @time")
	c.Flags().Int64VarP(&s.count, "num", "n", 0, "stop after this many records; 0: never")
	c.Flags().StringVarP(&s.group, "group", "g", "", "read as a member of this group")
	c.Flags().StringVarP(&s.format, "format", "f", `%v\n`, "how a record is printed")
	c.Flags().Int32VarP(&s.partition, "partition", "p", -1, "only this partition")
	c.Flags().BoolVarP(&s.toEnd, "to-end", "e", false, "stop at the end that the log has now")
	withTarget(c, &s.target, 0)
	c.RegisterFlagCompletionFunc("group", completeGroupFlag)
	return c
}

// printer writes records in the format that was asked for.
type printer struct {
	layout  *escape.Layout // nil: JSON
	out     *bufio.Writer
	buf     []byte
	printed int64
}

func newPrinter(format string, out *bufio.Writer) (*printer, error) {
	if format == "json" {
		return &printer{out: out}, nil
	}
	l, err := escape.Parse(format)
	if err != nil {
		return nil, catalogue.BadFormat.New("-f %q: %v", format, err).Try(`-f '%k %v\n'`, "karst docs K0005")
	}
	return &printer{layout: l, out: out}, nil
}

// jsonRecord is one line of -f json. Bytes that are no text are given in base64 under another name.
type jsonRecord struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp int64             `json:"timestamp"`
	Key       *string           `json:"key"`
	KeyBytes  []byte            `json:"key_base64,omitempty"`
	Value     *string           `json:"value"`
	Bytes     []byte            `json:"value_base64,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
}

func (p *printer) record(r *kgo.Record) error {
	defer func() { p.printed++ }()
	if p.layout != nil {
		p.buf = p.layout.Append(p.buf[:0], r, p.printed)
		_, err := p.out.Write(p.buf)
		return err
	}
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBytes = text(r.Key)
	j.Value, j.Bytes = text(r.Value)
	for _, h := range r.Headers {
		if j.Headers == nil {
			j.Headers = map[string]string{}
		}
		j.Headers[h.Key] = string(h.Value)
	}
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(j)
}

func text(b []byte) (*string, []byte) {
	if b == nil {
		return nil, nil
	}
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}

func (s *consuming) run(c *cobra.Command, topic string) error {
	from, err := parseWhere(s.from, time.Now())
	if err != nil {
		return err
	}
	if s.group != "" && (s.toEnd || s.partition >= 0) {
		return catalogue.BadFlag.New("-e and -p do not go with -g: a group shares the partitions out").
			Try("use -n to stop after a number of records")
	}
	out := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
	defer out.Flush()
	p, err := newPrinter(s.format, out)
	if err != nil {
		return err
	}
	ctx, cancel := s.target.Context(c.Context())
	defer cancel()
	opts, err := s.plan(ctx, topic, from)
	if err != nil {
		return err
	}
	cl, err := s.target.Open(ctx, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	began := time.Now()
	err = s.loop(ctx, cl, p)
	out.Flush()
	if s.group != "" {
		bye, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if cerr := cl.CommitMarkedOffsets(bye); cerr != nil && err == nil {
			err = link.Explain(cerr, "", "commit the offsets of group %q", s.group)
		}
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		s.follower.summary(c, p.printed, time.Since(began))
	}
	if err != nil || c.Context().Err() != nil {
		return err // ^C is how a tail ends: no error
	}
	if ctx.Err() != nil {
		return catalogue.NoAnswer.New("read %s of %q in %v", count(int(p.printed), "record"), topic, s.target.Timeout).
			Try("raise --timeout, or lower -n")
	}
	return nil
}

// plan looks at the topic and decides what to read of which partition, and where each one ends.
func (s *consuming) plan(ctx context.Context, topic string, from where) ([]kgo.Opt, error) {
	adm, err := s.target.Admin(ctx)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	d, err := describeTopic(ctx, adm, topic)
	if err != nil {
		return nil, err
	}
	if int(s.partition) >= len(d.Partitions) {
		return nil, catalogue.BadPartitions.New("%s has no partition %d: there are %d", topic, s.partition, len(d.Partitions))
	}
	s.follower = &follower{next: map[int32]int64{}}
	opts := []kgo.Opt{kgo.FetchMaxWait(500 * time.Millisecond)}
	if s.group != "" {
		return append(opts, kgo.ConsumerGroup(s.group), kgo.ConsumeTopics(topic), kgo.AutoCommitMarks(),
			kgo.ConsumeStartOffset(from.offset()), kgo.ConsumeResetOffset(from.offset())), nil
	}
	places := map[int32]kgo.Offset{}
	for _, p := range d.Partitions.Numbers() {
		if s.partition < 0 || p == s.partition {
			places[p] = from.offset()
		}
	}
	if s.toEnd {
		if s.follower.ends, err = remaining(ctx, adm, topic, from, places); err != nil {
			return nil, err
		}
	}
	return append(opts, kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: places})), nil
}

// remaining gives the end of every partition that has something to read, and replaces the places by
// numbers: what -e reads is fixed at the start.
func remaining(ctx context.Context, adm *kadm.Client, topic string, from where, places map[int32]kgo.Offset) (map[int32]int64, error) {
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, link.Explain(err, "", "find the end of %q", topic)
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if from.kind == atTime && err == nil {
		starts, err = adm.ListOffsetsAfterMilli(ctx, from.n, topic)
	}
	if err != nil {
		return nil, link.Explain(err, "", "find the start of %q", topic)
	}
	left := map[int32]int64{}
	for p := range places {
		end, _ := ends.Lookup(topic, p)
		start, _ := starts.Lookup(topic, p)
		if err := errors.Join(end.Err, start.Err); err != nil {
			return nil, link.Explain(err, "", "find the ends of %q", topic)
		}
		at := start.Offset
		switch {
		case from.kind == atEnd:
			at = end.Offset
		case from.kind == atNumber && from.n >= 0:
			at = max(at, from.n)
		case from.kind == atNumber:
			at = max(at, end.Offset+from.n)
		}
		if at < 0 || at >= end.Offset {
			delete(places, p)
			continue
		}
		places[p] = kgo.NewOffset().At(at)
		left[p] = end.Offset
	}
	return left, nil
}

// loop prints until there is a reason to stop.
func (s *consuming) loop(ctx context.Context, cl *kgo.Client, p *printer) error {
	for ctx.Err() == nil && !s.follower.finished() {
		most := 10_000
		if s.count > 0 {
			if most = int(min(s.count-p.printed, 10_000)); most == 0 {
				return nil
			}
		}
		fetches := cl.PollRecords(ctx, most)
		var failed error
		fetches.EachError(func(t string, _ int32, err error) {
			if ctx.Err() != nil || failed != nil {
				return
			}
			e := link.Explain(err, "", "read %q", t)
			if isKafka(err, kerr.OffsetOutOfRange) {
				e = catalogue.BadOffset.New("-o %s: %s does not hold that offset", s.from, t).
					Try("karst topic describe " + t + "        to see where it starts and ends")
			}
			failed = e
		})
		if failed != nil {
			return failed
		}
		var failure error
		fetches.EachRecord(func(r *kgo.Record) {
			if failure != nil || !s.follower.take(r) || r.Attrs.IsControl() {
				return
			}
			failure = p.record(r)
			if s.group != "" {
				cl.MarkCommitRecords(r)
			}
		})
		if failure != nil {
			return catalogue.BadFile.New("cannot write the output: %v", failure).Wrap(failure).Try("check where it is written to")
		}
		p.out.Flush()
	}
	return nil
}

// follower knows which offset comes next and where the reading ends.
type follower struct {
	next map[int32]int64 // of each partition that was read
	ends map[int32]int64 // -e: of each partition that is not finished; nil: no end
	gaps int64
}

// take says whether a record is still to be printed.
func (f *follower) take(r *kgo.Record) bool {
	if f.ends != nil {
		end, open := f.ends[r.Partition]
		if !open {
			return false
		}
		if r.Offset+1 >= end {
			delete(f.ends, r.Partition)
		}
		if r.Offset >= end {
			return false
		}
	}
	if next, seen := f.next[r.Partition]; seen && r.Offset > next {
		f.gaps += r.Offset - next
	}
	f.next[r.Partition] = r.Offset + 1
	return true
}

func (f *follower) finished() bool { return f.ends != nil && len(f.ends) == 0 }

func (f *follower) summary(c *cobra.Command, n int64, took time.Duration) {
	gaps := "no gap"
	if f.gaps > 0 {
		gaps = count(int(f.gaps), "offset") + " without a record"
	}
	rate := float64(n) / max(took.Seconds(), 0.001)
	fmt.Fprintf(c.ErrOrStderr(), "%s in %.1f s (%.0f/s), %s\n", count(int(n), "record"), took.Seconds(), rate, gaps)
}
