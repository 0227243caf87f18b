package replica

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
)

// The epoch that holds the log start begins there; older ones are forgotten, newer ones stay.
func TestEpochsBelowTheLogStartAreForgotten(t *testing.T) {
	all := epochs{{1, 0}, {2, 10}, {5, 10 + 7}, {9, 40}}
	for start, want := range map[core.Offset]epochs{
		0: all, 1: {{1, 1}, {2, 10}, {5, 17}, {9, 40}}, 10: {{2, 10}, {5, 17}, {9, 40}}, 16: {{2, 16}, {5, 17}, {9, 40}},
		39: {{5, 39}, {9, 40}}, 40: {{9, 40}}, 1000: {{9, 1000}},
	} {
		got := slices.Clone(all)
		got.trim(start)
		if !slices.Equal(got, want) {
			t.Errorf("trimmed at %d: %v, want %v", start, got, want)
		}
	}
	var none epochs
	if none.trim(7); len(none) != 0 {
		t.Errorf("nothing, trimmed: %v", none)
	}
	late := epochs{{3, 20}}
	if late.trim(7); !slices.Equal(late, epochs{{3, 20}}) {
		t.Errorf("an epoch that begins above the start: %v", late)
	}
}
