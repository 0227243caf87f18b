package seg

import "testing"

// A tally comes from a checkpoint on disk: numbers that no segment has are refused, each by itself.
func TestATallyOfNoSegmentIsRefused(t *testing.T) {
	good := func() Tally {
		return Tally{Interval: 4096, Next: 100, last: 50, After: 9, MaxAt: 5, Offsets: 2, Times: 3}
	}
	x, read := good(), Tally{}
	if rest, ok := read.decode(x.encode(nil)); !ok || len(rest) > 0 || read != x {
		t.Fatalf("%+v, %v, want %+v", read, ok, x)
	}
	for name, spoil := range map[string]func(x *Tally){
		"interval":           func(x *Tally) { x.Interval = -1 },
		"end":                func(x *Tally) { x.Next, x.last, x.Offsets, x.Times = -1, -1, -1, -1 },
		"last":               func(x *Tally) { x.last = -1 },
		"next offset":        func(x *Tally) { x.After = -1 },
		"offset of the time": func(x *Tally) { x.MaxAt = -1 },
		"offsets":            func(x *Tally) { x.Offsets, x.Times = -1, -1 },
		"times":              func(x *Tally) { x.Times = -1 },
		"a large end":        func(x *Tally) { x.Next = 1<<40 + 1 },
		"last behind end":    func(x *Tally) { x.last = 101 },
		"too many offsets":   func(x *Tally) { x.Offsets = 101 },
		"too many times":     func(x *Tally) { x.Times = 4 },
	} {
		x, read := good(), Tally{}
		spoil(&x)
		if _, ok := read.decode(x.encode(nil)); ok {
			t.Errorf("%s: %+v is taken", name, x)
		}
	}
}
