package catalogue_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// raised finds the entries that non-test code outside the catalogue names, and the variables that
// the catalogue defines.
func raised(t *testing.T) (used map[string]bool, defined map[string]string) {
	t.Helper()
	used, defined = map[string]bool{}, map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "catalogue" {
					used[sel.Sel.Name] = true
				}
			}
			if spec, ok := n.(*ast.ValueSpec); ok && file.Name.Name == "catalogue" && len(spec.Values) == 1 {
				if call, ok := spec.Values[0].(*ast.CallExpr); ok && len(call.Args) > 0 {
					if lit, ok := call.Args[0].(*ast.BasicLit); ok {
						defined[strings.Trim(lit.Value, `"`)] = spec.Names[0].Name
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used, defined
}

func TestEveryCodeHasTextAndRemedyAndIsRaisedSomewhere(t *testing.T) {
	used, defined := raised(t)
	form := regexp.MustCompile(`^K\d{4}$`)
	seen := map[string]bool{}
	all := catalogue.All()
	if len(all) < 30 || len(all) != len(defined) {
		t.Fatalf("%d entries, %d definitions in the source", len(all), len(defined))
	}
	for _, e := range all {
		if !form.MatchString(e.Code) || seen[e.Code] {
			t.Errorf("%s: a code is K and four digits, and stands once", e.Code)
		}
		seen[e.Code] = true
		if e.What == "" || e.Why == "" || strings.HasSuffix(e.What, ".") || !strings.HasSuffix(e.Why, ".") {
			t.Errorf("%s: what and why are a title and sentences", e.Code)
		}
		if len(e.Try) == 0 || e.Try[0] == "" {
			t.Errorf("%s: nothing to try", e.Code)
		}
		if e.Exit < catalogue.Failed || e.Exit > catalogue.Unhealthy {
			t.Errorf("%s: exit status %d", e.Code, e.Exit)
		}
		if !used[defined[e.Code]] {
			t.Errorf("%s: %s is raised nowhere", e.Code, defined[e.Code])
		}
		if found, ok := catalogue.Find(strings.ToLower(e.Code)); !ok || found != e {
			t.Errorf("%s: not found by its code", e.Code)
		}
	}
}

func TestAnErrorIsShownInTheOneShape(t *testing.T) {
	err := catalogue.TooFewNodes.New("cannot create topic %q: replication factor 3 needs 3 nodes, 1 alive", "orders").
		Because("alive: 1 (n1)").Try("karst cluster info", "karst topic create orders -r 1")
	var b strings.Builder
	err.Show(&b, "", "")
	want := `error K0142: cannot create topic "orders": replication factor 3 needs 3 nodes, 1 alive
  alive: 1 (n1)
  try:   karst cluster info
         karst topic create orders -r 1
  more:  karst docs K0142
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if got := catalogue.TooFewNodes.New("x").Remedies(); !reflect.DeepEqual(got, catalogue.TooFewNodes.Try) {
		t.Errorf("without a remedy of its own an error shows %q", got)
	}
}
