package coord

import "testing"

// Of an empty group anybody may commit who claims no generation; 0 is a generation.
func TestNoGenerationIsLessThanZero(t *testing.T) {
	for generation, want := range map[int32]int16{-1: errNone, 0: errUnknownMember, 1: errUnknownMember} {
		g := &group{state: empty}
		if got := g.checkCommit(&OffsetCommitRequest{Generation: generation}); got != want {
			t.Errorf("generation %d: error %d, want %d", generation, got, want)
		}
	}
}
