package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// A schema holds many bugs in one build: where one may be, the code asks by its number whether it is
// the one that this process was started with. So a hundred bugs cost one compilation.

// Names of what a schema adds to the code.
const (
	switchName  = "karst_mutant_switch" // the package that is asked, beside the module's others
	switchEnv   = "KARST_MUTANT"        // the number of the bug that a process has
	traceEnv    = "KARST_MUTANT_TRACE"  // a file for the numbers of the places that it came by
	importAlias = "karst_mutant_import"
)

// switchSource is that package. The number is read once, so that asking costs a comparison. Each place is
// written down the first time only, in one write, because a test may end its process at any moment.
const switchSource = `package karst_mutant_switch

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	active  = -1
	tracing bool
	trace   *os.File
	seen    [1 << 16]atomic.Bool
)

func init() {
	if s := os.Getenv("KARST_MUTANT"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			panic("KARST_MUTANT: " + err.Error())
		}
		active = n
	}
	if name := os.Getenv("KARST_MUTANT_TRACE"); name != "" {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			panic("KARST_MUTANT_TRACE: " + err.Error())
		}
		trace, tracing = f, true
	}
}

// On says whether bug n is the one that this process has.
func On(n int) bool {
	if tracing {
		note(n)
	}
	return n == active
}

func note(n int) {
	if !seen[n].Swap(true) {
		trace.WriteString(strconv.Itoa(n) + "\n")
	}
}
`

// errFixed is why a place has no part in a schema.
var errFixed = errors.New("the language wants a constant here")

// shape is how a schema chooses between the code and the bug.
type shape int

const (
	shapeValue  shape = iota // func() T { if on { return bug }; return code }()
	shapeTruth               // (code) != on
	shapeStmt                // if on { bug } else { code }
	shapeSimple              // the same where only a simple statement may stand
	shapeInsert              // if on { bug }; before the code
)

// site is a bug in a schema: n is its number, from and to are the node that is chosen.
type site struct {
	*mutant
	n        int
	shape    shape
	from, to int
	result   string          // for shapeValue
	needs    map[string]bool // import paths that result speaks of
}

// site finds the node that a choice must be about.
func (c *code) site(m *mutant, n int) (*site, error) {
	s := &site{mutant: m, n: n, needs: map[string]bool{}}
	if m.Op == "return" {
		s.shape, s.from, s.to = shapeInsert, m.off, m.off
		return s, nil
	}
	path := m.path
	if err := fixed(path); err != nil {
		return nil, err
	}
	node, up := path[len(path)-1], path[:len(path)-1]
	if i, ok := node.(*ast.IfStmt); ok { // its condition
		node = i.Cond
	}
	if call, ok := node.(*ast.CallExpr); ok && m.Op == "swap" {
		switch p := up[len(up)-1].(type) {
		case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt:
			node, up = p, up[:len(up)-1]
		default:
			node = call
		}
	}
	if stmt, ok := node.(ast.Stmt); ok {
		s.shape = shapeStmt
		if f, ok := up[len(up)-1].(*ast.ForStmt); ok && (f.Post == stmt || f.Init == stmt) {
			s.shape = shapeSimple
		} else if i, ok := up[len(up)-1].(*ast.IfStmt); ok && i.Init == stmt {
			s.shape = shapeSimple
		}
	}
	if e, ok := node.(ast.Expr); ok {
		for i := len(up) - 1; i >= 0 && m.src.info.Types[e].Value != nil; i-- {
			outer, ok := up[i].(ast.Expr)
			if !ok || m.src.info.Types[outer].Value == nil {
				break
			}
			e = outer
		}
		node = e
		if basic, ok := m.src.info.TypeOf(e).(*types.Basic); ok && m.Op == "negate" && basic.Info()&types.IsBoolean != 0 &&
			m.src.info.Types[e].Value == nil {
			s.shape = shapeTruth
		} else {
			s.result = resultOf(m.src.info.TypeOf(e), m.src.pkg, s.needs)
		}
	}
	s.from, s.to = c.fset.Position(node.Pos()).Offset, c.fset.Position(node.End()).Offset
	return s, nil
}

// fixed says whether a node stands where its value must be known to the compiler.
func fixed(path []ast.Node) error {
	for i, n := range path[:len(path)-1] {
		switch n := n.(type) {
		case *ast.GenDecl:
			if n.Tok == token.CONST {
				return errFixed
			}
		case *ast.ArrayType:
			if n.Len == path[i+1] {
				return errFixed
			}
		}
	}
	return nil
}

// resultOf writes the type of an expression for the head of a function.
func resultOf(t types.Type, pkg string, needs map[string]bool) string {
	name := func(t types.Type) string {
		return types.TypeString(types.Default(t), func(p *types.Package) string {
			if p.Path() == pkg {
				return ""
			}
			needs[p.Path()] = true
			return alias(p.Path())
		})
	}
	tuple, ok := t.(*types.Tuple)
	if !ok {
		return name(t)
	}
	var all []string
	for i := range tuple.Len() {
		all = append(all, name(tuple.At(i).Type()))
	}
	return "(" + strings.Join(all, ", ") + ")"
}

