package coord

import (
	"slices"

	"github.com/karst-stream/karst/core/det"
)

var (
	markStaticTakeover = det.NewMark("coord: a static member came back under a new id")
	markStaticReverted = det.NewMark("coord: a static member's new id could not be stored")
)

// uuidSize is what newMemberID adds to its prefix.
const uuidSize = 1 + 36

// join serves JoinGroup (GroupMetadataManager.classicGroupJoinToClassicGroup).
func (c *Coordinator) join(r *JoinRequest, done waiter) {
	refuse := func(code int16, id string) {
		c.answer(done, &JoinResponse{Err: code, Generation: -1, Member: id})
	}
	if code := c.checkJoin(r); code != errNone {
		refuse(code, r.Member)
		return
	}
	g := c.live.At(r.Group)
	isNew := g == nil
	if isNew && r.Member != "" {
		refuse(errUnknownMember, r.Member)
		return
	}
	if isNew {
		g = c.newGroup(r.Group)
	}
	protocols := ownProtocols(r.Protocols)
	switch {
	case !g.hasRoom(r.Member):
		g.remove(r.Member)
		refuse(errGroupMaxSizeReached, "")
		g.maybeComplete() // it may have been the one that was waited for
	case !g.accepts(r.ProtocolType, protocols):
		refuse(errInconsistentProtocol, r.Member)
	case r.Member != "":
		g.joinAgain(r, protocols, done)
	default:
		g.joinNew(r, protocols, done)
	}
	if isNew && (g.state != empty || g.pending.Len() > 0) {
		// A group is in the log from the first member on, so that the next leader lists it too.
		c.append(&write{group: g.name, recs: []KeyValue{g.emptyRecord()}})
	}
	c.forget(g)
}

func (c *Coordinator) checkJoin(r *JoinRequest) int16 {
	switch {
	case r.Group == "" || len(r.Group) > maxString:
		return errInvalidGroupID
	case r.SessionMillis < c.cfg.MinSessionMillis || r.SessionMillis > c.cfg.MaxSessionMillis:
		return errInvalidSessionTimeout
	case len(r.ClientID) > maxString-uuidSize, len(r.ClientHost) > maxString,
		len(r.ProtocolType) > maxString, r.Instance != nil && len(*r.Instance) > maxString-uuidSize:
		return errInvalidRequest // it could not be stored
	case slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return len(p.Name) > maxString }):
		return errInvalidRequest
	}
	return errNone
}

func (g *group) emptyRecord() KeyValue {
	meta := &groupMeta{since: g.since}
	return KeyValue{Key: encodeGroupKey(g.name), Value: encodeGroup(meta)}
}

// ownProtocols copies, each name once: the first counts.
func ownProtocols(in []Protocol) []Protocol {
	out := make([]Protocol, 0, len(in))
	seen := make(map[string]bool, len(in)) //det:ok looked up, never ranged
	for _, p := range in {
		if !seen[p.Name] {
			seen[p.Name] = true
			out = append(out, Protocol{Name: p.Name, Metadata: append([]byte{}, p.Metadata...)})
		}
	}
	return out
}

// hasRoom says whether the limit of members lets id in. During a rebalance those who came back are
// counted: a group that is over a lowered limit loses its last ones (KIP-389).
func (g *group) hasRoom(id string) bool {
	m := g.members.At(id)
	switch g.state {
	case preparing:
		return m != nil && m.join != nil || g.joining < g.c.cfg.GroupMaxSize
	case completing, stable:
		return m != nil || g.members.Len() < g.c.cfg.GroupMaxSize
	}
	return true
}

// joinNew serves a JoinGroup without a member id.
func (g *group) joinNew(r *JoinRequest, protocols []Protocol, done waiter) {
	if r.Instance != nil {
		id := g.newID(*r.Instance)
		if old, ok := g.statics.Get(*r.Instance); ok {
			g.takeOver(r, protocols, old, id, done)
			return
		}
		g.admit(r, protocols, id, done)
		return
	}
	id := g.newID(r.ClientID)
	if !r.RequireKnownMember {
		g.admit(r, protocols, id, done)
		return
	}
	t := &det.Timer{Fire: func(int64) { g.expirePending(id) }}
	g.pending.Set(id, t)
	g.c.timers.Arm(t, after(g.c, r.SessionMillis))
	g.c.answer(done, &JoinResponse{Err: errMemberIDRequired, Generation: -1, Member: id})
}

func (g *group) newID(prefix string) string {
	for {
		id := g.c.newMemberID(prefix)
		if g.members.At(id) == nil && g.pending.At(id) == nil {
			return id
		}
	}
}

// admit adds a member that was not there.
func (g *group) admit(r *JoinRequest, protocols []Protocol, id string, done waiter) {
	m := g.newMember(id, r.Instance)
	m.clientID, m.clientHost, m.fresh = r.ClientID, r.ClientHost, true
	if g.initial {
		g.grew = true
	}
	if g.members.Len() == 0 {
		g.protocolType = &r.ProtocolType
	}
	m.offer(r, protocols)
	g.add(m)
	g.setJoin(m, done)
	g.beat(m, newMemberMillis)
	g.rebalanceOrComplete()
}

