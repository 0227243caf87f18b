package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// LeaveGroup: v0-5
//
// Behaviour:
//   - Members leave at once; the group rebalances.
//
// Version notes:
//   - Below v3 one member, whose error is the answer's. v3: several, also static ones by their instance id.
//   - v5: a reason, which nobody reads.
//
// Left out: nothing.
func leaveGroup(r *request, body wire.Message) {
	q := body.(*wire.LeaveGroupRequest)
	req := &coord.LeaveRequest{Group: q.GroupId}
	if r.version() < 3 {
		req.Members = []coord.LeaveMember{{Member: q.MemberId}}
	}
	for _, m := range q.Members {
		req.Members = append(req.Members, coord.LeaveMember{Member: m.MemberId, Instance: m.GroupInstanceId})
	}
	ask(r, q.GroupId, req, func(a *coord.LeaveResponse) {
		resp := &wire.LeaveGroupResponse{ErrorCode: wire.Error(a.Err)}
		for _, m := range a.Members {
			resp.Members = append(resp.Members,
				wire.LeaveGroupResponseMember{MemberId: m.Member, GroupInstanceId: m.Instance,
					ErrorCode: wire.Error(m.Err)})
		}
		if r.version() < 3 && resp.ErrorCode == wire.None && len(resp.Members) == 1 {
			resp.ErrorCode = resp.Members[0].ErrorCode
		}
		r.answer(resp)
	})
}
