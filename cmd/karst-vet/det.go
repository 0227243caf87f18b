package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
)

// listed is what `go list -export -json` says about a package.
type listed struct {
	ImportPath string
	Export     string // file with the types that it exports
	GoFiles    []string
	DepOnly    bool
	Error      *struct{ Err string }
}

// exports asks the go command, which compiles what its cache does not hold, for core and all it needs.
func exports(dir string) (map[string]*listed, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-export",
		"-json=ImportPath,Export,GoFiles,DepOnly,Error", "./core/...")
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, errs.String())
	}
	by := map[string]*listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &listed{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return by, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		by[p.ImportPath] = p
	}
}

// chance applies the rules of determinism to core/ but its tests. What needs no types is looked for in
// every file; what does, in the files that are built without tags.
func chance(t *tree) error {
	var core []*source
	for _, s := range t.files {
		if s.in("core") && !s.test {
			core = append(core, s)
		}
	}
	if len(core) == 0 {
		return nil
	}
	slices.SortStableFunc(core, func(a, b *source) int { return cmp.Compare(a.folder, b.folder) })
	for _, s := range core {
		t.words(s)
	}
	by, err := exports(t.dir)
	if err != nil {
		return err
	}
	imports := importer.ForCompiler(t.fset, "gc", func(path string) (io.ReadCloser, error) {
		if p := by[path]; p != nil && p.Export != "" {
			return os.Open(p.Export)
		}
		return nil, fmt.Errorf("%s does not compile", path)
	})
	for len(core) > 0 {
		n := 1
		for n < len(core) && core[n].folder == core[0].folder {
			n++
		}
		t.typed(core[:n], by[path.Join(t.module, core[0].folder)], imports)
		core = core[n:]
	}
	return nil
}

// typed checks one package's types and applies the rules that need them.
func (t *tree) typed(all []*source, p *listed, imports types.Importer) {
	if p == nil {
		return
	}
	built := map[string]bool{}
	for _, f := range p.GoFiles {
		built[f] = true
	}
	var files []*ast.File
	var from []*source
	for _, s := range all {
		if built[path.Base(s.path)] {
			files, from = append(files, s.ast), append(from, s)
		}
	}
	if len(files) == 0 {
		return
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: imports}
	if _, err := conf.Check(p.ImportPath, t.fset, files, info); err != nil {
		t.refuse(broken(err, files[0]), "det", "does not compile, so its maps and floats cannot be found: %v", err)
		return
	}
	for _, s := range from {
		ast.Inspect(s.ast, func(n ast.Node) bool { return t.node(s, info, n) })
		t.excuses(s)
	}
}

func broken(err error, f *ast.File) token.Pos {
	if e, ok := errors.AsType[types.Error](err); ok && e.Pos.IsValid() {
		return e.Pos
	}
	return f.Name.Pos()
}

// excused says whether the line of at carries `//det:ok reason`.
func (t *tree) excused(s *source, at token.Pos) bool {
	e := s.excuses[t.fset.Position(at).Line]
	if e == nil || e.reason == "" {
		return false
	}
	e.used = true
	return true
}

// excuses refuses comments that excuse nothing, or do not say why.
func (t *tree) excuses(s *source) {
	for _, e := range s.excuses {
		switch {
		case e.reason == "":
			t.refuse(e.pos, "det", "an exception says why: //det:ok looked up, never ranged")
		case !e.used:
			t.refuse(e.pos, "det", "this //det:ok excuses nothing on its line: remove it")
		}
	}
}

// pointer finds the verb that prints an address.
var pointer = regexp.MustCompile(`(^|[^%])(%%)*%[-+#0]*[0-9*]*(\.[0-9*]*)?(\[[0-9]+\])?p`)