func (m *member) offer(r *JoinRequest, protocols []Protocol) {
	m.protocols = protocols
	m.session, m.rebalance = r.SessionMillis, r.RebalanceMillis
	if m.rebalance < 0 {
		m.rebalance = m.session
	}
}

// update gives a member what it offers now, and makes it wait for the next generation.
func (g *group) update(m *member, r *JoinRequest, protocols []Protocol, done waiter) {
	g.countVotes(m, -1)
	m.offer(r, protocols)
	g.countVotes(m, 1)
	g.setJoin(m, done)
}

// joinAgain serves a JoinGroup with a member id.
func (g *group) joinAgain(r *JoinRequest, protocols []Protocol, done waiter) {
	if g.pending.At(r.Member) != nil && r.Instance == nil {
		g.admit(r, protocols, r.Member, done)
		return
	}
	if code := g.check(r.Member, r.Instance); code != errNone {
		g.c.answer(done, &JoinResponse{Err: code, Generation: -1, Member: r.Member})
		return
	}
	m := g.members.At(r.Member)
	// Who brings nothing new only missed an answer. The leader of a stable group asks for a rebalance:
	// it saw something that changes the assignment.
	same := m.offers(protocols)
	if same && (g.state == completing || g.state == stable && m.id != g.leader) {
		markMissed.Hit()
		g.c.answer(done, g.joined(m))
		return
	}
	g.update(m, r, protocols, done)
	g.rebalanceOrComplete()
}

// takeOver replaces the static member old by one with a new id: the process was started again. In a
// stable group that changes nothing but the id, and is stored instead of rebalanced (KIP-345).
func (g *group) takeOver(r *JoinRequest, protocols []Protocol, old, id string, done waiter) {
	markStaticTakeover.Hit()
	was := g.members.At(old)
	leader := g.leader
	m := g.replace(was, id)
	g.update(m, r, protocols, done)
	g.beat(m, m.session)
	switch chosen, _ := g.choose(); {
	case g.state == completing:
		// The leader may have made its assignment for the old id already.
		markStaticAmid.Hit()
		g.prepareRebalance()
	case g.state != stable:
		g.maybeComplete()
	case g.protocol == nil || *g.protocol != chosen:
		g.rebalanceOrComplete()
	default:
		g.c.append(&write{
			group: g.name,
			recs:  []KeyValue{g.record(func(m *member) []byte { return m.assignment })},
			then:  []func(Outcome){func(o Outcome) { g.tookOver(r, m, was, leader, o) }},
		})
	}
}

// tookOver answers a takeover that was stored. When the group went on to a rebalance meanwhile, the
// member waits for that like everybody.
func (g *group) tookOver(r *JoinRequest, m, was *member, leader string, o Outcome) {
	if g.state == dead || g.members.At(m.id) != m {
		return
	}
	if o != Committed {
		g.revert(m, was, leader, o)
		return
	}
	if g.state != stable || m.join == nil {
		return
	}
	resp := &JoinResponse{
		Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Member: m.id,
	}
	switch {
	case !r.MaySkipAssignment:
		// Named as leader it would make an assignment that nobody waits for: the old id keeps it away.
		resp.Leader = leader
	case m.id == g.leader:
		resp.Leader, resp.SkipAssignment, resp.Members = g.leader, true, g.roster()
	default:
		resp.Leader = g.leader
	}
	g.answerJoin(m, resp)
	g.beat(m, m.session)
}

// revert puts the old id of a static member back, since the log knows of no other.
func (g *group) revert(m, was *member, leader string, o Outcome) {
	markStaticReverted.Hit()
	g.answerJoin(m, &JoinResponse{
		Err: o.code(), Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: leader,
	})
	back := g.replace(m, was.id)
	g.countVotes(back, -1)
	back.protocols, back.session, back.rebalance = was.protocols, was.session, was.rebalance
	g.countVotes(back, 1)
	g.beat(back, back.session)
}

// replace gives the static member was another id. Whoever still uses the old one is fenced.
func (g *group) replace(was *member, id string) *member {
	g.answerJoin(was, &JoinResponse{Err: errFencedInstance, Generation: -1, Member: was.id})
	g.answerSync(was, &SyncResponse{Err: errFencedInstance})
	g.c.timers.Stop(&was.beat)
	g.members.Delete(was.id)
	if g.unsynced.At(was.id) {
		g.unsynced.Delete(was.id)
		g.unsynced.Set(id, true)
	}
	m := g.newMember(id, was.instance)
	m.clientID, m.clientHost, m.assignment = was.clientID, was.clientHost, was.assignment
	m.session, m.rebalance, m.protocols = was.session, was.rebalance, was.protocols
	g.members.Set(id, m)
	g.statics.Set(*m.instance, id)
	if g.leader == was.id {
		g.leader = id
	}
	return m
}
