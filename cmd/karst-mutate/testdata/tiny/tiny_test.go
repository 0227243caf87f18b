package tiny

import "testing"

func TestTiny(t *testing.T) {
	for _, c := range []struct{ is, want int }{
		{Clamp(-1), 0}, {Clamp(0), 0}, {Clamp(10), 10}, {Clamp(11), 10}, {Clamp(7), 7},
		{Sum([]int{1, 2, 0, 3}), 6}, {Sum([]int{1, -1, 5}), 1}, {Sum(nil), 0},
		{Count([]int{1, 2, 1}, 1), 2}, {Count(nil, 1), 0},
		{Span(2, 5), 3}, {Guarded(1), 2},
	} {
		if c.is != c.want {
			t.Errorf("%d, want %d", c.is, c.want)
		}
	}
	if !Both(true, true) || Both(true, false) || Both(false, true) {
		t.Error("Both")
	}
	if calls != 1 {
		t.Error("calls")
	}
}
