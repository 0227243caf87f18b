package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/wire"
)

// DeleteGroups: v0-2
//
// Behaviour:
//   - Each group is deleted by its own coordinator, if it has no members; the answer is in the order of the
//     request.
//
// Version notes: v1 and v2 changed nothing but the encoding.
//
// Left out: nothing.
func deleteGroups(r *request, body wire.Message) {
	q := body.(*wire.DeleteGroupsRequest)
	resp := &wire.DeleteGroupsResponse{Results: make([]wire.DeleteGroupsResponseResult, len(q.GroupsNames))}
	one := gather(len(q.GroupsNames), func() { r.answer(resp) })
	for i, name := range q.GroupsNames {
		ask(r, name, &coord.DeleteGroupRequest{Group: name}, func(a *coord.DeleteGroupResponse) {
			resp.Results[i] = wire.DeleteGroupsResponseResult{GroupId: name, ErrorCode: wire.Error(a.Err)}
			one()
		})
	}
}
