package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// listed is what `go list -export -deps -json` says about a package.
type listed struct {
	Dir        string
	ImportPath string
	Export     string // file with the types that it exports
	GoFiles    []string
	DepOnly    bool
	Module     *struct{ Path, Dir string }
	Error      *struct{ Err string }
}

// code is the packages that bugs are drawn from.
type code struct {
	dir   string // absolute
	fset  *token.FileSet
	files []*source
	sum   string // of all sources

	module  string // its path
	root    string // its folder
	imports types.Importer
	byPkg   map[string][]*source // every file of a package, generated ones too
}

// source is one file, as it was read once.
type source struct {
	path string // absolute
	name string // slash-separated, from the module's folder
	pkg  string // import path
	text []byte
	ast  *ast.File
	info *types.Info
}

// environ is that of go commands: the cache may be our own.
func environ(o *order) []string {
	env := os.Environ()
	if o.cache != "" {
		abs, err := filepath.Abs(o.cache)
		if err == nil {
			env = append(env, "GOCACHE="+abs)
		}
	}
	return env
}

// load reads, parses and type-checks the packages. Tests and generated files are left out.
func load(ctx context.Context, o *order) (*code, error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-export",
		"-json=Dir,ImportPath,Export,GoFiles,DepOnly,Module,Error", "--"}, o.packages...)...)
	cmd.Dir, cmd.Env = dir, environ(o)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, errs.String())
	}
	by := map[string]*listed{}
	var wanted []*listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &listed{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if p.Error != nil {
			return nil, errors.New(p.Error.Err)
		}
		by[p.ImportPath] = p
		if !p.DepOnly {
			wanted = append(wanted, p)
		}
	}
	c := &code{dir: dir, fset: token.NewFileSet(), byPkg: map[string][]*source{}}
	c.imports = importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) {
		if p := by[path]; p != nil && p.Export != "" {
			return os.Open(p.Export)
		}
		return nil, fmt.Errorf("%s does not compile", path)
	})
	slices.SortFunc(wanted, func(a, b *listed) int { return cmp.Compare(a.ImportPath, b.ImportPath) })
	sum := sha256.New()
	for _, p := range wanted {
		if err := c.check(p); err != nil {
			return nil, err
		}
	}
	for _, s := range c.files {
		fmt.Fprintf(sum, "%s %d\n", s.name, len(s.text))
		sum.Write(s.text)
	}
	c.sum = hex.EncodeToString(sum.Sum(nil)[:16])
	return c, nil
}

// check adds one package.
func (c *code) check(p *listed) error {
	if p.Module != nil {
		c.module, c.root = p.Module.Path, p.Module.Dir
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	var files []*ast.File
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(c.fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
		rel, err := filepath.Rel(c.dir, path)
		if err != nil {
			return err
		}
		s := &source{path: path, name: filepath.ToSlash(rel), pkg: p.ImportPath, text: text, ast: f, info: info}
		c.byPkg[s.pkg] = append(c.byPkg[s.pkg], s)
		if !ast.IsGenerated(f) {
			c.files = append(c.files, s)
		}
	}
	conf := types.Config{Importer: c.imports}
	if _, err := conf.Check(p.ImportPath, c.fset, files, info); err != nil {
		return fmt.Errorf("%s does not compile: %w", p.ImportPath, err)
	}
	return nil
}

// shuffle orders ms by chance.
func shuffle(ms []*mutant, seed string) []*mutant {
	h := sha256.Sum256([]byte("karst-mutate " + strings.TrimSpace(seed)))
	r := rand.New(rand.NewPCG(binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])))
	r.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
	return ms
}
