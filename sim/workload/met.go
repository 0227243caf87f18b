package workload

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// Met is which situations the clients of a run, or of many, have been in.
type Met struct {
	Under   map[Under]int64     // requests that began while a fault lasted
	Pairs   map[[2]string]int64 // faults that began while another lasted, names in order
	Answers map[Answer]int64

	Must, May core.Mono // how long the cluster had to serve, and how long it might refuse

	on []string // faults that last
}

// Under is a request beneath a fault.
type Under struct {
	Fault string
	Key   wire.Key
}

// Answer is a kind of request and how a broker answered it, or a part of it.
type Answer struct {
	Key   wire.Key
	Error wire.Error
}

// NewMet has met nothing.
func NewMet() *Met {
	return &Met{Under: map[Under]int64{}, Pairs: map[[2]string]int64{}, Answers: map[Answer]int64{}}
}

// Begin says that a fault begins.
func (m *Met) Begin(name string) {
	for _, o := range m.on {
		m.Pairs[[2]string{min(o, name), max(o, name)}]++
	}
	m.on = append(m.on, name)
}

// End says that a fault is over.
func (m *Met) End(name string) {
	if i := slices.Index(m.on, name); i >= 0 {
		m.on = slices.Delete(m.on, i, i+1)
	}
}

func (m *Met) asked(k wire.Key) {
	for i, name := range m.on {
		if slices.Index(m.on, name) == i {
			m.Under[Under{name, k}]++
		}
	}
}

// Add adds what another run has met.
func (m *Met) Add(o *Met) {
	m.Must, m.May = m.Must+o.Must, m.May+o.May
	for k, n := range o.Under { // sums: any order gives the same
		m.Under[k] += n
	}
	for k, n := range o.Pairs {
		m.Pairs[k] += n
	}
	for k, n := range o.Answers {
		m.Answers[k] += n
	}
}

// String is how many different situations there were.
func (m *Met) String() string {
	return fmt.Sprintf("%d (fault, API), %d pairs of faults, %d (API, error)", len(m.Under), len(m.Pairs), len(m.Answers))
}

// Lines lists every situation with its count, the same way each time.
func (m *Met) Lines() (out []string) {
	for k, n := range m.Under {
		out = append(out, fmt.Sprintf("under %s %v %d", k.Fault, k.Key, n))
	}
	for k, n := range m.Pairs {
		out = append(out, fmt.Sprintf("pair %s %s %d", k[0], k[1], n))
	}
	for k, n := range m.Answers {
		out = append(out, fmt.Sprintf("answer %v %v %d", k.Key, k.Error, n))
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
