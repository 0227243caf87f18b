package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// asked is what is known of partitions that are asked until each has answered a fetch and a produce.
type asked struct {
	f        *flags
	br       *kgo.Broker
	began    time.Time
	at, next []int64   // where to fetch from, where the produced record went
	fetched  []float64 // seconds until the answer; 0: none yet
	produced []float64
	left     int
	batch    []byte
}

// answered asks every partition for a fetch and a produce until each has answered both.
func answered(ctx context.Context, f *flags) (any, error) {
	began := time.Now()
	if f.since != 0 {
		began = time.Unix(0, f.since)
	}
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.broker), kgo.MaxVersions(kversion.V2_8_0()), // topics by name
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	n := f.partitions
	a := asked{f: f, br: cl.SeedBrokers()[0], began: began, at: make([]int64, n), next: make([]int64, n),
		fetched: make([]float64, n), produced: make([]float64, n), left: 2 * n, batch: oneRecord()}
	if b, err := os.ReadFile(f.file); err == nil {
		if err := json.Unmarshal(b, &a.at); err != nil || len(a.at) != n {
			return nil, fmt.Errorf("%s is of other partitions", f.file)
		}
	}
	for a.left > 0 {
		a.fetch(ctx)
		if err := a.produce(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d answers are missing after %v", a.left, time.Since(began))
		}
	}
	if b, err := json.Marshal(a.next); err != nil {
		return nil, err
	} else if f.file != "" {
		if err := os.WriteFile(f.file, b, 0o644); err != nil {
			return nil, err
		}
	}
	return map[string]float64{"fetched_s": slices.Max(a.fetched), "produced_s": slices.Max(a.produced)}, nil
}

// fetch asks those that have not answered a fetch, all in one request. Who does not answer is asked again.
func (a *asked) fetch(ctx context.Context) {
	t := kmsg.NewFetchRequestTopic()
	t.Topic = a.f.topic
	for p, s := range a.fetched {
		if s == 0 {
			x := kmsg.NewFetchRequestTopicPartition()
			x.Partition, x.FetchOffset, x.PartitionMaxBytes = int32(p), a.at[p], 1<<10
			t.Partitions = append(t.Partitions, x)
		}
	}
	if len(t.Partitions) == 0 {
		return
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MaxBytes, req.Topics = 0, 64<<20, []kmsg.FetchRequestTopic{t}
	resp, err := a.br.Request(ctx, req)
	if err != nil {
		return
	}
	for _, t := range resp.(*kmsg.FetchResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && len(p.RecordBatches) > 0 && a.fetched[p.Partition] == 0 {
				a.fetched[p.Partition] = time.Since(a.began).Seconds()
				a.left--
			}
		}
	}
}

// produce sends a record to those that have not answered a produce, all in one request. An error that no retry helps
// against ends it.
func (a *asked) produce(ctx context.Context) error {
	t := kmsg.NewProduceRequestTopic()
	t.Topic = a.f.topic
	for p, s := range a.produced {
		if s == 0 {
			x := kmsg.NewProduceRequestTopicPartition()
			x.Partition, x.Records = int32(p), a.batch
			t.Partitions = append(t.Partitions, x)
		}
	}
	if len(t.Partitions) == 0 {
		return nil
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 30_000, []kmsg.ProduceRequestTopic{t}
	resp, err := a.br.Request(ctx, req)
	if err != nil {
		return nil // asked again
	}
	for _, t := range resp.(*kmsg.ProduceResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && a.produced[p.Partition] == 0 {
				a.produced[p.Partition] = time.Since(a.began).Seconds()
				a.next[p.Partition] = p.BaseOffset
				a.left--
			} else if p.ErrorCode != 0 && !kerr.IsRetriable(kerr.ErrorForCode(p.ErrorCode)) {
				return fmt.Errorf("partition %d: %w", p.Partition, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	}
	return nil
}
