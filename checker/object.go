package checker

import "fmt"

// Object is something whose operations must have an order of their own (linearizability): one of
// Ordered, Register and Cell is set.
type Object struct {
	ID       string // of the anomaly that a missing order is
	Name     string
	Ordered  *Ordered
	Register []Access
	Cell     []CellOp
}

// CellOp is an operation on a topic or on a configuration key: what was asked, and what came back.
type CellOp struct {
	Kind    Kind
	Outcome Outcome
	Error   string
	Exists  bool
	ID      string
	Count   int64
	Value   string
	Span
}

// Objects visits what of the history has an order of its own, after Finish. Topics and configuration
// keys have no exact checker: their order is judged only by those who look at them here.
func (j *Judge) Objects(visit func(*Object)) {
	for n, t := range j.tracks {
		visit(&Object{ID: "L1", Name: "log of " + j.names[n].String(), Ordered: &t.order})
	}
	for _, k := range j.Groups.order {
		visit(&Object{ID: "A21", Name: "offset of group " + k.group + " in " + k.Place.String(), Register: j.Groups.registers[k].ops})
	}
	for _, name := range j.Groups.names {
		visit(&Object{ID: "A22", Name: "generations of group " + name, Ordered: j.Groups.groups[name].fence()})
	}
	for _, id := range j.Producers.order {
		if h := j.Producers.ids[id]; len(h.epochs.Steps) > 1 {
			visit(&Object{ID: "A31", Name: fmt.Sprintf("producer id %d", id), Ordered: &h.epochs})
		}
	}
	for _, o := range j.known {
		visit(o)
	}
}

// cellKey is a topic, or a resource with a configuration key.
type cellKey struct{ id, name, key string }

func (k cellKey) object() *Object {
	if k.id == "L2" {
		return &Object{ID: k.id, Name: "topic " + k.name}
	}
	return &Object{ID: k.id, Name: "configuration " + k.name + " " + k.key}
}

// cell keeps operations on topics and configurations for Objects.
func (j *Judge) cell(o *Op, span Span) {
	var k cellKey
	switch o.Kind {
	case CreateTopic, DeleteTopic, GrowTopic, Metadata:
		k = cellKey{"L2", o.Topic, ""}
	case AlterConfig, DescribeConfig:
		k = cellKey{"L3", o.Resource, o.Key}
	default:
		return
	}
	c := j.cells[k]
	if c == nil {
		c = k.object()
		j.cells[k] = c
		j.known = append(j.known, c)
		j.held += 256 + int64(len(k.name)+len(k.key))
	}
	c.Cell = append(c.Cell, CellOp{o.Kind, o.Outcome, o.Error, o.Exists, o.TopicID, o.Count, o.Value, span})
	j.held += 128 + int64(len(o.Error)+len(o.TopicID)+len(o.Value))
}
