package api

import (
	"cmp"
	"slices"

	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// ListGroups: v0-5
//
// Behaviour:
//   - The groups that this node coordinates, sorted. Clients ask every node. A coordinator that is still
//     loading makes the whole answer COORDINATOR_LOAD_IN_PROGRESS, with the groups that are known.
//
// Version notes:
//   - v4: states, and a filter on them. v5: types, and a filter on them.
//
// Left out: types other than classic do not exist yet.
func listGroups(r *request, body wire.Message) {
	q := body.(*wire.ListGroupsRequest)
	req := &coord.ListRequest{States: q.StatesFilter, Types: q.TypesFilter}
	r.h().CoordinateAll(req, func(resps []any, err replica.Outcome) {
		if !r.acting() {
			return
		}
		resp := &wire.ListGroupsResponse{ErrorCode: coordinatorError(err)}
		for _, x := range resps {
			a, ok := x.(*coord.ListResponse)
			if !ok {
				continue
			}
			if a.Err != 0 {
				resp.ErrorCode = wire.Error(a.Err)
			}
			for _, g := range a.Groups {
				resp.Groups = append(resp.Groups, wire.ListGroupsResponseGroup{GroupId: g.Group,
					ProtocolType: g.ProtocolType, GroupState: g.State, GroupType: g.Type})
			}
		}
		slices.SortStableFunc(resp.Groups, func(a, b wire.ListGroupsResponseGroup) int {
			return cmp.Compare(a.GroupId, b.GroupId)
		})
		r.answer(resp)
	})
}
