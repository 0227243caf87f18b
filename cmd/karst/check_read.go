package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core/record"
)

// follow starts a reader of every partition. In the history each of its partitions is a process.
func (r *recording) follow(ctx, busy context.Context) error {
	from := map[int32]kgo.Offset{}
	for part := range r.partitions {
		from[part] = kgo.NewOffset().At(0)
	}
	cl, err := r.client(ctx, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: from}),
		kgo.FetchMaxWait(300*time.Millisecond), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return err
	}
	next := make([]int64, r.partitions)
	names := make([]int64, r.partitions)
	for i := range names {
		names[i] = r.tape.process()
	}
	r.start(func() {
		defer cl.Close()
		for busy.Err() == nil {
			call := r.tape.now()
			cl.PollRecords(busy, 2000).EachPartition(func(p kgo.FetchTopicPartition) {
				if p.Topic == r.topic && p.Partition >= 0 && p.Partition < r.partitions {
					r.polled(&p, names[p.Partition], call, &next[p.Partition])
				}
			})
		}
	})
	return nil
}

func (r *recording) polled(p *kgo.FetchTopicPartition, process, call int64, next *int64) {
	o := checker.NewOp(checker.Fetch)
	o.Process, o.Call, o.Topic, o.Partition, o.From = process, call, r.topic, int64(p.Partition), *next
	if p.Err != nil {
		var ke *kerr.Error
		if errors.As(p.Err, &ke) && ke == kerr.OffsetOutOfRange {
			o.Outcome, o.Error = checker.Fail, ke.Message
			r.tape.write(&o)
		}
		return
	}
	if len(p.Records) == 0 {
		return
	}
	for _, rec := range p.Records {
		r.stamp.gather(&o, p.Partition, rec.Offset, rec.Value)
	}
	*next = p.Records[len(p.Records)-1].Offset + 1
	o.HW = p.HighWatermark
	if !r.exact {
		o.HW = max(o.HW, *next) // Apache Kafka takes it before it reads, and the log may grow between the two
	}
	r.tape.write(&o)
}

// list asks a partition's leader for an offset: at is -1 for the end, or milliseconds since 1970.
func (r *recording) list(ctx context.Context, part int32, at int64) (offset int64, epoch int32, err error) {
	b := r.leader(ctx, part)
	if b == nil {
		return 0, -1, errors.New("no leader is known")
	}
	if offset, epoch, err = r.listAt(ctx, b, part, at); err != nil {
		r.lookUp(ctx)
	}
	return offset, epoch, err
}

// listAt asks a broker, whether it leads or not.
func (r *recording) listAt(ctx context.Context, b *kgo.Broker, part int32, at int64) (offset int64, epoch int32, err error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp = r.topic, part, at
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := b.Request(ctx, req)
	if err != nil {
		return 0, -1, err
	}
	l, ok := resp.(*kmsg.ListOffsetsResponse)
	if !ok || len(l.Topics) != 1 || len(l.Topics[0].Partitions) != 1 {
		return 0, -1, errors.New("the answer does not speak of the partition")
	}
	a := &l.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(a.ErrorCode); err != nil {
		return 0, -1, err
	}
	return a.Offset, a.LeaderEpoch, nil
}

// askEnds asks for ends, and now and then for an offset by time.
func (r *recording) askEnds(busy context.Context) {
	me := r.tape.process()
	for n := 0; pause(busy, about(20*time.Millisecond)); n++ {
		o := checker.NewOp(checker.ListOffsets)
		o.Process, o.Call, o.Topic, o.Partition, o.At = me, r.tape.now(), r.topic, int64(n)%int64(r.partitions), -1
		if n%5 == 4 {
			o.At = time.Now().Add(-about(2 * time.Second)).UnixMilli()
		}
		ctx, cancel := context.WithTimeout(busy, 5*time.Second)
		offset, epoch, err := r.list(ctx, int32(o.Partition), o.At)
		cancel()
		if err != nil {
			continue // an answer that says nothing
		}
		o.Offset = offset
		if o.At == -1 {
			o.LeaderEpoch = int64(epoch)
		}
		r.tape.write(&o)
	}
}

const (
	askers      = 40               // questions that may be open at once
	askPatience = 12 * time.Second // how long one of them stays open
)

// askAnybody asks brokers for the ends of partitions that they may have led once: an answer that comes
// late, from one that slept, must not be old. It has a client of its own, because a question that is given
// up takes the connection with it, and with it the questions behind.
func (r *recording) askAnybody(ctx, busy context.Context) error {
	cl, err := r.client(ctx)
	if err != nil {
		return err
	}
	idle := make(chan int64, askers)
	for range askers {
		idle <- r.tape.process()
	}
	r.start(func() {
		defer cl.Close()
		for pause(busy, about(100*time.Millisecond)) {
			b := r.somebody(cl)
			if b == nil || len(idle) == 0 {
				continue
			}
			me := <-idle
			go func() {
				defer func() { idle <- me }()
				r.askEnd(busy, b, me)
			}()
		}
		for range askers {
			<-idle // nobody asks any more
		}
	})
	return nil
}

