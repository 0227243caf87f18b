package checker

import (
	"slices"
	"testing"
)

// Bugs that only one accusation can see: with another one beside it the list of replicaBugs would not
// notice that it is gone.
func TestEachAccusationStandsAlone(t *testing.T) {
	for _, c := range []struct {
		name, id string
		bug      func(d *drama)
	}{
		{"an entry applied twice", "I4", func(d *drama) { d.Applied(0, g, 4, 2, hashOf(4, 2), 10, 0) }},
	} {
		d := stage()
		if c.bug(d); !slices.Contains(d.ids, c.id) {
			t.Errorf("%s: accused of %v, want %s", c.name, d.ids, c.id)
		}
	}
}
