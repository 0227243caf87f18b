// Package linear gives a second opinion on histories, by searching: it puts the operations on one
// object into an order that agrees with their times and with a sequential model, with porcupine
// (github.com/anishathalye/porcupine). It owns the models, the windows that a history is cut into and
// the pictures of what fits no order. It promises that what it calls right was searched whole, and
// that a search which was given up is an error, never a pass. It refuses to judge anything that the
// exact judges of checker can and it cannot: those see all of a history, this one as much as it may
// cost.
package linear

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/karst-stream/karst/checker"
)

// input is an operation of any model. What a client saw stands in it too: porcupine's output is true
// when the outcome is known.
type input struct {
	step  *checker.Step
	seen  *checker.Seen
	entry *checker.Access
	cell  *checker.CellOp
}

// orderedModel is a number that only grows.
func orderedModel(start int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(state, in, _ any) (bool, any) {
			at := state.(int64)
			switch i := in.(input); {
			case i.step != nil:
				return i.step.At == at, at + i.step.Width
			case i.seen.Above:
				return at > i.seen.At, at
			default:
				return i.seen.At == at, at
			}
		},
		DescribeOperation: func(in, _ any) string {
			switch i := in.(input); {
			case i.step != nil:
				return fmt.Sprintf("%d -> %d", i.step.At, i.step.At+i.step.Width)
			case i.seen.Above:
				return fmt.Sprintf("saw more than %d", i.seen.At)
			default:
				return fmt.Sprintf("saw %d", i.seen.At)
			}
		},
		DescribeState: func(state any) string { return fmt.Sprint(state) },
	}
}

// registerModel holds the last value written. A write whose outcome nobody knows may never happen.
func registerModel(start uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(state, in, _ any) (bool, any) {
			a := in.(input).entry
			if a.Read {
				return a.Value == state.(uint64), state
			}
			return true, a.Value
		},
		DescribeOperation: func(in, _ any) string {
			if a := in.(input).entry; a.Read {
				return fmt.Sprintf("read %d", a.Value)
			} else {
				return fmt.Sprintf("write %d", a.Value)
			}
		},
		DescribeState: func(state any) string { return fmt.Sprint(state) },
	}
}

// cellState is a topic, or the value of a configuration key.
type cellState struct {
	any    bool // nothing is known yet: what is seen first counts
	exists bool
	id     string // "": not known
	count  int64  // of partitions, of a topic that exists; 0: not known
	value  string
}

// cellModel is a topic or a key. The set of states is there for operations with an unknown outcome.
func cellModel(start cellState) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{start} },
		Step: func(state, in, _ any) []any {
			s, o := state.(cellState), in.(input).cell
			if o.Outcome == checker.Fail {
				if s.refuses(o) {
					return []any{s}
				}
				return nil
			}
			next, ok := s.after(o)
			switch {
			case o.Outcome == checker.Unknown && ok && next != s:
				return []any{s, next}
			case o.Outcome == checker.Unknown || ok:
				return []any{next}
			}
			return nil
		},
		DescribeOperation: func(in, _ any) string { return describeCell(in.(input).cell) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
	return m.ToModel()
}

// after is the state after an operation that is done, and whether it can be.
func (s cellState) after(o *checker.CellOp) (cellState, bool) {
	if s.any {
		return adopted(o)
	}
	switch o.Kind {
	case checker.CreateTopic:
		if s.exists {
			return s, false
		}
		return cellState{exists: true, id: o.ID, count: o.Count}, true
	case checker.DeleteTopic:
		if !s.exists {
			return s, false
		}
		return cellState{}, true
	case checker.GrowTopic:
		if !s.exists || o.Count <= s.count {
			return s, false
		}
		s.count = o.Count
		return s, true
	case checker.AlterConfig:
		return cellState{value: o.Value}, true
	case checker.DescribeConfig:
		return s, s.value == o.Value
	}
	if o.Kind != checker.Metadata || s.exists != o.Exists {
		return s, false
	}
	if !s.exists {
		return s, true
	}
	if s.id == "" {
		s.id = o.ID
	}
	if s.count == 0 {
		s.count = o.Count
	}
	return s, (o.ID == "" || s.id == o.ID) && (o.Count == 0 || s.count == o.Count)
}

// adopted is the state that an operation on something unknown leaves.
func adopted(o *checker.CellOp) (cellState, bool) {
	switch o.Kind {
	case checker.AlterConfig, checker.DescribeConfig:
		return cellState{value: o.Value}, true
	case checker.DeleteTopic:
		return cellState{}, true
	case checker.Metadata:
		return cellState{exists: o.Exists, id: o.ID, count: o.Count}, true
	}
	return cellState{exists: true, id: o.ID, count: o.Count}, true
}

// refuses says whether an operation that failed may have, in this state.
func (s cellState) refuses(o *checker.CellOp) bool {
	if s.any {
		return true
	}
	switch o.Error {
	case "TOPIC_ALREADY_EXISTS":
		return s.exists
	case "UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_TOPIC_ID":
		return !s.exists
	case "INVALID_PARTITIONS":
		return !s.exists || o.Kind == checker.GrowTopic && (s.count == 0 || o.Count <= s.count)
	}
	return true // the broker was busy, or the like
}

func describeCell(o *checker.CellOp) string {
	s := o.Kind.String()
	switch o.Kind {
	case checker.Metadata:
		s = fmt.Sprintf("sees exists=%v id=%s partitions=%d", o.Exists, o.ID, o.Count)
	case checker.CreateTopic, checker.GrowTopic:
		s += fmt.Sprintf(" partitions=%d", o.Count)
	case checker.AlterConfig, checker.DescribeConfig:
		s += fmt.Sprintf(" %q", o.Value)
	}
	if o.Outcome != checker.OK {
		s += fmt.Sprintf(" %v %s", o.Outcome, o.Error)
	}
	return s
}
