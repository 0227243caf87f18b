package main

import (
	"go/ast"
	"path"
	"regexp"
)

const (
	maxFuncLines = 100
	maxFileLines = 900
)

var later = regexp.MustCompile(`\b(TODO|FIXME)\b`)

// tidy applies the rules of the house to every file.
func tidy(t *tree) {
	documented := map[string]bool{} // folder and package name
	named := map[string]*source{}
	for _, s := range t.files {
		for _, g := range s.ast.Comments {
			for _, c := range g.List {
				if word := later.FindString(c.Text); word != "" {
					t.refuse(c.Pos(), "tidy", "%s: do it, or open an issue and describe here what holds today", word)
				}
			}
		}
		if s.test {
			continue
		}
		key := path.Join(s.folder, s.ast.Name.Name)
		if named[key] == nil {
			named[key] = s
		}
		documented[key] = documented[key] || s.ast.Doc != nil
		if s.generated {
			continue
		}
		if s.lines > maxFileLines {
			t.warn(s.ast.Name.Pos(), "tidy", "%d lines: a file is about one idea; split it below %d", s.lines, maxFileLines)
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				n := t.fset.Position(f.End()).Line - t.fset.Position(f.Pos()).Line + 1
				if n > maxFuncLines {
					t.warn(f.Name.Pos(), "tidy", "%s has %d lines: split it below %d", f.Name.Name, n, maxFuncLines)
				}
			}
		}
	}
	for _, s := range t.files {
		key := path.Join(s.folder, s.ast.Name.Name)
		if named[key] == s && !documented[key] {
			t.refuse(s.ast.Name.Pos(), "tidy", "package %s has no comment: say what it owns, promises and refuses", s.ast.Name.Name)
		}
	}
}
