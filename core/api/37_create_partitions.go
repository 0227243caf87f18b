package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// CreatePartitions: v0-3
//
// Behaviour:
//   - Each topic is a command of its own to the metadata leader. The answer leaves when every new
//     partition has a leader, or at timeout_ms.
//   - validate_only runs the same code on this node's view and changes nothing.
//   - A name that is in the request twice is INVALID_REQUEST, once for both.
//
// Version notes: v1 to v3 changed the encoding, and an error of quotas that are left out.
//
// Left out: quotas on partitions made (KIP-599).
func createPartitions(r *request, body wire.Message) {
	q := body.(*wire.CreatePartitionsRequest)
	resp := &wire.CreatePartitionsResponse{Results: make([]wire.CreatePartitionsResponseResult, 0, len(q.Topics))}
	times := map[string]int{} //det:ok looked up, never ranged
	for i := range q.Topics {
		times[q.Topics[i].Name]++
	}
	var asks []*wire.CreatePartitionsRequestTopic
	for i := range q.Topics {
		name := q.Topics[i].Name
		if times[name] == 0 {
			continue
		}
		out := wire.CreatePartitionsResponseResult{Name: name}
		if times[name] > 1 {
			times[name] = 0
			out.ErrorCode, out.ErrorMessage = wire.InvalidRequest, messageOr("Duplicate topic name.", 0)
		}
		resp.Results = append(resp.Results, out)
		asks = append(asks, &q.Topics[i])
	}
	var fresh []core.GroupID
	inTurn(len(asks), func(i int, one func()) {
		t, out := asks[i], &resp.Results[i]
		cmd := &meta.CreatePartitions{Topic: t.Name, Count: t.Count, Live: live(r.h())}
		for _, a := range t.Assignments {
			cmd.Assignment = append(cmd.Assignment, coreNodes(a.BrokerIds))
		}
		switch {
		case out.ErrorCode != wire.None:
			one()
		case q.ValidateOnly:
			out.ErrorCode, out.ErrorMessage = adminError(r.h().View().Check(cmd), AdminOK)
			one()
		default:
			r.admin(cmd, q.TimeoutMs, func(res meta.Result, e AdminErr) {
				if out.ErrorCode, out.ErrorMessage = adminError(res, e); out.ErrorCode == wire.None {
					fresh = append(fresh, groupsOf(res)...)
				}
				one()
			})
		}
	}, func() {
		r.awaitLeaders(fresh, core.Mono(q.TimeoutMs)*core.Millisecond, func() { r.answer(resp) })
	})
}
