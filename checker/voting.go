package checker

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
)

// voting is what is known of who votes in a group. Majorities are of a configuration, and of both halves of
// a joint one; what a disk held that is gone counts for the voter that it was.
type voting struct {
	ghosts []*copyOf             // of disks that are gone
	confs  map[core.Index]string // that held from an index on, as replicas said
	newest raftpb.ConfState
	since  core.Index // of newest
}

// Wiped: the disk of a node is gone, and with it all the names under which it voted.
func (s *State) Wiped(n core.NodeID) {
	for _, g := range s.sorted() {
		p := s.groups[g]
		if c := p.copies[n]; c != nil && c.id != 0 {
			s.dead[c.id] = true
			p.ghosts = append(p.ghosts, c)
		}
		p.copies[n] = nil
	}
}

// Joined says that every group which a node has a copy of counts that copy as a voter, and no older one.
func (s *State) Joined(n core.NodeID) bool {
	for _, p := range s.groups {
		if c := p.copies[n]; c != nil && c.id != 0 &&
			(len(p.newest.VotersOutgoing) > 0 || !slices.Contains(p.newest.Voters, uint64(c.id))) {
			return false
		}
	}
	return true
}

// ghost: I18, a raft id is never used again for another disk.
func (s *State) ghost(n core.NodeID, g core.GroupID, id core.RaftID) {
	if s.dead[id] {
		s.fail("I18", n, g, "it votes or acknowledges as %x, whose disk is gone", uint64(id))
	}
}

// Configured: I18. A configuration is the same on every replica, and holds after its entry is committed.
func (s *State) Configured(n core.NodeID, g core.GroupID, id core.RaftID, i core.Index, conf raftpb.ConfState) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	s.ghost(n, g, id)
	if i > 1 && len(p.canon) > 0 && i >= p.first+core.Index(len(p.canon)) {
		s.fail("I18", n, g, "it votes by the configuration of index %d, which nobody has committed", i)
	}
	text := ""
	for _, ids := range [4][]uint64{conf.Voters, conf.VotersOutgoing, conf.Learners, conf.LearnersNext} {
		text += fmt.Sprintf("%x ", slices.Sorted(slices.Values(ids))) // a group is born with them in any order
	}
	if was, ok := p.confs[i]; ok && was != text {
		s.fail("I18", n, g, "its configuration at index %d is %s, elsewhere it is %s", i, text, was)
	}
	if p.confs == nil {
		p.confs = map[core.Index]string{}
	}
	p.confs[i] = text
	c.id, c.conf = id, conf
	if i >= p.since {
		p.newest, p.since = conf, i
	}
}

// holds says that entry i is e on the copy's disk.
func (c *copyOf) holds(i core.Index, e entry) bool {
	return c != nil && c.completed >= i && (i < c.first || c.has(i) && c.entry(i) == e)
}

// durable counts the voters of c's configuration on whose disks entry i is, and how many there are; of a joint
// configuration in the half that has fewer.
func (s *State) durable(p *group, c *copyOf, i core.Index, e entry) (n, of int) {
	if len(c.conf.Voters) == 0 {
		for _, x := range p.copies {
			if x.holds(i, e) {
				n++
			}
		}
		return n, s.nodes
	}
	return majority(&c.conf, func(id core.RaftID) bool { return p.copyOf(id).holds(i, e) })
}

// onPlatters counts the voters of the newest configuration whose disks have entry i.
func (s *State) onPlatters(p *group, have []Platter, i core.Index, e entry) (n, of int) {
	if len(p.newest.Voters) == 0 {
		for _, c := range have {
			if c.has(i, e.term) {
				n++
			}
		}
		return n, s.nodes
	}
	return majority(&p.newest, func(id core.RaftID) bool {
		if live := p.copies[id.Node()]; live == nil || live.id != id {
			return p.copyOf(id).holds(i, e)
		}
		for _, x := range have {
			if x.Node == id.Node() && x.has(i, e.term) {
				return true
			}
		}
		return false
	})
}

// majority counts the voters that have something, in the half of a joint configuration that lacks more.
func majority(conf *raftpb.ConfState, has func(core.RaftID) bool) (n, of int) {
	for _, voters := range [2][]uint64{conf.Voters, conf.VotersOutgoing} {
		if len(voters) == 0 {
			continue
		}
		k := 0
		for _, v := range voters {
			if has(core.RaftID(v)) {
				k++
			}
		}
		if of == 0 || k-len(voters)/2 < n-of/2 {
			n, of = k, len(voters)
		}
	}
	return n, of
}

// copyOf is the copy that votes as id, or did; nil when there never was one.
func (p *group) copyOf(id core.RaftID) *copyOf {
	if c := p.copies[id.Node()]; c != nil && c.id == id {
		return c
	}
	for _, c := range p.ghosts {
		if c.id == id {
			return c
		}
	}
	return nil
}
