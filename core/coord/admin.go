package coord

import (
	"slices"
	"strings"
)

// groupType is what ListGroups calls the groups of this package (Group.GroupType, KIP-848).
const groupType = "classic"

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// describe serves DescribeGroups for one group.
func (c *Coordinator) describe(r *DescribeRequest) *DescribeResponse {
	resp := &DescribeResponse{Group: r.Group, State: dead.String()}
	g := c.live.At(r.Group)
	if g == nil {
		if r.NameUnknown {
			message := "Group " + r.Group + " not found."
			resp.Err, resp.Message = errGroupNotFound, &message
		}
		return resp
	}
	resp.State, resp.ProtocolType = g.state.String(), text(g.protocolType)
	if g.state == stable {
		resp.Protocol = text(g.protocol)
	}
	g.members.Each(func(id string, m *member) {
		d := DescribedMember{
			Member: id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			Assignment: m.assignment,
		}
		if g.state == stable {
			d.Metadata = m.metadata(text(g.protocol))
		}
		resp.Members = append(resp.Members, d)
	})
	return resp
}

// list serves ListGroups (KIP-518, KIP-848) for this partition.
func (c *Coordinator) list(r *ListRequest) *ListResponse {
	passes := func(filter []string, v string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
			return strings.EqualFold(strings.TrimSpace(f), v)
		})
	}
	resp := &ListResponse{}
	if !passes(r.Types, groupType) {
		return resp
	}
	c.live.Each(func(name string, g *group) {
		if passes(r.States, g.state.String()) {
			resp.Groups = append(resp.Groups, ListedGroup{
				Group: name, ProtocolType: text(g.protocolType),
				State: g.state.String(), Type: groupType,
			})
		}
	})
	return resp
}

// deleteGroup serves DeleteGroups for one group: it and its offsets are gone at once for everybody
// who asks, and for good when the log says so.
func (c *Coordinator) deleteGroup(r *DeleteGroupRequest, done waiter) {
	g := c.live.At(r.Group)
	switch {
	case g == nil:
		c.answer(done, &DeleteGroupResponse{Err: errGroupNotFound})
		return
	case g.state != empty:
		c.answer(done, &DeleteGroupResponse{Err: errNonEmptyGroup})
		return
	}
	keys := c.offsetKeys([]string{r.Group}, func(k recordKey, _ TopicID) bool { return k.group == r.Group })
	c.discard(g)
	c.append(&write{
		group: r.Group,
		recs:  append(tombstones(keys), KeyValue{Key: encodeGroupKey(r.Group)}),
		then: []func(Outcome){func(o Outcome) {
			if o != Committed && c.leading {
				c.revive(r.Group)
			}
			c.answer(done, &DeleteGroupResponse{Err: o.code()})
		}},
	})
}

// discard ends a live group without members.
func (c *Coordinator) discard(g *group) {
	for g.pending.Len() > 0 {
		g.dropPending(g.pending.Keys()[0])
	}
	g.state = dead
	c.live.Delete(g.name)
}

// forget discards a group that nothing speaks for any more: no member, nothing stored, nothing on its
// way into the log.
func (c *Coordinator) forget(g *group) {
	if g.state == empty && g.pending.Len() == 0 && c.live.At(g.name) == g &&
		c.stored.At(g.name) == nil && c.lastWrite(g.name) == nil {
		c.discard(g)
	}
}

// GroupView is one group for checkers and for those who watch.
type GroupView struct {
	Group      string
	State      string
	Generation int32
	Leader     string
	Protocol   string
	Members    []MemberView // sorted by id
}

// MemberView is one member of a GroupView.
type MemberView struct {
	Member     string
	Instance   *string
	Assignment []byte
}

// Groups visits the groups in order: as the log knows them, whether this replica leads or not. In one
// generation no partition is assigned twice (A22). The slices are the coordinator's own.
func (c *Coordinator) Groups(visit func(g GroupView)) {
	c.stored.Each(func(name string, s *stored) {
		v := GroupView{Group: name, State: empty.String()}
		if s.meta != nil {
			v.Generation = s.meta.generation
			v.Leader, v.Protocol = text(s.meta.leader), text(s.meta.protocol)
			for _, m := range s.meta.members {
				v.State = stable.String()
				v.Members = append(v.Members, MemberView{m.id, m.instance, m.assignment})
			}
		}
		visit(v)
	})
}

// Live is Groups as the leader sees them at this moment; it visits nothing elsewhere.
func (c *Coordinator) Live(visit func(g GroupView)) {
	c.live.Each(func(name string, g *group) {
		v := GroupView{
			Group: name, State: g.state.String(), Generation: g.generation, Leader: g.leader,
			Protocol: text(g.protocol),
		}
		g.members.Each(func(id string, m *member) {
			v.Members = append(v.Members, MemberView{id, m.instance, m.assignment})
		})
		visit(v)
	})
}
