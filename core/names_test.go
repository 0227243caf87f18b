package core

import "testing"

// Clients take the first leader's epoch for 0, and compare epochs: the order of terms is theirs.
func TestEpoch(t *testing.T) {
	for term, want := range map[Term]Epoch{0: -1, 1: -1, FirstTerm: 0, 3: 1, 1000: 998, 1<<31 + 1: 1<<31 - 1} {
		if got := term.Epoch(); got != want {
			t.Errorf("term %d is epoch %d, want %d", term, got, want)
		}
	}
	for term := FirstTerm; term < 100; term++ {
		if (term + 1).Epoch() != term.Epoch()+1 {
			t.Errorf("terms %d and %d are epochs %d and %d", term, term+1, term.Epoch(), (term + 1).Epoch())
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a term that does not fit is cut short")
		}
	}()
	_ = Term(1<<31 + 2).Epoch()
}
