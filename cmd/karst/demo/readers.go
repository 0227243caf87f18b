package demo

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// readers are the three members of the group and what they saw.
type readers struct {
	members   []*kgo.Client
	delivered atomic.Int64 // records, repeats included
	distinct  atomic.Int64 // rows
	strange   atomic.Int64 // records without a row number
	mu        sync.Mutex
	times     []uint8 // by row: how often it was delivered, up to 255
	stop      context.CancelFunc
	wait      sync.WaitGroup
}

func openReaders(seeds []string, group string, total int) (*readers, error) {
	rd := &readers{times: make([]uint8, total), stop: func() {}}
	for range 3 {
		opts := append(eager(seeds), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second),
			kgo.FetchMaxWait(250*time.Millisecond), kgo.HeartbeatInterval(500*time.Millisecond))
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			rd.close()
			return nil, catalogue.DemoFailed.New("cannot make a consumer: %v", err).Wrap(err)
		}
		rd.members = append(rd.members, cl)
	}
	return rd, nil
}

// start lets each member read on a goroutine of its own.
func (rd *readers) start(ctx context.Context) {
	ctx, rd.stop = context.WithCancel(ctx)
	for _, cl := range rd.members {
		rd.wait.Add(1)
		go func() {
			defer rd.wait.Done()
			for ctx.Err() == nil {
				// Errors of a fetch are what the faults bring; the client tries again by itself.
				rd.take(cl.PollRecords(ctx, 5000))
			}
		}()
	}
}

func (rd *readers) take(f kgo.Fetches) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	f.EachRecord(func(r *kgo.Record) {
		rd.delivered.Add(1)
		n, ok := rowOf(r)
		if !ok || n >= len(rd.times) {
			rd.strange.Add(1)
			return
		}
		if rd.times[n] == 0 {
			rd.distinct.Add(1)
		}
		if rd.times[n] < 255 {
			rd.times[n]++
		}
	})
}

// rowOf reads the number of a row from its header.
func rowOf(r *kgo.Record) (int, bool) {
	for _, h := range r.Headers {
		if h.Key == rowHeader {
			n, err := strconv.Atoi(string(h.Value))
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}

// redelivered counts deliveries beyond the first of each row.
func (rd *readers) redelivered() (n int64) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	for _, t := range rd.times {
		if t > 1 {
			n += int64(t) - 1
		}
	}
	return n
}

// close leaves the group, all members at once.
func (rd *readers) close() {
	rd.stop()
	rd.wait.Wait()
	var leaving sync.WaitGroup
	for _, cl := range rd.members {
		leaving.Add(1)
		go func() {
			defer leaving.Done()
			cl.Close()
		}()
	}
	leaving.Wait()
	rd.members = nil
}
