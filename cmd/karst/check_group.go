package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/checker"
)

// member is one place in the group: clients that join, commit, look and leave, one after the other.
func (r *recording) member(busy context.Context, i int) {
	me := r.tape.process()
	for n := 0; busy.Err() == nil; n++ {
		life, end := context.WithTimeout(busy, about(12*time.Second))
		r.belong(life, me, fmt.Sprintf("%d.%d", i, n))
		end()
		pause(busy, about(time.Second))
	}
}

// owned is what a member was given last.
type owned struct {
	mu    sync.Mutex
	parts []int32
	began int64 // when it began to ask for its place
}

// belong is the life of one client in the group.
func (r *recording) belong(life context.Context, me int64, name string) {
	own := &owned{began: r.tape.now()}
	lost := func(context.Context, *kgo.Client, map[string][]int32) {
		own.mu.Lock()
		own.parts, own.began = nil, r.tape.now()
		own.mu.Unlock()
	}
	group := r.topic + "-group"
	cl, err := r.client(life, kgo.ConsumerGroup(group), kgo.ConsumeTopics(r.topic), kgo.Balancers(kgo.RangeBalancer()),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsRevoked(lost), kgo.OnPartitionsLost(lost),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, got map[string][]int32) {
			r.given(own, group, cl, got[r.topic])
		}))
	if err != nil {
		pause(life, time.Second) // no broker answers; try again
		return
	}
	defer cl.Close()
	for n := 0; life.Err() == nil; n++ {
		poll, cancel := context.WithTimeout(life, about(100*time.Millisecond))
		cl.PollRecords(poll, 500)
		cancel()
		own.mu.Lock()
		part := int32(-1)
		if len(own.parts) > 0 {
			part = own.parts[rand.IntN(len(own.parts))]
		}
		own.mu.Unlock()
		call, stop := context.WithTimeout(life, 5*time.Second)
		if n%2 == 0 && part >= 0 {
			r.commit(call, cl, me, group, part, fmt.Sprintf("%s.%d", name, n))
		} else {
			r.committed(call, me, group, rand.Int32N(r.partitions))
		}
		stop()
	}
}

// given writes down what a member owns now. Each time it is another process: the client speaks from
// goroutines of its own.
func (r *recording) given(own *owned, group string, cl *kgo.Client, parts []int32) {
	member, generation := cl.GroupMetadata()
	o := checker.NewOp(checker.Own)
	own.mu.Lock()
	own.parts = parts
	o.Call = own.began
	own.mu.Unlock()
	o.Process, o.Group, o.Member, o.Generation, o.Topic = r.tape.process(), group, member, int64(generation), r.topic
	for _, p := range parts {
		o.Partitions = append(o.Partitions, int64(p))
	}
	r.tape.write(&o)
}

// commit asks the coordinator once: a second try would be a second commit.
func (r *recording) commit(ctx context.Context, cl *kgo.Client, me int64, group string, part int32, token string) {
	b := r.coordinator(ctx, group)
	member, generation := cl.GroupMetadata()
	if b == nil || generation < 0 {
		return
	}
	if generation > 1 && rand.IntN(8) == 0 {
		generation-- // as one that slept through a rebalance would
	}
	o := checker.NewOp(checker.Commit)
	o.Process, o.Call, o.Group, o.Member, o.Generation = me, r.tape.now(), group, member, int64(generation)
	o.Topic, o.Partition, o.Offset, o.Token = r.topic, int64(part), rand.Int64N(1<<40), token
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	t, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	t.Topic, t.TopicID = r.topic, r.topicID
	p.Partition, p.Offset, p.Metadata = part, o.Offset, &token
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := b.Request(ctx, req)
	o.Outcome = checker.Unknown
	if c, ok := resp.(*kmsg.OffsetCommitResponse); err == nil && ok && len(c.Topics) == 1 && len(c.Topics[0].Partitions) == 1 {
		err = kerr.ErrorForCode(c.Topics[0].Partitions[0].ErrorCode)
		if err == nil {
			o.Outcome = checker.OK
		}
	}
	var ke *kerr.Error
	if errors.As(err, &ke) {
		o.Error = ke.Message
		if refuses(ke) {
			o.Outcome = checker.Fail
		}
	}
	r.tape.write(&o)
}

