package checker

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// tale builds a history of topic t, writes it as a file and judges it from there. Each verb is an
// operation of its own millisecond unless a span is given.
type tale struct {
	now  int64
	ops  []Op
	span *Span
	t    *testing.T
}

const ms = 1_000_000

func (a *tale) add(o Op) {
	a.now += 2 * ms
	o.Call, o.Done = a.now-ms, a.now
	if a.span != nil {
		o.Call, o.Done = a.span.Call*ms, a.span.Ret*ms
		a.now = max(a.now, o.Done)
		a.span = nil
	}
	if o.Topic == "" && o.Kind != InitProducer && o.Kind != AlterConfig && o.Kind != DescribeConfig {
		o.Topic = "t"
	}
	a.ops = append(a.ops, o)
}

// at gives the next operation a span, in milliseconds.
func (a *tale) at(call, ret int64) *tale {
	a.span = &Span{call, ret}
	return a
}

func (a *tale) op(k Kind, set func(o *Op)) {
	o := NewOp(k)
	set(&o)
	a.add(o)
}

// send is an idempotent acks=all send of count records in one batch, acknowledged at base.
func (a *tale) send(producer, first, count, base int64) {
	a.sendAs(OK, producer, first, count, base, func(*Op) {})
}

func (a *tale) sendAs(out Outcome, producer, first, count, base int64, set func(*Op)) {
	a.op(Produce, func(o *Op) {
		o.Process, o.Producer, o.First, o.Count, o.Base = producer, producer, first, count, base
		o.Outcome, o.Acks, o.PID, o.Epoch, o.Seq, o.Whole = out, -1, 1000+producer, 0, first, true
		set(o)
	})
}

// maybe is a send, in one batch, of which nobody knows the outcome.
func (a *tale) maybe(producer, first, count int64) {
	a.sendAs(Unknown, producer, first, count, -1, func(*Op) {})
}

// seek is a poll by a reader that chose its position.
func (a *tale) seek(reader int64, runs ...Run) {
	a.assign(reader, runs[0][0])
	a.poll(reader, runs...)
}

// poll is a fetch by a reader.
func (a *tale) poll(reader int64, runs ...Run) {
	a.op(Fetch, func(o *Op) {
		o.Process, o.Runs, o.HW = reader, runs, 1000
		if len(runs) > 0 {
			o.From = runs[0][0]
		}
	})
}

func (a *tale) assign(reader, from int64) {
	a.op(Assign, func(o *Op) { o.Process, o.From = reader, from })
}

// scan is a batch of the final read; the run is its only one.
func (a *tale) scan(r Run) { a.scanAs(r, func(*Op) {}) }

func (a *tale) scanAs(r Run, set func(*Op)) {
	a.op(Scan, func(o *Op) {
		o.Process, o.Base, o.Count, o.Runs = 99, r[0], r[3], []Run{r}
		o.PID, o.Epoch, o.Seq = 1000+r[1], 0, r[2]
		set(o)
	})
}

func (a *tale) seal(end int64) {
	a.op(Sealed, func(o *Op) { o.Process, o.End = 99, end })
}

func (a *tale) end(client, epoch, end int64) {
	a.op(ListOffsets, func(o *Op) { o.Process, o.At, o.Offset, o.LeaderEpoch = client, -1, end, epoch })
}

// file is the history as it is written.
func (a *tale) file() []byte {
	b := AppendHeader(nil, "a test")
	for i := range a.ops {
		b = AppendOp(b, &a.ops[i])
	}
	return AppendEnd(b, int64(len(a.ops)))
}

// ids judges the history; the ids of what is found are sorted.
func (a *tale) ids() []string {
	a.t.Helper()
	slices.SortStableFunc(a.ops, func(x, y Op) int { return int(x.Done - y.Done) })
	v, _, err := JudgeHistory(bytes.NewReader(a.file()), Limits{})
	if err != nil {
		a.t.Fatalf("no verdict: %v\n%s", err, a.file())
	}
	if v.Operations != int64(len(a.ops)) {
		a.t.Errorf("%d operations of %d were judged", v.Operations, len(a.ops))
	}
	for _, f := range v.Violations {
		if !strings.Contains(f.What, " ") {
			a.t.Errorf("%v says nothing", f)
		}
	}
	return v.IDs()
}

// unfinished is what is found in a history that has no final read.
func (a *tale) unfinished() []string {
	a.t.Helper()
	v, _, err := JudgeHistory(bytes.NewReader(a.file()), Limits{})
	if !errors.Is(err, ErrIncomplete) {
		a.t.Fatalf("%v\n%s", err, a.file())
	}
	return v.IDs()
}

