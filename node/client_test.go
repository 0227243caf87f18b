package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A client that wants transactions is told that there are none, instead of asking for ever.
func TestTransactionsAreRefusedAtOnce(t *testing.T) {
	_, seeds := cluster(t, 1, nil)
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.TransactionalID("payments"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := make(chan error, 1)
	go func() { began <- c.BeginTransaction() }()
	select {
	case err := <-began:
		if !errors.Is(err, kerr.UnsupportedVersion) {
			t.Errorf("the transaction begins with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the client still asks")
	}
}

// The records of a new topic carry leader epoch 0, as clients that know Kafka expect.
func TestRecordsOfANewTopicHaveEpochZero(t *testing.T) {
	_, seeds := cluster(t, 1, nil)
	produce(t, seeds, 0, 10)
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics("numbers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for seen := 0; seen < 10; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			seen++
			if r.LeaderEpoch != 0 {
				t.Errorf("offset %d of %d has leader epoch %d", r.Offset, r.Partition, r.LeaderEpoch)
			}
		})
	}
}
