package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// DescribeGroups: v0-6
//
// Behaviour:
//   - Each group is asked of its own coordinator; the answer is in the order of the request.
//
// Version notes:
//   - v3: authorised operations. v4: instance ids. v6: a group that does not exist is GROUP_ID_NOT_FOUND
//     with a message; before, it is "Dead" without an error.
//
// Left out: access rules; authorised operations are all that there are, when the client asks for them.
func describeGroups(r *request, body wire.Message) {
	q := body.(*wire.DescribeGroupsRequest)
	resp := &wire.DescribeGroupsResponse{Groups: make([]wire.DescribeGroupsResponseGroup, len(q.Groups))}
	one := gather(len(q.Groups), func() { r.answer(resp) })
	for i, name := range q.Groups {
		req := &coord.DescribeRequest{Group: name, NameUnknown: r.version() >= 6}
		ask(r, name, req, func(a *coord.DescribeResponse) {
			g := wire.NewDescribeGroupsResponseGroup()
			g.ErrorCode, g.ErrorMessage, g.GroupId = wire.Error(a.Err), a.Message, name
			g.GroupState, g.ProtocolType, g.ProtocolData = a.State, a.ProtocolType, a.Protocol
			for _, m := range a.Members {
				g.Members = append(g.Members, wire.DescribeGroupsResponseMember{MemberId: m.Member,
					GroupInstanceId: m.Instance, ClientId: m.ClientID, ClientHost: m.ClientHost,
					MemberMetadata: m.Metadata, MemberAssignment: m.Assignment})
			}
			if q.IncludeAuthorizedOperations && g.ErrorCode == wire.None {
				g.AuthorizedOperations = groupOperations
			}
			resp.Groups[i] = g
			one()
		})
	}
}
