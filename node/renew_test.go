package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// renewing is a client's view of a topic that is deleted and made again.
type renewing struct {
	t     *testing.T
	ctx   context.Context
	seeds []string
	adm   *kadm.Client
}

const renewed = "renewed"

func (x *renewing) client(opts ...kgo.Opt) *kgo.Client {
	x.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(x.seeds...), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second)}, opts...)...)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(c.Close)
	return c
}

func (x *renewing) make() kadm.TopicID {
	x.t.Helper()
	r, err := x.adm.CreateTopic(x.ctx, 2, 3, nil, renewed)
	if err != nil {
		x.t.Fatal(err)
	}
	return r.ID
}

func (x *renewing) remove() {
	x.t.Helper()
	if _, err := x.adm.DeleteTopic(x.ctx, renewed); err != nil {
		x.t.Fatal(err)
	}
}

// fill gives each partition so many records of a round.
func (x *renewing) fill(c *kgo.Client, round string, each int) error {
	var rs []*kgo.Record
	for p := range int32(2) {
		for i := range each {
			rs = append(rs, &kgo.Record{Topic: renewed, Partition: p, Value: fmt.Appendf(nil, "%s %d", round, i)})
		}
	}
	return c.ProduceSync(x.ctx, rs...).FirstErr()
}

// read has c read so many records, all of which are of a round.
func (x *renewing) read(c *kgo.Client, round string, n int) {
	x.t.Helper()
	for n > 0 {
		f := c.PollFetches(x.ctx)
		if x.ctx.Err() != nil {
			x.t.Fatalf("%d records of %q did not come", n, round)
		}
		f.EachRecord(func(r *kgo.Record) {
			if string(r.Value[:len(round)]) != round {
				x.t.Errorf("%q at %d/%d, not of %q", r.Value, r.Partition, r.Offset, round)
			}
			n--
		})
	}
	if n < 0 {
		x.t.Errorf("%d records of %q too many", -n, round)
	}
}

// A group that read all of a topic reads all of the next one of that name, and is never told where it was in
// the one before. A client that holds on to the id of a topic that is gone is told so.
func TestATopicMadeAgainIsAnotherOne(t *testing.T) {
	_, seeds := cluster(t, 3, func(o *Options) { o.Configs = map[string]string{"group.initial.rebalance.delay.ms": "0"} })
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	x := &renewing{t: t, ctx: ctx, seeds: seeds}
	x.adm = kadm.NewClient(x.client())
	const each = 500
	stays := x.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ids := map[kadm.TopicID]bool{}
	for round := range 4 {
		ids[x.make()] = true
		name := fmt.Sprint("round ", round)
		// The producer that stays knows an id, which is gone, and says so until its owner lets it look anew. It goes on in
		// the session that it has.
		err := x.fill(stays, name, 1)
		if round > 0 {
			if !errors.Is(err, kerr.UnknownTopicID) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
				t.Fatalf("%s: a producer that knows another topic of this name: %v", name, err)
			}
			stays.PurgeTopicsFromProducing(renewed)
			err = x.fill(stays, name, 1)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := x.fill(x.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), name, each-1); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g := x.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics(renewed), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		x.read(g, name, 2*each)
		if err := g.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
		if err := g.LeaveGroupContext(ctx); err != nil {
			t.Fatal(err)
		}
		g.Close()
		o, err := x.adm.FetchOffsets(ctx, "g")
		if p, ok := o.Lookup(renewed, 0); err != nil || !ok || p.At != each {
			t.Fatalf("%s: the group is at %v, %v", name, p.At, err)
		}
		x.remove()
	}
	if len(ids) != 4 {
		t.Errorf("%d ids of 4 topics", len(ids))
	}
}
