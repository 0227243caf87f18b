package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// SyncGroup: v0-5
//
// Behaviour:
//   - The leader of a group brings the assignment; everybody is answered with their part once it is
//     committed.
//
// Version notes:
//   - v3: static members. v5: protocol type and name must be given and agree (KIP-559).
//
// Left out: nothing.
func syncGroup(r *request, body wire.Message) {
	q := body.(*wire.SyncGroupRequest)
	req := &coord.SyncRequest{Group: q.GroupId, Member: q.MemberId, Instance: q.GroupInstanceId,
		Generation: q.GenerationId, ProtocolType: q.ProtocolType, Protocol: q.ProtocolName,
		RequireProtocol: r.version() >= 5}
	for _, a := range q.Assignments {
		req.Assignments = append(req.Assignments, coord.Assignment{Member: a.MemberId, Bytes: a.Assignment})
	}
	ask(r, q.GroupId, req, func(a *coord.SyncResponse) {
		r.answer(&wire.SyncGroupResponse{ErrorCode: wire.Error(a.Err), ProtocolType: a.ProtocolType,
			ProtocolName: a.Protocol, Assignment: a.Assignment})
	})
}
