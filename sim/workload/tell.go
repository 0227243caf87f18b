package workload

import (
	"fmt"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// What clients see is told to the judge of histories, operation by operation, as a file of them would
// be read: docs/history-format.md says what each field means. Nothing is kept here but what an
// operation that has not ended needs.

// op begins to tell of an operation that this client began at an instant. It is valid until the next
// one of the fleet; its lists are empty, and keep their memory.
func (b *base) op(k checker.Kind, began core.Mono) *checker.Op {
	o := &b.f.op
	runs, bad, times, leaders, parts := o.Runs[:0], o.Bad[:0], o.Times[:0], o.Leaders[:0], o.Partitions[:0]
	*o = checker.NewOp(k)
	o.Runs, o.Bad, o.Times, o.Leaders, o.Partitions = runs, bad, times, leaders, parts
	o.Process, o.Call, o.Topic = int64(b.id), int64(began), b.f.cfg.Topic
	return o
}

// tell ends an operation: it is judged.
func (f *Fleet) tell(o *checker.Op) {
	o.Done = int64(f.env.Now())
	if err := f.Judge.Tell(o); err != nil {
		f.env.Fail("history", err.Error())
	}
}

// row adds a record to those that an operation gave, neighbours in one run.
func row(runs []checker.Run, at core.Offset, v Value) []checker.Run {
	if k := len(runs) - 1; k >= 0 {
		r := &runs[k]
		if r[0]+r[3] == int64(at) && r[1] == int64(v.Producer) && r[2]+r[3] == int64(v.Counter) {
			r[3]++
			return runs
		}
	}
	return append(runs, checker.Run{int64(at), int64(v.Producer), int64(v.Counter), 1})
}

// sent tells how a batch of a producer ended. base -1: somewhere, or nobody knows.
func (b *base) sent(v Value, count int, began core.Mono, out checker.Outcome, base int64, acks int16, pid int64, epoch int16, seq int32) {
	o := b.op(checker.Produce, began)
	o.Outcome, o.Whole = out, true
	o.Partition, o.Producer, o.First, o.Count = int64(v.Partition), int64(v.Producer), int64(v.Counter), int64(count)
	o.Acks, o.Base = int64(acks), base
	o.PID, o.Epoch, o.Seq = pid, int64(epoch), int64(seq)
	b.f.tell(o)
}

// given tells of a producer id that was handed out.
func (b *base) given(began core.Mono, pid int64, epoch int16) {
	o := b.op(checker.InitProducer, began)
	o.PID, o.Epoch = pid, int64(epoch)
	b.f.tell(o)
}

// listed tells of an answer about the log of a partition: at is a time in ms, -1 asks for its end.
func (b *base) listed(began core.Mono, part int32, at int64, p *wire.ListOffsetsResponsePartition) {
	o := b.op(checker.ListOffsets, began)
	o.Partition, o.At, o.Offset, o.LeaderEpoch = int64(part), at, p.Offset, int64(p.LeaderEpoch)
	b.f.tell(o)
}

// freshFor is how soon a broker answers a question about topics or configurations when it knows all that was
// decided before (api's freshGrace). Later, it may have given up asking and say what it knew.
const freshFor = 500 * core.Millisecond

// shown tells what a broker says of a topic. An error says nothing but that a topic is not there. Each
// connection counts as a broker of its own: two of them may lead to shards of one node of which one has
// heard the news a moment before the other. A broker that knows a topic shows it as it knows it, old news or
// not: A30 holds that against its own answers before, and L2 is not told. One that does not know it asks first.
func (b *base) shown(began core.Mono, n core.NodeID, name string, t *wire.MetadataResponseTopic) {
	if t.ErrorCode != wire.None && t.ErrorCode != wire.UnknownTopicOrPartition {
		return
	}
	o := b.op(checker.Metadata, began)
	o.Topic, o.Node, o.Exists = name, int64(b.session(n).conn)<<8|int64(n), t.ErrorCode == wire.None
	if o.Exists {
		o.TopicID, o.Count = b.f.idText(t.TopicId), int64(len(t.Partitions))
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		o.Leaders = append(o.Leaders, checker.Leader{int64(p.PartitionIndex), int64(p.LeaderId), int64(p.LeaderEpoch)})
	}
	now := b.f.env.Now()
	if !o.Exists && now-began < freshFor {
		b.f.tell(o)
		return
	}
	b.f.Judge.Topics.Shown(o.Node, name, o.TopicID, o.Exists, o.Count, o.Leaders, checker.Span{Call: int64(began), Ret: int64(now)})
}

// idText is how a history writes a topic's id.
func (f *Fleet) idText(id wire.UUID) string {
	s, ok := f.ids[id]
	if !ok {
		s = fmt.Sprintf("%x", id)
		f.ids[id] = s
	}
	return s
}

// refuses says whether a coordinator's error is certain: nothing was committed and never will be.
func refuses(e wire.Error) bool {
	switch e {
	case wire.IllegalGeneration, wire.UnknownMemberId, wire.RebalanceInProgress, wire.FencedInstanceId:
		return true
	}
	return false
}

// committing is an OffsetCommit on its way, of one group, with one token for all its partitions.
type committing struct {
	group, member, token string
	instance             *string
	generation           int32 // -1: from outside of the group
	parts                []wire.OffsetCommitRequestPartition
	began                core.Mono
}

// request is what is sent.
func (c *committing) request(topic string, id wire.UUID) *wire.OffsetCommitRequest {
	req := wire.NewOffsetCommitRequest()
	req.GroupId, req.GenerationIdOrMemberEpoch, req.MemberId, req.GroupInstanceId = c.group, c.generation, c.member, c.instance
	for i := range c.parts {
		c.parts[i].CommittedMetadata, c.parts[i].CommittedLeaderEpoch = &c.token, -1
	}
	req.Topics = []wire.OffsetCommitRequestTopic{{Name: topic, TopicId: id, Partitions: c.parts}}
	return &req
}

// committed tells how it ended, partition by partition; resp nil: no answer came. A refusal is told
// without its reason: the generation that it was refused for may be one that a coordinator which was
// deposed never stored, and the next one does not know.
func (b *base) committed(c *committing, resp *wire.OffsetCommitResponse) {
	for i := range c.parts {
		o := b.op(checker.Commit, c.began)
		o.Group, o.Member, o.Generation, o.Token = c.group, c.member, int64(c.generation), c.token
		o.Partition, o.Offset, o.Outcome = int64(c.parts[i].PartitionIndex), c.parts[i].CommittedOffset, checker.Unknown
		if resp != nil && len(resp.Topics) == 1 && i < len(resp.Topics[0].Partitions) {
			switch e := resp.Topics[0].Partitions[i].ErrorCode; {
			case e == wire.None:
				o.Outcome = checker.OK
			case refuses(e):
				o.Outcome = checker.Fail
			}
		}
		b.f.tell(o)
	}
}

// stored tells what a coordinator says is committed.
func (b *base) stored(began core.Mono, group string, p *wire.OffsetFetchResponseGroupPartition) {
	o := b.op(checker.FetchOffset, began)
	o.Group, o.Partition, o.Offset = group, int64(p.PartitionIndex), p.CommittedOffset
	if p.Metadata != nil {
		o.Token = *p.Metadata
	}
	b.f.tell(o)
}
