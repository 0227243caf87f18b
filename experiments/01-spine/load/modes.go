package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// shell runs one of the commands of the flags.
func shell(command string, env ...string) error {
	c := exec.Command("bash", "-c", command)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w %s", command, err, out)
	}
	return nil
}

func write(f *flags) (any, error) {
	began := time.Now()
	fl, err := f.during(context.Background())
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	got, err := readBack(f, fl.ledgers, fl.errs.Load())
	return struct {
		found
		Rate float64 `json:"records_per_s"`
	}{got, float64(got.Acked) / took}, err
}

// during writes for f.length, or until f.bytes are acknowledged, whichever is first.
func (f *flags) during(ctx context.Context) (*fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, f.length)
	defer cancel()
	fl, err := launch(ctx, f)
	if err != nil {
		return nil, err
	}
	fl.done.Wait()
	fl.end()
	return fl, nil
}

// cut takes power away in the middle of full load and gives it back.
func cut(f *flags) (any, error) {
	fl, err := launch(context.Background(), f)
	if err != nil {
		return nil, err
	}
	time.Sleep(f.length)
	rate := float64(fl.acked()) / f.length.Seconds()
	if rate == 0 {
		return nil, errors.New("nothing was acknowledged: there is no load")
	}
	if err := shell(f.cut); err != nil {
		return nil, err
	}
	fl.end()
	out := struct {
		found
		Rate float64 `json:"records_per_s"`
		Back float64 `json:"back_s"` // from power on to an acknowledgement of every partition; -1: never
		Why  string  `json:"why,omitempty"`
	}{Rate: rate, Back: -1}
	began := time.Now()
	revived := make(chan error, 1)
	go func() { revived <- shell(f.revive) }()
	probes, err := f.answers(began.Add(f.patience))
	if err != nil {
		out.Why = err.Error()
		return out, nil
	}
	out.Back = time.Since(began).Seconds()
	if err := <-revived; err != nil {
		out.Why = err.Error()
	}
	if out.found, err = readBack(f, append(fl.ledgers, probes...), fl.errs.Load()); err != nil {
		out.Why = err.Error()
	}
	return out, nil
}

// prober is the number of the writer that has one partition to itself.
func (f *flags) prober(p int) int { return f.clients + p }

// answers waits for one acknowledged record in every partition, and says what was promised for them.
func (f *flags) answers(deadline time.Time) ([]*ledger, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	cl, err := f.eager(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var all []*kgo.Record
	var ledgers []*ledger
	for p := range f.partitions {
		all = append(all, &kgo.Record{Topic: f.topic, Partition: int32(p), Value: value(f.size, f.prober(p), 0)})
		ledgers = append(ledgers, &ledger{})
		ledgers[p].add(0)
	}
	return ledgers, cl.ProduceSync(ctx, all...).FirstErr()
}

func isr(f *flags) (any, error) {
	began := time.Now()
	cl, err := f.eager()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	err = f.whole(kadm.NewClient(cl))
	return map[string]float64{"whole_after_s": time.Since(began).Seconds()}, err
}

// whole waits until all partitions of the topic have a leader and all their replicas in sync.
func (f *flags) whole(adm *kadm.Client) error {
	for deadline := time.Now().Add(f.patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ps := f.topics(context.Background(), adm)
		good := len(ps) == f.partitions
		for _, p := range ps {
			good = good && p.Leader >= 0 && len(p.ISR) == len(p.Replicas) && p.Err == nil
		}
		if good {
			return nil
		}
	}
	return fmt.Errorf("in-sync sets of %s are not whole after %v", f.topic, f.patience)
}

func leaders(f *flags) (any, error) {
	cl, err := f.eager()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	out := map[string]int{}
	for _, p := range f.topics(context.Background(), kadm.NewClient(cl)) {
		out[strconv.Itoa(int(p.Leader))]++
	}
	return out, nil
}

func remove(f *flags) (any, error) {
	cl, err := f.eager()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).DeleteTopic(context.Background(), f.topic)
	return map[string]string{"deleted": f.topic}, err
}

// steady writes and counts how often a partition changed its leader meanwhile.
func steady(f *flags) (any, error) {
	cl, err := f.eager()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if err := f.whole(adm); err != nil {
		return nil, err
	}
	// A new topic's leaders may still move to where they belong; that is its birth and no election of the run.
	before := f.epochs(adm)
	for calm := time.Now(); time.Since(calm) < 2*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := f.epochs(adm); !maps.Equal(now, before) {
			before, calm = now, time.Now()
		}
	}
	began := time.Now()
	fl, err := f.during(context.Background())
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	var elections int32
	moved := []string{}
	after := f.epochs(adm)
	for k, e := range after {
		if was, ok := before[k]; ok && was != e {
			elections += e - was
			moved = append(moved, k)
		}
	}
	return map[string]any{"seconds": took, "acked": fl.acked(), "client_errors": fl.errs.Load(), "moved": moved,
		"first_error":   fl.complaint(),
		"records_per_s": float64(fl.acked()) / took, "elections": elections, "partitions_seen": len(after)}, nil
}

// epochs are the leader epochs of all partitions of all topics, Kafka's own included.
func (f *flags) epochs(adm *kadm.Client) map[string]int32 {
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	out := map[string]int32{}
	m, err := adm.Metadata(ctx)
	if err != nil {
		return out
	}
	m.Topics.EachPartition(func(p kadm.PartitionDetail) { out[fmt.Sprint(p.Topic, "-", p.Partition)] = p.LeaderEpoch })
	return out
}

// probes is one producer a partition that writes a record at a time, as failbench does.
type probes struct {
	mu      sync.Mutex
	gaps    []time.Duration // the longest time between two acknowledgements, by partition
	ledgers []*ledger
	errs    []int64
	reader  int64 // errors that the reader in a group was told
	readN   int64
	first   string
	done    sync.WaitGroup
}
