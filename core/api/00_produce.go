package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// Produce: v3-13 (v0-2 are advertised and refused: librdkafka looks for them, KAFKA-18659)
//
// Behaviour:
//   - Every partition is judged and answered by itself; the answer leaves when the last is known, or after
//     timeout.ms with REQUEST_TIMED_OUT for those that are not.
//   - acks=-1 waits for a majority that synced, and for min.insync.replicas; acks=1 for the leader's sync;
//     acks=0 has no answer, and an error in it closes the connection.
//   - Batches were checked by Intake. Sizes and timestamps are checked here, because topics have settings.
//   - With message.timestamp.type=LogAppendTime the batch is stamped before it goes to its replica.
//   - A batch that was stored before, one of its producer's last five, is a success with its old offset. An
//     older one is OUT_OF_ORDER_SEQUENCE_NUMBER: that it was stored is forgotten.
//   - NOT_LEADER_OR_FOLLOWER names the leader, unless it is known dead (KIP-951).
//
// Version notes:
//   - v5: log start offset. v7: zstd is allowed. v8: error messages. v10: leader hints. v13: topic ids.
//   - v11, v12 differ for transactions only.
//
// Left out: transactions. A transactional producer is told UNSUPPORTED_VERSION. Record errors (v8) stay
// empty, the message says what is wrong. In compressed batches timestamps are judged by the header and keys
// not at all: a step does not decompress.
func produce(r *request, body wire.Message) {
	q := body.(*wire.ProduceRequest)
	p := &producing{r: r, q: q, byID: r.version() >= 13}
	p.resp.Responses = make([]wire.ProduceResponseTopic, len(q.TopicData))
	total := 0
	for i := range q.TopicData {
		t := &q.TopicData[i]
		total += len(t.PartitionData)
		p.resp.Responses[i] = wire.ProduceResponseTopic{Name: t.Name, TopicId: t.TopicId,
			PartitionResponses: make([]wire.ProduceResponsePartition, len(t.PartitionData))}
	}
	p.one = gather(total+1, p.done)
	n := 0
	for i := range q.TopicData {
		for j := range q.TopicData[i].PartitionData {
			p.append(i, j, r.in.batches[n])
			n++
		}
	}
	p.one()
	if r.acting() && q.Acks != 0 {
		r.after(core.Mono(q.TimeoutMs)*core.Millisecond, func() {
			markProduceLate.Hit()
			if mut.On("M28") { // what timed out is used for the next request, while its batches are on their way
				clear(r.frame.Bytes())
			}
			p.reply()
		})
	}
}

// producing is a Produce on its way.
type producing struct {
	r      *request
	q      *wire.ProduceRequest
	byID   bool
	resp   wire.ProduceResponse
	one    func() // one partition is known
	failed bool
}

// append judges one partition and hands its batch to its replica.
func (p *producing) append(i, j int, v verdict) {
	data := &p.q.TopicData[i].PartitionData[j]
	out := &p.resp.Responses[i].PartitionResponses[j]
	*out = wire.NewProduceResponsePartition()
	out.Index, out.BaseOffset, out.ErrorCode = data.Index, -1, wire.RequestTimedOut
	part, no := p.judge(i, data, v)
	if no.err != wire.None {
		p.fail(out, no)
		p.one()
		return
	}
	now := p.r.now().Wall
	b := record.Batch(data.Records.Bytes())
	rules := p.r.conn.desk.rulesOf(p.r.h(), part.Topic)
	if rules.LogAppendTime {
		b.Stamp(now)
	}
	p.r.h().Produce(part, data.Records.Retain(), replica.Acks(p.q.Acks), func(res replica.Result, l Leadership) {
		if !p.r.acting() {
			return
		}
		if e := outcomeError(res.Err); e != wire.None {
			if e == wire.UnknownTopicOrPartition && p.byID && p.r.h().View().TopicByID(part.Topic.ID) == nil {
				e = wire.UnknownTopicId // deleted meanwhile
			}
			p.fail(out, refusal{err: e})
			if e == wire.NotLeaderOrFollower {
				p.hint(out, l)
			}
		} else {
			out.ErrorCode, out.BaseOffset, out.LogStartOffset = e, int64(res.Base), int64(res.Start)
			if rules.LogAppendTime {
				out.LogAppendTimeMs = int64(now)
			}
		}
		p.one()
	})
}

