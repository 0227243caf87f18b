package main

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is one small bug: bytes off to end of a file become text.
type mutant struct {
	src      *source
	off, end int
	text     string
	path     []ast.Node // from the file down to the node that is changed

	File string
	Line int
	Func string
	Op   string
	From string // the line or lines before, and after
	To   string
}

// mutated is the file with the bug in it.
func (m *mutant) mutated() []byte {
	return slices.Concat(m.src.text[:m.off], []byte(m.text), m.src.text[m.end:])
}

// mutants lists every bug that could be planted, in the order of the source.
func (c *code) mutants(skip *regexp.Regexp) []*mutant {
	var all []*mutant
	for _, s := range c.files {
		w := &walker{c: c, s: s, skip: skip}
		ast.Inspect(s.ast, w.visit)
		slices.SortFunc(w.found, func(a, b *mutant) int {
			return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.end, b.end), cmp.Compare(a.Op, b.Op), cmp.Compare(a.text, b.text))
		})
		all = append(all, w.found...)
	}
	return all
}

// walker finds places in one file. stack are the nodes around the one that is visited.
type walker struct {
	c     *code
	s     *source
	skip  *regexp.Regexp
	stack []ast.Node
	node  ast.Node // that is visited
	found []*mutant
}

func (w *walker) visit(n ast.Node) bool {
	if n == nil {
		w.stack = w.stack[:len(w.stack)-1]
		return true
	}
	if w.skipped(n) {
		return false
	}
	w.node = n
	w.place(n)
	w.stack = append(w.stack, n)
	return true
}

// skipped says whether n is a declaration or statement whose first line is to be left alone.
func (w *walker) skipped(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BlockStmt, *ast.GenDecl:
		return false
	case ast.Stmt, *ast.FuncDecl, *ast.ValueSpec:
		if w.skip == nil {
			return false
		}
		line, _, _ := bytes.Cut(w.s.text[w.at(n.Pos()):], []byte("\n"))
		return w.skip.Match(line)
	case *ast.ImportSpec, *ast.TypeSpec:
		return true
	}
	return false
}

func (w *walker) at(p token.Pos) int { return w.c.fset.Position(p).Offset }

func (w *walker) source(n ast.Node) string { return string(w.s.text[w.at(n.Pos()):w.at(n.End())]) }

func (w *walker) parent() ast.Node {
	if len(w.stack) == 0 {
		return nil
	}
	return w.stack[len(w.stack)-1]
}

// put notes that the bytes from from to to may become text.
func (w *walker) put(op string, from, to token.Pos, text string) {
	m := &mutant{src: w.s, off: w.at(from), end: w.at(to), text: text, File: w.s.name, Op: op,
		path: append(slices.Clone(w.stack), w.node), Line: w.c.fset.Position(from).Line}
	for _, n := range slices.Backward(w.stack) {
		if f, ok := n.(*ast.FuncDecl); ok {
			m.Func = f.Name.Name
			break
		}
	}
	m.From, m.To = m.lines()
	w.found = append(w.found, m)
}

// lines are those that the bug is in, without it and with it.
func (m *mutant) lines() (from, to string) {
	t := m.src.text
	first, last := bytes.LastIndexByte(t[:m.off], '\n')+1, len(t)
	if i := bytes.IndexByte(t[m.end:], '\n'); i >= 0 {
		last = m.end + i
	}
	return brief(string(t[first:last])), brief(string(t[first:m.off]) + m.text + string(t[m.end:last]))
}

// brief is text in one line of at most 200 bytes.
func brief(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + " ..."
	}
	return s
}

var (
	nearly = map[token.Token]token.Token{token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR}
	negate = map[token.Token]token.Token{token.LSS: token.GEQ, token.LEQ: token.GTR, token.GTR: token.LEQ, token.GEQ: token.LSS,
		token.EQL: token.NEQ, token.NEQ: token.EQL}
	logic  = map[token.Token]token.Token{token.LAND: token.LOR, token.LOR: token.LAND}
	reckon = map[token.Token]token.Token{token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.ADD, token.QUO: token.MUL,
		token.REM: token.QUO, token.SHL: token.SHR, token.SHR: token.SHL, token.AND: token.OR, token.OR: token.AND,
		token.XOR: token.OR, token.AND_NOT: token.AND, token.INC: token.DEC, token.DEC: token.INC,
		token.ADD_ASSIGN: token.SUB_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN, token.MUL_ASSIGN: token.ADD_ASSIGN,
		token.QUO_ASSIGN: token.MUL_ASSIGN, token.OR_ASSIGN: token.AND_ASSIGN, token.AND_ASSIGN: token.OR_ASSIGN,
		token.XOR_ASSIGN: token.OR_ASSIGN, token.SHL_ASSIGN: token.SHR_ASSIGN, token.SHR_ASSIGN: token.SHL_ASSIGN}
)

