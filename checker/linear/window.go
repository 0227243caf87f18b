package linear

import (
	"cmp"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/karst-stream/karst/checker"
)

// window is a part of an object's history between two instants at which no operation was open, with
// the state that the part begins with.
type window struct {
	model  porcupine.Model
	pieces []piece
}

// piece is an operation on its way into a window.
type piece struct {
	in input
	checker.Span
}

func byCall(a, b piece) int { return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Ret, b.Ret)) }

// cut splits pieces, sorted by their call, at quiescent instants. known says whether the state after a
// window is certain, given the window; a window has at least least operations, if there are as many.
// While the state is not certain the window grows by an eighth before that is asked again, so that all
// of the asking together costs no more than O(n).
func cut(pieces []piece, least int, known func(w []piece) bool, emit func(w []piece)) {
	from, end, want := 0, int64(math.MinInt64), least
	for i, p := range pieces {
		if n := i - from; n >= want && p.Call > end {
			if known(pieces[from:i]) {
				emit(pieces[from:i])
				from, want = i, least
			} else {
				want = n + n/8 + 1
			}
		}
		end = max(end, p.Ret)
	}
	if from < len(pieces) {
		emit(pieces[from:])
	}
}

// operations gives a window to porcupine. Every operation is a client of its own unless it fits behind
// an earlier one: the pictures need rows without overlap.
func (w window) operations() []porcupine.Operation {
	var rows []int64
	ops := make([]porcupine.Operation, 0, len(w.pieces))
	top := int64(math.MinInt64)
	for _, p := range w.pieces {
		top = max(top, p.Call)
		if p.Ret != checker.Forever {
			top = max(top, p.Ret)
		}
	}
	for _, p := range w.pieces {
		ret := p.Ret
		if ret == checker.Forever {
			ret = top + 1
		}
		row := slices.IndexFunc(rows, func(end int64) bool { return end < p.Call })
		if row < 0 {
			row = len(rows)
			rows = append(rows, 0)
		}
		rows[row] = ret
		ops = append(ops, porcupine.Operation{ClientId: row, Input: p.in, Call: p.Call, Output: true, Return: ret})
	}
	return ops
}

// orderedPieces turns an Ordered, whose Check has sorted it, into pieces. Steps are split where a
// state inside of them was seen, holes are filled with steps that may happen at any time, and both
// ends of time are drawn in to where the known order already puts them.
func orderedPieces(o *checker.Ordered) []piece {
	steps := split(o)
	seens := o.Seens
	low := int64(math.MaxInt64)
	for _, s := range steps {
		if s.Call != math.MinInt64 {
			low = min(low, s.Call)
		}
	}
	for _, s := range seens {
		low = min(low, s.Call)
	}
	// from below: a step without a beginning comes after all that shows an earlier state
	at, i := low, 0
	for k := range steps {
		for ; i < len(seens) && !seens[i].Above && seens[i].At <= steps[k].At; i++ {
			at = max(at, seens[i].Call)
		}
		if steps[k].Call == math.MinInt64 {
			steps[k].Call = at
		}
		at = max(at, steps[k].Call)
	}
	// from above: a step without an end comes before all that shows a later state
	end, j := int64(checker.Forever), len(seens)-1
	for k := len(steps) - 1; k >= 0; k-- {
		for ; j >= 0 && shown(&seens[j]) >= steps[k].At+steps[k].Width; j-- {
			end = min(end, seens[j].Ret)
		}
		if steps[k].Ret == checker.Forever {
			steps[k].Ret = max(end, steps[k].Call)
		}
		end = min(end, steps[k].Ret)
	}
	var out []piece
	for k := range steps {
		out = append(out, piece{input{step: &steps[k]}, steps[k].Span})
	}
	for k := range seens {
		out = append(out, piece{input{seen: &seens[k]}, seens[k].Span})
	}
	slices.SortStableFunc(out, byCall)
	return out
}

// shown is the lowest state that a sight proves.
func shown(s *checker.Seen) int64 {
	if s.Above {
		return s.At + 1
	}
	return s.At
}

// split cuts steps at the states that were seen inside of them and fills holes.
func split(o *checker.Ordered) []checker.Step {
	free := checker.Span{Call: math.MinInt64, Ret: checker.Forever}
	var steps []checker.Step
	at, i := o.Start, 0
	fill := func(to int64) { // a hole, in as many steps as states of it were seen
		for ; i < len(o.Seens) && shown(&o.Seens[i]) <= to; i++ {
			if s := shown(&o.Seens[i]); s > at && o.Holes {
				steps = append(steps, checker.Step{At: at, Width: s - at, Span: free})
				at = s
			}
		}
		if to > at && o.Holes {
			steps = append(steps, checker.Step{At: at, Width: to - at, Span: free})
			at = to
		}
	}
	for _, s := range o.Steps {
		fill(s.At)
		from, end := s.At, s.At+s.Width
		for ; i < len(o.Seens) && shown(&o.Seens[i]) < end; i++ {
			if m := shown(&o.Seens[i]); o.Units && m > from {
				steps = append(steps, checker.Step{At: from, Width: m - from, Span: s.Span})
				from = m
			}
		}
		steps = append(steps, checker.Step{At: from, Width: end - from, Span: s.Span})
		at = max(at, end)
	}
	if n := len(o.Seens); n > 0 {
		fill(max(at, shown(&o.Seens[n-1])))
	}
	return steps
}

