package linear

import (
	"flag"
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core/det"
)

var histories = flag.Int("histories", 3000, "random histories on which the exact judges and porcupine must agree")
var firstSeed = flag.Int("first", 0, "the seed of the first random history")

// moment is an operation of a random history: it takes effect at the instant at.
type moment struct {
	checker.Span
	at      int64
	kind    int64
	unknown bool // its outcome
	landed  bool // of an unknown one
}

// moments are n operations of clients, each with one operation open at a time. An unknown one stays
// open, and its client goes on under another name.
func moments(r *det.Rand, clients, n int64) []moment {
	var all []moment
	for c := range clients {
		t := r.N(20)
		for i := range n / clients {
			if i%5 == 4 {
				t = (t/200 + 1) * 200 // some quiet instants
			}
			m := moment{kind: r.N(100), unknown: r.Chance(1, 12)}
			m.Call = t + r.N(12)
			m.Ret = m.Call + r.N(30)
			m.at = m.Call + r.N(m.Ret-m.Call+1)
			t = m.Ret + 1
			if m.unknown {
				m.landed = r.Chance(1, 2)
				m.at = m.Call + r.N(200)
				m.Ret = checker.Forever
			}
			m.at = m.at*64 + c // no two at once
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b moment) int { return int(a.at - b.at) })
	return all
}

// edit moves an operation in time, so that it may no longer fit.
func edit(r *det.Rand, s *checker.Span) {
	by := r.Between(-60, 60)
	s.Call += by
	if s.Ret != checker.Forever {
		s.Ret += by
	}
}

// orderedHistory is a random object with a known order: right, or one edit away from right.
func orderedHistory(r *det.Rand, units, holes, wrong bool) (o *checker.Ordered, dropped []checker.Step) {
	o = &checker.Ordered{Units: units, Holes: holes, Start: r.N(3) * 10}
	state := o.Start
	for _, m := range moments(r, r.Between(4, 7), r.Between(76, 92)) {
		switch {
		case m.kind < 45:
			s := checker.Step{At: state, Width: 1, Span: m.Span}
			if !holes {
				s.Width = r.Between(1, 4)
			}
			if m.unknown && !m.landed {
				dropped = append(dropped, s)
				continue
			}
			state += s.Width
			if !holes || !r.Chance(1, 5) { // some generations nobody recorded
				o.Steps = append(o.Steps, s)
			}
		case m.unknown:
		case holes && m.kind < 60 && state > o.Start:
			o.Seens = append(o.Seens, checker.Seen{At: r.Between(o.Start, state-1), Above: true, Span: m.Span})
		default:
			o.Seens = append(o.Seens, checker.Seen{At: state, Span: m.Span})
		}
	}
	if !wrong {
		return o, dropped
	}
	switch s := &o.Steps[r.N(int64(len(o.Steps)))]; r.N(4) {
	case 0:
		edit(r, &s.Span)
	case 1:
		edit(r, &o.Seens[r.N(int64(len(o.Seens)))].Span)
	case 2:
		o.Seens[r.N(int64(len(o.Seens)))].At += r.Between(-2, 2)
	case 3:
		x := &o.Steps[r.N(int64(len(o.Steps)))]
		s.Span, x.Span = x.Span, s.Span
	}
	return o, dropped
}

// never is when an operation ends of which nobody knows whether it took effect.
const never = 1 << 40

// whole gives an Ordered to porcupine in one piece, by a way of its own: units one by one, holes as
// steps that may happen at any time, sends that came to nothing as sends that may come to something.
func whole(o *checker.Ordered, dropped []checker.Step) (porcupine.Model, []porcupine.Operation) {
	var ops []porcupine.Operation
	add := func(in input, s checker.Span, sure bool) {
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: in, Output: sure,
			Call: max(s.Call, -never), Return: min(s.Ret, never)})
	}
	known := map[int64]bool{}
	top := o.Start
	for _, s := range o.Steps {
		width := s.Width
		if o.Units {
			width = 1
		}
		for at := s.At; at < s.At+s.Width; at += width {
			add(input{step: &checker.Step{At: at, Width: width}}, s.Span, true)
			known[at] = true
		}
		top = max(top, s.At+s.Width)
	}
	for _, s := range o.Seens {
		add(input{seen: &s}, s.Span, true)
		top = max(top, shown(&s))
	}
	for at := o.Start; at < top && o.Holes; at++ {
		if !known[at] {
			add(input{step: &checker.Step{At: at, Width: 1}}, checker.Span{Call: math.MinInt64, Ret: checker.Forever}, true)
		}
	}
	for _, s := range dropped {
		s.At = never // an offset that the log never had
		add(input{step: &s}, s.Span, false)
	}
	m := orderedModel(o.Start)
	step := m.Step
	m.Step = func(state, in, out any) (bool, any) {
		if ok, next := step(state, in, out); ok || out.(bool) {
			return ok, next
		}
		return true, state // unknown: it came to nothing
	}
	return m, ops
}