// base is a history in which all goes well: producer 1 writes 0-5 in three batches, producer 2 writes
// 6-7; reader 7 reads them in two polls. closing reads it back.
func base(t *testing.T) *tale {
	a := &tale{t: t}
	a.send(1, 0, 2, 0)
	a.send(1, 2, 2, 2)
	a.send(1, 4, 2, 4)
	a.send(2, 0, 2, 6)
	a.poll(7, Run{0, 1, 0, 4})
	a.poll(7, Run{4, 1, 4, 2}, Run{6, 2, 0, 2})
	a.end(5, 3, 8)
	return a
}

func closing(a *tale) {
	a.scan(Run{0, 1, 0, 2})
	a.scan(Run{2, 1, 2, 2})
	a.scan(Run{4, 1, 4, 2})
	a.scan(Run{6, 2, 0, 2})
	a.seal(8)
}

// planted is an anomaly, and a history as much like it as can be in which nothing is wrong.
type planted struct {
	id, name   string
	bug, clean func(a *tale)
	bare       bool // without base and closing
}

var plants = []planted{
	{id: "A1", name: "two values at one offset",
		bug: func(a *tale) {
			a.maybe(3, 0, 1)
			a.seek(8, Run{3, 3, 0, 1})
		},
		clean: func(a *tale) {
			a.maybe(3, 0, 1)
			a.seek(8, Run{3, 1, 3, 1})
		}},
	{id: "A1", name: "a value that nobody sent",
		bug: func(a *tale) { a.seek(8, Run{8, 3, 0, 1}) },
		clean: func(a *tale) {
			a.seek(8, Run{8, 3, 0, 1})
			a.maybe(3, 0, 1)
		}},
	{id: "A2", name: "a value at two offsets",
		bug: func(a *tale) { a.seek(8, Run{8, 2, 1, 1}) },
		clean: func(a *tale) { // without idempotence a retry may do that
			a.sendAs(OK, 3, 0, 1, 8, func(o *Op) { o.PID, o.Epoch, o.Seq = -1, -1, -1 })
			a.seek(8, Run{8, 3, 0, 1}, Run{9, 3, 0, 1})
		}},
	{id: "A3", name: "acknowledged below what was read, and not there",
		bug: func(a *tale) {
			a.send(3, 0, 1, 8)
			a.maybe(4, 0, 1)
			a.seek(8, Run{9, 4, 0, 1})
		},
		clean: func(a *tale) {
			a.sendAs(OK, 3, 0, 1, 8, func(o *Op) { o.Acks, o.PID = 1, -1 }) // acks=1 promises less
			a.maybe(4, 0, 1)
			a.seek(8, Run{8, 4, 0, 1})
		}},
	{id: "A3", name: "half of a batch",
		bug: func(a *tale) {
			a.maybe(3, 0, 2)
			a.seek(8, Run{8, 3, 0, 1})
		},
		clean: func(a *tale) {
			a.sendAs(Unknown, 3, 0, 2, -1, func(o *Op) { o.Whole = false })
			a.seek(8, Run{8, 3, 0, 1})
		}},
	{id: "A4", name: "acknowledged and never read",
		bug:   func(a *tale) { a.send(3, 0, 1, 8) },
		clean: func(a *tale) { a.maybe(3, 0, 1) }},
	{id: "A4", name: "acknowledged without an offset and never read",
		bug:   func(a *tale) { a.send(3, 0, 1, -1) },
		clean: func(a *tale) { a.send(3, 0, 1, -1); a.seek(8, Run{8, 3, 0, 1}) }},
	{id: "A5", name: "a refused value is read",
		bug: func(a *tale) { a.sendAs(Fail, 3, 0, 1, -1, func(*Op) {}); a.seek(8, Run{8, 3, 0, 1}) },
		clean: func(a *tale) {
			a.maybe(3, 0, 1)
			a.seek(8, Run{8, 3, 0, 1})
		}},
	{id: "A5", name: "a value that was read is refused later",
		bug:   func(a *tale) { a.seek(8, Run{8, 3, 0, 1}); a.sendAs(Fail, 3, 0, 1, -1, func(*Op) {}) },
		clean: func(a *tale) { a.seek(8, Run{8, 3, 0, 1}); a.send(3, 0, 1, 8) }},
	{id: "A7", name: "a poll skips", bug: func(a *tale) { a.seek(8, Run{0, 1, 0, 2}); a.poll(8, Run{3, 1, 3, 1}) },
		clean: func(a *tale) {
			a.seek(8, Run{0, 1, 0, 2})
			a.seek(8, Run{3, 1, 3, 1})
		}},
	{id: "A8", name: "a poll goes back", bug: func(a *tale) { a.seek(8, Run{0, 1, 0, 4}); a.poll(8, Run{3, 1, 3, 1}) },
		clean: func(a *tale) {
			a.seek(8, Run{0, 1, 0, 4})
			a.seek(8, Run{3, 1, 3, 1})
		}},
	{id: "A9", name: "a skip inside of a poll", bug: func(a *tale) { a.poll(8, Run{0, 1, 0, 2}, Run{3, 1, 3, 1}) },
		clean: func(a *tale) { a.poll(8, Run{0, 1, 0, 2}, Run{2, 1, 2, 1}) }},
	{id: "A10", name: "a repeat inside of a poll", bug: func(a *tale) { a.poll(8, Run{0, 1, 0, 2}, Run{1, 1, 1, 1}) },
		clean: func(a *tale) { a.poll(8, Run{0, 1, 0, 1}, Run{1, 1, 1, 1}) }},
	{id: "A11", name: "two sends in the other order",
		bug: func(a *tale) {
			a.at(100, 120).sendAs(Unknown, 3, 0, 1, -1, func(*Op) {})
			a.at(101, 121).sendAs(Unknown, 3, 1, 1, -1, func(*Op) {})
			a.at(130, 131).poll(8, Run{8, 3, 1, 1}, Run{9, 3, 0, 1})
		},
		clean: func(a *tale) { // it gave its id up between them
			a.at(100, 120).sendAs(Unknown, 3, 0, 1, -1, func(*Op) {})
			a.at(101, 121).sendAs(Unknown, 3, 1, 1, -1, func(o *Op) { o.PID = 77 })
			a.at(130, 131).poll(8, Run{8, 3, 1, 1}, Run{9, 3, 0, 1})
		}},
	{id: "A12", name: "one send in the other order",
		bug: func(a *tale) {
			a.maybe(3, 0, 2)
			a.poll(8, Run{8, 3, 1, 1}, Run{9, 3, 0, 1})
		},
		clean: func(a *tale) {
			a.maybe(3, 0, 2)
			a.poll(8, Run{8, 3, 0, 1}, Run{9, 3, 1, 1})
		}},
	{id: "A23", name: "the end falls",
		bug:   func(a *tale) { a.end(5, 3, 7) },
		clean: func(a *tale) { a.end(5, 3, 8) }},
	{id: "A24", name: "records above the high watermark",
		bug: func(a *tale) {
			a.op(Fetch, func(o *Op) { o.Process, o.Runs, o.HW, o.LeaderEpoch = 8, []Run{{0, 1, 0, 2}}, 1, 3 })
		},
		clean: func(a *tale) {
			a.op(Fetch, func(o *Op) { o.Process, o.Runs, o.HW, o.LeaderEpoch = 8, []Run{{0, 1, 0, 2}}, 2, 3 })
		}},
	{id: "A25", name: "out of range where a reader had come to",
		bug: func(a *tale) {
			a.op(Fetch, func(o *Op) { o.Process, o.From, o.Outcome, o.Error = 7, 8, Fail, "OFFSET_OUT_OF_RANGE" })
		},
		clean: func(a *tale) {
			a.op(Fetch, func(o *Op) { o.Process, o.From, o.Outcome, o.Error = 7, 80, Fail, "OFFSET_OUT_OF_RANGE" })
		}},
	{id: "A28", name: "bytes that are no value",
		bug: func(a *tale) {
			a.op(Fetch, func(o *Op) { o.Process, o.HW, o.Bad = 8, 8, []int64{3} })
		},
		clean: func(a *tale) { a.op(Fetch, func(o *Op) { o.Process, o.HW = 8, 8 }) }},
	{id: "A28", name: "other bytes than were sent",
		bug: func(a *tale) {
			a.sendAs(OK, 3, 0, 1, 8, func(o *Op) { o.Sums = []int64{11} })
			a.op(Fetch, func(o *Op) { o.Process, o.From, o.HW, o.Runs, o.Sums = 8, 8, 9, []Run{{8, 3, 0, 1}}, []int64{12} })
		},
		clean: func(a *tale) {
			a.sendAs(OK, 3, 0, 1, 8, func(o *Op) { o.Sums = []int64{11} })
			a.op(Fetch, func(o *Op) { o.Process, o.From, o.HW, o.Runs, o.Sums = 8, 8, 9, []Run{{8, 3, 0, 1}}, []int64{11} })
		}},
	{id: "A18", name: "a zombie writes", bare: true, bug: func(a *tale) { epochs(a, 0, 1, 0) }, clean: func(a *tale) { epochs(a, 0, 1, 2) }},
	{id: "A19", name: "a gap in the sequences", bare: true, bug: func(a *tale) { sequences(a, 0, 2) }, clean: func(a *tale) { sequences(a, 0, 1) }},
	{id: "A19", name: "a repeat in the sequences", bare: true, bug: func(a *tale) { sequences(a, 7, 7) },
		clean: func(a *tale) { sequences(a, 1<<31-1, 0) }},
	{id: "A29", name: "the time index is one too far", bare: true,
		bug: func(a *tale) { times(a, 20, 2) }, clean: func(a *tale) { times(a, 20, 1) }},
	{id: "A29", name: "the time index finds nothing", bare: true,
		bug: func(a *tale) { times(a, 25, -1) }, clean: func(a *tale) { times(a, 31, -1) }},
	{id: "A29", name: "the time index finds what is too old", bare: true,
		bug: func(a *tale) { times(a, 31, 2) }, clean: func(a *tale) { times(a, 5, 0) }},
	{id: "A31", name: "one producer id for two",
		bug:   func(a *tale) { given(a, 1, 5, 0); given(a, 2, 5, 1) },
		clean: func(a *tale) { given(a, 1, 5, 0); given(a, 2, 6, 0) }},
	{id: "A31", name: "the epoch of a producer id does not grow",
		bug:   func(a *tale) { given(a, 1, 5, 1); given(a, 1, 5, 1) },
		clean: func(a *tale) { given(a, 1, 5, 1); given(a, 1, 5, 2) }},
	{id: "A31", name: "the epoch of a producer id falls",
		bug:   func(a *tale) { given(a, 1, 5, 4); given(a, 1, 5, 2) },
		clean: func(a *tale) { given(a, 1, 5, 4); given(a, 1, 5, 9) }},
	{id: "L1", name: "the end of the log is older than an acknowledgement",
		bug:   func(a *tale) { a.end(6, -1, 6) },
		clean: func(a *tale) { a.at(7, 20).end(6, -1, 6) }},
	{id: "L1", name: "an append stands before one that had ended when it began",
		bug: func(a *tale) {
			a.at(100, 101).send(3, 0, 1, 9)
			a.at(102, 103).send(4, 0, 1, 8)
			a.poll(8, Run{8, 4, 0, 1}, Run{9, 3, 0, 1})
		},
		clean: func(a *tale) {
			a.at(100, 102).send(3, 0, 1, 9)
			a.at(102, 103).send(4, 0, 1, 8)
			a.poll(8, Run{8, 4, 0, 1}, Run{9, 3, 0, 1})
		}},
	{id: "history", name: "a value that is sent twice",
		bug:   func(a *tale) { a.send(2, 1, 1, 7) },
		clean: func(a *tale) {}},
}

