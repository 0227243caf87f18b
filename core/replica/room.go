package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// What a replica does when a disk is full; see core/shard/room.go. Operations that found no room wait below
// us, so appends that were under way are neither lost nor acknowledged; here is what must not begin.

var (
	markRefused  = det.NewMark("replica: a batch was refused, this node has no room")
	markFewRoomy = det.NewMark("replica: a batch was refused, a majority has no room")
	markWithheld = det.NewMark("replica: batches were withheld from a voter without room")
)

// crowded says why no batch may be appended for want of room. The metadata log goes on as long as the
// journal does: topics must be deletable.
func (r *Replica) crowded() Outcome {
	switch {
	case r.cfg.Group == core.MetaGroup:
	case r.h.Full(r.cfg.Node):
		markRefused.Hit()
		return StorageError
	case !r.roomy():
		markFewRoomy.Hit()
		return NotEnoughReplicas // what is appended would not be committed
	}
	return OK
}

// roomy says that a majority of the voters has room. Of a leader only.
func (r *Replica) roomy() bool {
	n := 0
	for i := range r.match {
		if m := &r.match[i]; r.counts(m) && !r.h.Full(m.id.Node()) {
			n++
		}
	}
	return n > len(r.log.conf.Voters)/2
}

// withhold drops what a voter without room could not store, while the others can commit without it. When
// they cannot, it gets the rest of what was appended before: its journal was given room for that.
func (r *Replica) withhold(m *raftpb.Message) bool {
	if !r.leads || r.cfg.Group == core.MetaGroup || !r.h.Full(core.RaftID(m.To).Node()) || !r.roomy() {
		return false
	}
	markWithheld.Hit()
	r.rn.ReportUnreachable(m.To) // raft asks again with the next heartbeat
	if m.Type == raftpb.MsgSnap {
		r.rn.ReportSnapshot(m.To, raft.SnapshotFailure)
	}
	return true
}

// grade says how well a node could lead: 0 well, 1 it has no room, 2 clients cannot reach it. Nobody but nodes
// speaks to the metadata group.
func (r *Replica) grade(n core.NodeID) int {
	switch {
	case r.cfg.Group != core.MetaGroup && r.h.Shut(n):
		return 2
	case r.h.Full(n):
		return 1
	}
	return 0
}

// outranked says that clients do not reach this node, and that some other voter's they do.
func (r *Replica) outranked() bool {
	if r.grade(r.cfg.Node) < 2 {
		return false
	}
	for _, v := range r.voters() {
		if n := v.Node(); n != r.cfg.Node && !r.h.Suspect(n) && r.grade(n) < 2 {
			return true
		}
	}
	return false
}

// Yield hands leadership to a voter in sync whose node can lead better, when there is one.
func (r *Replica) Yield() bool {
	if !r.leads || !r.ready || r.offline != "" || r.handing > 0 {
		return false
	}
	best := r.successor()
	if best < 0 || r.grade(r.match[best].id.Node()) >= r.grade(r.cfg.Node) || r.match[best].index < r.commit {
		return false
	}
	r.transfer(r.match[best].id)
	return true
}

// successor is the voter to hand leadership to, as an index of match: the best of its grade, and of those
// the closest. -1: there is none.
func (r *Replica) successor() int {
	best, grade := -1, 0
	for i := range r.match {
		m := &r.match[i]
		n := m.id.Node()
		if m.id == r.cfg.ID || !r.counts(m) || r.h.Suspect(n) || r.lacks(m) {
			continue
		}
		g := r.grade(n)
		if best < 0 || g < grade || g == grade && m.index > r.match[best].index {
			best, grade = i, g
		}
	}
	return best
}