func (r *recording) askEnd(busy context.Context, b *kgo.Broker, me int64) {
	ctx, cancel := context.WithTimeout(busy, askPatience)
	defer cancel()
	o := checker.NewOp(checker.ListOffsets)
	o.Process, o.Call, o.Topic, o.Partition, o.At = me, r.tape.now(), r.topic, rand.Int64N(int64(r.partitions)), -1
	offset, epoch, err := r.listAt(ctx, b, int32(o.Partition), o.At)
	if err != nil {
		return
	}
	o.Offset, o.LeaderEpoch = offset, int64(epoch)
	r.tape.write(&o)
}

// readBack reads every partition from its first record to its end, batch by batch, some at a time: one that
// cannot be read must not keep the others from it.
func (r *recording) readBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.drain)
	defer cancel()
	failed := make([]error, r.partitions)
	places := make(chan struct{}, 32)
	for part := range r.partitions {
		places <- struct{}{}
		r.start(func() {
			failed[part] = r.readWhole(ctx, part, r.tape.process())
			<-places
		})
	}
	r.wg.Wait()
	for part, err := range failed {
		if err != nil {
			return catalogue.NotRecorded.New("cannot read %s/%d to its end within %v: %v", r.topic, part, r.drain, err).Wrap(err)
		}
	}
	return nil
}

func (r *recording) readWhole(ctx context.Context, part int32, me int64) error {
	end, call := int64(-1), r.tape.now()
	var last error
	for end < 0 {
		if end, _, last = r.list(ctx, part, -1); last != nil {
			end = -1
			if !pause(ctx, 100*time.Millisecond) {
				return last
			}
		}
	}
	for at := int64(0); at < end; {
		next, err := r.readOn(ctx, part, at, end, me)
		if err != nil {
			last = err
			r.lookUp(ctx)
		}
		if at == next && !pause(ctx, 50*time.Millisecond) {
			return errors.Join(fmt.Errorf("it stopped at offset %d of %d", at, end), last)
		}
		at = next
	}
	o := checker.NewOp(checker.Sealed)
	o.Process, o.Call, o.Topic, o.Partition, o.End = r.tape.process(), call, r.topic, int64(part), end
	r.tape.write(&o)
	return nil
}

// readOn fetches from an offset, writes the whole batches down and gives the offset after them.
func (r *recording) readOn(ctx context.Context, part int32, at, end, me int64) (int64, error) {
	b := r.leader(ctx, part)
	if b == nil {
		return at, errors.New("no leader is known")
	}
	call := r.tape.now()
	resp, err := b.Request(ctx, r.fetchRequest(part, at))
	if err != nil {
		return at, err
	}
	f := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(f.ErrorCode); err != nil {
		return at, err
	}
	if len(f.Topics) != 1 || len(f.Topics[0].Partitions) != 1 {
		return at, errors.New("the answer does not speak of the partition")
	}
	p := &f.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return at, err
	}
	for rest := p.RecordBatches; len(rest) > 0 && at < end; {
		var batch record.Batch
		if batch, rest, err = record.Next(rest); err == record.ErrShort {
			return at, nil
		} else if err != nil {
			return at, err
		}
		if int64(batch.LastOffset()) < at {
			continue
		}
		o := checker.NewOp(checker.Scan)
		o.Process, o.Call, o.Topic, o.Partition = me, call, r.topic, int64(part)
		r.scanned(&o, batch)
		r.tape.write(&o)
		at = o.Base + o.Count
		call = r.tape.now()
	}
	return at, nil
}

// scanned fills in what a batch holds. What cannot be read of it is bad.
func (r *recording) scanned(o *checker.Op, b record.Batch) {
	o.Base, o.Count = int64(b.BaseOffset()), int64(b.LastOffsetDelta())+1
	o.PID, o.Epoch, o.Seq = b.ProducerID(), int64(b.ProducerEpoch()), int64(b.BaseSequence())
	seen := int64(0)
	err := b.Records(func(rec record.Record) bool {
		if int64(rec.Offset) != o.Base+seen {
			return false
		}
		r.stamp.gather(o, int32(o.Partition), int64(rec.Offset), rec.Value)
		o.Times = append(o.Times, int64(rec.Timestamp))
		seen++
		return true
	})
	if err != nil || b.Check() != 0 || seen != o.Count {
		o.Runs, o.Sums, o.Times, o.Bad = nil, nil, nil, nil
		for i := range o.Count {
			o.Bad = append(o.Bad, o.Base+i)
		}
	}
}

func (r *recording) fetchRequest(part int32, at int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 300, 1, 8<<20, -1
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic, t.TopicID = r.topic, r.topicID
	p.Partition, p.CurrentLeaderEpoch, p.FetchOffset, p.PartitionMaxBytes = part, -1, at, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}
