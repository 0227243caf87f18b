package checker

import (
	"fmt"
)

// Producers judges the ids that brokers hand out (A31): an id belongs to one caller, and each time it
// is handed out its epoch has grown.
type Producers struct {
	report func(Violation)
	ids    map[int64]*handed
	order  []int64
	held   int64
}

type handed struct {
	process int64
	epochs  Ordered
}

// NewProducers has seen nothing yet.
func NewProducers(report func(Violation)) *Producers {
	return &Producers{report: report, ids: map[int64]*handed{}}
}

// Given: a process was handed a producer id in an epoch.
func (p *Producers) Given(process, id, epoch int64, s Span) {
	h := p.ids[id]
	if h == nil {
		h = &handed{process: process, epochs: Ordered{Start: -1, Holes: true}}
		p.ids[id] = h
		p.order = append(p.order, id)
		p.held += 256
	}
	if h.process != process {
		p.report(Violation{"A31", fmt.Sprintf("producer id %d was handed to processes %d and %d", id, h.process, process)})
	}
	h.epochs.Steps = append(h.epochs.Steps, Step{At: epoch - 1, Width: 1, Span: s})
	p.held += 32
}

// Finish judges the order of epochs.
func (p *Producers) Finish() {
	for _, id := range p.order {
		if c := p.ids[id].epochs.Check(); c != nil {
			p.report(Violation{"A31", fmt.Sprintf("producer id %d, epoch %d: %s", id, c.At+1, c.Why)})
		}
	}
}
