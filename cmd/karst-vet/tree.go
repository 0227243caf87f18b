package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// finding is one thing to say about one place.
type finding struct {
	file      string // slash-separated, from the module's folder
	line, col int
	rule      string
	text      string
	warning   bool
}

func (f finding) String() string {
	kind := f.rule
	if f.warning {
		kind += ": warning"
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", f.file, f.line, f.col, kind, f.text)
}

// source is one parsed Go file.
type source struct {
	path      string // slash-separated, from the module's folder
	folder    string // of path; "." is the module's own
	test      bool
	generated bool
	lines     int
	ast       *ast.File
	excuses   map[int]*excuse // by line
}

// excuse is a comment `//det:ok reason`.
type excuse struct {
	pos    token.Pos
	reason string
	used   bool
}

// tree is a module's Go files, whatever their build tags say, and what was found in them.
type tree struct {
	dir    string
	module string
	fset   *token.FileSet
	files  []*source // in order of path
	found  []finding
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+(\S+)`)

// load parses every Go file of the module in dir but those in testdata, hidden folders and nested
// modules.
func load(dir string) (*tree, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("%w: run it in a module's folder, or name one with -C", err)
	}
	name := moduleLine.FindSubmatch(mod)
	if name == nil {
		return nil, fmt.Errorf("%s: no module line", filepath.Join(dir, "go.mod"))
	}
	t := &tree{dir: dir, module: string(name[1]), fset: token.NewFileSet()}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if p != dir && skipped(p, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		case strings.HasSuffix(p, ".go"):
			return t.parse(p)
		}
		return nil
	})
	if err == nil && len(t.files) == 0 {
		err = fmt.Errorf("no Go files in %s", dir)
	}
	return t, err
}

// skipped says which folders the go command does not build either.
func skipped(p, name string) bool {
	if name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_' {
		return true
	}
	_, err := os.Stat(filepath.Join(p, "go.mod"))
	return err == nil
}

func (t *tree) parse(p string) error {
	rel, err := filepath.Rel(t.dir, p)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	body, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	// Named from the module's folder, as findings are.
	f, err := parser.ParseFile(t.fset, rel, body, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	s := &source{
		path: rel, folder: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"),
		generated: ast.IsGenerated(f) || strings.Contains(path.Base(rel), ".gen."),
		lines:     strings.Count(string(body), "\n"), ast: f, excuses: map[int]*excuse{},
	}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if reason, ok := strings.CutPrefix(c.Text, "//det:ok"); ok {
				line := t.fset.Position(c.Pos()).Line
				s.excuses[line] = &excuse{pos: c.Pos(), reason: strings.TrimSpace(reason)}
			}
		}
	}
	t.files = append(t.files, s)
	return nil
}

// in says whether the file lies in folder or below it.
func (s *source) in(folder string) bool {
	return s.folder == folder || strings.HasPrefix(s.folder, folder+"/")
}

func (t *tree) refuse(at token.Pos, rule, format string, args ...any) {
	p := t.fset.Position(at)
	t.found = append(t.found, finding{p.Filename, p.Line, p.Column, rule, fmt.Sprintf(format, args...), false})
}

func (t *tree) warn(at token.Pos, rule, format string, args ...any) {
	t.refuse(at, rule, format, args...)
	t.found[len(t.found)-1].warning = true
}

// sorted orders the findings by place and drops repeats.
func (t *tree) sorted() []finding {
	slices.SortStableFunc(t.found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line),
			cmp.Compare(a.rule, b.rule), cmp.Compare(a.col, b.col), cmp.Compare(a.text, b.text))
	})
	return slices.CompactFunc(t.found, func(a, b finding) bool {
		return a.file == b.file && a.line == b.line && a.rule == b.rule && a.text == b.text
	})
}