// alias is a name for an imported package that nothing in the file can hide.
func alias(path string) string {
	var b strings.Builder
	b.WriteString(importAlias)
	for _, r := range path {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}

// choose writes the choice; code is what stands there now, with the choices of other bugs in it.
func (s *site) choose(code string) string {
	on := fmt.Sprintf("%s.On(%d)", switchName, s.n)
	t := s.src.text
	bug := string(t[s.from:s.off]) + s.text + string(t[s.end:s.to])
	either := "if " + on + " { " + bug + " } else { " + code + " }"
	switch s.shape {
	case shapeTruth:
		return "((" + code + ") != " + on + ")"
	case shapeValue:
		return "func() " + s.result + " { if " + on + " { return " + bug + " }; return " + code + " }()"
	case shapeSimple:
		return "func() { " + either + " }()"
	case shapeInsert:
		return "if " + on + " { " + strings.TrimSuffix(bug, "; ") + " }; "
	}
	return either
}

// schema is a file with all of sites in it; lines keep their numbers where that is possible.
func (c *code) schema(src *source, sites []*site) string {
	sites = slices.Clone(sites)
	slices.SortFunc(sites, func(a, b *site) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(insertFirst(a), insertFirst(b)),
			cmp.Compare(b.to, a.to), cmp.Compare(b.shape, a.shape), cmp.Compare(a.n, b.n))
	})
	needs := map[string]bool{}
	for _, s := range sites {
		maps.Copy(needs, s.needs)
	}
	imports := fmt.Sprintf("; import %s %q", switchName, c.module+"/"+switchName)
	for _, path := range slices.Sorted(maps.Keys(needs)) {
		imports += fmt.Sprintf("; import %s %q", alias(path), path)
	}
	head := c.fset.Position(src.ast.Name.End()).Offset
	body, _ := render(src.text, head, len(src.text), sites)
	return string(src.text[:head]) + imports + body
}

func insertFirst(s *site) int {
	if s.shape == shapeInsert {
		return 0
	}
	return 1
}

// render writes the bytes from at to end with the sites that begin in them, and returns the sites
// behind. Sites are nodes of one tree: two of them lie within or beside each other.
func render(text []byte, at, end int, sites []*site) (string, []*site) {
	var b strings.Builder
	for len(sites) > 0 && sites[0].from < end {
		s := sites[0]
		b.Write(text[at:s.from])
		inner, rest := "", sites[1:]
		if s.shape != shapeInsert {
			inner, rest = render(text, s.from, s.to, rest)
		}
		b.WriteString(s.choose(inner))
		at, sites = s.to, rest
	}
	b.Write(text[at:end])
	return b.String(), sites
}

// switchImporter knows the switch beside what the code imports.
type switchImporter struct {
	types.Importer
	path string
	pkg  *types.Package
}

func (i *switchImporter) Import(path string) (*types.Package, error) {
	if path == i.path {
		return i.pkg, nil
	}
	return i.Importer.Import(path)
}

// compiles type-checks a package with the schema of sites in it.
func (c *code) compiles(pkg string, sites []*site) error {
	on := types.NewPackage(c.module+"/"+switchName, switchName)
	arg := types.NewVar(token.NoPos, on, "n", types.Typ[types.Int])
	yes := types.NewVar(token.NoPos, on, "", types.Typ[types.Bool])
	sig := types.NewSignatureType(nil, nil, nil, types.NewTuple(arg), types.NewTuple(yes), false)
	on.Scope().Insert(types.NewFunc(token.NoPos, on, "On", sig))
	on.MarkComplete()
	by := map[*source][]*site{}
	for _, s := range sites {
		by[s.src] = append(by[s.src], s)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, src := range c.byPkg[pkg] {
		text := string(src.text)
		if len(by[src]) > 0 {
			text = c.schema(src, by[src])
		}
		f, err := parser.ParseFile(fset, src.name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	conf := types.Config{Importer: &switchImporter{c.imports, on.Path(), on}}
	_, err := conf.Check(pkg, fset, files, nil)
	return err
}

// unfit finds those of one package's sites that do not compile, by halving.
func (c *code) unfit(pkg string, sites []*site, why map[int]error) {
	if len(sites) == 0 {
		return
	}
	err := c.compiles(pkg, sites)
	switch {
	case err == nil:
	case len(sites) == 1:
		why[sites[0].n] = err
	default:
		half := len(sites) / 2
		c.unfit(pkg, sites[:half], why)
		c.unfit(pkg, sites[half:], why)
	}
}

// fit takes bugs from the front of the draw until n of them compile. why has a reason for each of the
// others.
func (c *code) fit(all []*mutant, n int) (sites []*site, why map[int]error, err error) {
	why = map[int]error{}
	for next := 0; len(sites) < n; {
		if next == len(all) {
			return nil, nil, fmt.Errorf("%d bugs were wanted, and %d places gave %d that compile", n, len(all), len(sites))
		}
		upTo := min(next+n-len(sites), len(all))
		by := map[string][]*site{}
		for ; next < upTo; next++ {
			s, err := c.site(all[next], next)
			if err != nil {
				why[next] = err
				continue
			}
			sites = append(sites, s)
			by[s.src.pkg] = append(by[s.src.pkg], s)
		}
		for _, pkg := range slices.Sorted(maps.Keys(by)) {
			c.unfit(pkg, by[pkg], why)
		}
		sites = slices.DeleteFunc(sites, func(s *site) bool { return why[s.n] != nil })
	}
	return sites, why, nil
}
