package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// ListOffsets: v1-11
//
// Behaviour:
//   - A time gives the first record at or after it; -1 the high watermark, -2 the log start, -3 the record
//     with the largest timestamp, -4 the log start again (all of a log is local), -5 and -6 nothing, for
//     there is no tiered storage. Nothing is offset -1, without an error.
//   - The latest offset is proved: the leader asks its followers whether it still leads (DESIGN.md 11,
//     rule 8). A new leader that does not know yet says OFFSET_NOT_AVAILABLE (before v5
//     LEADER_NOT_AVAILABLE).
//   - A partition that is named twice is INVALID_REQUEST.
//   - Ours alone: a debugging consumer (replica id -2) that asks for -1000-OFFSET has this node, whoever leads, compare
//     the index files of the segment that holds OFFSET with it. The answer's timestamp is the segment's base offset, its
//     offset that of the next segment or -1, its leader epoch a sum: 1 when the .index is wrong, 2 when the .timeindex is.
//     A node that is at it already says OFFSET_NOT_AVAILABLE.
//
// Version notes:
//   - v2: isolation level. v4: leader epochs. v7: -3. v8: -4. v9: -5. v11: -6. Asked in an earlier version
//     a special time is UNSUPPORTED_VERSION. v10: a timeout for tiered storage, of no meaning here.
//
// Left out: followers (a replica id is refused). There are no transactions yet: the last stable offset is
// the high watermark.
func listOffsets(r *request, body wire.Message) {
	q := body.(*wire.ListOffsetsRequest)
	resp := &wire.ListOffsetsResponse{Topics: make([]wire.ListOffsetsResponseTopic, len(q.Topics))}
	seen := map[partKey]int{} //det:ok looked up, never ranged
	total := 0
	for i := range q.Topics {
		t := &q.Topics[i]
		resp.Topics[i] = wire.ListOffsetsResponseTopic{Name: t.Name,
			Partitions: make([]wire.ListOffsetsResponsePartition, len(t.Partitions))}
		for j := range t.Partitions {
			seen[partKey{name: t.Name, index: t.Partitions[j].PartitionIndex}]++
		}
		total += len(t.Partitions)
	}
	one := gather(total+1, func() { r.answer(resp) })
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			ask, out := &q.Topics[i].Partitions[j], &resp.Topics[i].Partitions[j]
			*out = wire.NewListOffsetsResponsePartition()
			out.PartitionIndex = ask.PartitionIndex
			name := q.Topics[i].Name
			twice := seen[partKey{name: name, index: ask.PartitionIndex}] > 1
			if out.ErrorCode = r.refuseList(q, ask, twice); out.ErrorCode != wire.None {
				one()
				continue
			}
			op := ListOp{Timestamp: ask.Timestamp, Epoch: core.Epoch(ask.CurrentLeaderEpoch)}
			if q.ReplicaId == debugging && ask.Timestamp <= indexesAt {
				op = ListOp{Timestamp: IndexesAt, At: core.Offset(indexesAt - ask.Timestamp), Epoch: -1}
			}
			r.listOffset(name, ask, op, out, one)
		}
	}
	one()
}

func (r *request) refuseList(q *wire.ListOffsetsRequest, ask *wire.ListOffsetsRequestPartition,
	twice bool) wire.Error {
	switch {
	case twice || q.ReplicaId >= 0:
		return wire.InvalidRequest
	case q.ReplicaId == debugging && ask.Timestamp <= indexesAt:
	case ask.Timestamp < 0 && r.version() < specialSince(ask.Timestamp):
		return wire.UnsupportedVersion
	}
	return wire.None
}

// indexesAt is the timestamp that asks for the indexes of the segment with offset 0.
const indexesAt = -1000

// specialSince is the first version that knows a special timestamp (ReplicaManager.scala,
// timestampMinSupportedVersion).
func specialSince(timestamp int64) int16 {
	switch timestamp {
	case -1, -2:
		return 1
	case -3:
		return 7
	case -4:
		return 8
	case -5:
		return 9
	case -6:
		return 11
	}
	return 1<<15 - 1
}

func (r *request) listOffset(name string, ask *wire.ListOffsetsRequestPartition, op ListOp,
	out *wire.ListOffsetsResponsePartition, one func()) {
	t := r.h().View().Topic(name)
	if t == nil || ask.PartitionIndex < 0 || int(ask.PartitionIndex) >= len(t.Partitions) {
		out.ErrorCode = wire.UnknownTopicOrPartition
		one()
		return
	}
	if ask.Timestamp == -6 {
		one()
		return
	}
	r.h().List(Part{t, ask.PartitionIndex}, op, func(res ListResult, _ Leadership) {
		if !r.acting() {
			return
		}
		if res.Err == replica.NotAvailable {
			markListEarly.Hit()
		}
		switch {
		case res.Err == replica.NotAvailable && r.version() < 5:
			out.ErrorCode = wire.LeaderNotAvailable
		case res.Err != replica.OK:
			out.ErrorCode = outcomeError(res.Err)
		default:
			out.Offset, out.Timestamp, out.LeaderEpoch = int64(res.Offset), int64(res.Timestamp), int32(res.Epoch)
		}
		one()
	})
}
