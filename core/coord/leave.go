package coord

// heartbeat serves Heartbeat. Members that have their JoinGroup answered heartbeat while the group
// waits for the leader's assignment; that is no rebalance to them.
func (c *Coordinator) heartbeat(r *HeartbeatRequest) int16 {
	if r.Group == "" {
		return errInvalidGroupID
	}
	g := c.live.At(r.Group)
	if g == nil {
		return errUnknownMember
	}
	if code := g.check(r.Member, r.Instance); code != errNone {
		return code
	}
	if r.Generation != g.generation {
		markBeatOld.Hit()
		return errIllegalGeneration
	}
	m := g.members.At(r.Member)
	g.beat(m, m.session)
	if g.state == preparing {
		markBeatTold.Hit()
		return errRebalanceInProgress
	}
	return errNone
}

// leave serves LeaveGroup. Administrators name static members by their instance id alone (KIP-345).
// When the group ends with it, the answer waits until the log says so.
func (c *Coordinator) leave(r *LeaveRequest, done waiter) {
	g := c.live.At(r.Group)
	if r.Group == "" {
		c.answer(done, &LeaveResponse{Err: errInvalidGroupID})
		return
	}
	resp := &LeaveResponse{Members: make([]LeaveResult, 0, len(r.Members))}
	left := false
	for _, who := range r.Members {
		code := errUnknownMember
		if g != nil {
			code = g.leaves(who)
		}
		left = left || code == errNone
		resp.Members = append(resp.Members, LeaveResult{who.Member, who.Instance, code})
	}
	var w *write
	if left && g.state != empty {
		markLeft.Hit()
		w = g.rebalanceOrComplete()
	}
	if w == nil {
		c.answer(done, resp)
	} else {
		w.then = append(w.then, func(o Outcome) {
			if o != Committed {
				resp = &LeaveResponse{Err: o.code()}
			}
			c.answer(done, resp)
		})
	}
	if g != nil {
		c.forget(g)
	}
}

func (g *group) leaves(who LeaveMember) int16 {
	id := who.Member
	switch {
	case id == "" && who.Instance == nil:
		return errUnknownMember
	case id == "":
		owner, ok := g.statics.Get(*who.Instance)
		if !ok {
			return errUnknownMember
		}
		id = owner
	case g.pending.At(id) != nil: // static members are never pending
	default:
		if code := g.check(id, who.Instance); code != errNone {
			return code
		}
	}
	g.remove(id)
	return errNone
}
