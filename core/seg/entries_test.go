package seg

import (
	"slices"
	"testing"
)

// Tools are shown offsets as clients know them, and nothing of a torn last entry.
func TestEntriesAreShownWithTheirBase(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		b    []byte
		want [][2]int64
	}{
		{Offsets, []byte{0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 2, 0, 1, 2, 3}, [][2]int64{{1005, 256}, {1009, 512}}},
		{Times, []byte{0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 7, 1, 2, 3}, [][2]int64{{1024, 1007}}},
	} {
		var got [][2]int64
		Entries(c.kind, 1000, c.b, func(a, b int64) { got = append(got, [2]int64{a, b}) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}
