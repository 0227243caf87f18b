package checker

import (
	"fmt"
	"slices"
)

// Place is a partition by name.
type Place struct {
	Topic     string
	Partition int64
}

func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Groups judges committed offsets and the owners of partitions: A21 by the register of each group and
// partition, A22 by who was given what in which generation, and by commits of a generation that a
// newer one had already replaced. A commit is named by its token, which no other commit of the
// history may carry.
type Groups struct {
	report    func(Violation)
	registers map[registerKey]*register
	order     []registerKey // as they were first named
	groups    map[string]*members
	names     []string
	tokens    map[string]uint64
	held      int64
}

type registerKey struct {
	group string
	Place
}

type register struct {
	ops     []Access
	offsets map[uint64]int64 // what was committed under a token
}

type members struct {
	owners map[ownerKey]string
	since  map[int64]Span // of each generation: when it began
	seens  []Seen
}

type ownerKey struct {
	generation int64
	Place
}

// NewGroups has seen nothing yet.
func NewGroups(report func(Violation)) *Groups {
	return &Groups{report: report, registers: map[registerKey]*register{}, groups: map[string]*members{}, tokens: map[string]uint64{}}
}

func (g *Groups) register(group string, at Place) *register {
	k := registerKey{group, at}
	r := g.registers[k]
	if r == nil {
		r = &register{offsets: map[uint64]int64{}}
		g.registers[k] = r
		g.order = append(g.order, k)
		g.held += 256 + int64(len(group)+len(at.Topic))
	}
	return r
}

func (g *Groups) members(group string) *members {
	m := g.groups[group]
	if m == nil {
		m = &members{owners: map[ownerKey]string{}, since: map[int64]Span{}}
		g.groups[group] = m
		g.names = append(g.names, group)
		g.held += 512 + int64(len(group))
	}
	return m
}

func (g *Groups) token(s string) uint64 {
	id, ok := g.tokens[s]
	if !ok {
		id = uint64(len(g.tokens)) + 1
		g.tokens[s] = id
		g.held += 64 + int64(len(s))
	}
	return id
}

// Committed: a commit ended. Generation -1 is a commit from outside of the group. Stale says that it
// was refused because its generation is over.
func (g *Groups) Committed(group string, at Place, offset int64, token string, generation int64, s Span, o Outcome, stale bool) {
	if generation >= 0 && (o == OK || o == Fail && stale) {
		m := g.members(group)
		m.seens = append(m.seens, Seen{At: generation, Above: o == Fail, Span: s})
		g.held += 32
	}
	if o == Fail {
		return
	}
	if o == Unknown {
		s.Ret = Forever
	}
	r, id := g.register(group, at), g.token(token)
	if _, twice := r.offsets[id]; twice {
		g.report(Violation{"history", fmt.Sprintf("group %s, %v: two commits carry the token %q", group, at, token)})
		return
	}
	r.ops = append(r.ops, Access{Value: id, Span: s})
	r.offsets[id] = offset
	g.held += 96
}

// Fetched: a group's committed offset was answered. Offset -1 and no token: there is none.
func (g *Groups) Fetched(group string, at Place, offset int64, token string, s Span) {
	a := Access{Read: true, Span: s}
	r := g.register(group, at)
	if offset >= 0 || token != "" {
		a.Value = g.token(token)
		if was, ok := r.offsets[a.Value]; ok && was != offset {
			g.report(Violation{"A21", fmt.Sprintf("group %s, %v: offset %d was committed as %q, and %d came back under that name", group, at, was, token, offset)})
		}
	}
	r.ops = append(r.ops, a)
	g.held += 32
}

// Owned: a member was given partitions in a generation. The span reaches from its request to join to
// the answer with its partitions.
func (g *Groups) Owned(group, member string, generation int64, topic string, partitions []int64, s Span) {
	m := g.members(group)
	g.held += int64(len(member) + len(topic))
	was, ok := m.since[generation]
	if ok {
		s = Span{min(s.Call, was.Call), min(s.Ret, was.Ret)}
	}
	m.since[generation] = s
	g.held += 64
	for _, p := range partitions {
		k := ownerKey{generation, Place{topic, p}}
		if other, ok := m.owners[k]; ok && other != member {
			g.report(Violation{"A22", fmt.Sprintf("group %s, generation %d: %v belongs to %s and to %s", group, generation, k.Place, other, member)})
		}
		m.owners[k] = member
		g.held += 96
	}
}

// fence is the history of a group's generations: what commits showed of them.
func (m *members) fence() *Ordered {
	o := &Ordered{Start: -1, Holes: true, Seens: m.seens}
	var gens []int64
	for gen := range m.since {
		gens = append(gens, gen)
	}
	slices.Sort(gens)
	for _, gen := range gens {
		o.Steps = append(o.Steps, Step{At: gen - 1, Width: 1, Span: m.since[gen]})
	}
	return o
}

// Finish judges what needs the whole history.
func (g *Groups) Finish() {
	names := make([]string, len(g.tokens)+1)
	for s, id := range g.tokens {
		names[id] = s
	}
	for _, k := range g.order {
		if ok, value, why := CheckRegister(g.registers[k].ops); !ok {
			g.report(Violation{"A21", fmt.Sprintf("group %s, %v: the committed offset %q: %s", k.group, k.Place, names[value], why)})
		}
	}
	for _, name := range g.names {
		if c := g.groups[name].fence().Check(); c != nil {
			g.report(Violation{"A22", fmt.Sprintf("group %s: a commit of generation %d between %d and %d ns: %s", name, c.At, c.Call, c.Ret, c.Why)})
		}
	}
}