// refuses says whether an error is certain: nothing was committed and never will be.
func refuses(e *kerr.Error) bool {
	switch e {
	case kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.StaleMemberEpoch, kerr.FencedMemberEpoch:
		return true
	}
	return false
}

func (r *recording) coordinator(ctx context.Context, group string) *kgo.Broker {
	c := kadm.NewClient(r.admin).FindGroupCoordinators(ctx, group)[group]
	if c.Err != nil || c.Name == "" {
		return nil
	}
	return r.admin.Broker(int(c.NodeID))
}

func (r *recording) committed(ctx context.Context, me int64, group string, part int32) {
	o := checker.NewOp(checker.FetchOffset)
	o.Process, o.Call, o.Group, o.Topic, o.Partition = me, r.tape.now(), group, r.topic, int64(part)
	all, err := kadm.NewClient(r.admin).FetchOffsetsForTopics(ctx, group, r.topic)
	if err != nil {
		return
	}
	a, ok := all.Lookup(r.topic, part)
	if !ok || a.Err != nil {
		return
	}
	o.Offset, o.Token = a.At, a.Metadata
	r.tape.write(&o)
}

// askIDs asks for producer ids.
func (r *recording) askIDs(busy context.Context) {
	me := r.tape.process()
	for pause(busy, about(500*time.Millisecond)) {
		o := checker.NewOp(checker.InitProducer)
		o.Process, o.Call = me, r.tape.now()
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 60_000, -1, -1
		ctx, cancel := context.WithTimeout(busy, 5*time.Second)
		resp, err := r.admin.Request(ctx, req)
		cancel()
		a, ok := resp.(*kmsg.InitProducerIDResponse)
		if err != nil || !ok || a.ErrorCode != 0 {
			continue
		}
		o.PID, o.Epoch = a.ProducerID, int64(a.ProducerEpoch)
		r.tape.write(&o)
	}
}

// askMetadata asks every broker about the topic. A broker that has never heard of it is not asked to
// have: Kafka's brokers learn of topics one after the other.
func (r *recording) askMetadata(busy context.Context) {
	processes, knows := map[int32]int64{}, map[int32]bool{}
	for pause(busy, about(500*time.Millisecond)) {
		ctx, cancel := context.WithTimeout(busy, 2*time.Second)
		brokers, err := kadm.NewClient(r.admin).ListBrokers(ctx)
		cancel()
		if err != nil {
			continue
		}
		for _, b := range brokers {
			if _, ok := processes[b.NodeID]; !ok {
				processes[b.NodeID] = r.tape.process()
			}
			ctx, cancel := context.WithTimeout(busy, 2*time.Second)
			o, ok := r.metadata(ctx, b.NodeID)
			cancel()
			if o.Process = processes[b.NodeID]; !ok || !o.Exists && !knows[b.NodeID] {
				continue
			}
			knows[b.NodeID] = true
			r.tape.write(o)
		}
	}
}

func (r *recording) metadata(ctx context.Context, node int32) (*checker.Op, bool) {
	o := checker.NewOp(checker.Metadata)
	o.Call, o.Topic, o.Node = r.tape.now(), r.topic, int64(node)
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(r.topic)
	req.Topics = append(req.Topics, t)
	resp, err := r.admin.Broker(int(node)).Request(ctx, req)
	m, ok := resp.(*kmsg.MetadataResponse)
	if err != nil || !ok || len(m.Topics) != 1 {
		return &o, false
	}
	a := &m.Topics[0]
	if a.ErrorCode != 0 && a.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		return &o, false
	}
	o.Exists = a.ErrorCode == 0
	o.Count = int64(len(a.Partitions))
	if o.Exists {
		o.TopicID = fmt.Sprintf("%x", a.TopicID)
	}
	for _, p := range a.Partitions {
		o.Leaders = append(o.Leaders, checker.Leader{int64(p.Partition), int64(p.Leader), int64(p.LeaderEpoch)})
	}
	return &o, true
}
