package docs_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is the inside of a fence: what stands behind the opening marks, and the lines.
//
//	sh       a test types it, line by line
//	sh slow  a reader may type it; a test only looks whether what it names exists
//	console  the same, and the lines may carry a remark behind two spaces
type block struct {
	page  string
	info  string
	lines []string
}

// fences finds the blocks of a page.
func fences(page, text string) (all []block) {
	var open *block
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{page: page, info: strings.TrimSpace(info)}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	return all
}

// typed begins a line that a reader is meant to type.
var typed = regexp.MustCompile(`^(\$ )?((bin/)?karst|kafka-[a-z-]+\.sh|make|go (run|test|build|install)|\.ci/\S+)( |$)`)

// TestEveryCommandOfThePagesExists looks at what the pages tell to type and no test types: blocks that
// take long or need what is not here, and commands in running text.
func TestEveryCommandOfThePagesExists(t *testing.T) {
	more, err := filepath.Glob("../experiments/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := newSurface(t)
	checked := 0
	for _, page := range append(pages(t), more...) {
		text := read(t, page)
		for _, b := range fences(page, text) {
			for _, complaint := range known.judge(b) {
				t.Errorf("%s: %s", page, complaint)
			}
			checked += len(b.lines)
		}
		for _, span := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
			if !typed.MatchString(span[1]) {
				continue
			}
			checked++
			if err := known.line(span[1], ".."); err != nil {
				t.Errorf("%s: `%s`: %v", page, span[1], err)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d lines were looked at", checked)
	}
}

// judge is what is wrong with a block.
func (s *surface) judge(b block) (complaints []string) {
	if b.info == "sh" {
		return nil // typed by TestShellBlocksRun
	}
	if b.info != "sh slow" && b.info != "console" {
		if i := slices.IndexFunc(b.lines, typed.MatchString); i >= 0 {
			return []string{"a block marked \"" + b.info + "\" holds commands; mark it sh, sh slow or console: " + b.lines[i]}
		}
		return nil
	}
	dir := ".."
	for _, line := range b.lines {
		if err := s.block(line, &dir); err != nil {
			complaints = append(complaints, line+": "+err.Error())
		}
	}
	return complaints
}

// TestTheLookAtCommandsSeesWhatIsMissing: a check that never complains proves nothing.
func TestTheLookAtCommandsSeesWhatIsMissing(t *testing.T) {
	known := newSurface(t)
	for _, c := range []struct{ info, line, want string }{
		{"console", "make sweep SEEDS=1..5 FOR=60s     many seeds", ""},
		{"console", "$ make help", ""},
		{"console", "karst dev -n 3 --power-switch && bin/karst dev powercut all", ""},
		{"console", "go test -run 'A b' ./docs ./core/...   some", ""},
		{"console", "FOO=1 .ci/run", ""},
		{"console", "cd experiments/01-spine; ./report.py; ./plot.py", ""},
		{"sh slow", "printf 'a;b | karst gone\\n' | karst produce t -k a # karst nothing", ""},
		{"text", "a karst of limestone", ""},
		{"console", "karst check run.jsonl -o json && karst check HISTORY --memory 64", ""},
		{"console", "karst check run.jsonl --memroy 64", "karst check has no flag --memroy"},
		{"console", "karst check recrod", "karst check has no command \"recrod\""},
		{"console", "karst topic list.jsonl", "karst topic has no command \"list.jsonl\""},
		{"console", "make sweeep", `the Makefile has no target "sweeep"`},
		{"console", "make sweep SEED_S=1", `the Makefile reads no SEED_S`},
		{"console", "karst topics create x", "karst has no command \"topics\""},
		{"console", "karst topic crate x", "karst topic has no command \"crate\""},
		{"console", "echo x | karst topic create x --partitons 3", "karst topic create has no flag --partitons"},
		{"console", "karst consume t -Z", "karst consume has no flag -Z"},
		{"console", "kafka-topics.sh --create --topik x", "kafka-topics.sh has no flag --topik"},
		{"console", "go test ./nowhere/...", "nowhere"},
		{"sh slow", "go run ./cmd/carst demo", "cmd/carst"},
		{"console", "go run ./cmd/karst demo --fast", "karst demo has no flag --fast"},
		{"console", ".ci/walk", "walk"},
		{"bash", "karst dev", "mark it"},
		{"", "make soak", "mark it"},
	} {
		got := known.judge(block{info: c.info, lines: []string{c.line}})
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s %q: %q, want %q", c.info, c.line, got, c.want)
		}
	}
}