// registerHistory is a random register: right, or one edit away from right.
func registerHistory(r *det.Rand, wrong bool) (ops []checker.Access) {
	value, next := uint64(0), uint64(1)
	for _, m := range moments(r, r.Between(4, 7), r.Between(76, 92)) {
		switch {
		case m.kind < 40 || m.unknown:
			ops = append(ops, checker.Access{Value: next, Span: m.Span})
			if !m.unknown || m.landed {
				value = next
			}
			next++
		default:
			ops = append(ops, checker.Access{Value: value, Read: true, Span: m.Span})
		}
	}
	if !wrong {
		return ops
	}
	a := &ops[r.N(int64(len(ops)))]
	switch r.N(3) {
	case 0:
		if a.Read {
			a.Value = uint64(r.N(int64(next)))
			break
		}
		fallthrough
	default:
		edit(r, &a.Span)
	}
	return ops
}

func wholeRegister(accesses []checker.Access) (ops []porcupine.Operation) {
	for i, a := range accesses {
		ops = append(ops, porcupine.Operation{ClientId: i, Input: input{entry: &a}, Output: a.Ret != checker.Forever,
			Call: a.Call, Return: min(a.Ret, never)})
	}
	return ops
}

// inWindows is the verdict of the windows together.
func inWindows(t *testing.T, windows func(emit func(window))) (ok bool, n int) {
	ok = true
	windows(func(w window) {
		n++
		ok = ok && porcupine.CheckOperations(w.model, w.operations())
	})
	return ok, n
}

// TestEquivalence: on random histories of at least 50 operations by at least 4 clients, unknown
// outcomes included and half of them one edit away from right, the exact judge, porcupine on the whole
// and porcupine on windows give one verdict. -histories 100000 is the long form.
func TestEquivalence(t *testing.T) {
	kinds := []string{"log", "log of batches", "generations", "register"}
	right, wrong, cuts, unknown := map[string]int{}, map[string]int{}, 0, 0
	for seed := *firstSeed; seed < *firstSeed+*histories; seed++ {
		r := det.New(uint64(seed), "equivalence")
		kind, edited := kinds[seed/2%len(kinds)], seed%2 == 1
		var exact, search, windows bool
		var n int
		var all []porcupine.Operation
		if kind == "register" {
			ops := registerHistory(r, edited)
			all = wholeRegister(ops)
			exact, _, _ = checker.CheckRegister(ops)
			search = porcupine.CheckOperations(registerModel(0), all)
			windows, n = inWindows(t, func(emit func(window)) { registerWindows(ops, 5, emit) })
		} else {
			o, dropped := orderedHistory(r, kind == "log", kind == "generations", edited)
			var model porcupine.Model
			model, all = whole(o, dropped)
			exact = o.Check() == nil
			search = porcupine.CheckOperations(model, all)
			windows, n = inWindows(t, func(emit func(window)) { orderedWindows(o, 5, emit) })
		}
		cuts += n
		if slices.ContainsFunc(all, func(o porcupine.Operation) bool { return o.Return == never && o.Call > -never }) {
			unknown++
		}
		if len(all) < 50 {
			t.Fatalf("seed %d, %s: only %d operations", seed, kind, len(all))
		}
		if exact != search || exact != windows {
			t.Fatalf("seed %d, %s, edited %v: exact %v, porcupine %v, in windows %v", seed, kind, edited, exact, search, windows)
		}
		if !exact && !edited {
			t.Fatalf("seed %d: a right %s is refused", seed, kind)
		}
		if exact {
			right[kind]++
		} else {
			wrong[kind]++
		}
	}
	for _, kind := range kinds {
		if all := right[kind] + wrong[kind]; wrong[kind]*10 < all || right[kind]*10 < all {
			t.Errorf("%s: %d right, %d wrong: too few of one sort to compare anything", kind, right[kind], wrong[kind])
		}
	}
	if unknown < *histories*9/10 {
		t.Errorf("only %d histories of %d have unknown outcomes", unknown, *histories)
	}
	if cuts < *histories*2 {
		t.Errorf("%d windows of %d histories: nothing was cut", cuts, *histories)
	}
	t.Logf("%d histories agree; right %v, wrong %v, %d windows", *histories, right, wrong, cuts)
}
