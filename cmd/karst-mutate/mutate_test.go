package main

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tiny is a copy of the little module, so that nothing can happen to ours.
func tiny(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tiny")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// call runs the tool as a shell does.
func call(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(t.Context(), args, &out, &errs); got != want {
		t.Fatalf("exit %d, want %d\n%s%s", got, want, &out, &errs)
	}
	return out.String() + errs.String()
}

func places(t *testing.T, o order) []*mutant {
	t.Helper()
	c, all, err := draw(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.files) != 1 {
		t.Fatalf("%d files, want the one that is no test", len(c.files))
	}
	return all
}

// Every operator finds its places in tiny.go, and what it makes of them is Go.
func TestEveryOperatorHasPlaces(t *testing.T) {
	all := places(t, order{dir: tiny(t), seed: "1", packages: []string{"."}})
	has := map[string]bool{}
	for _, m := range all {
		has[m.Op+": "+m.To] = true
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, m.mutated(), 0); err != nil {
			t.Errorf("line %d, %s: %v\n%s", m.Line, m.Op, err, m.To)
		}
		if bytes.Equal(m.mutated(), m.src.text) {
			t.Errorf("line %d, %s: nothing is changed", m.Line, m.Op)
		}
	}
	if has["constant: const limit = 9"] == has["constant: const limit = 11"] {
		t.Error("limit becomes one more or one less, not both")
	}
	for _, want := range []string{
		"boundary: if n <= 0 || n > limit {", "boundary: if n < 0 || n >= limit {", "negate: if n >= 0 || n > limit {",
		"logic: if n < 0 && n > limit {", "logic: func Both(a, b bool) bool { return a || b }",
		"constant: n := 1", "minmax: n = min(0, min(n, limit))",
		"arithmetic: sum -= n", "arithmetic: n--", "arithmetic: func sub(a, b int) int { return a + b }",
		"boundary: for i := 0; i < (len(ns)-1); i++ {", "negate: if ns[i] != x {", "drop: sum", "drop: n",
		"drop: for i := 0; i < len(ns); {", "swap: func Span(a, b int) int { return sub(a, b) }",
		"return: func Unseen(n int) int { return *new(int); return n * 3 }", "drop: calls",
	} {
		op, to, _ := strings.Cut(want, ": ")
		found := has[want]
		if op == "drop" && len(to) < 6 { // nothing is left of the line
			found = slices.ContainsFunc(all, func(m *mutant) bool {
				return m.Op == "drop" && m.To == "" && strings.HasPrefix(m.From, to)
			})
		}
		if !found {
			t.Errorf("no place makes %q", want)
		}
	}
}

func TestTheDrawIsOfSeedAndCode(t *testing.T) {
	text := func(o order) string {
		var b strings.Builder
		for _, m := range places(t, o) {
			b.WriteString(m.File + m.Op + m.To + "\n")
		}
		return b.String()
	}
	dir := tiny(t)
	a := text(order{dir: dir, seed: "1", packages: []string{"."}})
	if b := text(order{dir: tiny(t), seed: "1", packages: []string{"."}}); a != b {
		t.Error("two draws of one seed differ")
	}
	b := text(order{dir: dir, seed: "2", packages: []string{"."}})
	if a == b {
		t.Error("two seeds give one draw")
	}
	sorted := func(s string) []string { l := strings.Split(s, "\n"); slices.Sort(l); return l }
	if !slices.Equal(sorted(a), sorted(b)) {
		t.Error("another seed gives other places")
	}
}

// flags judge tiny's every place with its own tests.
func flags(dir, state, n string) []string {
	return []string{"-C", dir, "-seed", "7", "-n", n, "-state", state, "-skip", `assert\(`, "-limit", "20s",
		"-try", "own: go test -count=1 -overlay={overlay} {package}", "."}
}

// A few bugs, then the rest after a stop: nothing is judged twice, and what survives is what no test
// looks at.
func TestJudgesAndGoesOn(t *testing.T) {
	dir, state := tiny(t), filepath.Join(t.TempDir(), "deep", "state.jsonl")
	before, err := os.ReadFile(filepath.Join(dir, "tiny.go"))
	if err != nil {
		t.Fatal(err)
	}
	call(t, 0, flags(dir, state, "2")...)
	st, size, err := readState(state)
	if err != nil {
		t.Fatal(err)
	}
	if st.viable() != 2 {
		t.Errorf("%d bugs compiled, want 2", st.viable())
	}
	// The process was killed while it wrote a line.
	f, err := os.OpenFile(state, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"n":1,"file":"ti`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	out := call(t, 0, flags(dir, state, "6")...)
	again, _, err := readState(state)
	if err != nil {
		t.Fatal(err)
	}
	if again.viable() != 6 || len(again.judged) != len(again.verdicts) {
		t.Errorf("%d bugs compiled, want 6; %d verdicts of %d", again.viable(), len(again.verdicts), len(again.judged))
	}
	if b, _ := os.ReadFile(state); len(b) < int(size) || !strings.Contains(out, "found: ") {
		t.Errorf("the first verdicts are gone, or nothing is said:\n%s", out)
	}
	for _, v := range again.verdicts {
		if v.Verdict == survived && v.Func != "Unseen" && v.Func != "Clamp" && v.Func != "Next" {
			t.Errorf("survived: %+v", v)
		}
		if strings.Contains(v.From, "assert(") && v.Op != "return" {
			t.Errorf("an assertion was touched: %+v", v)
		}
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "tiny.go")); !bytes.Equal(before, after) {
		t.Error("the working tree was written to")
	}
	if report := call(t, 0, "-report", "-state", state); !strings.HasSuffix(out, report) {
		t.Errorf("the report differs from what the run said last:\n%s", report)
	}
}

