package linear

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/checker"
)

// admin builds a history of operations on a topic and a key; each has an instant of its own unless
// overlap is called before it.
type admin struct {
	ops     []checker.Op
	now     int64
	overlap int64
}

func (a *admin) add(k checker.Kind, set func(*checker.Op)) {
	o := checker.NewOp(k)
	o.Process = int64(len(a.ops))
	o.Call, o.Done = a.now+1-a.overlap, a.now+2
	a.now += 2
	a.overlap = 0
	set(&o)
	a.ops = append(a.ops, o)
}

func (a *admin) topic(k checker.Kind, out checker.Outcome, e, id string, count int64) {
	a.add(k, func(o *checker.Op) {
		o.Topic, o.Outcome, o.Error, o.TopicID, o.Count = "a", out, e, id, max(count, 1)
		if k == checker.Metadata {
			o.Exists, o.Count = count > 0, count
		}
	})
}

// uncounted is an answer that a topic exists, without the number of its partitions.
func (a *admin) uncounted() {
	a.add(meta, func(o *checker.Op) { o.Topic, o.TopicID, o.Exists = "a", "1", true })
}

func (a *admin) config(k checker.Kind, value string) {
	a.add(k, func(o *checker.Op) { o.Resource, o.Key, o.Value = "topic a", "retention.ms", value })
}

func (a *admin) judge(t *testing.T, o Options) (*Report, error) {
	t.Helper()
	b := checker.AppendHeader(nil, "a test")
	for i := range a.ops {
		b = checker.AppendOp(b, &a.ops[i])
	}
	_, j, err := checker.JudgeHistory(bytes.NewReader(checker.AppendEnd(b, int64(len(a.ops)))), checker.Limits{})
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return Check(j, o)
}

const (
	ok, fail, unknown          = checker.OK, checker.Fail, checker.Unknown
	exists, none, bad          = "TOPIC_ALREADY_EXISTS", "UNKNOWN_TOPIC_OR_PARTITION", "INVALID_PARTITIONS"
	create, remove, grow, meta = checker.CreateTopic, checker.DeleteTopic, checker.GrowTopic, checker.Metadata
)

