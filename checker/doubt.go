package checker

import (
	"github.com/karst-stream/karst/core"
)

// doubt is what may be a violation or the end of a group. A node that starts again may know of a deleted
// group from its copy of the metadata, before it has the deletion, and give birth to it anew: with
// nothing, as any new replica. Nobody tells the judge of deletions, so from then on what it finds in that
// group is kept until somebody knows whether the group is still there in the end.
type doubt struct {
	on   bool
	kept []Violation
}

// reborn is asked when a replica begins: with no more than birth gives, though more was durable.
func (d *doubt) reborn(c *copyOf, last core.Index, term core.Term) {
	const birth = 1 // the index and the term that a group is born with
	d.on = d.on || last <= birth && term <= birth && (c.completed > last || c.term > term)
}

// absent is asked when a committed entry was looked for on all platters: those that do not know the group
// may have deleted it.
func (d *doubt) absent(with, without, nodes int) {
	d.on = d.on || with <= nodes/2 && with+without > nodes/2
}

// Doubted are the groups that Settle has to know about, in order.
func (s *State) Doubted() (groups []core.GroupID) {
	for _, g := range s.sorted() {
		if len(s.groups[g].doubt.kept) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// Settle reports what was kept of groups that are not gone.
func (s *State) Settle(gone func(core.GroupID) bool) {
	for _, g := range s.Doubted() {
		d := &s.groups[g].doubt
		for _, v := range d.kept {
			if !gone(g) {
				s.report(v)
			}
		}
		d.kept = nil
	}
}
