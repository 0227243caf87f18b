package checker

import (
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

const g = core.GroupID(4)

func id(n core.NodeID) core.RaftID { return core.NewRaftID(1, n) }

// drama is three replicas of a group: node 0 leads term 2, appends a no-op and two batches, all are
// durable on 0 and 1, committed and applied there; node 2 has the first two, not yet durable.
type drama struct {
	*State
	ids []string
}

func stage() *drama {
	d := &drama{}
	d.State = NewState(3, func(v Violation) { d.ids = append(d.ids, v.ID) })
	for n := range core.NodeID(3) {
		d.Restarted(n, g, 2, 1, journal.Hard{Term: 1})
		d.Completed(n, g, 1)
	}
	d.Sent(1, g, &raftpb.Message{Type: raftpb.MsgVoteResp, To: uint64(id(0)), Term: 2})
	d.BecameLeader(0, g, id(0), 2, 1)
	for n := range core.NodeID(3) {
		last := core.Index(4)
		if n == 2 {
			last = 3
		}
		for i := core.Index(2); i <= last; i++ {
			d.Appended(n, g, i, 2, hashOf(i, 2))
		}
	}
	for n := range core.NodeID(2) {
		d.Completed(n, g, 4)
	}
	d.Sent(1, g, &raftpb.Message{Type: raftpb.MsgAppResp, Index: 4, Term: 2})
	for n := range core.NodeID(2) {
		d.Committed(n, g, 4)
		d.apply(n, 2, 0, 0)
		d.apply(n, 3, 0, 5)
		d.apply(n, 4, 5, 5)
		d.HighWatermark(n, g, 2, 0, 10, 10)
		d.Producers(n, g, 4, 99)
	}
	d.AckedAll(0, g, 5, 9, 4)
	d.Served(0, g, 0, 10, 10)
	return d
}

func hashOf(i core.Index, t core.Term) det.Hash { return det.Hash(0).U64(uint64(i)).U64(uint64(t)) }

func (d *drama) apply(n core.NodeID, i core.Index, base core.Offset, count int32) {
	d.Applied(n, g, i, 2, hashOf(i, 2), base, count)
}

func TestCleanReplicas(t *testing.T) {
	clean := map[string]func(d *drama){
		"as it is": func(*drama) {},
		"node 2 loses what was not durable": func(d *drama) {
			d.Restarted(2, g, 2, 2, journal.Hard{Term: 2})
			d.Appended(2, g, 2, 2, hashOf(2, 2))
			d.Completed(2, g, 2)
		},
		"node 1 returns and leads": func(d *drama) {
			d.Restarted(1, g, 3, 4, journal.Hard{Term: 2, Vote: id(0)})
			d.Appended(1, g, 3, 2, hashOf(3, 2))
			d.Appended(1, g, 4, 2, hashOf(4, 2))
			d.Completed(1, g, 4)
			d.BecameLeader(1, g, id(1), 3, 4)
			d.HighWatermark(1, g, 3, 0, 10, 10)
		},
		"node 2 cuts an uncommitted tail": func(d *drama) {
			d.Appended(2, g, 4, 1, 7)
			d.Truncated(2, g, 4)
			d.Appended(2, g, 4, 2, hashOf(4, 2))
		},
		"a late leader of an older term": func(d *drama) {
			d.Appended(2, g, 4, 2, hashOf(4, 2))
			d.BecameLeader(1, g, id(1), 4, 4)
			for n := range core.NodeID(2) {
				d.Appended(n, g, 5, 4, hashOf(5, 4))
				d.Completed(n, g, 5)
			}
			d.Committed(1, g, 5)
			d.BecameLeader(2, g, id(2), 3, 4)
		},
		"node 2 installs": func(d *drama) { d.Installed(2, g, 4, 2, 10) },
		"a deposed leader shows less": func(d *drama) {
			d.BecameLeader(1, g, id(1), 3, 4)
			d.HighWatermark(1, g, 3, 0, 10, 10)
			d.Served(1, g, 9, 10, 10)
			d.HighWatermark(2, g, 2, 0, 4, 10)
		},
	}
	for name, f := range clean {
		d := stage()
		f(d)
		d.Finish()
		if len(d.ids) > 0 {
			t.Errorf("%s: accused of %v", name, d.ids)
		}
	}
}

var replicaBugs = []struct {
	id, name string
	bug      func(d *drama)
}{
	{"I1", "another entry at an index and term", func(d *drama) { d.Appended(2, g, 4, 2, 123) }},
	{"I1", "another history before an index and term", func(d *drama) {
		d.Appended(2, g, 4, 1, 7)
		d.Appended(2, g, 5, 2, 8)
		d.Appended(0, g, 5, 2, 8)
	}},
	{"I1", "a hole", func(d *drama) { d.Appended(2, g, 5, 2, 1) }},
	{"I2", "two leaders in a term", func(d *drama) { d.BecameLeader(1, g, id(1), 2, 4) }},
	{"I3", "a leader without what is committed", func(d *drama) { d.BecameLeader(2, g, id(2), 3, 3) }},
	{"I4", "another entry committed", func(d *drama) {
		d.Appended(2, g, 4, 1, 7)
		d.Committed(2, g, 4)
	}},
	{"I4", "another entry applied", func(d *drama) {
		d.Committed(2, g, 3)
		d.Applied(2, g, 2, 2, hashOf(2, 2), 0, 0)
		d.Applied(2, g, 3, 2, 555, 0, 5)
	}},
	{"I4", "applied out of order", func(d *drama) {
		d.Appended(0, g, 5, 2, 1)
		d.Appended(0, g, 6, 2, 1)
		d.apply(0, 6, 10, 1)
	}},
	{"I4", "installed from another history", func(d *drama) { d.Installed(2, g, 4, 1, 10) }},
	{"I5", "committed on one disk", func(d *drama) {
		d.Appended(0, g, 5, 2, 1)
		d.Completed(0, g, 5)
		d.Committed(0, g, 5)
	}},
	{"I5", "a restart loses what was durable", func(d *drama) { d.Restarted(1, g, 2, 3, journal.Hard{Term: 2, Vote: id(0)}) }},
	{"I5", "a restart changes what was durable", func(d *drama) {
		d.Restarted(1, g, 2, 4, journal.Hard{Term: 2, Vote: id(0)})
		d.Appended(1, g, 2, 2, 17)
	}},
	{"I6", "acknowledged on one disk", func(d *drama) {
		d.Appended(0, g, 5, 2, 1)
		d.Completed(0, g, 5)
		d.Committed(0, g, 5)
		d.AckedAll(0, g, 10, 10, 5)
	}},
	{"I6", "acknowledged before it is committed", func(d *drama) { d.AckedAll(0, g, 10, 10, 5) }},
	{"I7", "a vote forgotten over a restart", func(d *drama) { d.Restarted(1, g, 2, 4, journal.Hard{Term: 2}) }},
	{"I7", "a term forgotten over a restart", func(d *drama) { d.Restarted(1, g, 2, 4, journal.Hard{Term: 1}) }},
	{"I7", "two votes in a term", func(d *drama) {
		d.Sent(1, g, &raftpb.Message{Type: raftpb.MsgVoteResp, To: uint64(id(2)), Term: 2})
	}},
	{"I7", "an append acknowledged before it is durable", func(d *drama) {
		d.Sent(2, g, &raftpb.Message{Type: raftpb.MsgAppResp, Index: 3, Term: 2})
	}},
	{"I8", "the high watermark falls", func(d *drama) { d.HighWatermark(0, g, 2, 0, 9, 10) }},
	{"I8", "the log start above the high watermark", func(d *drama) { d.HighWatermark(0, g, 2, 11, 10, 12) }},
	{"I8", "a new leader shows clients less", func(d *drama) {
		d.BecameLeader(1, g, id(1), 3, 4)
		d.Restarted(1, g, 2, 4, journal.Hard{Term: 3, Vote: id(1)})
		d.HighWatermark(1, g, 3, 0, 5, 10)
		d.Served(1, g, 0, 5, 5)
	}},
	{"I9", "what it had committed is truncated", func(d *drama) { d.Truncated(0, g, 4) }},
	{"I9", "what others committed is truncated", func(d *drama) { d.Truncated(2, g, 3) }},
	{"I10", "a hole in the offsets", func(d *drama) {
		d.Committed(2, g, 3)
		d.apply(2, 2, 0, 0)
		d.apply(2, 3, 1, 5)
	}},
	{"I10", "an installed end that differs", func(d *drama) { d.Installed(2, g, 4, 2, 11) }},
	{"I12", "another producer state", func(d *drama) { d.Producers(2, g, 4, 98) }},
	{"A24", "served above the high watermark", func(d *drama) { d.Served(0, g, 0, 11, 10) }},
	{"A24", "a high watermark above the commit index", func(d *drama) { d.HighWatermark(0, g, 2, 0, 11, 12) }},
}

func TestPlantedReplicaBugs(t *testing.T) {
	for _, b := range replicaBugs {
		d := stage()
		if len(d.ids) > 0 {
			t.Fatal("the clean beginning is accused of", d.ids)
		}
		b.bug(d)
		if !slices.Contains(d.ids, b.id) {
			t.Errorf("%s (%s): accused of %v", b.name, b.id, d.ids)
		}
	}
}

func TestPlatters(t *testing.T) {
	two := []Platter{{Node: 0, Mark: 4}, {Node: 1, Mark: 2, Terms: []core.Term{2, 2}}, {Node: 2, Mark: 2, Terms: []core.Term{2}}}
	d := stage()
	d.OnPlatters(func(core.GroupID) []Platter { return two })
	if len(d.ids) > 0 {
		t.Error("two of three platters are a majority, and yet:", d.ids)
	}
	two[1].Terms[1] = 1
	d.OnPlatters(func(core.GroupID) []Platter { return two })
	if !slices.Contains(d.ids, "I5") {
		t.Error("a committed entry on one platter goes unseen")
	}
}

func TestNothingHappened(t *testing.T) {
	var ids []string
	NewState(3, func(v Violation) { ids = append(ids, v.ID) }).Finish()
	if !slices.Contains(ids, "empty") {
		t.Error("a run in which nothing happened passes")
	}
}
