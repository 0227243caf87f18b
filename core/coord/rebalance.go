package coord

import "github.com/karst-stream/karst/core/det"

var (
	markMovedOn   = det.NewMark("coord: an assignment was stored after its group had moved on")
	markNobody    = det.NewMark("coord: a rebalance ended and nobody had come back")
	markLeaderNew = det.NewMark("coord: the leader of a group did not come back")
	markUnsynced  = det.NewMark("coord: members were removed because their SyncGroup did not come")
)

// rebalanceOrComplete follows every change of the membership: a group that may starts a rebalance,
// one that is in it ends it if that was the last one missing. It returns the append that the end of
// a group's last generation causes, or nil.
func (g *group) rebalanceOrComplete() *write {
	switch g.state {
	case stable, completing, empty:
		return g.prepareRebalance()
	}
	return g.maybeComplete()
}

func (g *group) maybeComplete() *write {
	if g.state == preparing && !g.initial && g.allJoined() {
		return g.completeJoin()
	}
	return nil
}

// prepareRebalance makes everybody join again. The first members of an empty group are given time
// to arrive together (group.initial.rebalance.delay.ms).
func (g *group) prepareRebalance() *write {
	if g.state == completing {
		markCutShort.Hit()
		g.members.Each(func(_ string, m *member) {
			m.assignment = nil
			g.resetSync(m, errRebalanceInProgress)
		})
	}
	g.endSync()
	g.to(preparing)
	switch {
	case g.initial:
		delay := g.c.cfg.InitialRebalanceMillis
		if delay <= 0 {
			return g.completeJoin()
		}
		g.awaitMore(delay, max(g.rebalanceMillis()-delay, 0))
	case g.allJoined():
		return g.completeJoin()
	default:
		g.armJoin(g.rebalanceMillis(), func() { g.completeJoin() })
	}
	return nil
}

func (g *group) resetSync(m *member, code int16) {
	if g.answerSync(m, &SyncResponse{Err: code}) {
		g.beat(m, m.session)
	}
}

func (g *group) endSync() {
	g.storing = false
	g.unsynced = det.Map[string, bool]{}
	g.c.timers.Stop(&g.syncTimer)
}

func (g *group) armJoin(millis int32, fire func()) {
	g.joinTimer.Fire = func(int64) { fire() }
	g.c.timers.Arm(&g.joinTimer, after(g.c, millis))
}

// awaitMore ends the initial rebalance after delay, unless members came meanwhile and some of the
// slowest one's rebalance timeout remains.
func (g *group) awaitMore(delay, remaining int32) {
	g.armJoin(delay, func() {
		if !g.grew || remaining == 0 {
			g.completeJoin()
			return
		}
		g.grew = false
		g.awaitMore(min(g.c.cfg.InitialRebalanceMillis, remaining), max(remaining-delay, 0))
	})
}

// completeJoin begins the next generation with those who came back and the static members.
func (g *group) completeJoin() *write {
	g.c.timers.Stop(&g.joinTimer)
	g.grew = false
	g.members.Each(func(id string, m *member) {
		if m.join == nil && m.instance == nil {
			markNotBack.Hit()
			g.remove(id)
		}
	})
	if g.members.Len() > 0 && !g.electLeader() {
		// Only static members are left and none came: session timeouts will thin them out. The floor
		// keeps members without a rebalance timeout from making this a busy loop.
		markNobody.Hit()
		g.armJoin(max(g.rebalanceMillis(), 1000), func() { g.completeJoin() })
		return nil
	}
	g.generation++
	if g.members.Len() == 0 {
		markEmptied.Hit()
		g.protocol = nil
		g.readTopics()
		g.to(empty)
		return g.c.append(&write{group: g.name, recs: []KeyValue{g.record(nil)}})
	}
	chosen, ok := g.choose()
	det.That(ok, "coord: members without a common protocol")
	g.protocol = &chosen
	g.readTopics()
	g.to(completing)
	g.endSync()
	g.members.Each(func(id string, m *member) {
		g.answerJoin(m, g.joined(m))
		g.beat(m, m.session)
		m.fresh = false
		g.unsynced.Set(id, true)
	})
	g.c.timers.Arm(&g.syncTimer, after(g.c, g.rebalanceMillis()))
	return nil
}

// electLeader keeps the leader if it came back, or takes the first member that did.
func (g *group) electLeader() bool {
	if m := g.members.At(g.leader); m != nil && m.join != nil {
		return true
	}
	for _, id := range g.members.Keys() {
		if g.members.At(id).join != nil {
			markLeaderNew.Hit()
			g.leader = id
			return true
		}
	}
	return false
}

// joined tells m about the current generation; the leader also learns who is in it.
func (g *group) joined(m *member) *JoinResponse {
	resp := &JoinResponse{
		Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: g.leader, Member: m.id,
	}
	if m.id == g.leader {
		resp.Members = g.roster()
	}
	return resp
}

