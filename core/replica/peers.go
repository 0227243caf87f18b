package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
)

var (
	markBadBatch   = det.NewMark("replica: a batch from a peer failed its checksum")
	markSplit      = det.NewMark("replica: a MsgApp was split by its batch bytes")
	markWindowFull = det.NewMark("replica: a follower refused a MsgApp because its window is full")
	markLateSend   = det.NewMark("replica: a MsgApp was dropped, its entries were cut in the same step")
	markOutrun     = det.NewMark("replica: raft wanted to send what the window had dropped")
	markColdSend   = det.NewMark("replica: a follower was fed from a segment file")
)

// send gives a raft message to its peer, with the batches that its entries name: from memory while
// they are there, else as a region of the segment.
func (r *Replica) send(m *raftpb.Message) {
	if o := r.cfg.Observer; o != nil {
		o.Sent(r.cfg.Node, r.cfg.Group, m)
	}
	if m.Type == raftpb.MsgVoteResp && !m.Reject {
		r.putOff()
	}
	if (len(m.Entries) > 0 || m.Type == raftpb.MsgSnap) && r.withhold(m) {
		return
	}
	if len(m.Entries) == 0 {
		if !r.owe(m) {
			r.sendOne(m, nil)
		}
		return
	}
	if m.Entries[0].Index < r.log.first {
		// raft still holds as unstable what the window has dropped as durable: the answer to its write
		// came in a newer term and was ignored (rawnode.go, the ABA race). The next append clears that.
		markOutrun.Hit()
		r.rn.ReportUnreachable(m.To)
		return
	}
	if last := &m.Entries[len(m.Entries)-1]; last.Index > r.log.last() || r.log.ents[last.Index-r.log.first].Term != last.Term {
		// Queued while this node led; the same step brought a newer leader's log, which cut these entries.
		markLateSend.Hit()
		return
	}
	// A message carries at most maxMsgBatchBytes of batches, or one batch: raft's own limit counts
	// stubs. The parts are what raft would have sent with a smaller limit.
	ents := m.Entries
	part := &r.part
	*part = *m
	for len(ents) > 0 {
		bodies := r.bodies[:0]
		size, k := int64(0), 0
		for ; k < len(ents); k++ {
			n := r.log.note(ents[k].Index)
			if k > 0 && size+int64(n.stub.Len) > maxMsgBatchBytes {
				markSplit.Hit()
				break
			}
			if n.batch {
				bodies = append(bodies, r.body(n))
				size += int64(n.stub.Len)
			}
		}
		part.Entries = ents[:k:k]
		sent := r.sendOne(part, bodies)
		clear(bodies)
		if r.bodies = bodies; !sent {
			return
		}
		part.Index, part.LogTerm = ents[k-1].Index, ents[k-1].Term
		ents = ents[k:]
	}
}

// body is a Ref of its own to a batch in the window.
func (r *Replica) body(n *note) core.Ref {
	if n.body.Buf != nil {
		return n.body.Retain()
	}
	det.That(n.written, "replica: a batch is in memory or in its segment")
	markColdSend.Hit()
	return core.Ref{File: r.segment(n.at.seg).file, Off: n.at.pos, Len: n.stub.Len}
}

func (r *Replica) sendOne(m *raftpb.Message, bodies []core.Ref) bool {
	to := core.RaftID(m.To)
	if r.h.SendRaft(to.Node(), r.cfg.Group, m, bodies) {
		r.told(m)
		if v := r.voter(m.To); v != nil && m.Type == raftpb.MsgSnap {
			v.offers = r.h.Now().Mono
		}
		return true
	}
	if r.leads {
		r.rn.ReportUnreachable(m.To)
		if m.Type == raftpb.MsgSnap {
			r.rn.ReportSnapshot(m.To, raft.SnapshotFailure)
		}
	}
	return false
}

// indispensable is how many entries of an append a follower takes that has no room: those that it has; and one more when nothing
// here waits for its commit, or only what an earlier leader appended. That can only be committed together with an
// entry of this leader (Raft, section 5.4.2), for which there must be room then.
func (r *Replica) indispensable(m *raftpb.Message) int {
	k, last := 0, r.log.last()
	for ; k < len(m.Entries) && m.Entries[k].Index <= last; k++ {
		if t, err := r.log.Term(m.Entries[k].Index); err == nil && t != m.Entries[k].Term {
			break
		}
	}
	if t, err := r.log.Term(last); k < len(m.Entries) && (last == r.commit || err == nil && t < m.Term) {
		k++
	}
	return k
}

