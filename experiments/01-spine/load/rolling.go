package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rolling restarts the nodes one after the other while clients work.
func rolling(f *flags) (any, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	adm, err := f.eager()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	fl, err := launch(ctx, f)
	if err != nil {
		return nil, err
	}
	p := &probes{gaps: make([]time.Duration, f.partitions), errs: make([]int64, f.partitions)}
	if err := p.start(ctx, f); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second)
	p.mu.Lock()
	calm := slices.Max(p.gaps)
	clear(p.gaps)
	p.mu.Unlock()
	began := time.Now()
	for n := 1; n <= f.nodes; n++ {
		if err := shell(f.each, fmt.Sprintf("N=%d", n)); err != nil {
			return nil, err
		}
		if err := f.whole(kadm.NewClient(adm)); err != nil {
			return nil, err
		}
		time.Sleep(2 * time.Second) // leaderships return to where they belong: that is part of it
	}
	took := time.Since(began).Seconds()
	errs := fl.errs.Load()
	stop()
	fl.end()
	p.done.Wait()
	for _, e := range p.errs {
		errs += e
	}
	got, err := readBack(f, append(fl.ledgers, p.ledgers...), errs+p.reader)
	out := struct {
		found
		Seconds float64   `json:"seconds"`
		Calm    float64   `json:"gap_before_ms"`
		Max     float64   `json:"gap_max_ms"`
		Gaps    []float64 `json:"gaps_ms"`
		Read    int64     `json:"read_by_group"`
		Reader  int64     `json:"reader_errors"`
	}{found: got, Seconds: took, Calm: ms(calm), Read: p.readN, Reader: p.reader}
	if out.First = p.first; out.First == "" {
		out.First = fl.complaint()
	}
	for _, g := range p.gaps {
		out.Gaps = append(out.Gaps, ms(g))
	}
	out.Max = slices.Max(out.Gaps)
	return out, err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// start begins the probing producers and the reader.
func (p *probes) start(ctx context.Context, f *flags) error {
	for i := range f.partitions {
		cl, err := f.eager(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
		if err != nil {
			return err
		}
		l := &ledger{}
		p.ledgers = append(p.ledgers, l)
		p.done.Add(1)
		go p.probe(ctx, f, cl, i, l)
	}
	cl, err := f.eager(kgo.ConsumerGroup(f.topic+"-readers"), kgo.ConsumeTopics(f.topic))
	if err != nil {
		return err
	}
	p.done.Add(1)
	go p.read(ctx, cl)
	return nil
}

func (p *probes) probe(ctx context.Context, f *flags, cl *kgo.Client, part int, l *ledger) {
	defer p.done.Done()
	defer cl.Close()
	last := time.Now()
	for i := uint64(0); ctx.Err() == nil; i++ {
		r := &kgo.Record{Topic: f.topic, Partition: int32(part), Value: value(f.size, f.prober(part), i)}
		err := cl.ProduceSync(context.Background(), r).FirstErr()
		now := time.Now()
		p.mu.Lock()
		if err != nil {
			p.errs[part]++
			p.first = err.Error()
		} else {
			if i > 0 {
				p.gaps[part] = max(p.gaps[part], now.Sub(last))
			}
			last = now
		}
		p.mu.Unlock()
		if err == nil {
			l.add(i)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// read is a member of a group that reads along; what it is told counts as a client's error.
func (p *probes) read(ctx context.Context, cl *kgo.Client) {
	defer p.done.Done()
	defer cl.Close()
	for ctx.Err() == nil {
		fs := cl.PollFetches(ctx)
		p.mu.Lock()
		p.readN += int64(fs.NumRecords())
		fs.EachError(func(_ string, _ int32, err error) {
			if ctx.Err() == nil {
				p.reader++
				p.first = err.Error()
			}
		})
		p.mu.Unlock()
	}
}
