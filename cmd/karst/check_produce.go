package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/checker"
)

// pen is an idempotent producer. Its client keeps up to five requests in flight to each broker, and
// sends a batch again until there is an answer.
type pen struct {
	r      *recording
	cl     *kgo.Client
	number int64
	every  time.Duration // between bursts

	mu       sync.Mutex
	counters []int64 // by partition
	open     map[*burst]bool
	pid      int64
	epoch    int64
	shifted  []int64 // by partition: the offset before, while offsets cannot be trusted; -2: they can
}

const (
	maxBurst = 20
	maxOpen  = 40 // bursts without an answer; beyond it the application waits
)

// burst is the records that an application hands over at once, for one partition.
type burst struct {
	part  int64
	first int64
	call  int64
	left  int
	marks []mark
}

// mark is the outcome of one record.
type mark struct {
	outcome checker.Outcome
	offset  int64 // -1: somewhere
	pid     int64
	epoch   int64
	sum     int64
	done    bool
}

func (r *recording) newPen(ctx context.Context, number int64) (*pen, error) {
	cl, err := r.client(ctx, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(256<<10), kgo.ProducerLinger(2*time.Millisecond),
		kgo.ProduceRequestTimeout(2*time.Second), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return nil, err
	}
	r.tape.process() // producers have the first numbers
	p := &pen{r: r, cl: cl, number: number, counters: make([]int64, r.partitions), open: map[*burst]bool{}}
	p.every = time.Duration(int64(time.Second) * int64(r.producers) * (maxBurst + 1) / 2 / int64(r.rate))
	p.shifted = make([]int64, r.partitions)
	for i := range p.shifted {
		p.shifted[i] = -2
	}
	return p, nil
}

func (p *pen) loop(ctx context.Context) {
	for pause(ctx, about(p.every)) {
		if p.waiting() < maxOpen {
			p.send(rand.Int64N(int64(p.r.partitions)), 1+rand.IntN(maxBurst))
		}
	}
}

func (p *pen) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

func (p *pen) send(part int64, n int) {
	p.mu.Lock()
	b := &burst{part: part, first: p.counters[part], call: p.r.tape.now(), left: n, marks: make([]mark, n)}
	p.counters[part] += int64(n)
	p.open[b] = true
	p.mu.Unlock()
	for i := range n {
		value := p.r.stamp.value(p.number, part, b.first+int64(i), valueLength())
		b.marks[i].sum = ending(value)
		rec := &kgo.Record{Topic: p.r.topic, Partition: int32(part), Value: value}
		p.cl.Produce(context.Background(), rec, func(rec *kgo.Record, err error) { p.answered(b, i, rec, err) })
	}
}

// valueLength is mostly small; now and then one fills a page, or a batch that brokers may treat as large.
func valueLength() int {
	switch n := rand.IntN(400); {
	case n == 0:
		return 48 << 10
	case n < 8:
		return 4 << 10
	}
	return 40 + rand.IntN(200)
}

// answered is called in the order of a partition's records. A broker that has forgotten a batch but
// not its sequence says DUPLICATE_SEQUENCE_NUMBER, and the client then counts offsets up from -1:
// such offsets are not believed.
func (p *pen) answered(b *burst, i int, rec *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &b.marks[i]
	if m.done {
		return
	}
	*m = mark{outcome: checker.Unknown, offset: -1, sum: m.sum, done: true}
	if err == nil {
		m.outcome = checker.OK
		p.r.acked.Add(1)
		p.pid, p.epoch = rec.ProducerID, int64(rec.ProducerEpoch)
		if last := p.shifted[b.part]; rec.Offset < 0 || last >= -1 && rec.Offset == last+1 {
			p.shifted[b.part] = rec.Offset
		} else {
			p.shifted[b.part], m.offset = -2, rec.Offset
		}
	}
	m.pid, m.epoch = p.pid, p.epoch
	if b.left--; b.left == 0 {
		p.told(b)
	}
}

// told writes a burst: a line for each row of records with one fate.
func (p *pen) told(b *burst) {
	delete(p.open, b)
	for from := 0; from < len(b.marks); {
		m := b.marks[from]
		to := from + 1
		for to < len(b.marks) && follows(b.marks[to-1], b.marks[to]) {
			to++
		}
		o := checker.NewOp(checker.Produce)
		o.Process, o.Call, o.Outcome = p.number, b.call, m.outcome
		o.Topic, o.Partition, o.Producer = p.r.topic, b.part, p.number
		o.First, o.Count, o.Acks, o.Base = b.first+int64(from), int64(to-from), -1, m.offset
		o.PID, o.Epoch = m.pid, m.epoch
		for _, x := range b.marks[from:to] {
			o.Sums = append(o.Sums, x.sum)
		}
		p.r.tape.write(&o)
		from = to
	}
}

func follows(a, b mark) bool {
	next := a.offset + 1
	if a.offset < 0 {
		next = -1
	}
	return a.outcome == b.outcome && b.offset == next && a.pid == b.pid && a.epoch == b.epoch
}

// finish waits for the answers that are still open. What has none then is unknown for ever.
func (p *pen) finish(ctx context.Context) {
	p.cl.Flush(ctx)
	p.mu.Lock()
	var open []*burst
	for b := range p.open {
		open = append(open, b)
	}
	for _, b := range open {
		for i := range b.marks {
			if m := &b.marks[i]; !m.done {
				*m = mark{outcome: checker.Unknown, offset: -1, pid: p.pid, epoch: p.epoch, sum: m.sum, done: true}
			}
		}
		p.told(b)
	}
	p.mu.Unlock()
	p.cl.Close()
}
