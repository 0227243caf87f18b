package det

import "sync/atomic"

// Mark says that a rare place was reached, so that a sweep can list the places it never saw. The
// name is a claim, "replica: truncated by a newer leader"; registration is by a package variable:
//
//	var markTruncated = det.NewMark("replica: truncated by a newer leader")
//
// A Mark is one of the two places where the core uses sync/atomic (the other counts references).
type Mark struct {
	name string
	hits atomic.Int64
}

var marks []*Mark // appended by package initialisers only, in import order

// NewMark registers a mark; call it from a package variable.
func NewMark(name string) *Mark {
	m := &Mark{name: name}
	marks = append(marks, m)
	return m
}

func (m *Mark) Hit() { m.hits.Add(1) }

// Marks lists every mark with its count.
func Marks(visit func(name string, hits int64)) {
	for _, m := range marks {
		visit(m.name, m.hits.Load())
	}
}
