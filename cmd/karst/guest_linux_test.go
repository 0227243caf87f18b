package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// visit is what a client does that knows a cluster by one address only: it asks who else there is,
// makes a topic, produces into each partition, and reads everything back in a group. It succeeds when
// every broker was told to be at host and each record arrived once and in order.
func visit(ctx context.Context, seed, host string, dial func(ctx context.Context, network, address string) (net.Conn, error)) error {
	const partitions, each = 3, 100
	opts := []kgo.Opt{kgo.SeedBrokers(seed), kgo.Dialer(dial), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(50 * time.Millisecond)}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	known, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("the way in, %s: %w", seed, err)
	}
	for _, b := range known.Brokers {
		if b.Host != host {
			return fmt.Errorf("node %d is said to be at %s, want %s", b.NodeID, b.Host, host)
		}
	}
	if len(known.Brokers) != 3 {
		return fmt.Errorf("%d brokers are known, want 3", len(known.Brokers))
	}
	if _, err := adm.CreateTopic(ctx, partitions, 3, nil, "visitors"); err != nil {
		return err
	}
	var want, got [partitions][]string
	for n := range partitions * each {
		r := &kgo.Record{Topic: "visitors", Partition: int32(n % partitions), Value: fmt.Append(nil, n)}
		want[r.Partition] = append(want[r.Partition], string(r.Value))
		cl.Produce(ctx, r, func(_ *kgo.Record, e error) {
			if e != nil {
				err = e // one at a time: promises of a client are kept in turn
			}
		})
	}
	flushed := cl.Flush(ctx)
	if err = errors.Join(flushed, err); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	reader, err := kgo.NewClient(append(opts, kgo.ConsumerGroup("visitors"), kgo.ConsumeTopics("visitors"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return err
	}
	defer reader.Close()
	for n := 0; n < partitions*each; {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("consume: %d of %d records came", n, partitions*each)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			got[r.Partition] = append(got[r.Partition], string(r.Value))
		})
	}
	for p := range want {
		if !slices.Equal(got[p], want[p]) {
			return fmt.Errorf("partition %d gave %s", p, strings.Join(got[p], " "))
		}
	}
	return reader.CommitUncommittedOffsets(ctx)
}