// cells are what can go wrong with topics and keys, each beside a history as much like it as can be
// in which nothing is wrong.
var cells = []struct {
	id, name   string
	bug, clean func(a *admin)
}{
	{"L2", "an acknowledged topic is not there",
		func(a *admin) { a.topic(create, ok, "", "1", 3); a.topic(meta, ok, "", "", 0) },
		func(a *admin) { a.topic(create, ok, "", "1", 3); a.overlap = 3; a.topic(meta, ok, "", "", 0) }},
	{"L2", "a deleted topic is still there",
		func(a *admin) {
			a.topic(create, ok, "", "1", 3)
			a.topic(remove, ok, "", "", 0)
			a.topic(meta, ok, "", "1", 3)
		},
		func(a *admin) {
			a.topic(create, ok, "", "1", 3)
			a.topic(remove, unknown, "", "", 0)
			a.topic(meta, ok, "", "1", 3)
		}},
	{"L2", "created twice",
		func(a *admin) { a.topic(create, ok, "", "1", 3); a.topic(create, ok, "", "2", 3) },
		func(a *admin) { a.topic(create, ok, "", "1", 3); a.topic(create, fail, exists, "", 3) }},
	{"L2", "refused as existing after it was deleted",
		func(a *admin) { a.topic(remove, ok, "", "", 0); a.topic(create, fail, exists, "", 3) },
		func(a *admin) { a.topic(create, unknown, "", "", 3); a.topic(create, fail, exists, "", 3) }},
	{"L2", "not there for the delete",
		func(a *admin) { a.topic(create, ok, "", "1", 3); a.topic(remove, fail, none, "", 0) },
		func(a *admin) { a.topic(create, ok, "", "1", 3); a.topic(remove, fail, "NOT_CONTROLLER", "", 0) }},
	{"L2", "growth is forgotten",
		func(a *admin) {
			a.topic(create, ok, "", "1", 3)
			a.topic(grow, ok, "", "", 5)
			a.topic(meta, ok, "", "1", 3)
		},
		func(a *admin) {
			a.topic(create, ok, "", "1", 3)
			a.topic(grow, fail, bad, "", 2)
			a.topic(meta, ok, "", "1", 3)
		}},
	{"L2", "what was unknown comes and goes",
		func(a *admin) {
			a.topic(meta, ok, "", "", 0)
			a.topic(create, unknown, "", "1", 3)
			a.topic(meta, ok, "", "1", 3)
			a.topic(meta, ok, "", "", 0)
		},
		func(a *admin) {
			a.topic(meta, ok, "", "", 0)
			a.topic(create, unknown, "", "1", 3)
			a.topic(meta, ok, "", "", 0)
			a.topic(meta, ok, "", "1", 3)
		}},
	{"L2", "refused for now, and done",
		func(a *admin) {
			a.topic(create, ok, "", "1", 3)
			a.topic(remove, fail, "NOT_CONTROLLER", "", 0)
			a.topic(meta, ok, "", "", 0)
		},
		func(a *admin) {
			a.topic(create, ok, "", "1", 3)
			a.topic(remove, fail, "NOT_CONTROLLER", "", 0)
			a.topic(meta, ok, "", "1", 3)
		}},
	{"L2", "partitions that nobody counted, and then two counts",
		func(a *admin) { a.uncounted(); a.topic(meta, ok, "", "1", 3); a.topic(meta, ok, "", "1", 5) },
		func(a *admin) { a.uncounted(); a.topic(meta, ok, "", "1", 3); a.uncounted() }},
	{"L2", "growth of what nobody counted",
		func(a *admin) { a.uncounted(); a.topic(grow, ok, "", "", 5); a.topic(meta, ok, "", "1", 3) },
		func(a *admin) { a.uncounted(); a.topic(grow, fail, bad, "", 5); a.topic(meta, ok, "", "1", 7) }},
	{"L3", "an acknowledged setting is not there",
		func(a *admin) { a.config(checker.AlterConfig, "1"); a.config(checker.DescribeConfig, "") },
		func(a *admin) { a.config(checker.DescribeConfig, ""); a.config(checker.AlterConfig, "1") }},
	{"L3", "a setting goes back",
		func(a *admin) {
			a.config(checker.AlterConfig, "1")
			a.config(checker.AlterConfig, "2")
			a.config(checker.DescribeConfig, "1")
		},
		func(a *admin) {
			a.config(checker.AlterConfig, "1")
			a.overlap = 2
			a.config(checker.AlterConfig, "2")
			a.config(checker.DescribeConfig, "1")
		}},
}

func TestCells(t *testing.T) {
	for _, c := range cells {
		for _, wrong := range []bool{true, false} {
			a := &admin{}
			if wrong {
				c.bug(a)
			} else {
				c.clean(a)
			}
			r, err := a.judge(t, Options{})
			if err != nil || r.Windows == 0 {
				t.Errorf("%s: %+v, %v", c.name, r, err)
				continue
			}
			found := slices.ContainsFunc(r.Violations, func(v checker.Violation) bool { return v.ID == c.id })
			if found != wrong {
				t.Errorf("%s %s, wrong %v: found %v", c.id, c.name, wrong, r.Violations)
			}
		}
	}
}

