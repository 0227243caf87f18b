package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// DeleteRecords: v0-2
//
// Behaviour (ReplicaManager.deleteRecordsOnLocalLog):
//   - Raises the log start of each partition to an offset, -1 for the high watermark. Above the high watermark
//     and below -1 it is OFFSET_OUT_OF_RANGE; at or below the log start nothing happens. The low watermark in
//     the answer is the log start after it.
//   - It is answered when the new start is committed: every leader to come knows it. What is not after
//     timeout_ms is REQUEST_TIMED_OUT, and may happen all the same.
//   - A topic whose cleanup.policy lacks delete is POLICY_VIOLATION, an internal one INVALID_TOPIC_EXCEPTION.
//   - Segments that lie below the start whole are removed by each replica, file.delete.delay.ms later; no
//     file is cut.
//
// Version notes:
//   - v2: flexible. v1 differs in throttling only, and there are no quotas.
//
// Left out: nothing.
func deleteRecords(r *request, body wire.Message) {
	q := body.(*wire.DeleteRecordsRequest)
	resp := &wire.DeleteRecordsResponse{Topics: make([]wire.DeleteRecordsResponseTopic, len(q.Topics))}
	total := 0
	for i := range q.Topics {
		total += len(q.Topics[i].Partitions)
	}
	one := gather(total+1, func() { r.answer(resp) })
	for i := range q.Topics {
		t := &q.Topics[i]
		out := make([]wire.DeleteRecordsResponsePartition, len(t.Partitions))
		resp.Topics[i] = wire.DeleteRecordsResponseTopic{Name: t.Name, Partitions: out}
		for j := range t.Partitions {
			out[j] = wire.DeleteRecordsResponsePartition{PartitionIndex: t.Partitions[j].PartitionIndex,
				LowWatermark: -1, ErrorCode: wire.RequestTimedOut}
		}
	}
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			r.deleteUpTo(q.Topics[i].Name, &q.Topics[i].Partitions[j], &resp.Topics[i].Partitions[j], one)
		}
	}
	one()
	if r.acting() {
		r.after(core.Mono(q.TimeoutMs)*core.Millisecond, func() { r.answer(resp) })
	}
}

func (r *request) deleteUpTo(name string, ask *wire.DeleteRecordsRequestPartition,
	out *wire.DeleteRecordsResponsePartition, one func()) {
	t := r.h().View().Topic(name)
	switch {
	case t == nil || ask.PartitionIndex < 0 || int(ask.PartitionIndex) >= len(t.Partitions):
		out.ErrorCode = wire.UnknownTopicOrPartition
	case t.Internal:
		out.ErrorCode = wire.InvalidTopicException
	case ask.Offset < -1:
		out.ErrorCode = wire.OffsetOutOfRange
	default:
		r.h().Trim(Part{t, ask.PartitionIndex}, core.Offset(ask.Offset), func(x replica.Trimmed) {
			if !r.acting() {
				return
			}
			out.ErrorCode, out.LowWatermark = outcomeError(x.Err), int64(x.Start)
			one()
		})
		return
	}
	one()
}