// Recv takes a message of a peer; body holds the batches of its entries, end to end. It borrows body.
func (r *Replica) Recv(m *raftpb.Message, body core.Ref) {
	if r.offline != "" || r.opening > 0 || !r.began || m.To != uint64(r.cfg.ID) || !r.sane(m) {
		return
	}
	switch m.Type {
	case raftpb.MsgHeartbeatResp, raftpb.MsgAppResp: // an answer wakes nobody: it may be late
	default:
		r.wake()
	}
	switch m.Type {
	case raftpb.MsgApp:
		if len(m.Entries) > 0 && r.h.Window().Bytes > 2*r.h.Window().MaxBytes {
			// No room. What it says of the commit index is taken, because that makes room, and as many entries
			// as no group can do without.
			markWindowFull.Hit()
			keep := r.indispensable(m)
			m.Entries = m.Entries[:keep]
			body = body.Slice(0, min(body.Len, batchBytes(m.Entries)))
		}
		if !r.stageAll(m, body) {
			return
		}
	case raftpb.MsgVote, raftpb.MsgPreVote:
		r.ageLease()
	case raftpb.MsgSnap:
		if r.beginPull(m) {
			return
		}
	case raftpb.MsgTimeoutNow:
		if r.lame() {
			return // whoever hands over leads on
		}
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp:
		if v := r.voter(m.From); v != nil {
			v.heard = r.h.Now().Mono
		}
	}
	_ = r.rn.Step(*m)
	st := r.rn.BasicStatus()
	switch m.Type {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		if st.Lead == m.From && st.Term == m.Term {
			r.heard = r.h.Now().Mono
			r.deadline()
		}
	case raftpb.MsgAppResp:
		if r.leads && !m.Reject && st.Term == m.Term {
			r.matched(core.RaftID(m.From), m.Index)
		}
	}
	r.h.Dirty(r)
}

// sane refuses what would make raft panic or lie; a peer is authenticated, not infallible.
func (r *Replica) sane(m *raftpb.Message) bool {
	if m.From == 0 || m.From == m.To || raft.IsLocalMsgTarget(m.From) || core.Term(m.Term) > core.MaxTerm {
		return false
	}
	switch m.Type {
	case raftpb.MsgApp:
		prev := m.Index
		for i := range m.Entries {
			if m.Entries[i].Index != prev+1 || m.Entries[i].Term > m.Term || m.Entries[i].Term == 0 {
				return false
			}
			prev++
		}
		return m.Term > 0
	case raftpb.MsgHeartbeat:
		return m.Term > 0 && m.Commit <= r.log.last()
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote,
		raftpb.MsgPreVoteResp, raftpb.MsgSnap, raftpb.MsgTimeoutNow, raftpb.MsgTransferLeader:
		return true
	}
	return false
}

// stageAll verifies and parks the batches of a MsgApp; false when the message is void.
func (r *Replica) stageAll(m *raftpb.Message, body core.Ref) bool {
	at := int32(0)
	for i := range m.Entries {
		e := &m.Entries[i]
		s, ok := journal.DecodeStub(e.Data)
		if !ok || e.Type != raftpb.EntryNormal {
			continue
		}
		if s.Len < 0 || s.Len > body.Len-at {
			return false
		}
		b := body.Slice(at, s.Len)
		at += s.Len
		if !matches(b.Bytes(), &s, core.Term(e.Term)) && !mut.On("M26") {
			markBadBatch.Hit()
			r.report(core.RaftID(m.From).Node(), core.Term(m.Term), s.Base)
			return false // a region changed under its sender, or bits rotted
		}
		r.stage(staged{e.Term, s.Base}, b.Retain())
	}
	return at == body.Len
}

// batchBytes is how many bytes the batches of entries have.
func batchBytes(ents []raftpb.Entry) (n int32) {
	for i := range ents {
		if s, ok := journal.DecodeStub(ents[i].Data); ok && ents[i].Type == raftpb.EntryNormal {
			n += s.Len
		}
	}
	return n
}

// Control takes a control message of a peer's replica. It takes c.Body.
func (r *Replica) Control(from core.NodeID, c Control) {
	defer c.Body.Release()
	if r.mend != nil && (c.Kind == Chunk || c.Kind == Refuse) {
		r.gotMend(from, c)
		return
	}
	if r.offline != "" || r.opening > 0 || !r.began {
		return
	}
	switch c.Kind {
	case Sleep:
		r.askedToSleep(from, c)
	case Slept:
		r.confirmedSleep(from, c)
	case Distrust:
		if c.Term >= r.term && r.lead.Node() == from {
			r.LeaderLost()
		}
	case Pull:
		r.servePull(from, c)
	case Chunk, Refuse:
		switch {
		case c.Seg == listSeg:
			r.gotShape(from, c)
		case r.refit.fetch != nil:
			r.gotFile(from, c)
		default:
			r.gotChunk(from, c)
		}
	case Report:
		r.reported(c)
	}
	r.h.Dirty(r)
}
