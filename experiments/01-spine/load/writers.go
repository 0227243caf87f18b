package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// eager makes a client that asks again at once: what is measured is the cluster, not a back-off.
func (f *flags) eager(more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(f.seeds()...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.MetadataMinAge(50 * time.Millisecond),
	}, more...)...)
}

// ledger is what one writer was promised: bit i is record i.
type ledger struct {
	mu    sync.Mutex
	acked []uint64
	n     int64
}

func (l *ledger) add(i uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uint64(len(l.acked)) <= i/64 {
		l.acked = append(l.acked, 0)
	}
	l.acked[i/64] |= 1 << (i % 64)
	l.n++
}

// fleet is all writers of a run.
type fleet struct {
	f       *flags
	ledgers []*ledger
	errs    atomic.Int64 // records that their client gave up, while it was not stopped
	first   atomic.Value // string: what it said first
	bytes   atomic.Int64
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// value is the number of the writer and of its record, and then filler.
func value(size, writer int, i uint64) []byte {
	v := make([]byte, size)
	binary.BigEndian.PutUint64(v, uint64(writer))
	binary.BigEndian.PutUint64(v[8:], i)
	for k := 16; k < size; k++ {
		v[k] = byte(k*7 + writer)
	}
	return v
}

// launch starts f.clients writers; they end with ctx, at f.bytes, or by stop.
func launch(ctx context.Context, f *flags) (*fleet, error) {
	fl := &fleet{f: f}
	ctx, fl.stop = context.WithCancel(ctx)
	for w := range f.clients {
		cl, err := f.eager(kgo.DefaultProduceTopic(f.topic), kgo.ProducerBatchMaxBytes(int32(f.batch)),
			kgo.ProducerLinger(0), kgo.MaxBufferedRecords(f.inflight), kgo.RecordPartitioner(
				kgo.UniformBytesPartitioner(max(f.batch, 1024), false, false, nil)))
		if err != nil {
			return nil, err
		}
		l := &ledger{}
		fl.ledgers = append(fl.ledgers, l)
		fl.done.Add(1)
		go fl.write(ctx, cl, w, l)
	}
	return fl, nil
}

func (fl *fleet) write(ctx context.Context, cl *kgo.Client, w int, l *ledger) {
	defer fl.done.Done()
	defer cl.CloseAllowingRebalance()
	began := time.Now()
	for i := uint64(0); ctx.Err() == nil; i++ {
		if fl.f.bytes > 0 && fl.bytes.Load() >= fl.f.bytes {
			cl.Flush(ctx)
			return
		}
		if r := fl.f.rate; r > 0 {
			due := began.Add(time.Duration(float64(i) * float64(fl.f.clients) / float64(r) * float64(time.Second)))
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(due)):
			}
		}
		fl.bytes.Add(int64(fl.f.size))
		cl.Produce(ctx, &kgo.Record{Value: value(fl.f.size, w, i)}, func(_ *kgo.Record, err error) {
			if err == nil {
				l.add(i)
			} else if ctx.Err() == nil && !errors.Is(err, kgo.ErrClientClosed) {
				fl.errs.Add(1)
				fl.first.CompareAndSwap(nil, err.Error())
			}
		})
	}
}

// end stops the writers and forgets what they have not been promised yet.
func (fl *fleet) end() { fl.stop(); fl.done.Wait() }

func (fl *fleet) acked() (n int64) {
	for _, l := range fl.ledgers {
		l.mu.Lock()
		n += l.n
		l.mu.Unlock()
	}
	return n
}

// complaint is the first error that a writer was given, or nothing.
func (fl *fleet) complaint() string {
	s, _ := fl.first.Load().(string)
	return s
}
