package checker

import (
	"slices"
	"testing"
)

// jepsenCases are what Jepsen's tests of its Kafka workload check (jepsen/test/jepsen/tests/kafka_test.clj),
// told anew in our format: the anomaly that each history has, or that it has none. What needs
// transactions (write cycles, G1c) is not here, nor is lag, which is a measurement and no anomaly.
var jepsenCases = []struct {
	name string
	want []string // found, at least
	not  []string // not found
	tell func(a *tale)
}{
	{"version orders: a value read at one offset and written at another", []string{"A1"}, nil, func(a *tale) {
		a.poll(2, Run{0, 1, 0, 1}, Run{1, 1, 1, 1})
		a.send(2, 0, 1, 1)
		a.sendAs(Unknown, 1, 0, 2, -1, pieces)
	}},
	{"version orders: the real-world example, two sends acknowledged at one offset", []string{"A1"}, nil, func(a *tale) {
		a.send(1, 0, 1, 537)
		a.at(283, 287).send(2, 0, 1, 537)
	}},
	{"inconsistent offsets: a send of unknown outcome takes no offset from another", nil, []string{"A1"}, func(a *tale) {
		a.maybe(1, 0, 1)
		a.send(2, 0, 1, 0)
	}},
	{"inconsistent offsets: once it was read, it does", []string{"A1"}, nil, func(a *tale) {
		a.maybe(1, 0, 1)
		a.send(2, 0, 1, 0)
		a.poll(3, Run{0, 1, 0, 1})
	}},
	{"G1a: a failed write is read", []string{"A5"}, nil, func(a *tale) {
		a.sendAs(Fail, 1, 0, 1, -1, func(*Op) {})
		a.poll(2, Run{0, 1, 0, 1})
	}},
	{"G1a: a failed write is not read", nil, []string{"A5"}, func(a *tale) {
		a.sendAs(Fail, 1, 0, 1, -1, func(*Op) {})
		a.maybe(1, 1, 1)
		a.poll(2, Run{0, 1, 1, 1})
	}},
	{"lost write: a read above shows that two are missing", []string{"A3"}, []string{"A1", "A4"}, func(a *tale) {
		a.send(1, 0, 1, 0)
		a.send(1, 1, 1, 1)
		a.maybe(2, 0, 1)
		a.seek(3, Run{2, 2, 0, 1})
	}},
	{"lost write: nobody has read as far", nil, []string{"A3"}, func(a *tale) {
		a.send(1, 0, 1, 0)
		a.send(1, 1, 1, 1)
		a.poll(3, Run{0, 1, 0, 1})
	}},
	{"lost write: overwritten at its offset by one that is read", []string{"A1", "A3"}, nil, func(a *tale) {
		a.send(1, 0, 1, 0)
		a.send(2, 0, 1, 0)
		a.send(2, 1, 1, 2)
		a.seek(3, Run{0, 2, 0, 1}, Run{2, 2, 1, 1})
	}},
	{"lost write: of an atomic send with an unknown outcome nothing was read", nil, []string{"A3"}, func(a *tale) {
		a.maybe(1, 0, 2)
		a.maybe(2, 0, 1)
		a.poll(3, Run{0, 2, 0, 1})
	}},
	{"lost write: of an atomic send with an unknown outcome a part was read", []string{"A3"}, nil, func(a *tale) {
		a.maybe(1, 0, 2)
		a.maybe(2, 0, 1)
		a.poll(3, Run{0, 1, 0, 1}, Run{1, 2, 0, 1})
	}},
	{"poll skip: offsets between two polls are left out", []string{"A7"}, []string{"A8", "A9"}, func(a *tale) { skips(a, false) }},
	{"poll skip: not when the reader was assigned anew between them", nil, []string{"A7"}, func(a *tale) { skips(a, true) }},
	{"nonmonotonic poll: the second poll begins before the first one's end", []string{"A8"}, []string{"A10"}, func(a *tale) { returns(a, false) }},
	{"nonmonotonic poll: not when the reader was assigned anew between them", nil, []string{"A8"}, func(a *tale) { returns(a, true) }},
	{"nonmonotonic send: the second send lands before the first", []string{"A11"}, []string{"A12"}, func(a *tale) {
		a.send(1, 0, 2, 3)
		a.send(1, 2, 2, 1)
	}},
	{"nonmonotonic send: not when it is another producer's", nil, []string{"A11"}, func(a *tale) {
		a.send(1, 0, 2, 3)
		a.send(2, 0, 2, 1)
	}},
	{"internal poll skip: within one poll", []string{"A9"}, []string{"A7"}, func(a *tale) {
		a.sendAs(Unknown, 1, 0, 4, -1, pieces)
		a.seek(2, Run{1, 1, 0, 1}, Run{4, 1, 3, 1})
		a.poll(3, Run{2, 1, 1, 1})
	}},
	{"internal nonmonotonic poll: within one poll, and the same again", []string{"A10"}, []string{"A8"}, func(a *tale) {
		a.sendAs(Unknown, 1, 0, 3, -1, pieces)
		a.seek(2, Run{1, 1, 0, 3}, Run{1, 1, 0, 1})
		a.poll(3, Run{2, 1, 1, 2}, Run{3, 1, 2, 1})
	}},
	{"internal send skip: another producer's record between two of one send is allowed", nil, []string{"A11", "A12", "A2"}, func(a *tale) {
		a.sendAs(Unknown, 1, 0, 2, -1, pieces)
		a.maybe(2, 0, 1)
		a.poll(3, Run{1, 1, 0, 1}, Run{2, 2, 0, 1}, Run{3, 1, 1, 1})
	}},
	{"internal nonmonotonic send: as polls show", []string{"A12"}, nil, func(a *tale) {
		a.sendAs(Unknown, 1, 0, 2, -1, pieces)
		a.maybe(2, 0, 1)
		a.poll(3, Run{2, 1, 1, 1}, Run{3, 2, 0, 1}, Run{4, 1, 0, 1})
	}},
	{"duplicate: acknowledged at one offset and read at another", []string{"A2"}, nil, func(a *tale) {
		a.send(1, 0, 1, 1)
		a.maybe(2, 0, 1)
		a.seek(3, Run{2, 2, 0, 1}, Run{3, 1, 0, 1})
	}},
	{"duplicate: the same record twice by two readers is none", nil, []string{"A2"}, func(a *tale) {
		a.send(1, 0, 1, 0)
		a.poll(3, Run{0, 1, 0, 1})
		a.poll(4, Run{0, 1, 0, 1})
	}},
	{"empty history: assigned, and nothing else", []string{"empty"}, nil, func(a *tale) { a.assign(1, 0) }},
	{"unseen: acknowledged, and not read at the end", []string{"A4"}, nil, func(a *tale) {
		a.send(1, 0, 2, 0)
		a.poll(2, Run{0, 1, 0, 1})
	}},
	{"unseen: all read at the end", nil, []string{"A4", "A3"}, func(a *tale) {
		a.poll(2)
		a.send(1, 0, 2, 0)
		a.poll(2, Run{0, 1, 0, 1})
		a.poll(2, Run{1, 1, 1, 1})
	}},
}

