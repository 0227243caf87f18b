package main

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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