func epochs(a *tale, epochs ...int64) {
	for i, e := range epochs {
		n := int64(i)
		a.sendAs(OK, 1, n, 1, n, func(o *Op) { o.Epoch = e })
	}
	for i, e := range epochs {
		n := int64(i)
		a.scanAs(Run{n, 1, n, 1}, func(o *Op) { o.Epoch, o.Seq = e, n })
	}
	a.seal(int64(len(epochs)))
}

func sequences(a *tale, seqs ...int64) {
	for i := range seqs {
		a.send(1, int64(i), 1, int64(i))
	}
	for i, s := range seqs {
		a.scanAs(Run{int64(i), 1, int64(i), 1}, func(o *Op) { o.Seq = s })
	}
	a.seal(int64(len(seqs)))
}

// times is a log of records with times 10, 20, 30 and an answer to a lookup.
func times(a *tale, at, found int64) {
	a.send(1, 0, 3, 0)
	a.op(ListOffsets, func(o *Op) { o.Process, o.At, o.Offset = 5, at, found })
	a.scanAs(Run{0, 1, 0, 3}, func(o *Op) { o.Times = []int64{10, 20, 30} })
	a.seal(3)
}

func given(a *tale, process, pid, epoch int64) {
	a.op(InitProducer, func(o *Op) { o.Process, o.PID, o.Epoch = process, pid, epoch })
}

// TestPlants: each anomaly is seen in a history file, and its clean twin is clean.
func TestPlants(t *testing.T) {
	for _, p := range append(plants, administration...) {
		tell := func(f func(a *tale)) []string {
			a := &tale{t: t}
			if p.bare {
				f(a)
				return a.ids()
			}
			a = base(t)
			f(a)
			closing(a)
			return a.ids()
		}
		if ids := tell(p.bug); !slices.Contains(ids, p.id) {
			t.Errorf("%s %s: found only %v", p.id, p.name, ids)
		}
		if ids := tell(p.clean); len(ids) > 0 {
			t.Errorf("%s %s: the clean twin is accused of %v", p.id, p.name, ids)
		}
	}
}