func pieces(o *Op) { o.Whole = false }

// skips: reader 2 sees offsets 1, 2, then 4, then 7; others show that 3 and 6 exist.
func skips(a *tale, assigned bool) {
	a.sendAs(Unknown, 1, 0, 8, -1, pieces)
	a.seek(2, Run{1, 1, 1, 2})
	a.poll(3, Run{3, 1, 3, 1})
	for _, at := range []int64{4, 7} {
		if assigned {
			a.assign(2, at)
		}
		a.poll(2, Run{at, 1, at, 1})
	}
	a.seek(4, Run{6, 1, 6, 1})
}

// returns: reader 2 sees offsets 1 to 3, and then 2 to 4.
func returns(a *tale, assigned bool) {
	a.sendAs(Unknown, 1, 0, 5, -1, pieces)
	a.seek(2, Run{1, 1, 1, 3})
	if assigned {
		a.assign(2, 2)
	}
	a.poll(2, Run{2, 1, 2, 3})
}

func TestJepsenCases(t *testing.T) {
	for _, c := range jepsenCases {
		a := &tale{t: t}
		c.tell(a)
		ids := a.unfinished()
		for _, id := range c.want {
			if !slices.Contains(ids, id) {
				t.Errorf("%s: %s is not found among %v", c.name, id, ids)
			}
		}
		for _, id := range c.not {
			if slices.Contains(ids, id) {
				t.Errorf("%s: %s is found, among %v", c.name, id, ids)
			}
		}
	}
}
