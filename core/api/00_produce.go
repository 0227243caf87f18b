package api

import (
	"strconv"

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
//   - Batches were checked by Intake. Sizes, keys and timestamps are judged here, because topics have settings.
//   - A batch in another codec than compression.type asks for goes to a worker first (press.go).
//   - With message.timestamp.type=LogAppendTime the batch is stamped before it goes to its replica.
//   - A batch that was stored before, one of its producer's last five, is a success with its old offset. An
//     older one is OUT_OF_ORDER_SEQUENCE_NUMBER: that it was stored is forgotten.
//   - NOT_LEADER_OR_FOLLOWER names the leader, unless it is known dead (KIP-951).
//
// Version notes:
//   - v5: log start offset. v7: zstd is allowed. v8: error messages and record errors, the first 1,000 of a
//     batch. v10: leader hints. v13: topic ids.
//   - v11, v12 differ for transactions only.
//
// Left out: transactions. A transactional producer is told UNSUPPORTED_VERSION. Kafka unpacks every
// compressed batch; here that happens where the topic asks for it: when it is compacted, has bounds of its
// own for timestamps, or recompresses, and when the header tells a bad time. Else the header is believed.
func produce(r *request, body wire.Message) {
	q := body.(*wire.ProduceRequest)
	p := &producing{r: r, q: q, byID: r.version() >= 13}
	p.resp.Responses = make([]wire.ProduceResponseTopic, len(q.TopicData))
	total := 0
	for i := range q.TopicData {
		t := &q.TopicData[i]
		total += len(t.PartitionData)
		out := make([]wire.ProduceResponsePartition, len(t.PartitionData))
		for j := range out {
			out[j] = wire.NewProduceResponsePartition()
			out[j].Index, out[j].BaseOffset, out[j].ErrorCode = t.PartitionData[j].Index, -1, wire.RequestTimedOut
		}
		p.resp.Responses[i] = wire.ProduceResponseTopic{Name: t.Name, TopicId: t.TopicId, PartitionResponses: out}
	}
	p.one = gather(total+1, p.done)
	p.run()
	if r.acting() && q.Acks != 0 {
		r.after(core.Mono(q.TimeoutMs)*core.Millisecond, func() {
			markProduceLate.Hit()
			if mut.On("M28") { // what timed out is used for the next request, while its batches are on their way
				clear(r.frame.Bytes())
			}
			p.abandon()
			p.reply()
		})
	}
}

// producing is a Produce on its way.
type producing struct {
	r       *request
	q       *wire.ProduceRequest
	byID    bool
	resp    wire.ProduceResponse
	one     func() // one partition is known
	failed  bool
	running bool // run is further up the stack
	i, j, n int  // the next partition to append: its topic, its place there and in the request
}

// run appends partitions in their order until one has to be prepared; that one calls it again.
func (p *producing) run() {
	if p.running {
		return
	}
	p.running = true
	for p.i < len(p.q.TopicData) && !p.r.preparing {
		if p.j == len(p.q.TopicData[p.i].PartitionData) {
			p.i, p.j = p.i+1, 0
			continue
		}
		i, j, v := p.i, p.j, p.r.in.batches[p.n]
		p.j, p.n = p.j+1, p.n+1
		p.append(i, j, v)
	}
	p.running = false
	if !p.r.preparing {
		p.one()
	}
}

// append judges one partition and hands its batch to its replica, or to a worker.
func (p *producing) append(i, j int, v judged) {
	data := &p.q.TopicData[i].PartitionData[j]
	a := &appending{p: p, out: &p.resp.Responses[i].PartitionResponses[j]}
	part, no := p.judge(i, data, v.verdict)
	if no.err != wire.None {
		a.fail(no)
		return
	}
	b := record.Batch(data.Records.Bytes())
	a.part, a.rules, a.records = part, p.r.conn.desk.rulesOf(p.r.h(), part.Topic), data.Records
	a.terms = a.rules.terms(p.r.now().Wall)
	switch {
	case a.needsPress(b):
		a.prepare()
	case b.Codec() != record.None:
		a.admit(data.Records.Retain(), b.MaxTimestamp())
	case !a.terms.Met(b, &v.facts):
		bad, _, _ := b.Flaws(b.Payload(), &a.terms) // Intake has read them all
		a.flawed(b, &bad)
	case b.LogAppendTime():
		a.admit(data.Records.Retain(), b.MaxTimestamp())
	default:
		a.admit(data.Records.Retain(), v.facts.Last)
	}
}

// appending is the batch of one partition on its way.
type appending struct {
	p       *producing
	out     *wire.ProduceResponsePartition
	part    Part
	rules   *topicRules
	terms   record.Terms
	records core.Ref // borrowed from the frame
	booked  int64    // bytes of the desk's presses
}

// admit hands a batch that may be stored to its replica, in a Ref that it takes; last is the latest time of
// its records.
func (a *appending) admit(batch core.Ref, last core.Wall) {
	p, now := a.p, a.p.r.now().Wall
	if b := record.Batch(batch.Bytes()); a.rules.LogAppendTime {
		b.Stamp(now)
	} else {
		b.Date(last)
	}
	h, d := p.r.h(), p.r.conn.desk
	h.Produce(a.part, batch, replica.Acks(p.q.Acks), func(res replica.Result, l Leadership) {
		d.presses.book(a, 0)
		if !p.r.acting() {
			return
		}
		if e := outcomeError(res.Err); e != wire.None {
			if e == wire.UnknownTopicOrPartition && p.byID && h.View().TopicByID(a.part.Topic.ID) == nil {
				e = wire.UnknownTopicId // deleted meanwhile
			}
			if e == wire.NotLeaderOrFollower {
				p.hint(a.out, l)
			}
			a.fail(refusal{err: e})
			return
		}
		a.out.ErrorCode, a.out.BaseOffset, a.out.LogStartOffset = wire.None, int64(res.Base), int64(res.Start)
		if a.rules.LogAppendTime {
			a.out.LogAppendTimeMs = int64(now)
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
	b := record.Batch(data.Records.Bytes())
	rules := p.r.conn.desk.rulesOf(p.r.h(), part.Topic)
	switch {
	case p.q.TransactionalId != nil || b.Transactional():
		return part, refusal{wire.UnsupportedVersion, noTransactions}
	case int64(len(b)) > int64(rules.MaxMessageBytes):
		return part, refusal{err: wire.MessageTooLarge} // without a message, as Kafka answers
	}
	return part, refusal{}
}

// fail says how a partition ended.
func (a *appending) fail(v refusal) {
	a.out.ErrorCode = v.err
	if v.message != "" {
		a.out.ErrorMessage = &v.message
	}
	a.p.failed = true
	a.p.one()
}

// flawed answers for a batch with records that do not meet the terms (LogValidator.processRecordErrors).
func (a *appending) flawed(b record.Batch, bad *record.Flawed) {
	shown := ""
	for i, f := range bad.List {
		why := a.why(b, f)
		a.out.RecordErrors = append(a.out.RecordErrors,
			wire.ProduceResponseRecordError{BatchIndex: f.Index, BatchIndexErrorMessage: &why})
		if i < 3 {
			shown += ", RecordError(batchIndex=" + strconv.Itoa(int(f.Index)) + ", message='" + why + "')"
		}
	}
	if bad.Timed {
		a.fail(refusal{wire.InvalidTimestamp, "One or more records have been rejected due to invalid timestamp"})
		return
	}
	a.fail(refusal{wire.InvalidRecord, "One or more records have been rejected due to " + strconv.Itoa(bad.Total) +
		" record errors in total, and only showing the first three errors at most: [" + shown[2:] + "]"})
}

// why is what LogValidator says of one record.
func (a *appending) why(b record.Batch, f record.Flaw) string {
	offset := strconv.FormatInt(int64(b.BaseOffset())+int64(f.Index), 10)
	switch f.Kind {
	case record.NoKey:
		return "Compacted topic cannot accept message without key in topic partition " + a.part.Topic.Name + "-" +
			strconv.Itoa(int(a.part.Index))
	case record.NotItsTime:
		return "Invalid timestamp type in message with offset " + offset +
			". Producer should not set timestamp type to LogAppendTime."
	}
	from, to := a.terms.Bounds()
	return "Timestamp " + strconv.FormatInt(int64(f.Time), 10) + " of message with offset " + offset +
		" is out of range. The timestamp should be within [" + strconv.FormatInt(from, 10) + ", " +
		strconv.FormatInt(to, 10) + "]"
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