// words applies the rules that need no types.
func (t *tree) words(s *source) {
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.refuse(n.Pos(), "det", "go statement: work too long for a step is a core.Job, another shard's work is mail")
		case *ast.SelectStmt:
			t.refuse(n.Pos(), "det", "select: the driver waits; a step is told by an event")
		case *ast.ChanType, *ast.SendStmt:
			t.refuse(n.Pos(), "det", "channel: between shards use mail, to the world an effect")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				t.refuse(n.Pos(), "det", "channel: between shards use mail, to the world an effect")
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind == token.STRING && err == nil && pointer.MatchString(text) && !t.excused(s, n.Pos()) {
				t.refuse(n.Pos(), "det", "%%p prints an address, which differs from run to run: print an id")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "sync" && n.Sel.Name != "Pool" && !t.excused(s, n.Pos()) {
				t.refuse(n.Pos(), "det", "sync.%s: one goroutine owns a shard, no lock is needed; share by mail", n.Sel.Name)
			}
		case *ast.StructType:
			for _, f := range n.Fields.List {
				t.mapDeclared(s, f.Type)
			}
		case *ast.ValueSpec:
			t.mapDeclared(s, n.Type)
			for _, v := range n.Values {
				t.mapMade(s, v)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, v := range n.Rhs {
					t.mapMade(s, v)
				}
			}
		}
		return true
	})
}

// mapDeclared refuses a field or variable whose type holds a map without a reason on its line.
func (t *tree) mapDeclared(s *source, e ast.Expr) {
	if e == nil {
		return
	}
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType, *ast.StructType: // the latter's fields are looked at by themselves
			return false
		case *ast.MapType:
			if !t.excused(s, n.Pos()) {
				t.refuse(n.Pos(), "det", "map: use det.Map, or say on the line why its order cannot matter: "+
					"//det:ok looked up, never ranged")
			}
			return false
		}
		return true
	})
}

// mapMade is mapDeclared for a variable that takes its type from a literal or from make.
func (t *tree) mapMade(s *source, v ast.Expr) {
	switch v := v.(type) {
	case *ast.CompositeLit:
		if _, ok := v.Type.(*ast.MapType); ok {
			t.mapDeclared(s, v.Type)
		}
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "make" && len(v.Args) > 0 {
			if _, ok := v.Args[0].(*ast.MapType); ok {
				t.mapDeclared(s, v.Args[0])
			}
		}
	}
}

// node applies the rules that need types.
func (t *tree) node(s *source, info *types.Info, n ast.Node) bool {
	if r, ok := n.(*ast.RangeStmt); ok {
		switch under(info.TypeOf(r.X)).(type) {
		case *types.Map:
			t.refuse(r.Pos(), "det", "range over a map: use det.Map, or keep a sorted slice beside it; "+
				"there is no exception")
		case *types.Chan:
			t.refuse(r.Pos(), "det", "channel: between shards use mail, to the world an effect")
		}
	}
	e, ok := n.(ast.Expr)
	if !ok {
		return true
	}
	b, ok := under(info.TypeOf(e)).(*types.Basic)
	if !ok || b.Info()&(types.IsFloat|types.IsComplex) == 0 || b.Info()&types.IsUntyped != 0 {
		return true
	}
	if !t.excused(s, e.Pos()) {
		t.refuse(e.Pos(), "det", "float (%s): count in integers, with a unit small enough", b.Name())
	}
	return false // one word an expression is enough
}

// under is the type that a range or a sum acts on: the underlying one, and for a type parameter the
// one that all its types share.
func under(typ types.Type) types.Type {
	if typ == nil {
		return nil
	}
	p, ok := typ.(*types.TypeParam)
	if !ok {
		return typ.Underlying()
	}
	set, ok := p.Constraint().Underlying().(*types.Interface)
	if !ok || set.NumEmbeddeds() == 0 {
		return typ.Underlying()
	}
	switch one := set.EmbeddedType(0).(type) {
	case *types.Union:
		if one.Len() > 0 {
			return one.Term(0).Type().Underlying()
		}
	default:
		return one.Underlying()
	}
	return typ.Underlying()
}
