package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// One build holds every bug of odd.go, and each does what it would do alone.
func TestASchemaChoosesAtRunTime(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/odd")); err != nil {
		t.Fatal(err)
	}
	o := order{dir: dir, seed: "1", packages: []string{"."}, work: t.TempDir(),
		builds: [][]string{strings.Fields("go build -overlay={overlay} -o {tmp}/odd .")}}
	c, all, err := draw(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	s := &schemata{o: &o, c: c, dir: o.work}
	for n, m := range all {
		one, err := c.site(m, n)
		if err == nil {
			err = c.compiles("odd", []*site{one})
		}
		if fixed := strings.Contains(m.From, "const fixed") || strings.Contains(m.From, "var array"); fixed != errors.Is(err, errFixed) {
			t.Errorf("%s => %s: %v", m.From, m.To, err)
		}
		if err == nil {
			s.sites = append(s.sites, one)
		} else if !errors.Is(err, errFixed) && !strings.Contains(m.To, "int & uint8") {
			t.Errorf("%s => %s: %v", m.From, m.To, err)
		}
	}
	if err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	play := func(n int) string {
		out, _, err := s.process(t.Context(), dir, []string{filepath.Join(o.work, "odd")}, []string{switchEnv + "=" + strconv.Itoa(n)}, time.Second)
		if err != nil {
			t.Errorf("bug %d: %v\n%s", n, err, out)
		}
		return out
	}
	const well = "2 012pq pq ab true 5 2s 64 abc 65 xy "
	if got := play(-1); got != well {
		t.Fatalf("without a bug: %q, want %q", got, well)
	}
	for _, want := range []struct{ op, to, says string }{
		{"swap", "say(\"b\", \"a\")", "2 012pq pq ba true 5 2s 64 abc 65 xy "},
		{"swap", "defer say(\"y\", \"x\")", "2 012pq pq ab true 5 2s 64 abc 65 yx "},
		{"swap", "for i := 0; i < 2; say(\"q\", \"p\") {", "2 012qp qp ab true 5 2s 64 abc 65 xy "},
		{"drop", "for i := 0; i < 2; {", "2 012ab true 5 2s 64 abc 65 xy "},
		{"constant", "n, _ := two(6, 3)", "3 012pq pq no 2s 7 abc 98 xy "},
		{"constant", "fmt.Print(-0+n, \" \")", "2 012pq pq ab true 6 2s 64 abc 65 xy "},
		{"constant", "wait := 3 * time.Second", "2 012pq pq ab true 5 3s 64 abc 65 xy "},
		{"constant", "fmt.Print(wait, \" \", most(uint8(0<<n), 7), \" \")", "2 012pq pq ab true 5 2s 7 abc 65 xy "},
		{"constant", "case 5:", "2 012pq pq ab true no 2s 64 abc 65 xy "},
		{"arithmetic", "wait := 2 + time.Second", "2 012pq pq ab true 5 1.000000002s 64 abc 65 xy "},
		{"arithmetic", "if n += 3; n > 5 && n < 7 {", "2 012pq pq no 2s 32 abc 54 xy "},
		{"arithmetic", "n++", "2 012pq pq ab true 5 2s 64 abc 67 xy "},
		{"negate", "if n *= 3; n > 5 && n >= 7 {", "2 012pq pq true 5 2s 64 abc 65 xy "},
		{"negate", "if !(strings) {", "2 012pq pq ab 5 2s 64 abc 65 xy "},
		{"negate", "strings := yes(n != 6)", "2 012pq pq ab 5 2s 64 abc 65 xy "},
		{"boundary", "before.WriteString(s[:(len(s)-1)])", "2 012pq pq ab true 5 2s 64 ab 65 xy "},
		{"minmax", "func most[T int | uint8](a, b T) T { return min(a, b) }", "2 012pq pq ab true 5 2s 7 abc 65 xy "},
		{"return", "return *new(strings.Builder); return before", "2 012pq pq ab true 5 2s 64  65 xy "},
		{"return", "func two(a, b int) (int, error) { return *new(int), *new(error); return a - b, nil }", "0 012pq pq no 2s 7 abc 10 xy "},
	} {
		i := slices.IndexFunc(s.sites, func(m *site) bool { return m.Op == want.op && m.To == want.to })
		if i < 0 {
			t.Errorf("no place makes %q", want.to)
		} else if got := play(s.sites[i].n); got != want.says {
			t.Errorf("%s: %q, want %q", want.to, got, want.says)
		}
	}
}

// The verdicts are those that single builds give, and a second run builds and tries nothing again.
func TestSchemataJudgeAndGoOn(t *testing.T) {
	dir, state, work := tiny(t), filepath.Join(t.TempDir(), "state.jsonl"), filepath.Join(t.TempDir(), "work")
	args := []string{"-C", dir, "-seed", "7", "-n", "41", "-state", state, "-skip", `assert\(`, "-limit", "1s", "-schemata", work,
		"-build", "go build -overlay={overlay} -o {tmp}/none .",
		"-try", "own: tests {package}", "-try", "command: sh -c true", "."}
	out := call(t, 0, args...)
	st, _, err := readState(state)
	if err != nil {
		t.Fatal(err)
	}
	if st.viable() != 41 || !strings.Contains(out, "built 41 bugs") || !strings.Contains(out, "  by own: ") {
		t.Errorf("%d bugs:\n%s", st.viable(), out)
	}
	for _, v := range st.verdicts {
		unseen := v.Func == "Unseen" || v.Func == "Next"
		switch {
		case strings.HasPrefix(v.From, "const limit"):
			if v.Verdict != stillborn || v.Said != errFixed.Error() {
				t.Errorf("%+v", v)
			}
		case unseen != (v.Said == "nothing comes by") || unseen != (v.Verdict == survived) && v.Func != "Clamp":
			t.Errorf("%+v", v)
		}
	}
	if again := call(t, 0, args...); strings.Contains(again, "built") || !strings.HasSuffix(out, again[strings.Index(again, "found: "):]) {
		t.Errorf("the second run says\n%s", again)
	}
}

// A bug that never ends uses up its processor time and is found by that.
func TestASchemaBugThatDoesNotEnd(t *testing.T) {
	s := &schemata{o: &order{}, dir: t.TempDir()}
	_, used, err := s.process(t.Context(), s.dir, []string{"sh", "-c", "while :; do :; done"}, []string{}, time.Millisecond)
	if !errors.Is(err, errSlow) || used < time.Millisecond {
		t.Errorf("after %v: %v", used, err)
	}
	if _, _, err = s.process(t.Context(), s.dir, []string{"false"}, nil, time.Second); err == nil || errors.Is(err, errSlow) {
		t.Errorf("a command that fails: %v", err)
	}
}