// judge finds the partition and says what is wrong with appending to it, in Kafka's order.
func (p *producing) judge(i int, data *wire.ProduceRequestPartition, v verdict) (Part, refusal) {
	t := &p.q.TopicData[i]
	view := p.r.h().View()
	part := Part{Topic: view.Topic(t.Name), Index: data.Index}
	if p.byID {
		part.Topic = view.TopicByID(t.TopicId)
	}
	switch {
	case p.q.Acks < -1 || p.q.Acks > 1:
		return part, refusal{err: wire.InvalidRequiredAcks}
	case part.Topic == nil && p.byID:
		return part, refusal{err: wire.UnknownTopicId}
	case part.Topic == nil || data.Index < 0 || int(data.Index) >= len(part.Topic.Partitions):
		return part, refusal{err: wire.UnknownTopicOrPartition}
	case v != fine:
		return part, verdicts[v]
	case part.Topic.Internal && p.r.clientID() != "__admin_client":
		return part, refusal{wire.InvalidTopicException, "Cannot append to internal topic " + part.Topic.Name}
	}
	return part, p.judgeBatch(part, record.Batch(data.Records.Bytes()))
}

func (p *producing) judgeBatch(part Part, b record.Batch) refusal {
	rules := p.r.conn.desk.rulesOf(p.r.h(), part.Topic)
	now := int64(p.r.now().Wall)
	switch {
	case p.q.TransactionalId != nil || b.Transactional():
		return refusal{wire.UnsupportedVersion, noTransactions}
	case int64(len(b)) > int64(rules.MaxMessageBytes):
		return refusal{err: wire.MessageTooLarge} // without a message, as Kafka answers
	case !rules.LogAppendTime && badTime(b, now, rules):
		return refusal{wire.InvalidTimestamp, "One or more records have been rejected due to invalid timestamp"}
	case rules.keyed && b.Codec() == record.None && keyless(b):
		return refusal{wire.InvalidRecord, "One or more records have been rejected"}
	}
	return refusal{}
}

// badTime compares the header's times with the bounds; a time of -1 is none (LogValidator).
func badTime(b record.Batch, now int64, rules *topicRules) bool {
	most := int64(b.MaxTimestamp())
	if most != -1 && most > now && most-now > rules.after {
		return true
	}
	first := int64(b.BaseTimestamp())
	return first >= 0 && now > first && now-first > rules.before
}

func keyless(b record.Batch) bool {
	missing := false
	_ = b.Records(func(r record.Record) bool { // Check has read them all
		missing = r.Key == nil
		return !missing
	})
	return missing
}

func (p *producing) fail(out *wire.ProduceResponsePartition, v refusal) {
	out.ErrorCode = v.err
	if v.message != "" {
		out.ErrorMessage = &v.message
	}
	p.failed = true
}

// hint names the leader, if a client can go there.
func (p *producing) hint(out *wire.ProduceResponsePartition, l Leadership) {
	host, port, rack, ok := p.r.conn.leaderHint(l)
	if !ok {
		return
	}
	markProduceHint.Hit()
	out.CurrentLeader = &wire.ProduceResponseLeader{LeaderId: int32(l.Leader), LeaderEpoch: int32(l.Term.Epoch())}
	for _, e := range p.resp.NodeEndpoints {
		if e.NodeId == int32(l.Leader) {
			return
		}
	}
	p.resp.NodeEndpoints = append(p.resp.NodeEndpoints,
		wire.ProduceResponseEndpoint{NodeId: int32(l.Leader), Host: host, Port: port, Rack: rack})
}

// leaderHint is where the leader of KIP-951 is; false when it is dead, unknown, or this node, which has
// just said that it does not lead.
func (c *Conn) leaderHint(l Leadership) (host string, port int32, rack *string, ok bool) {
	if l.Leader == core.NoNode || l.Dead || l.Leader == c.h.Node() {
		return "", 0, nil, false
	}
	return c.reachable(l.Leader)
}

func (p *producing) done() {
	if p.q.Acks != 0 {
		p.reply()
	} else if p.failed {
		p.r.finish(hangUp)
	} else {
		p.r.finish(silent)
	}
}

func (p *producing) reply() { p.r.answer(&p.resp) }
