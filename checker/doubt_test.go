package checker

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// A replica that begins as one just born, though more was durable, is a violation unless its group is
// gone in the end; one that kept more than that is a violation at once.
func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		name  string
		last  core.Index
		gone  bool
		early int
		late  int
	}{{"deleted", 1, true, 0, 0}, {"lost", 1, false, 0, 1}, {"short", 2, true, 1, 1}} {
		var found []Violation
		s := NewState(3, func(v Violation) { found = append(found, v) })
		s.Restarted(0, 7, 1, 0, journal.Hard{Term: 1})
		for i := core.Index(1); i <= 3; i++ {
			s.Appended(0, 7, i, 1, 5)
		}
		s.Completed(0, 7, 3)
		s.Restarted(0, 7, 1, c.last, journal.Hard{Term: 1})
		if len(found) != c.early {
			t.Errorf("%s: %v at once", c.name, found)
		}
		if want := c.late - c.early; len(s.Doubted()) != want && !c.gone {
			t.Errorf("%s: doubts %v", c.name, s.Doubted())
		}
		s.Settle(func(core.GroupID) bool { return c.gone })
		if len(found) != c.late {
			t.Errorf("%s: %v in the end", c.name, found)
		}
	}
}
