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
		if !r.h.Full(r.match[i].id.Node()) {
			n++
		}
	}
	return n > len(r.match)/2
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

// Yield hands leadership to a voter in sync that has room, when there is one.
func (r *Replica) Yield() bool {
	if !r.leads || !r.ready || r.offline != "" || r.handing > 0 {
		return false
	}
	best := r.successor()
	if best < 0 || r.h.Full(r.match[best].id.Node()) || r.match[best].index < r.commit {
		return false
	}
	r.transfer(r.match[best].id)
	return true
}

// successor is the voter to hand leadership to, as an index of match: it has room if any has, and is the
// closest of those. -1: there is none.
func (r *Replica) successor() int {
	best, full := -1, false
	for i := range r.match {
		m := &r.match[i]
		n := m.id.Node()
		if m.id == r.cfg.ID || r.h.Suspect(n) || r.lacks(m) {
			continue
		}
		f := r.h.Full(n)
		if best < 0 || full && !f || full == f && m.index > r.match[best].index {
			best, full = i, f
		}
	}
	return best
}
