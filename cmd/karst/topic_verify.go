package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// verifying holds the flags of `karst topic verify`.
type verifying struct {
	link.Target
	out  output
	deep bool
	only []int32
	rate float64 // MiB/s; 0: as fast as it goes
	wait time.Duration
}

const topicVerifyHelp = `Asks every broker that has a copy of a partition whether that copy is there, and how far it goes. With --deep it
reads all of every copy, batch by batch, verifies each checksum and compares the bytes: up to the high watermark
of the moment in which it begins. Then each broker makes the indexes of its closed segments again and compares them
with its .index and .timeindex files; one that is wrong is named, and the broker makes it again.

The brokers read their files, whoever leads, as for the replica id of Kafka's debugging consumer. What they
send is all there is, replicas times the size of the topic: --rate bounds it. Ends with status 6 when a copy
differs, is damaged, does not answer, or stays behind for longer than --wait. Copies of a compacted topic are equal once
they have carried out the same compactions, for which it waits as long.`

func newTopicVerify() *cobra.Command {
	var v verifying
	c := &cobra.Command{
		Use:   "verify NAME",
		Short: "Compare all copies of a topic",
		Long:  topicVerifyHelp,
		Example: "  karst topic verify orders\n  karst topic verify orders --deep\n" +
			"  karst topic verify orders --deep -p 3 --rate 20",
		Args: exactly(1, "one topic name"),
		RunE: func(c *cobra.Command, args []string) error {
			return interruptible(c, func(c *cobra.Command) error { return v.run(c, args[0]) })
		},
		ValidArgsFunction: completeTopics,
	}
	f := c.Flags()
	f.BoolVar(&v.deep, "deep", false, "read and compare every byte")
	f.Int32SliceVarP(&v.only, "partition", "p", nil, "only these partitions")
	f.Float64Var(&v.rate, "rate", 100, "MiB a second from all brokers together; 0: as fast as they are")
	f.DurationVar(&v.wait, "wait", 5*time.Second, "how long a copy may be behind")
	withTarget(c, &v.Target, 0)
	v.out.register(c)
	return c
}

// verifiedCopy is the verdict on one copy.
type verifiedCopy struct {
	Partition int32  `json:"partition"`
	Node      int32  `json:"node"`
	Leader    bool   `json:"leader"`
	From      int64  `json:"from"`  // offsets compared
	To        int64  `json:"to"`    // ... up to this one, without it
	Bytes     int64  `json:"bytes"` // that were read
	Verdict   string `json:"verdict"`
	Fine      bool   `json:"fine"`
}

func (v *verifying) run(c *cobra.Command, topic string) error {
	if v.rate < 0 {
		return catalogue.BadFlag.New("--rate %v: it is a number of MiB a second, or 0", v.rate)
	}
	ctx, cancel := v.Context(c.Context())
	defer cancel()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(1, 12) // with the topic's name
	cl, err := v.Open(ctx, kgo.MaxVersions(versions))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	d, err := describeTopic(ctx, adm, topic)
	if err != nil {
		return err
	}
	for _, p := range v.only {
		if _, ok := d.Partitions[p]; !ok {
			return catalogue.BadPartitions.New("%s has no partition %d: there are %d", topic, p, len(d.Partitions))
		}
	}
	rows, bad := []verifiedCopy{}, 0
	p := &pace{rate: v.rate * (1 << 20), began: time.Now()}
	ask := func(ctx context.Context, r *copyReader) ([]byte, int64, error) {
		b, high, err := askBroker(ctx, cl, r)
		p.took(ctx, len(b))
		return b, high, err
	}
	for _, part := range d.Partitions.Sorted() {
		if len(v.only) > 0 && !slices.Contains(v.only, part.Partition) {
			continue
		}
		start, end, err := boundsOf(ctx, adm, topic, part.Partition)
		if err != nil {
			return err
		}
		var copies []*copyReader
		for _, n := range part.Replicas {
			copies = append(copies, &copyReader{ask: ask, wait: v.wait, topic: topic, partition: part.Partition, node: n,
				leads: n == part.Leader, at: start, end: end})
		}
		compareEven(ctx, copies, v.deep)
		if v.deep {
			for _, x := range copies {
				x.indexes(ctx, start, func(ctx context.Context, at int64) (checkedIndex, error) { return askIndexes(ctx, cl, x, at) })
			}
		}
		for _, x := range copies {
			row := x.row(start)
			if !row.Fine {
				bad++
			}
			rows = append(rows, row)
		}
	}
	if err := c.Context().Err(); err != nil {
		return catalogue.NoAnswer.New("stopped before all copies of %q were read", topic)
	}
	if err := v.out.print(c, rows, func(w io.Writer) { writeCopies(w, rows) }); err != nil {
		return err
	}
	if bad > 0 {
		return catalogue.CopiesDiffer.New("%s: %s not as it should be", topic, copiesOf(bad))
	}
	return nil
}

