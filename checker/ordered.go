package checker

import (
	"cmp"
	"math"
	"slices"
)

// Forever is the end of an operation of which nobody knows when, or whether, it took effect.
const Forever = math.MaxInt64

// Span is when an operation took effect: at some instant between Call and Ret, both included.
type Span struct{ Call, Ret int64 }

// Step moves an object with a known order from state At to At+Width: an append of Width records at
// offset At, a group that enters generation At+1.
type Step struct {
	At, Width int64
	Span
}

// Seen is an answer that shows an object's state. Above: the state was greater than At (a commit
// refused as stale); otherwise it was At.
type Seen struct {
	At    int64
	Above bool
	Span
}

// Ordered is the history of one object whose states are numbers that only grow, so that the order of
// its changes is known: a log by its offsets, a group by its generations, a producer id by its epochs.
type Ordered struct {
	Start int64 // the state before all
	// Holes: a step that was not recorded may have happened at any time. Without it a state that was
	// seen and that no step leads to is a violation.
	Holes bool
	// Units: a state inside of a step may be seen; its records were appended one after the other.
	Units bool
	Steps []Step
	Seens []Seen
}

// Conflict is where an order of operations cannot be.
type Conflict struct {
	At  int64 // the state
	Why string
	Span
}

// Check says whether the operations can be put in one order that agrees with their times
// (linearizability), nil when they can. It visits states from the lowest up and keeps the earliest
// instant at which the step before can have happened; that is exact, because steps have no choice of
// place. O(n log n). It sorts o.
func (o *Ordered) Check() *Conflict {
	slices.SortFunc(o.Steps, func(a, b Step) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Call, b.Call)) })
	for i := range o.Seens {
		if s := &o.Seens[i]; s.Above {
			s.At = max(s.At, o.Start-1) // less says nothing
		}
	}
	slices.SortFunc(o.Seens, func(a, b Seen) int {
		return cmp.Or(cmp.Compare(a.slot(), b.slot()), cmp.Compare(a.Call, b.Call))
	})
	if len(o.Seens) > 0 && o.Seens[0].slot() < o.Start {
		return &Conflict{o.Seens[0].At, "this state was seen, and lies before the first", o.Seens[0].Span}
	}
	w := walk{o: o, now: math.MinInt64, at: o.Start}
	for i := range o.Steps {
		if c := w.step(&o.Steps[i]); c != nil {
			return c
		}
	}
	if c := w.seens(w.at, &Step{At: w.at, Span: Span{math.MinInt64, Forever}}); c != nil {
		return c
	}
	for w.i < len(o.Seens) {
		s := &o.Seens[w.i]
		if !o.Holes {
			return &Conflict{s.At, "this state was seen, and nothing led to it", s.Span}
		}
		w.at = s.slot()
		if c := w.seens(w.at, &Step{At: w.at, Span: Span{math.MinInt64, Forever}}); c != nil {
			return c
		}
	}
	return nil
}

// slot is the state at which a sight is judged.
func (s *Seen) slot() int64 {
	if s.Above {
		return s.At + 1
	}
	return s.At
}

type walk struct {
	o   *Ordered
	at  int64 // the state reached
	now int64 // the earliest instant of the step to it
	i   int   // the next sight
}

// seens judges the sights of one state, and moves now to where the step that leaves it can begin.
// A sight from above bounds only the step before it: the state may have grown on.
func (w *walk) seens(slot int64, next *Step) *Conflict {
	begin := w.now
	for ; w.i < len(w.o.Seens) && w.o.Seens[w.i].slot() == slot; w.i++ {
		s := &w.o.Seens[w.i]
		if s.Ret < begin {
			return &Conflict{s.At, "this state was seen, and had not been reached yet", s.Span}
		}
		if !s.Above {
			w.now = max(w.now, s.Call)
		}
	}
	if w.now > next.Ret {
		return &Conflict{slot, "this state was still seen after the step that leaves it", next.Span}
	}
	return nil
}

func (w *walk) step(s *Step) *Conflict {
	if s.At < w.at {
		return &Conflict{s.At, "two steps lead from this state", s.Span}
	}
	for s.At > w.at { // up to the step, sights in a hole
		if !w.o.Holes {
			return &Conflict{w.at, "no step leads from this state, and later ones were seen", s.Span}
		}
		free := &Step{At: w.at, Span: Span{math.MinInt64, Forever}}
		if c := w.seens(w.at, free); c != nil {
			return c
		}
		w.at = s.At
		if w.i < len(w.o.Seens) {
			w.at = min(s.At, w.o.Seens[w.i].slot())
		}
	}
	if c := w.seens(s.At, s); c != nil {
		return c
	}
	w.now = max(w.now, s.Call)
	if w.now > s.Ret {
		return &Conflict{s.At, "the step from this state ended before the one to it began", s.Span}
	}
	end := s.At + s.Width
	for w.i < len(w.o.Seens) && w.o.Seens[w.i].slot() < end {
		if !w.o.Units {
			in := &w.o.Seens[w.i]
			return &Conflict{in.At, "this state lies inside of one step", in.Span}
		}
		if c := w.seens(w.o.Seens[w.i].slot(), s); c != nil {
			return c
		}
	}
	w.at = end
	return nil
}
