package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
)

// Who votes. A group is born with its voters; the only change there is replaces the voter of a disk that is
// gone by the newest incarnation of the same node (docs/decisions/0020-a-new-incarnation.md). What is to
// be done next is a function of the applied configuration and of what the shard knows of incarnations, so
// it does not matter who led when it began:
//
//	a joint configuration                  leave it
//	a learner of an older incarnation      remove it
//	a voter of an older incarnation        add the newest as a learner, and once that has kept up for a
//	                                       round, replace the voter by it, through joint consensus

var (
	markLearner  = det.NewMark("members: the newest incarnation of a node became a learner")
	markReplaced = det.NewMark("members: an old voter is being replaced")
	markLeft     = det.NewMark("members: a joint configuration was left")
	markDropped  = det.NewMark("members: a learner whose disk is gone was removed")
	markSurely   = det.NewMark("members: a boot counted a change as committed, because another follows it")
)

// members are the raft ids that a leader speaks to: voters and learners.
func (r *Replica) members() []core.RaftID {
	ids := r.voters()
	for _, list := range [2][]uint64{r.log.conf.Learners, r.log.conf.LearnersNext} {
		for _, v := range list {
			if id := core.RaftID(v); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// gone says that a newer disk has taken the place of a member's.
func (r *Replica) gone(id core.RaftID) bool { return id.Incarnation() < r.h.Newest(id.Node()) }

// counts says that a member is a voter that will stay one.
func (r *Replica) counts(m *matched) bool { return !m.learner && !m.leaving && !r.gone(m.id) }

// rematch makes a leader's list of members what the configuration says. What it knows of those who stay is kept.
func (r *Replica) rematch() {
	old := r.match
	r.match = make([]matched, 0, len(old)+1)
	add := func(ids []uint64, learner, leaving bool) {
		for _, v := range ids {
			if r.voter(v) != nil {
				continue
			}
			m := matched{id: core.RaftID(v), caught: -1}
			for i := range old {
				if old[i].id == m.id {
					m = old[i]
				}
			}
			m.learner, m.leaving = learner, leaving
			r.match = append(r.match, m)
		}
	}
	c := &r.log.conf
	add(c.Voters, false, false)
	add(c.VotersOutgoing, false, true)
	add(c.Learners, true, false)
	add(c.LearnersNext, true, false)
}

// round is called at each tick of a leader: a learner has kept up when it holds what was committed at the last one.
func (r *Replica) round() {
	for i := range r.match {
		if m := &r.match[i]; m.learner {
			m.kept = m.bar > 0 && m.index >= m.bar && !r.lacks(m) && !r.h.Suspect(m.id.Node())
			m.bar = r.commit
		}
	}
}

// changing says that the configuration is not what it should be, and that something can be done about it:
// such a group does not sleep.
func (r *Replica) changing() bool {
	if len(r.log.conf.VotersOutgoing) > 0 {
		return true
	}
	for i := range r.match {
		if m := &r.match[i]; (m.learner || r.gone(m.id)) && !r.h.Suspect(m.id.Node()) {
			return true
		}
	}
	return false
}

// Reconsider is called when the shard has learned of a new incarnation.
func (r *Replica) Reconsider() {
	if r.offline != "" || r.opening > 0 || !r.began || !r.leads {
		return
	}
	if r.changing() {
		r.wake()
	}
	r.h.Dirty(r)
}

// reconfigure proposes the next change of the configuration, if there is one: after everything before it is
// applied, and after an entry of this term is committed.
func (r *Replica) reconfigure() {
	if !r.leads || !r.ready || r.handing > 0 || r.applied < max(r.noop, r.changed) {
		return
	}
	if cc, ok := r.nextChange(); ok {
		_ = r.rn.ProposeConfChange(cc) // dropped at worst: the next tick comes by again
	}
}

func (r *Replica) nextChange() (cc raftpb.ConfChangeV2, ok bool) {
	one := func(t raftpb.ConfChangeType, id core.RaftID) raftpb.ConfChangeSingle {
		return raftpb.ConfChangeSingle{Type: t, NodeID: uint64(id)}
	}
	c := &r.log.conf
	if len(c.VotersOutgoing) > 0 {
		markLeft.Hit()
		return cc, true
	}
	for _, v := range c.Learners {
		if id := core.RaftID(v); r.gone(id) {
			markDropped.Hit()
			cc.Changes = append(cc.Changes, one(raftpb.ConfChangeRemoveNode, id))
			return cc, true
		}
	}
	for _, v := range c.Voters {
		id := core.RaftID(v)
		if !r.gone(id) || r.h.Suspect(id.Node()) {
			continue
		}
		next := core.NewRaftID(r.h.Newest(id.Node()), id.Node())
		switch m := r.voter(uint64(next)); {
		case m == nil:
			markLearner.Hit()
			cc.Changes = append(cc.Changes, one(raftpb.ConfChangeAddLearnerNode, next))
			return cc, true
		case m.learner && m.kept:
			markReplaced.Hit()
			cc.Transition = raftpb.ConfChangeTransitionJointExplicit
			cc.Changes = append(cc.Changes, one(raftpb.ConfChangeAddNode, next), one(raftpb.ConfChangeRemoveNode, id))
			return cc, true
		}
	}
	return cc, false
}

// applyConf applies a membership change.
func (r *Replica) applyConf(e *raftpb.Entry) {
	if e.Index <= r.confAt {
		return
	}
	var cc raftpb.ConfChangeV2
	if e.Type == raftpb.EntryConfChange {
		var v1 raftpb.ConfChange
		det.That(v1.Unmarshal(e.Data) == nil, "replica: a membership change cannot be read")
		cc = v1.AsV2()
	} else {
		det.That(cc.Unmarshal(e.Data) == nil, "replica: a membership change cannot be read")
	}
	r.log.conf, r.confAt = *r.rn.ApplyConfChange(cc), e.Index
	r.configured()
	if r.leads {
		r.rematch()
		r.h.Dirty(r)
	}
}

// configured tells the observer of the configuration that holds from here on.
func (r *Replica) configured() {
	if o := r.cfg.Observer; o != nil {
		o.Configured(r.cfg.Node, r.cfg.Group, r.cfg.ID, core.Index(r.confAt), r.log.conf)
	}
}

// logConf notes a change that came into the log.
func (r *Replica) logConf(e *raftpb.Entry) {
	r.changed = e.Index
	if mut.On("M22") { // it holds before it is committed
		r.applyConf(e)
	}
}

// surely is the index up to which a log proves itself committed: nobody proposes a change of the configuration
// before the one before it is applied. A voter that forgot this could elect somebody with the voters of two
// changes ago.
func (r *Replica) surely() uint64 {
	changes := 0
	for i := len(r.log.ents) - 1; i >= 0; i-- {
		if e := &r.log.ents[i]; e.Type != raftpb.EntryNormal {
			if changes++; changes == 2 {
				markSurely.Hit()
				return e.Index
			}
		}
	}
	return 0
}

// Conf is the configuration that is applied here; its slices are not to be changed.
func (r *Replica) Conf() raftpb.ConfState { return r.log.conf }