// boundsOf is the log start and the high watermark of a partition, from its leader.
func boundsOf(ctx context.Context, adm *kadm.Client, topic string, p int32) (start, end int64, err error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, 0, link.Explain(err, "", "find the start of %q", topic)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, 0, link.Explain(err, "", "find the end of %q", topic)
	}
	s, _ := starts.Lookup(topic, p)
	e, _ := ends.Lookup(topic, p)
	if err := errors.Join(s.Err, e.Err); err != nil {
		return 0, 0, link.Explain(err, "", "find the ends of %s/%d", topic, p)
	}
	return s.Offset, e.Offset, nil
}

// pace keeps what is read below a rate.
type pace struct {
	rate  float64 // bytes a second; 0: none
	began time.Time
	bytes int64
}

func (p *pace) took(ctx context.Context, n int) {
	p.bytes += int64(n)
	if p.rate == 0 {
		return
	}
	ahead := time.Duration(float64(p.bytes)/p.rate*float64(time.Second)) - time.Since(p.began)
	if ahead > 0 {
		rest(ctx, ahead)
	}
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// copyReader reads one copy of a partition, a batch at a time.
type copyReader struct {
	ask       func(ctx context.Context, r *copyReader) (b []byte, high int64, err error) // from r.at on
	wait      time.Duration
	topic     string
	partition int32
	node      int32
	leads     bool
	at, end   int64 // the next offset, and where the comparison ends
	buf       []byte
	bytes     int64
	why       string // nothing more is read of it: "" while it is fine
	asked     bool
	gen       int64 // the last compaction that it has carried out; 0 or less: none
	moved     bool  // ... which changed while it was read
}

// saw notes the compaction that an answer names.
func (r *copyReader) saw(gen int64) {
	gen = max(gen, 0)
	r.moved = r.moved || r.asked && r.gen != gen
	r.asked, r.gen = true, gen
}

// uneven says that copies were read before and after a compaction: their bytes need not be equal.
func uneven(copies []*copyReader) (newest int64, uneven bool) {
	for _, x := range copies {
		newest = max(newest, x.gen)
	}
	for _, x := range copies {
		uneven = uneven || x.asked && (x.moved || x.gen != newest)
	}
	return newest, uneven
}

// compareEven compares copies that have carried out the same compactions, for which it waits a while.
func compareEven(ctx context.Context, copies []*copyReader, deep bool) {
	late := time.Now().Add(copies[0].wait)
	start := copies[0].at
	for {
		compare(ctx, copies, deep)
		newest, bad := uneven(copies)
		if !deep || !bad || ctx.Err() != nil {
			return
		}
		over := time.Now().After(late)
		var even []*copyReader
		for _, x := range copies {
			switch {
			case over && x.asked && x.gen != newest:
				x.why = "behind a compaction"
			case over && x.moved:
				x.why = "compacted while it was read"
			default:
				x.at, x.buf, x.why, x.asked, x.moved = start, nil, "", false, false
				even = append(even, x)
			}
		}
		if over {
			compare(ctx, even, deep)
			return
		}
		rest(ctx, fetchAgain)
	}
}

func (r *copyReader) row(start int64) verifiedCopy {
	v := verifiedCopy{r.partition, r.node, r.leads, start, r.at, r.bytes, r.why, r.why == ""}
	if v.Fine {
		v.Verdict = "same"
	}
	return v
}

// fail ends the reading of this copy.
func (r *copyReader) fail(format string, args ...any) {
	if r.why == "" {
		r.why = fmt.Sprintf(format, args...)
	}
}

const (
	fetchPiece   = 1 << 20
	fetchAgain   = 100 * time.Millisecond
	batchLargest = 1 << 30
)

// fetch asks for what comes next. The high watermark is how far the files of this copy go.
func (r *copyReader) fetch(ctx context.Context) (high int64, err error) {
	r.buf, high, err = r.ask(ctx, r)
	r.bytes += int64(len(r.buf))
	return high, err
}

// askBroker asks the node of a copy for what its own files hold.
func askBroker(ctx context.Context, cl *kgo.Client, r *copyReader) (b []byte, high int64, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.SessionEpoch = -2, fetchPiece, -1
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = r.partition, r.at, fetchPiece, -1
	t.Topic, t.Partitions = r.topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := cl.Broker(int(r.node)).Request(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	f := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(f.ErrorCode); err != nil {
		return nil, 0, err
	}
	if len(f.Topics) != 1 || len(f.Topics[0].Partitions) != 1 {
		return nil, 0, errors.New("the answer is about something else")
	}
	got := &f.Topics[0].Partitions[0]
	r.saw(got.SnapshotID.EndOffset)
	return got.RecordBatches, got.HighWatermark, kerr.ErrorForCode(got.ErrorCode)
}

// next is the next batch, whole; nil at the end, or when the copy failed.
func (r *copyReader) next(ctx context.Context) []byte {
	for late := time.Now().Add(r.wait); r.why == "" && r.at < r.end; {
		if b := r.cut(); b != nil || r.why != "" {
			return b
		}
		had := len(r.buf)
		high, err := r.fetch(ctx)
		switch {
		case err != nil:
			r.fail("does not answer: %v", err)
		case len(r.buf) > 0 && (had == 0 || len(r.buf) != had):
		case len(r.buf) > 0:
			r.fail("damaged at offset %d: the bytes there are no whole batch", r.at)
		case time.Now().After(late):
			r.fail("behind: it ends at offset %d", high)
		default:
			rest(ctx, fetchAgain)
		}
	}
	return nil
}

// cut takes a batch off the buffer; nil when there is no whole one.
func (r *copyReader) cut() []byte {
	if len(r.buf) < record.HeaderSize {
		return nil
	}
	size := 12 + int64(int32(binary.BigEndian.Uint32(r.buf[8:])))
	if size < record.HeaderSize || size > batchLargest {
		r.fail("damaged at offset %d: a batch of %d bytes", r.at, size)
		return nil
	}
	if size > int64(len(r.buf)) {
		return nil
	}
	b := record.Batch(r.buf[:size:size])
	if last := int64(b.LastOffset()); int64(b.BaseOffset()) > r.at && r.gen <= 0 || last < r.at {
		r.fail("damaged at offset %d: a batch says %d..%d", r.at, b.BaseOffset(), last)
		return nil
	}
	if !b.CRCValid() {
		r.fail("damaged at offset %d: the checksum is wrong", b.BaseOffset())
		return nil
	}
	r.buf, r.at = r.buf[size:], int64(b.LastOffset())+1
	return b
}

// compare reads all copies side by side. Whoever differs from what most of them hold is left behind.
func compare(ctx context.Context, copies []*copyReader, deep bool) {
	if !deep || len(copies) > 0 && copies[0].at >= copies[0].end { // an empty one is asked as well
		for _, x := range copies {
			x.reach(ctx)
		}
		return
	}
	batches := make([][]byte, len(copies))
	for ctx.Err() == nil {
		any := false
		for i, x := range copies {
			batches[i] = x.next(ctx)
			any = any || batches[i] != nil
		}
		if !any {
			return
		}
		k := most(batches)
		for i, x := range copies {
			if batches[i] != nil && !bytes.Equal(batches[i], batches[k]) {
				x.fail("differs from node %d at offset %d", copies[k].node, record.Batch(batches[k]).BaseOffset())
			}
		}
	}
}

// most is the place of the batch that most copies hold; nil is none.
func most(batches [][]byte) (at int) {
	best := 0
	for i, b := range batches {
		n := 0
		for _, c := range batches {
			if b != nil && bytes.Equal(b, c) {
				n++
			}
		}
		if n > best {
			best, at = n, i
		}
	}
	return at
}

// reach looks how far a copy goes, without its bytes.
func (r *copyReader) reach(ctx context.Context) {
	r.at = r.end
	for late := time.Now().Add(r.wait); r.why == "" && ctx.Err() == nil; rest(ctx, fetchAgain) {
		high, err := r.fetch(ctx)
		switch {
		case err != nil:
			r.fail("does not answer: %v", err)
		case high >= r.end:
			return
		case time.Now().After(late):
			r.at = high
			r.fail("behind: it ends at offset %d", high)
		}
	}
}

// checkedIndex is what a broker says of the index files of a segment.
type checkedIndex struct {
	base, next int64 // next: of the segment that follows, -1: there is none
	bad        int32 // 1: the .index is wrong, 2: the .timeindex is
}

// indexes has the broker of a copy compare its index files with its segments, one after the other.
func (r *copyReader) indexes(ctx context.Context, start int64, ask func(ctx context.Context, at int64) (checkedIndex, error)) {
	late := time.Now().Add(r.wait)
	for at := start; r.why == "" && at >= 0 && ctx.Err() == nil; {
		x, err := ask(ctx, at)
		switch {
		case errors.Is(err, kerr.OffsetNotAvailable) && time.Now().Before(late): // they are being made
			rest(ctx, fetchAgain)
			continue
		case errors.Is(err, kerr.OffsetOutOfRange): // retention was faster
			return
		case err != nil:
			r.fail("does not say whether its indexes are right: %v", err)
		case x.next >= 0 && x.next <= at:
			r.fail("says that the segment at offset %d follows the one at %d", x.next, at)
		}
		for k := range seg.Kinds {
			if x.bad>>k&1 != 0 {
				r.fail("%s: its %s is not what it says; the node makes it again",
					seg.Path(seg.Dir(r.topic, r.partition), core.Offset(x.base)), [seg.Kinds]string{"index", "time index"}[k])
			}
		}
		at, late = x.next, time.Now().Add(r.wait)
	}
}

// indexesAt is core/api's: the timestamp of ListOffsets that asks for the indexes of the segment with offset 0.
const indexesAt = -1000

func askIndexes(ctx context.Context, cl *kgo.Client, r *copyReader, at int64) (checkedIndex, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -2
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = r.partition, indexesAt-at, -1
	t.Topic, t.Partitions = r.topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	resp, err := cl.Broker(int(r.node)).Request(ctx, req)
	if err != nil {
		return checkedIndex{}, err
	}
	l := resp.(*kmsg.ListOffsetsResponse)
	if len(l.Topics) != 1 || len(l.Topics[0].Partitions) != 1 {
		return checkedIndex{}, errors.New("the answer is about something else")
	}
	got := &l.Topics[0].Partitions[0]
	return checkedIndex{got.Timestamp, got.Offset, got.LeaderEpoch}, kerr.ErrorForCode(got.ErrorCode)
}

func writeCopies(w io.Writer, rows []verifiedCopy) {
	var tb table
	tb.row("PARTITION", "NODE", "ROLE", "OFFSETS", "BYTES", "VERDICT")
	fine := 0
	for _, r := range rows {
		role := "follower"
		if r.Leader {
			role = "leader"
		}
		if r.Fine {
			fine++
		}
		tb.row(r.Partition, r.Node, role, fmt.Sprintf("%d..%d", r.From, r.To), r.Bytes, r.Verdict)
	}
	tb.write(w)
	fmt.Fprintf(w, "%d of %s fine\n", fine, copiesOf(len(rows)))
}

func copiesOf(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}
