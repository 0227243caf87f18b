package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
)

// lagMax is how long a voter may not have been at the high watermark and still count as in sync.
const lagMax = 10 * core.Second

// matched notes that voter id is known to hold the log durably up to index.
func (r *Replica) matched(id core.RaftID, index uint64) {
	for i := range r.match {
		m := &r.match[i]
		if m.id != id {
			continue
		}
		m.pulls = 0 // it answers again
		if index > m.index {
			m.index = index
			r.caughtUp(m)
			return
		}
	}
}

func (r *Replica) caughtUp(m *matched) {
	if m.index >= r.commit && r.ready {
		m.caught = r.h.Now().Mono
	}
}

// copies counts the voters that hold index durably.
func (r *Replica) copies(index uint64) (n int) {
	for i := range r.match {
		if m := &r.match[i]; m.index >= index && !m.learner && !m.leaving {
			n++
		}
	}
	return n
}

// insync recomputes the in-sync set: voters on nodes that are not suspect, whose synced index was at
// the high watermark at some moment of the last lagMax. It is the ISR that clients see.
func (r *Replica) insync() {
	if !r.leads {
		return
	}
	now := r.h.Now().Mono
	isr := r.isrNext[:0]
	for i := range r.match {
		m := &r.match[i]
		n := m.id.Node()
		switch {
		case m.id == r.cfg.ID:
		case !r.counts(m):
			m.caught = -1
			continue
		case r.h.Suspect(n):
			m.caught = -1
			continue
		case r.lacks(m):
			m.caught = -1
			continue
		case m.index >= r.commit && r.ready:
			m.caught = now
		case m.caught < 0 || now-m.caught > lagMax:
			continue
		}
		isr = append(isr, n)
	}
	if !slices.Equal(isr, r.isr) {
		if len(isr) < len(r.isr) {
			markShrank.Hit()
		}
		r.isr = slices.Clone(isr)
		r.h.Changed(r)
		r.h.Dirty(r)
	}
	r.isrNext = isr
}

// Transfer hands leadership to the voter that is closest, before this node stops. It says whether
// there is anyone to hand to.
func (r *Replica) Transfer() bool {
	if !r.leads || r.offline != "" {
		return false
	}
	best := r.successor()
	if best < 0 {
		return false
	}
	r.transfer(r.match[best].id)
	return true
}

// lacks says that a voter has asked for bytes just now: it is far behind, or mends its disk. Whatever it
// acknowledged before, it cannot lead.
func (r *Replica) lacks(m *matched) bool {
	return m.pulls > 0 && r.h.Now().Mono-m.pulls < 2*pullRetry
}

func (r *Replica) transfer(to core.RaftID) {
	r.wake()
	r.handing = r.h.Now().Mono + core.Second
	markHanded.Hit()
	r.rn.TransferLeader(uint64(to))
	r.h.Changed(r)
	r.h.Dirty(r)
}

// TransferTo hands leadership to the voter on node n when that is in sync and holds all that is
// committed.
func (r *Replica) TransferTo(n core.NodeID) bool {
	if !r.leads || !r.ready || r.offline != "" || r.handing > 0 || r.h.Suspect(n) || r.h.Full(n) || !slices.Contains(r.isr, n) {
		return false
	}
	for i := range r.match {
		if m := &r.match[i]; m.id.Node() == n && m.index >= r.commit && r.counts(m) && !r.lacks(m) {
			r.transfer(m.id)
			return true
		}
	}
	return false
}

// PeerSuspect tells that the failure detector gave node n up.
func (r *Replica) PeerSuspect(n core.NodeID) {
	if r.offline != "" || r.opening > 0 || !r.began {
		return
	}
	if r.leads {
		for _, v := range r.members() {
			if v.Node() == n {
				// CheckQuorum must be able to end an isolated leader; what was sent is lost.
				r.rn.ReportSnapshot(uint64(v), raft.SnapshotFailure)
				r.rn.ReportUnreachable(uint64(v))
				r.wake()
			}
		}
	} else if r.lead.Node() == n && r.lead != 0 {
		r.LeaderLost()
	}
	r.h.Dirty(r)
}

// PeerBack tells that node n answers again: a group that sleeps around it wakes to feed it, and who gave up on an
// election may have a majority now.
func (r *Replica) PeerBack(n core.NodeID) {
	if r.offline != "" || r.opening > 0 || !r.began {
		return
	}
	if !r.leads {
		if r.resigned && r.elect.Armed() {
			r.h.Timers().Arm(&r.elect, int64(r.h.Now().Mono)+r.rng.N(int64(leaderlessDraw)))
		}
		return
	}
	for _, v := range r.members() {
		if v.Node() == n {
			r.wake()
			// At once, so that it knows its leader before it thinks of an election.
			_ = r.rn.Step(raftpb.Message{Type: raftpb.MsgBeat, From: raft.LocalAppendThread})
			r.h.Dirty(r)
		}
	}
}
