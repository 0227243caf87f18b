package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/checker"
)

// makeTopics makes topics and deletes them at once, each time through another broker and with one
// request: a second try would be a second creation. What may be left is deleted at the end, and not
// written down.
func (r *recording) makeTopics(ctx, busy context.Context) {
	me := r.tape.process()
	var left []string
	for n := 0; n == 0 || pause(busy, about(2*time.Second)); n++ {
		name := fmt.Sprintf("%s-%d", r.topic, n)
		made := r.makeTopic(busy, me, name)
		gone := r.dropTopic(busy, me, name)
		if made && gone && n%2 == 0 {
			r.makeTopic(busy, me, name) // under its old name it is another topic
			gone = r.dropTopic(busy, me, name)
		}
		if !gone {
			left = append(left, name)
		}
	}
	for _, name := range left {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		r.admin.Request(short, dropRequest(name))
		cancel()
	}
}

const topicPatience = 3 * time.Second

func (r *recording) makeTopic(busy context.Context, me int64, name string) (ok bool) {
	b := r.somebody(r.admin)
	if b == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(busy, topicPatience)
	defer cancel()
	o := checker.NewOp(checker.CreateTopic)
	o.Process, o.Call, o.Topic, o.Count = me, r.tape.now(), name, 1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(topicPatience.Milliseconds())
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, t)
	resp, err := b.Request(ctx, req)
	if a, known := resp.(*kmsg.CreateTopicsResponse); err == nil && known && len(a.Topics) == 1 {
		err = kerr.ErrorForCode(a.Topics[0].ErrorCode)
		if id := a.Topics[0].TopicID; err == nil && id != [16]byte{} {
			o.TopicID = fmt.Sprintf("%x", id)
		}
	}
	return r.ended(&o, resp, err)
}

func (r *recording) dropTopic(busy context.Context, me int64, name string) (ok bool) {
	b := r.somebody(r.admin)
	if b == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(busy, topicPatience)
	defer cancel()
	o := checker.NewOp(checker.DeleteTopic)
	o.Process, o.Call, o.Topic = me, r.tape.now(), name
	resp, err := b.Request(ctx, dropRequest(name))
	if a, known := resp.(*kmsg.DeleteTopicsResponse); err == nil && known && len(a.Topics) == 1 {
		err = kerr.ErrorForCode(a.Topics[0].ErrorCode)
	}
	return r.ended(&o, resp, err)
}

func dropRequest(name string) kmsg.Request {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(topicPatience.Milliseconds())
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = kmsg.StringPtr(name)
	req.Topics, req.TopicNames = append(req.Topics, t), append(req.TopicNames, name)
	return req
}

// ended writes down what became of a creation or a deletion.
func (r *recording) ended(o *checker.Op, resp kmsg.Response, err error) (ok bool) {
	switch {
	case err == nil && resp != nil:
	case err == kerr.TopicAlreadyExists || err == kerr.UnknownTopicOrPartition:
		o.Outcome, o.Error = checker.Fail, err.(*kerr.Error).Message
	default:
		o.Outcome = checker.Unknown
	}
	r.tape.write(o)
	return o.Outcome == checker.OK
}
