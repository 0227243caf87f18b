package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// OffsetForLeaderEpoch: v2-4
//
// Behaviour:
//   - Names the newest epoch that is not above the one asked for, and the offset at which the next begins:
//     the high watermark for the current epoch (LeaderEpochFileCache.endOffsetFor). A consumer that read
//     beyond it read a log that was cut; under raft nothing that a consumer may read is ever cut, so the
//     answer only confirms it (KIP-320).
//   - An epoch that this log has never seen is answered with epoch and offset -1.
//
// Version notes:
//   - v3: replica id, refused unless a consumer's. v4: flexible.
func offsetForLeaderEpoch(r *request, body wire.Message) {
	q := body.(*wire.OffsetForLeaderEpochRequest)
	resp := &wire.OffsetForLeaderEpochResponse{Topics: make([]wire.OffsetForLeaderEpochResponseTopic, len(q.Topics))}
	total := 0
	for i := range q.Topics {
		total += len(q.Topics[i].Partitions)
	}
	one := gather(total+1, func() { r.answer(resp) })
	for i := range q.Topics {
		t := &q.Topics[i]
		out := make([]wire.OffsetForLeaderEpochResponsePartition, len(t.Partitions))
		resp.Topics[i] = wire.OffsetForLeaderEpochResponseTopic{Topic: t.Topic, Partitions: out}
		for j := range t.Partitions {
			r.epochEnd(q, t.Topic, &t.Partitions[j], &out[j], one)
		}
	}
	one()
}

func (r *request) epochEnd(q *wire.OffsetForLeaderEpochRequest, name string, ask *wire.OffsetForLeaderEpochRequestPartition,
	out *wire.OffsetForLeaderEpochResponsePartition, one func()) {
	*out = wire.NewOffsetForLeaderEpochResponsePartition()
	out.Partition, out.LeaderEpoch, out.EndOffset = ask.Partition, -1, -1
	t := r.h().View().Topic(name)
	switch {
	case q.ReplicaId >= 0:
		out.ErrorCode = wire.InvalidRequest
	case t == nil || ask.Partition < 0 || int(ask.Partition) >= len(t.Partitions):
		out.ErrorCode = wire.UnknownTopicOrPartition
	default:
		op := ListOp{Timestamp: EpochEnd, Epoch: core.Epoch(ask.CurrentLeaderEpoch), EndOf: core.Epoch(ask.LeaderEpoch)}
		r.h().List(Part{t, ask.Partition}, op, func(res ListResult, _ Leadership) {
			if !r.acting() {
				return
			}
			if res.Err != replica.OK {
				out.ErrorCode = outcomeError(res.Err)
			} else {
				out.LeaderEpoch, out.EndOffset = int32(res.Epoch), int64(res.Offset)
			}
			one()
		})
		return
	}
	one()
}
