package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
)

// recording holds the flags of `karst check record`, and what its clients share.
type recording struct {
	checking    checking
	target      link.Target
	length      time.Duration
	drain       time.Duration
	topic       string
	path        string
	partitions  int32
	replication int16
	producers   int
	readers     int
	members     int
	rate        int

	tape    *tape
	stamp   stamp
	admin   *kgo.Client
	topicID [16]byte
	leaders atomic.Pointer[map[int32]int32]
	wg      sync.WaitGroup
}

const recordHelp = `Drives a cluster for a while, writes down what its clients saw, and judges it: idempotent producers
with acks=all and five requests in flight, readers that follow every partition, members of a group
that come and go and commit offsets, and clients that ask for the ends of partitions, for offsets by
time, for producer ids and for metadata. At the end every partition is read back from its first
record to its last. Break what you like meanwhile.

It uses a topic and a group of its own, which stay afterwards. Any broker that speaks Kafka's
protocol will do.`

func newCheckRecord() *cobra.Command {
	var r recording
	c := &cobra.Command{
		Use:   "record",
		Short: "Drive a cluster, write down what clients saw, and judge it",
		Long:  recordHelp,
		Example: "  karst check record --for 60s\n" +
			"  karst check record --bootstrap 127.0.0.1:19192 --for 30m --out kafka.jsonl",
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return interruptible(c, func(c *cobra.Command) error { return r.run(c) })
		},
	}
	f := c.Flags()
	f.DurationVar(&r.length, "for", time.Minute, "how long to produce and consume")
	f.DurationVar(&r.drain, "drain", time.Minute, "how long the final read may take")
	f.StringVar(&r.topic, "topic", "", "name of the topic to make (default: one that is new)")
	f.StringVar(&r.path, "out", "", "the history file (default: TOPIC.jsonl)")
	f.Int32VarP(&r.partitions, "partitions", "p", 6, "partitions of the topic")
	f.Int16VarP(&r.replication, "replication", "r", 0, "copies of each partition; 0: three, or as many as there are brokers")
	f.IntVar(&r.producers, "producers", 4, "idempotent producers")
	f.IntVar(&r.readers, "readers", 2, "readers without a group")
	f.IntVar(&r.members, "members", 2, "members of the group")
	f.IntVar(&r.rate, "rate", 2000, "records a second, over all producers")
	withTarget(c, &r.target, 0)
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "bootstrap" {
			name = "bootstrap-server"
		}
		return pflag.NormalizedName(name)
	})
	r.checking.register(c)
	return c
}

func (r *recording) check() error {
	switch {
	case r.length <= 0 || r.drain <= 0:
		return catalogue.BadFlag.New("--for %v, --drain %v: they must be more than nothing", r.length, r.drain)
	case r.partitions < 1 || r.partitions > 1000:
		return catalogue.BadFlag.New("--partitions %d: it is 1 to 1000", r.partitions)
	case r.producers < 1 || r.producers > 100 || r.readers < 1 || r.readers > 20 || r.members < 0 || r.members > 20:
		return catalogue.BadFlag.New("--producers is 1 to 100, --readers 1 to 20, --members 0 to 20")
	case r.rate < 1:
		return catalogue.BadFlag.New("--rate %d: it is 1 or more", r.rate)
	}
	return r.checking.out.check()
}

func (r *recording) run(c *cobra.Command) error {
	if err := r.check(); err != nil {
		return err
	}
	rand.Read(r.stamp[:])
	if r.topic == "" {
		r.topic = fmt.Sprintf("karst-check-%x", r.stamp[:4])
	}
	if r.path == "" {
		r.path = r.topic + ".jsonl"
	}
	ctx := c.Context()
	var err error
	if r.admin, err = r.client(ctx); err != nil {
		return err
	}
	defer r.admin.Close()
	if err := r.create(ctx); err != nil {
		return err
	}
	if r.tape, err = newTape(r.path, fmt.Sprintf("karst check record, %d partitions", r.partitions)); err != nil {
		return catalogue.NotRecorded.New("cannot write %s: %v", r.path, err).Wrap(err).Try("name another file with --out")
	}
	fmt.Fprintf(c.ErrOrStderr(), "topic %s: writing and reading for %v\n", r.topic, r.length)
	err = r.load(ctx)
	if err == nil {
		fmt.Fprintf(c.ErrOrStderr(), "%s; reading everything back\n", count(int(r.tape.operations()), "operation"))
		err = r.readBack(ctx)
	}
	if cerr := r.tape.close(err == nil); err == nil && cerr != nil {
		err = catalogue.NotRecorded.New("cannot write %s: %v", r.path, cerr).Wrap(cerr).Try("df -h .")
	}
	if err != nil {
		return err
	}
	return r.checking.judge(c, r.path)
}

