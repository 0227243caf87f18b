package shard

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/replica"
)

// The shard as its replicas see it: replica.Host, with what hosted adds (volume.go).

func (s *Shard) Now() core.Now           { return s.now }
func (s *Shard) FX() *core.Effects       { return s.fx }
func (s *Shard) Timers() *det.Timers     { return &s.timers }
func (s *Shard) Window() *replica.Budget { return &s.window }

func (s *Shard) NewFile() core.FileID {
	s.nextFile++
	return core.NewFileID(s.cfg.Shard, s.nextFile)
}

func (s *Shard) newOp() core.OpID {
	s.nextOp++
	return core.NewOpID(s.cfg.Shard, s.nextOp)
}

// NewOp names an operation whose end done is told.
func (s *Shard) NewOp(done func(*core.Event)) core.OpID {
	op := s.newOp()
	s.ops[op] = done
	return op
}

func (s *Shard) Suspect(n core.NodeID) bool { return s.suspects.At(n) }

func (s *Shard) Leader(g core.GroupID) (core.NodeID, core.Term) {
	if l, ok := s.leaders[g]; ok && !l.Dead {
		return l.Leader, l.Term
	}
	return core.NoNode, 0
}

// Newest is what a node shows on its links, or what it registered with, whichever is newer.
func (s *Shard) Newest(n core.NodeID) (incarnation uint32) {
	if b := s.view.Broker(n); b != nil {
		incarnation = b.Incarnation
	}
	if p := s.peers.At(n); p != nil {
		incarnation = max(incarnation, p.disk)
	}
	return incarnation
}

func (s *Shard) Dirty(r *replica.Replica) {
	h := s.busy
	if h == nil || h.r != r {
		h = s.groups.At(r.Group())
	}
	if h == nil || h.r != r {
		return // being born: the shard marks it when it is hosted
	}
	s.busy = h
	s.markDirty(h)
}

func (s *Shard) markDirty(h *hosted) {
	if !h.dirty {
		h.dirty = true
		s.dirty = append(s.dirty, h)
	}
}

func (s *Shard) Changed(r *replica.Replica) {
	h := s.groups.At(r.Group())
	if h != nil && !h.changed {
		h.changed = true
		s.changed = append(s.changed, h)
	}
}

func (s *Shard) Note(level int64, text string) { s.note(level, text) }

func (s *Shard) SendRaft(to core.NodeID, g core.GroupID, m *raftpb.Message, bodies []core.Ref) bool {
	return s.sendRaft(to, s.groups.At(g).hash, g, m, bodies)
}

func (s *Shard) Tell(to core.NodeID, g core.GroupID, c replica.Control) {
	s.sendControl(to, s.groups.At(g).hash, g, c)
}
