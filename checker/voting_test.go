package checker

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// votes builds a state in which nodes 0 and 1 hold entry 2 of group 1 and node 2 does not.
func votes(t *testing.T, conf func(n core.NodeID) raftpb.ConfState) (*State, *[]Violation) {
	t.Helper()
	var found []Violation
	s := NewState(3, func(v Violation) { found = append(found, v) })
	for n := core.NodeID(0); n < 3; n++ {
		s.Restarted(n, 1, 2, 1, journal.Hard{Term: 1})
		s.Configured(n, 1, core.NewRaftID(1, n), 1, conf(n))
		s.Appended(n, 1, 2, 2, 77)
		if n < 2 {
			s.Completed(n, 1, 2)
		}
	}
	if len(found) > 0 {
		t.Fatal(found)
	}
	return s, &found
}

func raftIDs(ids ...core.RaftID) (out []uint64) {
	for _, id := range ids {
		out = append(out, uint64(id))
	}
	return out
}

func old(n core.NodeID) core.RaftID   { return core.NewRaftID(1, n) }
func newer(n core.NodeID) core.RaftID { return core.NewRaftID(2, n) }

func TestMajoritiesAreOfTheConfiguration(t *testing.T) {
	three := raftIDs(old(0), old(1), old(2))
	for what, c := range map[string]struct {
		conf raftpb.ConfState
		good bool
	}{
		"two of three":                          {raftpb.ConfState{Voters: three}, true},
		"a learner is no voter":                 {raftpb.ConfState{Voters: raftIDs(old(0), old(2), newer(1)), Learners: raftIDs(old(1))}, false},
		"a joint one needs both halves":         {raftpb.ConfState{Voters: raftIDs(old(0), old(2), newer(1)), VotersOutgoing: three}, false},
		"a joint one whose halves both have it": {raftpb.ConfState{Voters: raftIDs(old(0), old(1), newer(2)), VotersOutgoing: three}, true},
	} {
		s, found := votes(t, func(core.NodeID) raftpb.ConfState { return c.conf })
		s.Committed(0, 1, 2)
		if good := len(*found) == 0; good != c.good {
			t.Errorf("%s: %v", what, *found)
		}
	}
}

func TestWhatADiskHeldCountsForItsVoterOnly(t *testing.T) {
	three := raftpb.ConfState{Voters: raftIDs(old(0), old(1), old(2))}
	same := func(core.NodeID) raftpb.ConfState { return three }
	s, found := votes(t, same)
	s.Wiped(1)
	s.Committed(0, 1, 2) // node 1 had it before
	if len(*found) > 0 {
		t.Fatal(*found)
	}
	s, found = votes(t, same)
	s.Wiped(1)
	s.Restarted(1, 1, 2, 1, journal.Hard{Term: 1})
	s.Configured(1, 1, newer(1), 1, three)
	if s.Joined(1) {
		t.Error("node 1 votes already")
	}
	next := raftpb.ConfState{Voters: raftIDs(old(0), newer(1), old(2))}
	s.Configured(0, 1, old(0), 1, next) // not how it goes; what is asked is who counts
	*found = nil
	s.Committed(0, 1, 2)
	if len(*found) != 1 || (*found)[0].ID != "I5" {
		t.Errorf("the new disk holds nothing, and counts: %v", *found)
	}
}

func TestARaftIDIsUsedOnce(t *testing.T) {
	three := raftpb.ConfState{Voters: raftIDs(old(0), old(1), old(2))}
	s, found := votes(t, func(core.NodeID) raftpb.ConfState { return three })
	s.Wiped(1)
	s.Sent(1, 1, &raftpb.Message{Type: raftpb.MsgVoteResp, From: uint64(old(1)), To: uint64(old(0)), Term: 3})
	if len(*found) != 1 || (*found)[0].ID != "I18" {
		t.Errorf("%v", *found)
	}
	*found = nil
	s.Restarted(1, 1, 2, 1, journal.Hard{Term: 3, Vote: old(0)})
	s.Configured(1, 1, old(1), 1, three)
	if len(*found) != 1 || (*found)[0].ID != "I18" {
		t.Errorf("%v", *found)
	}
}

func TestAChangeHoldsWhenItIsCommitted(t *testing.T) {
	three := raftpb.ConfState{Voters: raftIDs(old(0), old(1), old(2))}
	s, found := votes(t, func(core.NodeID) raftpb.ConfState { return three })
	s.Committed(0, 1, 2)
	s.Appended(0, 1, 3, 2, 78)
	s.Configured(0, 1, old(0), 3, three)
	if len(*found) != 1 || (*found)[0].ID != "I18" {
		t.Errorf("%v", *found)
	}
	*found = nil
	s.Configured(1, 1, old(1), 2, three)
	s.Configured(0, 1, old(0), 2, raftpb.ConfState{Voters: raftIDs(old(0), old(1))})
	if len(*found) != 1 || (*found)[0].ID != "I18" {
		t.Errorf("%v", *found)
	}
}
