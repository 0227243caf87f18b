package api

import (
	"slices"

	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// DescribeTopicPartitions: v0
//
// Behaviour:
//   - Topics in the order of their names, all of them for an empty list, with as many partitions as the
//     limit allows (at most max.request.partition.size.limit); next_cursor says where the next page begins.
//   - A cursor whose topic is gone goes on with the next one.
//   - Shows what was changed through any node before the request came.
//   - A leader that is dead, or unknown, is -1 with LEADER_NOT_AVAILABLE; this request does not wait.
//
// Version notes: there is one version.
//
// Left out: eligible leader replicas (KIP-966): raft needs none, the lists are empty.
func describeTopicPartitions(r *request, body wire.Message) {
	r.fresh(func() { r.describeTopicPartitions(body.(*wire.DescribeTopicPartitionsRequest)) })
}

func (r *request) describeTopicPartitions(q *wire.DescribeTopicPartitionsRequest) {
	p := &paging{r: r,
		resp: &wire.DescribeTopicPartitionsResponse{Topics: []wire.DescribeTopicPartitionsResponseTopic{}}}
	p.left = max(1, min(int(q.ResponsePartitionLimit), int(intSetting(r.h(), "max.request.partition.size.limit"))))
	from, first := "", int32(0)
	if q.Cursor != nil {
		from, first = q.Cursor.TopicName, q.Cursor.PartitionIndex
	}
	names := p.names(q)
	if first < 0 {
		p.refuse(names)
		r.answer(p.resp)
		return
	}
	i, found := slices.BinarySearch(names, from)
	for _, name := range names[i:] {
		if !found || name != from {
			first = 0
		}
		if !p.add(name, first, len(q.Topics) == 0) {
			break
		}
	}
	r.answer(p.resp)
}

// paging is one page on its way.
type paging struct {
	r    *request
	resp *wire.DescribeTopicPartitionsResponse
	left int // partitions that the page may still hold
}

// names are the topics that were asked for, sorted.
func (p *paging) names(q *wire.DescribeTopicPartitionsRequest) []string {
	var out []string
	for i := range q.Topics {
		out = append(out, q.Topics[i].Name)
	}
	if len(q.Topics) == 0 {
		for _, t := range p.r.h().View().Topics {
			out = append(out, t.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *paging) refuse(names []string) {
	for _, name := range names {
		p.resp.Topics = append(p.resp.Topics, emptyTopic(name, wire.InvalidRequest))
	}
}

func emptyTopic(name string, err wire.Error) wire.DescribeTopicPartitionsResponseTopic {
	return wire.DescribeTopicPartitionsResponseTopic{Name: &name, ErrorCode: err, IsInternal: meta.Internal(name),
		TopicAuthorizedOperations: -1 << 31}
}

// add describes a topic from a partition on; false when the page is full and the cursor is set.
func (p *paging) add(name string, first int32, all bool) bool {
	t := p.r.h().View().Topic(name)
	switch {
	case t == nil && meta.CheckName(name) != "":
		p.resp.Topics = append(p.resp.Topics, emptyTopic(name, wire.InvalidTopicException))
		return true
	case t == nil:
		if !all {
			p.resp.Topics = append(p.resp.Topics, emptyTopic(name, wire.UnknownTopicOrPartition))
		}
		return true
	}
	if p.left == 0 {
		p.resp.NextCursor = &wire.DescribeTopicPartitionsResponseCursor{TopicName: name, PartitionIndex: first}
		return false
	}
	out := emptyTopic(name, wire.None)
	out.TopicId, out.TopicAuthorizedOperations = t.ID, topicOperations
	i := first
	for ; int(i) < len(t.Partitions) && p.left > 0; i++ {
		s := p.r.conn.stateOf(Part{t, i})
		out.Partitions = append(out.Partitions, wire.DescribeTopicPartitionsResponsePartition{ErrorCode: s.err,
			PartitionIndex: i, LeaderId: s.leader, LeaderEpoch: s.epoch, ReplicaNodes: s.replicas, IsrNodes: s.isr,
			EligibleLeaderReplicas: []int32{}, LastKnownElr: []int32{}, OfflineReplicas: s.offline})
		p.left--
	}
	p.resp.Topics = append(p.resp.Topics, out)
	if int(i) < len(t.Partitions) {
		p.resp.NextCursor = &wire.DescribeTopicPartitionsResponseCursor{TopicName: name, PartitionIndex: i}
		return false
	}
	return true
}
