package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// OffsetCommit: v2-10
//
// Behaviour:
//   - Partitions that do not exist are refused by themselves; the others go to the group's coordinator,
//     which answers when they are committed to __consumer_offsets. With none left nobody is asked.
//
// Version notes:
//   - v2-v4: retention time. v6: leader epoch. v7: static members. v9: GROUP_ID_NOT_FOUND for a group that
//     does not exist. v10: topic ids; an unknown one is UNKNOWN_TOPIC_ID.
//
// Left out: member epochs of the new group protocol (KIP-848).
func offsetCommit(r *request, body wire.Message) {
	q := body.(*wire.OffsetCommitRequest)
	resp := &wire.OffsetCommitResponse{Topics: make([]wire.OffsetCommitResponseTopic, len(q.Topics))}
	req := &coord.OffsetCommitRequest{Group: q.GroupId, Member: q.MemberId, Instance: q.GroupInstanceId,
		Generation: q.GenerationIdOrMemberEpoch, RetentionMillis: q.RetentionTimeMs, NameUnknownGroup: r.version() >= 9}
	var slots []*wire.OffsetCommitResponsePartition // of the partitions in req, in its order
	for i := range q.Topics {
		t, out := &q.Topics[i], &resp.Topics[i]
		*out = wire.OffsetCommitResponseTopic{Name: t.Name, TopicId: t.TopicId,
			Partitions: make([]wire.OffsetCommitResponsePartition, len(t.Partitions))}
		name := r.nameOf(t.Name, t.TopicId, r.version() >= 10)
		ct := coord.CommitTopic{Topic: name, TopicID: t.TopicId}
		for j := range t.Partitions {
			p, po := &t.Partitions[j], &out.Partitions[j]
			po.PartitionIndex, po.ErrorCode = p.PartitionIndex, r.known(name, p.PartitionIndex)
			if name == "" && r.version() >= 10 {
				po.ErrorCode = wire.UnknownTopicId
			}
			if po.ErrorCode == wire.None {
				slots = append(slots, po)
				ct.Partitions = append(ct.Partitions, coord.CommitPartition{Partition: p.PartitionIndex,
					Offset: p.CommittedOffset, LeaderEpoch: p.CommittedLeaderEpoch, Metadata: text(p.CommittedMetadata)})
			}
		}
		if len(ct.Partitions) > 0 {
			req.Topics = append(req.Topics, ct)
		}
	}
	if len(slots) == 0 {
		r.answer(resp)
		return
	}
	ask(r, q.GroupId, req, func(a *coord.OffsetCommitResponse) {
		spread(a.Topics, len(slots), func(n int, err wire.Error) { slots[n].ErrorCode = err })
		r.answer(resp)
	})
}

// spread visits the results of a coordinator, which are in the order of what it was given.
func spread(topics []coord.TopicResult, most int, visit func(n int, err wire.Error)) {
	n := 0
	for i := range topics {
		for _, p := range topics[i].Partitions {
			if n < most {
				visit(n, wire.Error(p.Err))
			}
			n++
		}
	}
}
