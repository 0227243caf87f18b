package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
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
	exact       bool

	tape    *tape
	stamp   stamp
	admin   *kgo.Client
	topicID [16]byte
	leaders atomic.Pointer[map[int32]int32]
	nodes   atomic.Pointer[[]int32] // brokers that were told last
	acked   atomic.Int64            // records that were acknowledged
	wg      sync.WaitGroup
}

const recordHelp = `Drives a cluster for a while, writes down what its clients saw, and judges it: idempotent producers
with acks=all and five requests in flight, readers that follow every partition, members of a group
that come and go and commit offsets, clients that ask whoever may lead for the ends of partitions, for
offsets by time, for producer ids and for metadata, and one that makes and deletes topics. At the end
every partition is read back from its first record to its last. Break what you like meanwhile.

^C ends the load early, and what was seen until then is judged; a second one gives up. It uses a topic
and a group of its own, which stay afterwards, and names of topics that begin with that of its topic.
Any broker that speaks Kafka's protocol will do.

A minute of 2,000 records a second takes some 15 MB of history, 3 MB when --out ends with .gz, and
judging it 10 MB of memory.`

func newCheckRecord() *cobra.Command {
	var r recording
	c := &cobra.Command{
		Use:   "record",
		Short: "Drive a cluster, write down what clients saw, and judge it",
		Long:  recordHelp,
		Example: "  karst check record --for 60s\n" +
			"  karst check record --bootstrap 127.0.0.1:19192 --for 30m --out kafka.jsonl.gz",
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c) },
	}
	f := c.Flags()
	f.DurationVar(&r.length, "for", time.Minute, "how long to produce and consume")
	f.DurationVar(&r.drain, "drain", time.Minute, "how long the final read may take")
	f.StringVar(&r.topic, "topic", "", "name of the topic to make (default: one that is new)")
	f.StringVar(&r.path, "out", "", "the history file (default: TOPIC.jsonl); compressed when its name ends with .gz")
	f.Int32VarP(&r.partitions, "partitions", "p", 6, "partitions of the topic")
	f.Int16VarP(&r.replication, "replication", "r", 0, "copies of each partition; 0: three, or as many as there are brokers")
	f.IntVar(&r.producers, "producers", 4, "idempotent producers")
	f.IntVar(&r.readers, "readers", 2, "readers without a group")
	f.IntVar(&r.members, "members", 2, "members of the group")
	f.IntVar(&r.rate, "rate", 2000, "records a second, over all producers")
	f.BoolVar(&r.exact, "exact-high-watermark", false, "a poll names the high watermark that it read up to: so does Karst, not Apache Kafka (A24)")
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
	ctx, enough, deaf := hear(c)
	defer deaf()
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
	err = r.load(ctx, enough, c.ErrOrStderr())
	var unread error
	if err == nil {
		fmt.Fprintf(c.ErrOrStderr(), "%s; reading everything back\n", count(int(r.tape.operations()), "operation"))
		unread = r.readBack(ctx)
		err = givenUp(ctx)
	}
	if cerr := r.tape.close(err == nil); cerr != nil {
		err = catalogue.NotRecorded.New("cannot write %s: %v", r.path, cerr).Wrap(cerr).Try("df -h .")
	}
	if err != nil {
		return err
	}
	err = r.checking.judge(c, r.path)
	var found *catalogue.Error
	if unread != nil && !(errors.As(err, &found) && found.Entry == catalogue.Anomaly) {
		return unread // why there is no verdict
	}
	return err
}

func givenUp(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return catalogue.NotRecorded.New("the recording was given up").Try("one ^C ends it early, with a verdict")
}

// hear listens to signals: the first ends enough, which the load runs under, the second ends ctx as well.
func hear(c *cobra.Command) (ctx, enough context.Context, deaf func()) {
	ctx, giveUp := context.WithCancel(c.Context())
	enough, end := context.WithCancel(ctx)
	heard := make(chan os.Signal, 2)
	signal.Notify(heard, os.Interrupt, syscall.SIGTERM)
	go func() {
		for _, f := range []func(){end, giveUp} {
			select {
			case <-heard:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, enough, func() {
		signal.Stop(heard)
		giveUp()
	}
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
	if nodes := md.Brokers.NodeIDs(); len(nodes) > 0 {
		r.nodes.Store(&nodes)
	}
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

// somebody is any broker, through this client; nil when none was ever heard of.
func (r *recording) somebody(cl *kgo.Client) *kgo.Broker {
	nodes := r.nodes.Load()
	if nodes == nil {
		return nil
	}
	return cl.Broker(int((*nodes)[mrand.IntN(len(*nodes))]))
}

// load runs all clients for the time that was asked for, or until it is enough, and waits until every
// send has its answer.
func (r *recording) load(ctx, enough context.Context, progress io.Writer) error {
	busy, stop := context.WithTimeout(enough, r.length)
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
	if err := r.askAnybody(ctx, busy); err != nil {
		return err
	}
	r.start(func() { r.askIDs(busy) })
	r.start(func() { r.askMetadata(busy) })
	r.start(func() { r.makeTopics(ctx, busy) })
	r.start(func() { r.tell(busy, stop, progress) })
	r.wg.Wait()
	last, cancel := context.WithTimeout(ctx, r.drain)
	defer cancel()
	for _, p := range pens {
		p.finish(last)
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	if enough.Err() != nil && r.acked.Load() == 0 {
		return catalogue.NotRecorded.New("the recording was interrupted before anything was acknowledged")
	}
	return nil
}

// tell says each minute how far the recording is. It ends the load when the history cannot be written.
func (r *recording) tell(busy context.Context, stop func(), w io.Writer) {
	for n := 1; pause(busy, time.Second); n++ {
		if r.tape.failed() {
			stop()
		}
		if n%60 == 0 {
			fmt.Fprintf(w, "%v: %s, %s acknowledged\n", time.Duration(n)*time.Second,
				count(int(r.tape.operations()), "operation"), count(int(r.acked.Load()), "record"))
		}
	}
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