// place applies the operators to one node.
func (w *walker) place(n ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		w.binary(n)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			w.put("negate", n.Pos(), n.X.Pos(), "")
		}
	case *ast.BasicLit:
		w.literal(n)
	case *ast.Ident:
		if v := w.s.info.Types[n].Value; v != nil && (n.Name == "true" || n.Name == "false") && v.Kind() == constant.Bool {
			w.put("constant", n.Pos(), n.End(), strconv.FormatBool(!constant.BoolVal(v)))
		}
	case *ast.IfStmt:
		switch n.Cond.(type) {
		case *ast.BinaryExpr, *ast.UnaryExpr, *ast.ParenExpr: // their operators are places of their own
		default:
			w.put("negate", n.Cond.Pos(), n.Cond.End(), "!("+w.source(n.Cond)+")")
		}
	case *ast.CallExpr:
		w.call(n)
	case *ast.IncDecStmt:
		w.put("arithmetic", n.TokPos, n.End(), reckon[n.Tok].String())
		w.drop(n)
	case *ast.AssignStmt:
		if op, ok := reckon[n.Tok]; ok && w.integer(n.Lhs[0]) {
			w.put("arithmetic", n.TokPos, n.TokPos+token.Pos(len(n.Tok.String())), op.String())
		}
		if n.Tok != token.DEFINE {
			w.drop(n)
		}
	case *ast.ExprStmt:
		w.drop(n)
	case *ast.DeferStmt:
		w.drop(n)
	case *ast.BranchStmt:
		if n.Label == nil && (n.Tok == token.BREAK || n.Tok == token.CONTINUE) {
			w.drop(n)
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 0 {
			w.drop(n)
		}
	case *ast.FuncDecl:
		w.early(n)
	}
}

func (w *walker) integer(e ast.Expr) bool {
	t := w.s.info.TypeOf(e)
	if t == nil {
		return false
	}
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsInteger != 0
}

func (w *walker) binary(n *ast.BinaryExpr) {
	end := n.OpPos + token.Pos(len(n.Op.String()))
	if op, ok := nearly[n.Op]; ok {
		w.put("boundary", n.OpPos, end, op.String())
	}
	if op, ok := negate[n.Op]; ok {
		w.put("negate", n.OpPos, end, op.String())
	}
	if op, ok := logic[n.Op]; ok {
		w.put("logic", n.OpPos, end, op.String())
	}
	if op, ok := reckon[n.Op]; ok && w.integer(n.X) && w.integer(n.Y) {
		w.put("arithmetic", n.OpPos, end, op.String())
	}
}

// literal makes an integer one more or one less: one bug a place, or half of all would be this one.
func (w *walker) literal(n *ast.BasicLit) {
	if n.Kind != token.INT {
		return
	}
	if a, ok := w.parent().(*ast.ArrayType); ok && a.Len == n {
		return
	}
	tv := w.s.info.Types[n]
	if tv.Value == nil {
		return
	}
	v, exact := constant.Int64Val(constant.ToInt(tv.Value))
	if !exact {
		return
	}
	if v > 0 && w.at(n.Pos())%2 == 0 {
		v -= 2
	}
	w.put("constant", n.Pos(), n.End(), strconv.FormatInt(v+1, 10))
}

// call exchanges arguments, min and max, and makes a length one less.
func (w *walker) call(n *ast.CallExpr) {
	if f, ok := n.Fun.(*ast.Ident); ok && w.s.info.Types[f].IsBuiltin() {
		switch f.Name {
		case "min":
			w.put("minmax", f.Pos(), f.End(), "max")
		case "max":
			w.put("minmax", f.Pos(), f.End(), "min")
		case "len":
			w.put("boundary", n.Pos(), n.End(), "("+w.source(n)+"-1)")
		}
		return
	}
	if w.s.info.Types[n.Fun].IsType() {
		return
	}
	if f, ok := n.Fun.(*ast.SelectorExpr); ok {
		if x, ok := f.X.(*ast.Ident); ok && x.Name == "fmt" { // words
			return
		}
	}
	for i := 1; i < len(n.Args); i++ {
		a, b := n.Args[i-1], n.Args[i]
		ta, tb := w.s.info.TypeOf(a), w.s.info.TypeOf(b)
		if ta == nil || tb == nil || !types.Identical(ta, tb) || w.source(a) == w.source(b) {
			continue
		}
		between := string(w.s.text[w.at(a.End()):w.at(b.Pos())])
		w.put("swap", a.Pos(), b.End(), w.source(b)+between+w.source(a))
	}
}

// drop leaves a statement out, where the syntax allows.
func (w *walker) drop(n ast.Stmt) {
	switch p := w.parent().(type) {
	case *ast.BlockStmt:
		if _, ok := n.(*ast.ReturnStmt); ok && p.List[len(p.List)-1] == n && len(w.stack) > 1 {
			if _, ok := w.stack[len(w.stack)-2].(*ast.FuncDecl); ok {
				return // the function ends anyway
			}
		}
	case *ast.CaseClause, *ast.CommClause:
	case *ast.ForStmt:
		if p.Post != n {
			return
		}
	default:
		return
	}
	if c, ok := w.parent().(*ast.CommClause); ok && c.Comm == n {
		return
	}
	w.put("drop", n.Pos(), n.End(), "")
}

// early returns zero values half way through a function.
func (w *walker) early(f *ast.FuncDecl) {
	if f.Body == nil || len(f.Body.List) == 0 {
		return
	}
	text := "return"
	if f.Type.Results != nil {
		var zero []string
		for _, r := range f.Type.Results.List {
			for range max(1, len(r.Names)) {
				zero = append(zero, "*new("+w.source(r.Type)+")")
			}
		}
		text += " " + strings.Join(zero, ", ")
	}
	at := f.Body.List[len(f.Body.List)/2].Pos()
	w.stack = append(w.stack, f)
	w.put("return", at, at, text+"; ")
	w.stack = w.stack[:len(w.stack)-1]
}