// orderedWindows cuts an Ordered.
func orderedWindows(o *checker.Ordered, least int, emit func(window)) {
	state := o.Start
	cut(orderedPieces(o), least, func([]piece) bool { return true }, func(w []piece) {
		emit(window{orderedModel(state), w})
		for _, p := range w {
			if p.in.step != nil {
				state = max(state, p.in.step.At+p.in.step.Width)
			}
		}
	})
}

// registerWindows cuts a register. A write with an unknown outcome that nobody read is left out: it
// can always have come to nothing. One that was read came before the end of its first read.
func registerWindows(accesses []checker.Access, least int, emit func(window)) {
	first := map[uint64]int64{}
	for _, a := range accesses {
		if end, ok := first[a.Value]; a.Read && (!ok || a.Ret < end) {
			first[a.Value] = a.Ret
		}
	}
	var pieces []piece
	for _, a := range accesses {
		if end, ok := first[a.Value]; !a.Read && a.Ret == checker.Forever {
			if !ok {
				continue
			}
			a.Ret = max(end, a.Call)
		}
		pieces = append(pieces, piece{input{entry: &a}, a.Span})
	}
	slices.SortStableFunc(pieces, byCall)
	state := uint64(0)
	cut(pieces, least, func(w []piece) bool { _, ok := lastValue(w, state); return ok }, func(w []piece) {
		emit(window{registerModel(state), w})
		state, _ = lastValue(w, state)
	})
}

// lastValue is what a register holds after a window, if that is certain: a read that began after all
// writes says it, or the last write came alone.
func lastValue(w []piece, before uint64) (uint64, bool) {
	value, call := before, int64(math.MinInt64)
	end := int64(math.MinInt64) // of all writes
	alone := true
	for _, p := range w {
		a := p.in.entry
		if a.Read {
			continue
		}
		alone = a.Call > end
		value, call = a.Value, max(call, a.Call)
		end = max(end, a.Ret)
	}
	if alone {
		return value, true
	}
	for i := len(w) - 1; i >= 0; i-- {
		if a := w[i].in.entry; a.Read && a.Call > end {
			return a.Value, true
		}
	}
	return 0, false
}

// cellWindows cuts the operations on a topic or key, after changes that came alone and are certain.
// What a broker refused for a reason that says nothing of the state is left out.
func cellWindows(ops []checker.CellOp, least int, emit func(window)) {
	var pieces []piece
	for i := range ops {
		o := &ops[i]
		read := o.Kind == checker.Metadata || o.Kind == checker.DescribeConfig
		if read && o.Outcome != checker.OK {
			continue
		}
		s := o.Span
		if o.Outcome == checker.Unknown {
			s.Ret = checker.Forever
		}
		pieces = append(pieces, piece{input{cell: o}, s})
	}
	slices.SortStableFunc(pieces, byCall)
	state := cellState{any: true}
	cut(pieces, least, func(w []piece) bool { _, ok := lastState(w, state); return ok }, func(w []piece) {
		emit(window{cellModel(state), w})
		state, _ = lastState(w, state)
	})
}

// lastState is the state after a window, if that is certain.
func lastState(w []piece, s cellState) (cellState, bool) {
	end := int64(math.MinInt64)
	certain := true
	for _, p := range w {
		o := p.in.cell
		if o.Outcome == checker.Fail {
			continue
		}
		if o.Kind == checker.Metadata || o.Kind == checker.DescribeConfig {
			if p.Call > end && (s.any || s.exists && (s.id == "" || s.count == 0)) {
				s, _ = s.after(o)
			}
			continue
		}
		certain = p.Call > end && o.Outcome == checker.OK
		next, ok := s.after(o)
		if !ok && o.Kind == checker.DeleteTopic {
			next, ok = cellState{}, true
		}
		if !ok && o.Kind == checker.CreateTopic {
			next, ok = cellState{exists: true, id: o.ID, count: o.Count}, true
		}
		if !ok && o.Kind == checker.GrowTopic { // it was seen before it ended
			next, ok = cellState{exists: true, id: s.id, count: o.Count}, true
		}
		certain = certain && ok
		s, end = next, max(end, p.Ret)
	}
	return s, certain && !s.any
}
