package demo

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// rowHeader carries the number of a row, in decimal.
const rowHeader = "row"

// load is the producer and its books.
type load struct {
	cl    *kgo.Client
	rows  *rows
	rate  int // rows a second; 0: no pacing
	began time.Time

	acked  atomic.Int64
	bytes  atomic.Int64
	ended  atomic.Int64  // ns after began when the last row was acknowledged
	sent   chan struct{} // closed when every row was handed over
	cancel context.CancelFunc

	mu     sync.Mutex
	failed error
	sum    []uint32 // CRC of each row's value, written before it is sent
	ok     []bool   // by row: acknowledged
	books  [partitions]book
}

// book is what the producer knows of a partition.
type book struct {
	end     int64 // one more than the highest acknowledged offset
	last    time.Time
	longest time.Duration // between two acknowledgements since watchGap
}

// eager are the client options of demo clients: a node that dies is noticed within tens of ms.
func eager(seeds []string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.ClientID("karst-demo"), kgo.DisableClientMetrics(),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.DialTimeout(time.Second),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(time.Duration(n)*20*time.Millisecond, 200*time.Millisecond) }),
	}
}

func openLoad(seeds []string, rows *rows, rate int) (*load, error) {
	opts := append(eager(seeds),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(60_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(256<<10))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, catalogue.DemoFailed.New("cannot make a producer: %v", err).Wrap(err)
	}
	return &load{cl: cl, rows: rows, rate: rate, sent: make(chan struct{}),
		sum: make([]uint32, rows.total), ok: make([]bool, rows.total)}, nil
}

// start streams the rows from a goroutine of its own.
func (l *load) start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.began = time.Now()
	go func() {
		defer close(l.sent)
		if err := l.stream(ctx); err != nil && ctx.Err() == nil {
			l.fail(err)
		}
	}()
}

func (l *load) stream(ctx context.Context) error {
	for {
		row, err := l.rows.read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l.sum[row.number] = crc32.ChecksumIEEE(row.text)
		r := &kgo.Record{Key: row.origin, Value: row.text, Timestamp: time.Now(),
			Headers: []kgo.RecordHeader{{Key: rowHeader, Value: strconv.AppendInt(nil, int64(row.number), 10)}}}
		l.cl.Produce(ctx, r, func(r *kgo.Record, err error) { l.answered(ctx, r, row.number, err) })
		if err := l.keepPace(ctx, row.number+1); err != nil {
			return err
		}
	}
}

// keepPace waits while more rows than due were sent.
func (l *load) keepPace(ctx context.Context, n int) error {
	if l.rate == 0 || n%20 != 0 {
		return ctx.Err()
	}
	due := l.began.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	wait := time.Until(due)
	if wait < 2*time.Millisecond {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered enters an acknowledgement into the books.
func (l *load) answered(ctx context.Context, r *kgo.Record, number int, err error) {
	if err != nil {
		if ctx.Err() == nil {
			l.fail(err)
		}
		return
	}
	now := time.Now()
	l.mu.Lock()
	l.ok[number] = true
	b := &l.books[r.Partition]
	b.end = max(b.end, r.Offset+1)
	if !b.last.IsZero() {
		b.longest = max(b.longest, now.Sub(b.last))
	}
	b.last = now
	l.mu.Unlock()
	l.bytes.Add(int64(len(r.Value)))
	l.ended.Store(int64(now.Sub(l.began)))
	l.acked.Add(1)
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// done says whether every row was sent and answered.
func (l *load) done() bool {
	select {
	case <-l.sent:
		return l.acked.Load() == int64(l.rows.total)
	default:
		return false
	}
}

// took is the time from the first row to the last acknowledgement.
func (l *load) took() time.Duration { return time.Duration(l.ended.Load()) }

// watchGap begins to measure pauses.
func (l *load) watchGap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.books {
		l.books[p].longest = 0
	}
}

// gap is the longest time since watchGap in which a partition acknowledged nothing, a pause that
// still lasts included.
func (l *load) gap() (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.books {
		longest = max(longest, b.longest)
		if !b.last.IsZero() {
			longest = max(longest, time.Since(b.last))
		}
	}
	return longest
}

// promise is what was acknowledged at some moment.
type promise struct {
	rows int64
	ends [partitions]int64 // of each partition: one more than the highest acknowledged offset
}

func (l *load) promises() (p promise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range l.books {
		p.ends[i] = b.end
	}
	for _, ok := range l.ok {
		if ok {
			p.rows++
		}
	}
	return p
}

func (l *load) close() {
	l.cancel()
	l.cl.Close()
}
