package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// JoinGroup: v0-9
//
// Behaviour:
//   - The coordinator answers when the rebalance that this member joined is complete. What the connection
//     sends meanwhile waits.
//
// Version notes:
//   - v1: rebalance timeout. v4: a new member is told its id first (MEMBER_ID_REQUIRED). v5: static members.
//   - v7: protocol type in the answer. v8: a reason, which nobody reads. v9: skip_assignment (KIP-814).
//
// Left out: nothing of the classic protocol.
func joinGroup(r *request, body wire.Message) {
	q := body.(*wire.JoinGroupRequest)
	req := &coord.JoinRequest{Group: q.GroupId, Member: q.MemberId, Instance: q.GroupInstanceId,
		ClientID: r.clientID(), ClientHost: r.conn.remote, SessionMillis: q.SessionTimeoutMs,
		RebalanceMillis: q.RebalanceTimeoutMs, ProtocolType: q.ProtocolType, RequireKnownMember: r.version() >= 4,
		MaySkipAssignment: r.version() >= 9}
	for _, p := range q.Protocols {
		req.Protocols = append(req.Protocols, coord.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	ask(r, q.GroupId, req, func(a *coord.JoinResponse) {
		resp := &wire.JoinGroupResponse{ErrorCode: wire.Error(a.Err), GenerationId: a.Generation,
			ProtocolType: a.ProtocolType, ProtocolName: a.Protocol, Leader: a.Leader, SkipAssignment: a.SkipAssignment, MemberId: a.Member}
		for _, m := range a.Members {
			resp.Members = append(resp.Members,
				wire.JoinGroupResponseMember{MemberId: m.Member, GroupInstanceId: m.Instance, Metadata: m.Metadata})
		}
		r.answer(resp)
	})
}
