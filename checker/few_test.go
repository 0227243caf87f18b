package checker

import (
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// A leader that has nothing at all lacks what is committed, the very first entry too.
func TestALeaderWithAnEmptyLogIsAccused(t *testing.T) {
	for name, has := range map[string]bool{"nothing": false, "all": true} {
		var all []string
		s := NewState(3, func(v Violation) { all = append(all, v.ID) })
		s.Restarted(2, g, 2, 1, journal.Hard{Term: 1})
		for n := range 2 {
			s.Appended(core.NodeID(n), g, 2, 2, hashOf(2, 2))
			s.Completed(core.NodeID(n), g, 2)
		}
		s.Committed(0, g, 2)
		if has {
			s.Appended(2, g, 2, 2, hashOf(2, 2))
		}
		s.BecameLeader(2, g, id(2), 3, 1)
		if slices.Contains(all, "I3") == has {
			t.Errorf("it has %s: %v", name, all)
		}
	}
}

// An id belongs to the topic that had it first.
func TestATopicIDNamesOneTopic(t *testing.T) {
	all := ""
	s := NewTopics(func(v Violation) { all += v.What + "\n" })
	for _, c := range []struct{ topic, id, says string }{
		{"a", "1", ""}, {"a", "1", ""}, {"b", "2", ""}, {"c", "", ""}, {"d", "", ""}, {"b", "1", "topic id 1 is that of a and of b"},
	} {
		all = ""
		if s.identify(c.topic, c.id); strings.TrimSpace(all) != c.says {
			t.Errorf("%s with id %q: %q, want %q", c.topic, c.id, all, c.says)
		}
	}
}

// Of a log whose records are all gone there is nothing to read at the end.
func TestAnEmptyLogIsSealedWithoutAFinalRead(t *testing.T) {
	a := base(t)
	closing(a)
	a.op(Sealed, func(o *Op) { o.Process, o.Topic, o.Partition, o.From, o.End = 99, "u", 0, 5, 5 })
	if ids := a.ids(); len(ids) > 0 {
		t.Error(ids)
	}
}
