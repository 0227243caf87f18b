package replica

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// commitLag is how long a follower may wait for a commit index that no batch brings along. raft says it
// at once, in an empty MsgApp of its own for every commit; where batches come one at a time that is two
// more frames and two more answers for each, on the very cores that the producer's answer needs. A
// follower does nothing with the commit index but trim, checkpoint and sleep, and a new leader commits
// by its own no-op, so it may learn of it with the next batch. Groups with a machine do not wait: every
// node's machine follows them.
const commitLag = 10 * core.Millisecond

var markOwed = det.NewMark("replica: a commit index went out without a batch")

// owe keeps a message that says nothing but a newer commit index. It is false when m must leave now.
func (r *Replica) owe(m *raftpb.Message) bool {
	if !r.leads || r.machine != nil || m.Type != raftpb.MsgApp || len(m.Entries) > 0 || core.Term(m.Term) != r.term {
		return false
	}
	v := r.voter(m.To)
	if v == nil || m.Commit <= v.told || v.index == 0 {
		return false
	}
	v.owed, v.owes = *m, true
	if !r.tell.Armed() {
		// All groups of a shard at the same moment: one frame to each peer holds what they owe it.
		r.h.Timers().Arm(&r.tell, int64((r.h.Now().Mono/commitLag+1)*commitLag))
	}
	return true
}

// told notes that a message to a follower carries the commit index.
func (r *Replica) told(m *raftpb.Message) {
	if m.Type != raftpb.MsgApp || !r.leads {
		return
	}
	if v := r.voter(m.To); v != nil && m.Commit >= v.told {
		v.told, v.owes = m.Commit, false
	}
}

// onTell pays what is owed.
func (r *Replica) onTell(int64) {
	for i := range r.match {
		if v := &r.match[i]; v.owes {
			markOwed.Hit()
			r.sendOne(&v.owed, nil)
		}
	}
}

func (r *Replica) voter(id uint64) *matched {
	for i := range r.match {
		if uint64(r.match[i].id) == id {
			return &r.match[i]
		}
	}
	return nil
}
