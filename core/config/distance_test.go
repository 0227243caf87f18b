package config

import "testing"

// Each edit costs one, whichever it is.
func TestDistanceIsLevenshteins(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "abc", 0}, {"abc", "axc", 1}, {"abc", "ac", 1}, {"ac", "abc", 1}, {"abc", "", 3},
		{"kitten", "sitting", 3}, {"sunday", "saturday", 3}, {"a_b-c", "a.b.c", 0},
	} {
		if got := distance(c.a, c.b, 9); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := distance("retention", "r", 3); got <= 3 {
		t.Errorf("too far: %d", got)
	}
}
