package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

func dial(f *flags, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.broker), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(int32(f.batch)), kgo.MaxBufferedBytes(64 << 20), kgo.MaxBufferedRecords(1 << 20),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.BrokerMaxWriteBytes(100 << 20)}, more...)...)
}

// noise is a pool of bytes that nothing compresses; values are windows of it.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewPCG(1, 2)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

type rate struct {
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
	Records int64   `json:"records"`
}

func fill(ctx context.Context, f *flags) (any, error) {
	cl, err := dial(f, kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	pool, keys := noise(1<<20+f.size), rand.NewPCG(3, 4)
	var failed atomic.Pointer[error]
	n := f.bytes / int64(f.size)
	began := time.Now()
	for i := range n {
		at := int(i*64) & (1<<20 - 1)
		r := &kgo.Record{Topic: f.topic, Partition: int32(f.partition), Value: pool[at : at+f.size]}
		if f.keys > 0 {
			r.Key = binary.BigEndian.AppendUint64(nil, keys.Uint64()%uint64(f.keys))
		}
		if f.partitions > 0 {
			r.Partition = int32(i % int64(f.partitions))
		}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
		if failed.Load() != nil {
			break
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, err
	}
	if e := failed.Load(); e != nil {
		return nil, *e
	}
	return rate{time.Since(began).Seconds(), n * int64(f.size), n}, nil
}

// spread are latencies in milliseconds.
type spread struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
	Count int     `json:"count"`
}

func spreadOf(all []time.Duration) spread {
	slices.Sort(all)
	ms := func(i int) float64 { return float64(all[min(i, len(all)-1)]) / 1e6 }
	return spread{ms(len(all) / 2), ms(len(all) * 99 / 100), ms(len(all) - 1), len(all)}
}

func single(ctx context.Context, f *flags) (any, error) {
	cl, err := dial(f, kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	value := noise(f.size + 8)[:f.size]
	var all []time.Duration
	for i := range f.count + 50 {
		began := time.Now()
		err := cl.ProduceSync(ctx, &kgo.Record{Topic: f.topic, Partition: int32(f.partition), Value: value}).FirstErr()
		if err != nil {
			return nil, err
		}
		if i >= 50 { // the first ones find out where to go
			all = append(all, time.Since(began))
		}
	}
	return spreadOf(all), nil
}

// answered asks every partition for a fetch and a produce until each has answered both.
func answered(ctx context.Context, f *flags) (any, error) {
	began := time.Now()
	if f.since != 0 {
		began = time.Unix(0, f.since)
	}
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	type done struct{ fetched, produced float64 }
	all := make([]done, f.partitions)
	left := 2 * f.partitions
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.broker), kgo.MaxVersions(kversion.V2_8_0()), // topics by name
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	batch := oneRecord()
	at, next := make([]int64, f.partitions), make([]int64, f.partitions)
	if b, err := os.ReadFile(f.file); err == nil {
		if err := json.Unmarshal(b, &at); err != nil || len(at) != f.partitions {
			return nil, fmt.Errorf("%s is of other partitions", f.file)
		}
	}
	for left > 0 {
		fetch, produce := kmsg.NewPtrFetchRequest(), kmsg.NewPtrProduceRequest()
		fetch.MaxWaitMillis, fetch.MaxBytes = 0, 64<<20
		ft, pt := kmsg.NewFetchRequestTopic(), kmsg.NewProduceRequestTopic()
		ft.Topic, pt.Topic = f.topic, f.topic
		produce.Acks, produce.TimeoutMillis = -1, 30_000
		for p := range all {
			if all[p].fetched == 0 {
				x := kmsg.NewFetchRequestTopicPartition()
				x.Partition, x.FetchOffset, x.PartitionMaxBytes = int32(p), at[p], 1<<10
				ft.Partitions = append(ft.Partitions, x)
			}
			if all[p].produced == 0 {
				x := kmsg.NewProduceRequestTopicPartition()
				x.Partition, x.Records = int32(p), batch
				pt.Partitions = append(pt.Partitions, x)
			}
		}
		fetch.Topics, produce.Topics = []kmsg.FetchRequestTopic{ft}, []kmsg.ProduceRequestTopic{pt}
		br := cl.SeedBrokers()[0]
		if len(ft.Partitions) > 0 {
			if resp, err := br.Request(ctx, fetch); err == nil {
				for _, t := range resp.(*kmsg.FetchResponse).Topics {
					for _, p := range t.Partitions {
						if p.ErrorCode == 0 && len(p.RecordBatches) > 0 && all[p.Partition].fetched == 0 {
							all[p.Partition].fetched = time.Since(began).Seconds()
							left--
						}
					}
				}
			}
		}
		if len(pt.Partitions) > 0 {
			if resp, err := br.Request(ctx, produce); err == nil {
				for _, t := range resp.(*kmsg.ProduceResponse).Topics {
					for _, p := range t.Partitions {
						if p.ErrorCode == 0 && all[p.Partition].produced == 0 {
							all[p.Partition].produced = time.Since(began).Seconds()
							next[p.Partition] = p.BaseOffset
							left--
						} else if p.ErrorCode != 0 && !kerr.IsRetriable(kerr.ErrorForCode(p.ErrorCode)) {
							return nil, fmt.Errorf("partition %d: %w", p.Partition, kerr.ErrorForCode(p.ErrorCode))
						}
					}
				}
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d answers are missing after %v", left, time.Since(began))
		}
	}
	if b, err := json.Marshal(next); err != nil {
		return nil, err
	} else if f.file != "" {
		if err := os.WriteFile(f.file, b, 0o644); err != nil {
			return nil, err
		}
	}
	worst := done{}
	for _, d := range all {
		worst.fetched, worst.produced = max(worst.fetched, d.fetched), max(worst.produced, d.produced)
	}
	return map[string]float64{"fetched_s": worst.fetched, "produced_s": worst.produced}, nil
}