// client is a connection of its own.
func (r *recording) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	return r.target.Open(ctx, append([]kgo.Opt{kgo.MetadataMaxAge(5 * time.Second)}, opts...)...)
}

// create makes the topic and waits until every partition has a leader.
func (r *recording) create(ctx context.Context) error {
	adm := kadm.NewClient(r.admin)
	wait, cancel := context.WithTimeout(ctx, r.drain)
	defer cancel()
	copies := r.replication
	if copies == 0 {
		brokers, err := adm.ListBrokers(wait)
		if err != nil {
			return link.Explain(err, "", "look at the cluster")
		}
		copies = int16(min(3, len(brokers)))
	}
	t, err := adm.CreateTopic(wait, r.partitions, copies, nil, r.topic)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return catalogue.TopicThere.New("the recording needs a topic of its own, and %q exists", r.topic).
			Try("karst topic delete "+r.topic, "leave --topic away")
	}
	if err != nil {
		return link.Explain(err, t.ErrMessage, "create topic %q", r.topic)
	}
	r.topicID = t.ID
	for !r.lookUp(wait) {
		select {
		case <-wait.Done():
			return catalogue.NotRecorded.New("the partitions of %s have no leaders after %v", r.topic, r.drain)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// lookUp asks who leads what, and says whether every partition has a leader.
func (r *recording) lookUp(ctx context.Context) bool {
	md, err := kadm.NewClient(r.admin).Metadata(ctx, r.topic)
	if err != nil {
		return false
	}
	leaders := map[int32]int32{}
	for _, p := range md.Topics[r.topic].Partitions {
		if p.Leader >= 0 && p.Err == nil {
			leaders[p.Partition] = p.Leader
		}
	}
	r.leaders.Store(&leaders)
	return len(leaders) == int(r.partitions)
}

// leader is a connection to who led a partition when it was last asked.
func (r *recording) leader(ctx context.Context, part int32) *kgo.Broker {
	n, ok := (*r.leaders.Load())[part]
	if !ok {
		r.lookUp(ctx)
		if n, ok = (*r.leaders.Load())[part]; !ok {
			return nil
		}
	}
	return r.admin.Broker(int(n))
}

// load runs all clients for the time that was asked for, and waits until every send has its answer.
func (r *recording) load(ctx context.Context) error {
	busy, stop := context.WithTimeout(ctx, r.length)
	defer stop()
	var pens []*pen
	for i := range r.producers {
		p, err := r.newPen(ctx, int64(i))
		if err != nil {
			return err
		}
		pens = append(pens, p)
		r.start(func() { p.loop(busy) })
	}
	r.made()
	for range r.readers {
		if err := r.follow(ctx, busy); err != nil {
			return err
		}
	}
	for i := range r.members {
		r.start(func() { r.member(busy, i) })
	}
	for range 2 {
		r.start(func() { r.askEnds(busy) })
	}
	r.start(func() { r.askIDs(busy) })
	r.start(func() { r.askMetadata(busy) })
	r.wg.Wait()
	last, cancel := context.WithTimeout(ctx, r.drain)
	defer cancel()
	for _, p := range pens {
		p.finish(last)
	}
	if ctx.Err() != nil {
		return catalogue.NotRecorded.New("the recording was interrupted").Try("let it end by itself; --for says when")
	}
	return nil
}

// made writes down that the topic exists: it did before the first instant of the history.
func (r *recording) made() {
	o := checker.NewOp(checker.CreateTopic)
	o.Process, o.Topic, o.TopicID, o.Count = r.tape.process(), r.topic, fmt.Sprintf("%x", r.topicID), int64(r.partitions)
	r.tape.write(&o)
}

func (r *recording) start(f func()) {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		f()
	}()
}

// pause waits, and says whether the time is not over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// about is a duration between half and one and a half of d.
func about(d time.Duration) time.Duration { return d/2 + time.Duration(mrand.Int64N(int64(d)+1)) }
