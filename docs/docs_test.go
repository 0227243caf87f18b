package docs_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/wire"
)

var update = flag.Bool("update", false, "write the generated pages anew")

// fresh holds a generated page, or a part of one, against what the code says.
func fresh(t *testing.T, page, got, want string, write func()) {
	t.Helper()
	if got == want {
		return
	}
	if *update {
		write()
		return
	}
	t.Errorf("%s is stale; write it anew:\n\tgo test ./docs -update", page)
}

func TestConfigurationPageIsFresh(t *testing.T) {
	const page = "configuration.md"
	got, _ := os.ReadFile(page)
	fresh(t, page, string(got), config.Markdown(), func() { put(t, page, config.Markdown()) })
}

// served are the keys that core/api has a handler for, as its source says.
func served(t *testing.T) map[string]bool {
	keys := map[string]bool{}
	for _, m := range regexp.MustCompile(`case wire\.Key(\w+):`).FindAllStringSubmatch(read(t, "../core/api/served.go"), -1) {
		keys[m[1]] = true
	}
	if len(keys) < 20 {
		t.Fatalf("core/api/served.go names %d keys", len(keys))
	}
	return keys
}

// keyTable is the table of compat.md.
func keyTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| key | name | versions |\n|---|---|---|\n")
	has := served(t)
	for i := range wire.APIs {
		a := &wire.APIs[i]
		if !has[a.Name] {
			continue
		}
		versions := fmt.Sprintf("%d-%d", a.Min, a.Max)
		if a.AdvertisedMin != a.Min || a.AdvertisedMax != a.Max {
			versions += fmt.Sprintf(" (advertised %d-%d)", a.AdvertisedMin, a.AdvertisedMax)
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", a.Key, a.Name, versions)
	}
	return b.String()
}

func TestKeysInCompatAreThoseServed(t *testing.T) {
	const page, begin, end = "compat.md", "<!-- keys: go test ./docs -update -->\n", "<!-- end of keys -->\n"
	text := read(t, page)
	head, rest, ok := strings.Cut(text, begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lost the marks around its table of keys", page)
	}
	want := keyTable(t)
	fresh(t, page, got, want, func() { put(t, page, head+begin+want+end+tail) })
}

// goLink is a link of a page to a name in a Go file.
var goLink = regexp.MustCompile("\\[`([^`]+)`\\]\\(([^)]+\\.go)\\)")

// TestLinksLeadSomewhere: a page that names a function does so until the function is gone.
func TestLinksLeadSomewhere(t *testing.T) {
	named, links := 0, 0
	for _, page := range pages(t) {
		text := read(t, page)
		dir := filepath.Dir(page)
		for _, m := range goLink.FindAllStringSubmatch(text, -1) {
			named++
			body, err := os.ReadFile(filepath.Join(dir, m[2]))
			if err != nil {
				continue // reported below
			}
			if !declares(string(body), m[1]) {
				t.Errorf("%s: %s does not declare %s", page, m[2], m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			}
		}
	}
	if named < 50 || links < 60 {
		t.Errorf("only %d links to names and %d to files were looked at", named, links)
	}
}

// declares says whether Go source declares name: "Type.Method", "Func" or "Type".
func declares(source, name string) bool {
	typ, method, ok := strings.Cut(name, ".")
	if ok {
		return regexp.MustCompile(`(?m)^func \(\w* ?\*?` + typ + `(\[\w+\])?\) ` + method + `\(`).MatchString(source)
	}
	return regexp.MustCompile(`(?m)^(func|type) ` + name + `\b`).MatchString(source)
}

// TestMutantsInInvariantsArePlanted compares the mutants that invariants.md names with those in the code.
func TestMutantsInInvariantsArePlanted(t *testing.T) {
	planted := map[string]bool{}
	err := filepath.WalkDir("../core", func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") {
			return err
		}
		for _, m := range regexp.MustCompile(`mut\.On\("(M\d+)"\)`).FindAllStringSubmatch(read(t, p), -1) {
			planted[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for m := range planted {
		want = append(want, m)
	}
	got := regexp.MustCompile(`\bM\d\d\b`).FindAllString(read(t, "invariants.md"), -1)
	slices.Sort(want)
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("invariants.md names the mutants %v, the code plants %v", got, want)
	}
}

// pages are the documents: the README and everything here.
func pages(t *testing.T) []string {
	all, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(append(all, more...), "../README.md")
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