func (g *group) roster() []JoinMember {
	list := make([]JoinMember, 0, g.members.Len())
	g.members.Each(func(id string, m *member) {
		list = append(list, JoinMember{id, m.instance, m.metadata(*g.protocol)})
	})
	return list
}

// expireMember ends a session. A member that waits for us is not late, unless it waits in its first
// JoinGroup, whose client may be long gone.
func (g *group) expireMember(m *member) {
	if g.members.At(m.id) != m || !m.fresh && (m.join != nil || m.sync != nil) {
		return
	}
	markSessionEnd.Hit()
	g.remove(m.id)
	switch g.state {
	case stable, completing:
		g.rebalanceOrComplete()
	case preparing:
		if g.allJoined() {
			g.completeJoin()
		}
	}
}

func (g *group) expirePending(id string) {
	markPendingEnd.Hit()
	g.dropPending(id)
	if g.state == preparing && g.allJoined() {
		g.completeJoin()
	}
	g.c.forget(g)
}

// expireUnsynced removes who took part in the generation but never asked for its assignment.
func (g *group) expireUnsynced() {
	if g.state != completing && g.state != stable || g.unsynced.Len() == 0 {
		return
	}
	markUnsynced.Hit()
	g.unsynced.Each(func(id string, _ bool) { g.remove(id) })
	g.prepareRebalance()
}

// sync serves SyncGroup. The leader's carries the assignment of the generation, which counts once it
// is in the log; until then all wait.
func (c *Coordinator) sync(r *SyncRequest, done waiter) {
	refuse := func(code int16) { c.answer(done, &SyncResponse{Err: code}) }
	g := c.live.At(r.Group)
	switch {
	case r.Group == "":
		refuse(errInvalidGroupID)
		return
	case r.RequireProtocol && (r.ProtocolType == nil || r.Protocol == nil):
		refuse(errInconsistentProtocol)
		return
	case g == nil || g.state == empty:
		refuse(errUnknownMember)
		return
	}
	if code := g.checkSync(r); code != errNone {
		refuse(code)
		return
	}
	m := g.members.At(r.Member)
	switch g.state {
	case preparing:
		markSyncLate.Hit()
		refuse(errRebalanceInProgress)
	case completing:
		// One that waits already was given up by its client.
		g.answerSync(m, &SyncResponse{Err: errRebalanceInProgress})
		m.sync = done
		g.synced(m)
		if m.id == g.leader && !g.storing {
			g.store(r.Assignments)
		}
	case stable:
		markSyncStable.Hit()
		g.synced(m)
		c.answer(done, g.assigned(m))
	}
}

func (g *group) checkSync(r *SyncRequest) int16 {
	differs := func(theirs, ours *string) bool {
		return theirs != nil && ours != nil && *theirs != *ours
	}
	if code := g.check(r.Member, r.Instance); code != errNone {
		return code
	}
	if r.Generation != g.generation {
		markSyncOld.Hit()
		return errIllegalGeneration
	}
	if differs(r.ProtocolType, g.protocolType) || differs(r.Protocol, g.protocol) {
		return errInconsistentProtocol
	}
	return errNone
}

func (g *group) synced(m *member) {
	g.unsynced.Delete(m.id)
	if g.unsynced.Len() == 0 {
		g.c.timers.Stop(&g.syncTimer)
	}
}

func (g *group) assigned(m *member) *SyncResponse {
	return &SyncResponse{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// store writes the generation with its assignment. Another one that the leader sends before the
// first is in the log is not looked at, so that log and answers never differ.
func (g *group) store(list []Assignment) {
	var given det.Map[string, []byte]
	for _, a := range list {
		if g.members.At(a.Member) != nil {
			given.Set(a.Member, append([]byte(nil), a.Bytes...))
		}
	}
	generation := g.generation
	g.storing = true
	g.c.append(&write{
		group: g.name,
		recs:  []KeyValue{g.record(func(m *member) []byte { return given.At(m.id) })},
		then: []func(Outcome){func(o Outcome) {
			if g.state != completing || g.generation != generation {
				markMovedOn.Hit() // whoever waited was told when it moved
				return
			}
			if o == Committed {
				g.settle(&given)
				return
			}
			markNotStored.Hit()
			g.members.Each(func(_ string, m *member) {
				m.assignment = nil
				g.resetSync(m, o.code())
			})
			g.prepareRebalance()
		}},
	})
}

func (g *group) settle(given *det.Map[string, []byte]) {
	g.storing = false
	g.to(stable)
	g.members.Each(func(id string, m *member) {
		m.assignment = given.At(id)
		if g.answerSync(m, g.assigned(m)) {
			g.beat(m, m.session)
		}
	})
}