// TestPicture: what fits no order is drawn, and the picture shows the operation.
func TestPicture(t *testing.T) {
	a := &admin{}
	a.config(checker.AlterConfig, "eleven")
	a.config(checker.DescribeConfig, "twelve")
	r, err := a.judge(t, Options{Pictures: t.TempDir()})
	if err != nil || len(r.Pictures) != 1 {
		t.Fatal(r, err)
	}
	b, err := os.ReadFile(r.Pictures[0])
	if err != nil || !strings.Contains(string(b), "twelve") {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestGivingUpIsAnError: a search that is too long is no pass.
func TestGivingUpIsAnError(t *testing.T) {
	a := &admin{}
	for range 12 {
		a.overlap = a.now
		a.config(checker.DescribeConfig, "")
	}
	if r, err := a.judge(t, Options{Window: 10}); !errors.Is(err, ErrUnknown) {
		t.Error(r, err)
	}
	if r, err := a.judge(t, Options{Window: 12}); err != nil || r.Operations != 12 {
		t.Error(r, err)
	}
}

// TestExactOnly: beyond what the search may cost, only exact judges look, and that is told.
func TestExactOnly(t *testing.T) {
	a := &admin{}
	for i := range int64(2000) {
		a.add(checker.Commit, func(o *checker.Op) {
			o.Group, o.Topic, o.Offset, o.Token = "g", "a", i, strings.Repeat("x", int(i+1))
		})
	}
	r, err := a.judge(t, Options{Operations: 500})
	if err != nil || r.Operations > 500 || r.Operations+r.Left != 2000 || r.Windows < 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestConflictsAreDrawnBeyondTheBudget: what an exact judge refuses is searched until it is found.
func TestConflictsAreDrawnBeyondTheBudget(t *testing.T) {
	a := &admin{}
	for i := range int64(1000) {
		a.add(checker.Commit, func(o *checker.Op) {
			o.Group, o.Topic, o.Offset, o.Token = "g", "a", i, strings.Repeat("x", int(i+1))
		})
	}
	a.add(checker.FetchOffset, func(o *checker.Op) { o.Group, o.Topic, o.Offset, o.Token = "g", "a", 5, "xxxxxx" })
	r, err := a.judge(t, Options{Operations: 100, Pictures: t.TempDir()})
	if err != nil || len(r.Pictures) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestConflictsOfExactJudges: what they refuse the search refuses too, and draws.
func TestConflictsOfExactJudges(t *testing.T) {
	given := func(a *admin, epochs ...int64) {
		for _, e := range epochs {
			a.add(checker.InitProducer, func(o *checker.Op) { o.Process, o.PID, o.Epoch = 1, 7, e })
		}
	}
	own := func(a *admin, generation int64) {
		a.add(checker.Own, func(o *checker.Op) { o.Group, o.Member, o.Topic, o.Generation = "g", "m", "a", generation })
	}
	commit := func(a *admin, generation int64, out checker.Outcome, e string) {
		a.add(checker.Commit, func(o *checker.Op) {
			o.Group, o.Topic, o.Token, o.Generation, o.Outcome, o.Error = "g", "a", "x", generation, out, e
		})
	}
	send := func(a *admin, first, base int64) {
		a.add(checker.Produce, func(o *checker.Op) {
			o.Topic, o.Producer, o.First, o.Count, o.Acks, o.PID, o.Base = "a", 1, first, 2, -1, 7, base
		})
	}
	end := func(a *admin, offset int64) {
		a.add(checker.ListOffsets, func(o *checker.Op) { o.Topic, o.At, o.Offset = "a", -1, offset })
	}
	cases := map[string]func(a *admin){
		"an epoch twice":             func(a *admin) { given(a, 3, 3) },
		"an epoch that falls":        func(a *admin) { given(a, 3, 2) },
		"a commit of an old time":    func(a *admin) { own(a, 1); own(a, 5); commit(a, 1, checker.OK, "") },
		"a commit refused too early": func(a *admin) { commit(a, 1, checker.Fail, "ILLEGAL_GENERATION"); own(a, 2) },
		"an end that is too old":     func(a *admin) { send(a, 0, 0); send(a, 2, 2); end(a, 2); sealed(a, 4) },
		"an end that is too new":     func(a *admin) { send(a, 0, 0); end(a, 4); send(a, 2, 2); sealed(a, 4) },
		"an append in a hole":        func(a *admin) { send(a, 0, 0); send(a, 2, 3); sealed(a, 4) },
		"an offset given twice":      func(a *admin) { send(a, 0, 0); send(a, 2, 1); sealed(a, 4) },
	}
	for name, tell := range cases {
		a := &admin{}
		tell(a)
		r, err := a.judge(t, Options{Pictures: t.TempDir()})
		if err != nil || len(r.Pictures) != 1 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// sealed ends a partition whose log nobody has read back: the records are missing, the order counts.
func sealed(a *admin, end int64) {
	a.add(checker.Scan, func(o *checker.Op) {
		o.Topic, o.Base, o.Count = "a", 0, end
		for at := range end {
			o.Bad = append(o.Bad, at)
		}
	})
	a.add(checker.Sealed, func(o *checker.Op) { o.Topic, o.End = "a", end })
}
