package checker

import (
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// Every accusation is made by its own words, so that none can go missing behind another of the same
// invariant.
func TestEachAccusationStandsAlone(t *testing.T) {
	bugs := map[string]func(d *drama){}
	for _, b := range replicaBugs {
		bugs[b.name] = b.bug
	}
	bugs["an entry applied twice"] = func(d *drama) { d.Applied(0, g, 4, 2, hashOf(4, 2), 10, 0) }
	bugs["the second batch begins late"] = func(d *drama) {
		d.Appended(2, g, 4, 2, hashOf(4, 2))
		d.Committed(2, g, 4)
		d.apply(2, 2, 0, 0)
		d.apply(2, 3, 0, 5)
		d.apply(2, 4, 6, 4)
	}
	bugs["what it does not have is committed"] = func(d *drama) { d.Committed(2, g, 5) }
	bugs["what it does not have is durable"] = func(d *drama) { d.Completed(2, g, 4) }
	bugs["an acknowledgement of other offsets"] = func(d *drama) { d.AckedAll(0, g, 5, 10, 4) }
	says := map[string]string{
		"another entry at an index and term":       "I1 node 2, group 4: index 4 of term 2 is another entry than elsewhere",
		"another history before an index and term": "I1 node 0, group 4: index 5 of term 2 follows term 2, elsewhere term 1",
		"a hole":                                      "I1 node 2, group 4: it appended index 5 after 3",
		"two leaders in a term":                       "I2 node 1, group 4: 100000001 leads term 2",
		"a leader without what is committed":          "I3 node 2, group 4: it leads term 3 without index 4 of term 2",
		"another entry committed":                     "I4 node 2, group 4: it committed index 4 of term 1, elsewhere term 2",
		"another entry applied":                       "I4 node 2, group 4: it applied another entry at index 3",
		"applied out of order":                        "I4 node 0, group 4: it applied index 6 after 4",
		"an entry applied twice":                      "I4 node 0, group 4: it applied index 4 after 4",
		"what it does not have is committed":          "I4 node 2, group 4: it committed index 4, its log ends at 3",
		"installed from another history":              "I4 node 2, group 4: it installed index 4 of term 1, where term 2",
		"committed on one disk":                       "I5 node 0, group 4: it committed index 5 of term 2, which is durable on 1 of 3",
		"a restart loses what was durable":            "I5 node 1, group 4: its log ends at index 3 after a restart, but 4",
		"a restart changes what was durable":          "I5 node 1, group 4: index 2 is another entry after a restart",
		"what it does not have is durable":            "I5 node 2, group 4: it completed index 4 of a log that ends at 3",
		"acknowledged on one disk":                    "I6 node 0, group 4: it acknowledged offset 10, which is durable on 1 of 3",
		"acknowledged before it is committed":         "I6 node 0, group 4: it acknowledged offset 10 at index 5, which is not committed",
		"a vote forgotten over a restart":             "I7 node 1, group 4: in term 2 it had voted for 100000000",
		"a term forgotten over a restart":             "I7 node 1, group 4: term 1 after a restart",
		"two votes in a term":                         "I7 node 1, group 4: it votes for 100000002 in term 2",
		"an append acknowledged before it is durable": "I7 node 2, group 4: it acknowledged index 3, but only 1",
		"the high watermark falls":                    "I8 node 0, group 4: epoch 2, log start 0, high watermark 9 follow 2, 0, 10",
		"the log start above the high watermark":      "I8 node 0, group 4: log start 11, high watermark 10",
		"a new leader shows clients less":             "I8 node 1, group 4: in epoch 3 it shows high watermark 5, clients saw 10 in epoch 2",
		"what it had committed is truncated":          "I9 node 0, group 4: it truncated from index 4, and had committed 4",
		"what others committed is truncated":          "I9 node 2, group 4: it truncated index 3, which is committed",
		"a hole in the offsets":                       "I10 node 2, group 4: index 3 ends at offset 6, elsewhere at 5",
		"the second batch begins late":                "I10 node 2, group 4: index 4 holds offset 6, 5 must come next",
		"an installed end that differs":               "I10 node 2, group 4: it installed index 4 with end offset 11, elsewhere it is 10",
		"an acknowledgement of other offsets":         "I10 node 0, group 4: it acknowledged offset 10 at index 4, which ends at 10",
		"another producer state":                      "I12 node 2, group 4: its producer state at index 4 differs",
		"served above the high watermark":             "A24 node 0, group 4: it served offsets up to 10 above the high watermark 10",
		"a high watermark above the commit index":     "A24 node 0, group 4: it showed high watermark 11 while index 4 was committed, which ends at 10",
	}
	for name, bug := range bugs {
		d, all := stage(), ""
		d.report = func(v Violation) { all += v.ID + " " + v.What + "\n" }
		bug(d)
		if want := says[name]; want == "" || !strings.Contains(all, want) {
			t.Errorf("%s: it says %q, want %q", name, all, want)
		}
	}
	if len(bugs) != len(says) {
		t.Errorf("%d bugs, %d accusations", len(bugs), len(says))
	}
}

// A majority of disks is more than half of them, and half is not: of one, two, three and four nodes.
func TestHalfOfTheDisksIsNoMajority(t *testing.T) {
	for nodes := 1; nodes <= 4; nodes++ {
		for durable := 1; durable <= nodes; durable++ {
			accused := false
			s := NewState(nodes, func(Violation) { accused = true })
			for n := range core.NodeID(nodes) {
				s.Appended(n, g, 2, 2, hashOf(2, 2))
				if int(n) < durable {
					s.Completed(n, g, 2)
				}
			}
			s.Committed(0, g, 2)
			if want := durable*2 <= nodes; accused != want {
				t.Errorf("durable on %d of %d: accused %v", durable, nodes, accused)
			}
		}
	}
}
