package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedIsCurrent fails when a definition or the generator changed and nobody ran go generate.
func TestGeneratedIsCurrent(t *testing.T) {
	if err := run("../../core/wire", true); err != nil {
		t.Fatal(err)
	}
}

func TestNotation(t *testing.T) {
	const head = "api 1 Fetch 4-18 flexible 12+\nrequest\n"
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "# only words\n", "no definition"},
		{"a field first", "  X int8\n", "before any api"},
		{"no versions", "api 1 Fetch\n", "want NAME"},
		{"a bad range", "api 1 Fetch 4..18 flexible never\n", "no range"},
		{"an empty range", "api 1 Fetch 4-2 flexible never\n", "is empty"},
		{"an unknown type", head + "  X int7\n", "unknown type"},
		{"no type", head + "  X\n", "has no type"},
		{"a stray indent", head + "      X int8\n", "belongs to no structure"},
		{"versions outside", head + "  X int8 3+\n", "outside of 4-18"},
		{"a tag too early", head + "  X int8 11+ tag 0\n", "needs flexible"},
		{"words behind", head + "  X int8 lots\n", "no range"},
	} {
		_, err := parse("x.def", c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestCheckNotices: an edited, a missing and a superfluous file are found.
func TestCheckNotices(t *testing.T) {
	dir := t.TempDir()
	const def = `# Ping asks whether anybody is there.
api 7 Ping 0-1 flexible 1+

request
  Note string?1+

response
  Word string
`
	if err := os.Mkdir(filepath.Join(dir, "defs"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "defs", "07_ping.def"), def)
	if err := run(dir, true); err == nil {
		t.Error("a missing file was not noticed")
	}
	if err := run(dir, false); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "07_ping.gen.go"))
	if err != nil || !strings.Contains(string(text), "m.Note = r.NullString(flex, v >= 1)") {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := run(dir, true); err != nil {
		t.Error(err)
	}
	put(t, filepath.Join(dir, "07_ping.gen.go"), string(text)+"\n")
	if err := run(dir, true); err == nil {
		t.Error("an edited file was not noticed")
	}
	put(t, filepath.Join(dir, "07_ping.gen.go"), string(text))
	put(t, filepath.Join(dir, "08_pong.gen.go"), "package wire\n")
	if err := run(dir, true); err == nil {
		t.Error("a stray file was not noticed")
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
