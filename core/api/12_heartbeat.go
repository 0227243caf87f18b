package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// Heartbeat: v0-4
//
// Behaviour:
//   - Tells the coordinator that a member lives, and the member that a rebalance is on.
//
// Version notes:
//   - v3: static members.
//
// Left out: nothing.
func heartbeat(r *request, body wire.Message) {
	q := body.(*wire.HeartbeatRequest)
	req := &coord.HeartbeatRequest{Group: q.GroupId, Member: q.MemberId, Instance: q.GroupInstanceId,
		Generation: q.GenerationId}
	ask(r, q.GroupId, req, func(a *coord.HeartbeatResponse) {
		r.answer(&wire.HeartbeatResponse{ErrorCode: wire.Error(a.Err)})
	})
}
