package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A comment `want "regexp"` in a fixture says what must be found on its line.
var (
	wanted = regexp.MustCompile(`want(( +"[^"]+")+)`)
	quoted = regexp.MustCompile(`"([^"]+)"`)
)

// TestEveryRuleFires compares the findings in the broken tree with its comments, both ways.
func TestEveryRuleFires(t *testing.T) {
	dir := filepath.Join("testdata", "broken")
	found, err := vet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 30 {
		t.Errorf("only %d findings", len(found))
	}
	tr, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tr.files {
		body, err := os.ReadFile(filepath.Join(dir, s.path))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(body), "\n") {
			var wants []string
			if m := wanted.FindStringSubmatch(line); m != nil {
				for _, q := range quoted.FindAllStringSubmatch(m[1], -1) {
					wants = append(wants, q[1])
				}
			}
			matchLine(t, s.path, i+1, wants, found)
		}
	}
}

// matchLine pairs what is wanted on one line with what was found there.
func matchLine(t *testing.T, path string, line int, wants []string, found []finding) {
	t.Helper()
	left := wants
next:
	for _, f := range found {
		if f.file != path || f.line != line {
			continue
		}
		for i, w := range left {
			if regexp.MustCompile(w).MatchString(f.String()) {
				left = append(left[:i:i], left[i+1:]...)
				continue next
			}
		}
		t.Errorf("unexpected: %s", f)
	}
	for _, w := range left {
		t.Errorf("%s:%d: nothing found that matches %q", path, line, w)
	}
}

func TestACleanTreePrintsNothing(t *testing.T) {
	var out, errs strings.Builder
	if code := run(filepath.Join("testdata", "clean"), &out, &errs); code != 0 || out.Len()+errs.Len() > 0 {
		t.Errorf("exit %d\n%s%s", code, &out, &errs)
	}
}

func TestRefusalsFailTheRunAndWarningsDoNot(t *testing.T) {
	var out, errs strings.Builder
	if code := run(filepath.Join("testdata", "broken"), &out, &errs); code != 1 ||
		!strings.Contains(out.String(), " refused\n") {
		t.Errorf("broken tree: exit %d\n%s%s", code, &out, &errs)
	}
	dir := t.TempDir()
	write(t, dir, "go.mod", "module m\n")
	write(t, dir, "docs/layers.txt", "import a :\n")
	write(t, dir, "a/a.go", "// Package a is long.\npackage a\n"+strings.Repeat("\n", maxFileLines))
	out.Reset()
	if code := run(dir, &out, &errs); code != 0 || !strings.Contains(out.String(), "tidy: warning: 902 lines") {
		t.Errorf("a warning: exit %d\n%s%s", code, &out, &errs)
	}
}

func TestWhatItCannotReadIsAnError(t *testing.T) {
	for name, c := range map[string]struct{ layers, code, want string }{
		"unknown word": {"allow a : b\n", "package a\n", `docs/layers.txt:1: unknown word "allow"`},
		"no colon":     {"\nimport a b\n", "package a\n", "docs/layers.txt:2: want"},
		"not Go":       {"import a :\n", "package\n", "a/a.go:1:"},
	} {
		dir := t.TempDir()
		write(t, dir, "go.mod", "module m\n")
		write(t, dir, "docs/layers.txt", c.layers)
		write(t, dir, "a/a.go", c.code)
		var out, errs strings.Builder
		if code := run(dir, &out, &errs); code != 2 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit %d, %q, want %q", name, code, errs.String(), c.want)
		}
	}
	var out, errs strings.Builder
	if code := run(t.TempDir(), &out, &errs); code != 2 || !strings.Contains(errs.String(), "-C") {
		t.Errorf("no module: exit %d, %q", code, errs.String())
	}
}

func TestAddressVerbs(t *testing.T) {
	for text, want := range map[string]bool{
		"%p": true, "a %p b": true, "%#p": true, "%-16p": true, "%[2]p": true, "%%%p": true,
		"%%p": false, "100% pure": false, "%d part": false, "%s%%p": false, "50%, p": false, "p%": false,
	} {
		if got := pointer.MatchString(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func write(t *testing.T, dir, name, body string) {
	t.Helper()
	p := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}
