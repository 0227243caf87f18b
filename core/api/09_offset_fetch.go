package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// OffsetFetch: v1-10
//
// Behaviour:
//   - An unknown group, or a partition without a committed offset, is offset -1 without an error: clients
//     begin there, and some fail on anything else.
//   - Null topics are all that the group has offsets of.
//
// Version notes:
//   - v1: errors of the group stand at each partition. v2: all topics, and an error of the group.
//   - v5: leader epoch. v7: require_stable (KIP-447). v8: several groups. v10: topic ids; an unknown one is
//     UNKNOWN_TOPIC_ID, and offsets of deleted topics are left out of "all".
//
// Left out: member ids and epochs (v9), which are of the new group protocol.
func offsetFetch(r *request, body wire.Message) {
	q := body.(*wire.OffsetFetchRequest)
	if r.version() < 8 {
		fetchOneGroup(r, q)
		return
	}
	resp := &wire.OffsetFetchResponse{Groups: make([]wire.OffsetFetchResponseGroup, len(q.Groups))}
	one := gather(len(q.Groups), func() { r.answer(resp) })
	for i := range q.Groups {
		fetchGroup(r, &q.Groups[i], q.RequireStable, &resp.Groups[i], one)
	}
}

func fetchOneGroup(r *request, q *wire.OffsetFetchRequest) {
	req := &coord.OffsetFetchRequest{Group: q.GroupId, RequireStable: q.RequireStable}
	if q.Topics != nil {
		req.Topics = make([]coord.FetchTopic, len(q.Topics))
	}
	for i := range q.Topics {
		req.Topics[i] = coord.FetchTopic{Topic: q.Topics[i].Name, Partitions: q.Topics[i].PartitionIndexes}
	}
	ask(r, q.GroupId, req, func(a *coord.OffsetFetchResponse) {
		resp := &wire.OffsetFetchResponse{ErrorCode: wire.Error(a.Err)}
		topics := a.Topics
		if a.Err != 0 && r.version() < 2 {
			topics = refuseFetch(req.Topics, a.Err)
		}
		for _, t := range topics {
			out := wire.OffsetFetchResponseTopic{Name: t.Topic}
			for _, p := range t.Partitions {
				out.Partitions = append(out.Partitions, wire.OffsetFetchResponsePartition{PartitionIndex: p.Partition,
					CommittedOffset: p.Offset, CommittedLeaderEpoch: p.LeaderEpoch, Metadata: &p.Metadata, ErrorCode: wire.Error(p.Err)})
			}
			resp.Topics = append(resp.Topics, out)
		}
		r.answer(resp)
	})
}

// refuseFetch gives every partition the error of its group.
func refuseFetch(topics []coord.FetchTopic, err int16) []coord.FetchedTopic {
	var out []coord.FetchedTopic
	for _, t := range topics {
		ft := coord.FetchedTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			ft.Partitions = append(ft.Partitions, coord.FetchedPartition{Partition: p, Offset: -1,
				LeaderEpoch: -1, Err: err})
		}
		out = append(out, ft)
	}
	return out
}

func fetchGroup(r *request, g *wire.OffsetFetchRequestGroup, stable bool,
	out *wire.OffsetFetchResponseGroup, one func()) {
	byID := r.version() >= 10
	out.GroupId = g.GroupId
	req := &coord.OffsetFetchRequest{Group: g.GroupId, RequireStable: stable}
	var unknown []wire.OffsetFetchResponseGroupTopic
	if g.Topics != nil {
		req.Topics = []coord.FetchTopic{}
	}
	for i := range g.Topics {
		t := &g.Topics[i]
		name := r.nameOf(t.Name, t.TopicId, byID)
		if byID && name == "" {
			unknown = append(unknown, unknownOffsets(t))
			continue
		}
		req.Topics = append(req.Topics, coord.FetchTopic{Topic: name, TopicID: t.TopicId,
			Partitions: t.PartitionIndexes})
	}
	ask(r, g.GroupId, req, func(a *coord.OffsetFetchResponse) {
		if out.ErrorCode = wire.Error(a.Err); a.Err == 0 {
			for i := range a.Topics {
				id := wire.UUID(a.Topics[i].TopicID)
				if t := r.h().View().Topic(a.Topics[i].Topic); t != nil && id == (wire.UUID{}) {
					id = t.ID
				}
				if byID && id == (wire.UUID{}) {
					continue
				}
				out.Topics = append(out.Topics, fetchedTopic(&a.Topics[i], id))
			}
			out.Topics = append(out.Topics, unknown...)
		}
		one()
	})
}

func unknownOffsets(t *wire.OffsetFetchRequestGroupTopic) wire.OffsetFetchResponseGroupTopic {
	out := wire.OffsetFetchResponseGroupTopic{TopicId: t.TopicId}
	for _, p := range t.PartitionIndexes {
		o := wire.NewOffsetFetchResponseGroupPartition()
		o.PartitionIndex, o.CommittedOffset, o.Metadata, o.ErrorCode = p, -1, new(string), wire.UnknownTopicId
		out.Partitions = append(out.Partitions, o)
	}
	return out
}

func fetchedTopic(t *coord.FetchedTopic, id wire.UUID) wire.OffsetFetchResponseGroupTopic {
	out := wire.OffsetFetchResponseGroupTopic{Name: t.Topic, TopicId: id}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		out.Partitions = append(out.Partitions, wire.OffsetFetchResponseGroupPartition{PartitionIndex: p.Partition,
			CommittedOffset: p.Offset, CommittedLeaderEpoch: p.LeaderEpoch, Metadata: &p.Metadata, ErrorCode: wire.Error(p.Err)})
	}
	return out
}