// verdictOf judges the one bug of tiny that op, from and to name.
func verdictOf(t *testing.T, o order, op, from, to string) verdict {
	t.Helper()
	c, all, err := draw(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(m *mutant) bool { return m.Op == op && m.From == from && m.To == to })
	if i < 0 {
		t.Fatalf("no place makes %q", to)
	}
	j, err := newJudge(&o, c)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := j.baseline(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range j.limit {
		j.limit[i] = o.limit
	}
	v, err := j.judge(t.Context(), all[i])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryVerdict(t *testing.T) {
	o := order{dir: tiny(t), seed: "7", packages: []string{"."}, limit: time.Minute, memory: 8192,
		tries: []try{{"own", strings.Fields("go test -count=1 -overlay={overlay} {package}")}}}
	const both, unseen = "func Both(a, b bool) bool { return a && b }", "func Unseen(n int) int { return n * 3 }"
	for _, c := range []struct{ op, from, to, want string }{
		{"logic", both, "func Both(a, b bool) bool { return a || b }", killed},
		{"arithmetic", unseen, "func Unseen(n int) int { return n + 3 }", survived},
		{"drop", "assert(next > n)", "", stillborn},
	} {
		v := verdictOf(t, o, c.op, c.from, c.to)
		if v.Verdict != c.want || v.Seconds <= 0 || (v.By == "own") != (c.want == killed) ||
			c.want == stillborn && !strings.Contains(v.Said, "declared and not used") {
			t.Errorf("%s: %+v, want %s", c.from, v, c.want)
		}
	}
	// A bug that never ends is found by its not ending, with all that it started.
	o.tries = []try{{"slow", []string{"sh", "-c", "if grep -q 'n.+.3' {tmp}/mutated.go; then sleep 1000; fi"}}}
	o.limit = time.Second
	if v := verdictOf(t, o, "arithmetic", unseen, "func Unseen(n int) int { return n + 3 }"); v.Verdict != timeout || v.By != "slow" {
		t.Errorf("an endless try: %+v", v)
	}
}

// The cache of our own holds after a bug what it held before.
func TestTheCacheDoesNotGrow(t *testing.T) {
	dir := t.TempDir()
	o := order{dir: tiny(t), seed: "7", packages: []string{"."}, cache: dir}
	put := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	j := &judge{o: &o}
	if err := j.keepCache(); err != nil {
		t.Fatal(err)
	}
	put("new")
	if err := j.trimCache(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "old" {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestWhatItRefuses(t *testing.T) {
	dir := tiny(t)
	state := filepath.Join(t.TempDir(), "state")
	for name, c := range map[string]struct {
		want int
		says string
		args []string
	}{
		"no package":     {2, "karst-mutate [flags]", []string{"-C", dir}},
		"no try":         {2, "-try", []string{"-C", dir, "-seed", "1", "-state", state, "."}},
		"a bad try":      {2, "want NAME: COMMAND", []string{"-try", "go test"}},
		"a bad skip":     {2, "-skip", []string{"-skip", "("}},
		"no such folder": {1, "go list", []string{"-C", dir, "-seed", "1", "-list", "./nowhere"}},
		"a failing baseline": {1, `without a bug try "false" fails`,
			[]string{"-C", dir, "-seed", "1", "-state", state, "-try", "false: false", "."}},
		"a state of other code": {1, "another draw", []string{"-C", dir, "-seed", "2", "-state", state, "-try", "false: false", "."}},
	} {
		if name == "a state of other code" {
			if err := os.WriteFile(state, []byte("{\"seed\":\"1\"}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		} else {
			os.Remove(state)
		}
		if got := call(t, c.want, c.args...); !strings.Contains(got, c.says) {
			t.Errorf("%s: %q does not say %q", name, got, c.says)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	var out bytes.Buffer
	if got := run(stopped, flags(dir, state+"3", "1"), &out, &out); got != 3 {
		t.Errorf("stopped: exit %d\n%s", got, &out)
	}
}
