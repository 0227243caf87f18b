package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// OffsetDelete: v0
//
// Behaviour:
//   - Partitions that do not exist are refused by themselves; the others go to the group's coordinator. An
//     error of the group leaves the list of topics empty.
//
// Version notes: there is one version.
//
// Left out: nothing.
func offsetDelete(r *request, body wire.Message) {
	q := body.(*wire.OffsetDeleteRequest)
	resp := &wire.OffsetDeleteResponse{Topics: make([]wire.OffsetDeleteResponseTopic, len(q.Topics))}
	req := &coord.OffsetDeleteRequest{Group: q.GroupId}
	var slots []*wire.OffsetDeleteResponsePartition
	for i := range q.Topics {
		t, out := &q.Topics[i], &resp.Topics[i]
		*out = wire.OffsetDeleteResponseTopic{Name: t.Name,
			Partitions: make([]wire.OffsetDeleteResponsePartition, len(t.Partitions))}
		ft := coord.FetchTopic{Topic: t.Name}
		for j := range t.Partitions {
			p := t.Partitions[j].PartitionIndex
			out.Partitions[j] = wire.OffsetDeleteResponsePartition{PartitionIndex: p, ErrorCode: r.known(t.Name, p)}
			if out.Partitions[j].ErrorCode == wire.None {
				slots = append(slots, &out.Partitions[j])
				ft.Partitions = append(ft.Partitions, p)
			}
		}
		if len(ft.Partitions) > 0 {
			req.Topics = append(req.Topics, ft)
		}
	}
	ask(r, q.GroupId, req, func(a *coord.OffsetDeleteResponse) {
		if resp.ErrorCode = wire.Error(a.Err); a.Err != 0 {
			resp.Topics = nil
		}
		spread(a.Topics, len(slots), func(n int, err wire.Error) { slots[n].ErrorCode = err })
		r.answer(resp)
	})
}
