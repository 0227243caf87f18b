// Command karst-gen writes the Go code of Karst's wire messages from their definitions.
//
//	go run ./cmd/karst-gen [-check] [DIR]
//
// It reads DIR/defs/*.def (DIR is core/wire unless given) and writes one DIR/NAME.gen.go for each, and
// DIR/apis.gen.go, the table of everything the codec knows, and DIR/sizes.gen_test.go. With -check it writes nothing and fails
// when a file is not what it would write. The notation is described in parse.go; the field lists are
// Karst's own and carry Kafka's published names. It owns no protocol rule but the encoding: what a
// broker answers is decided by core/api.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail when a generated file is out of date")
	flag.Parse()
	dir := "core/wire"
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	if err := run(dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "karst-gen:", err)
		os.Exit(1)
	}
}

func run(dir string, check bool) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		old, _ := os.ReadFile(path)
		if bytes.Equal(old, f.text) {
			continue
		}
		if check {
			return fmt.Errorf("%s is out of date: run go generate ./core/wire", path)
		}
		if err := os.WriteFile(path, f.text, 0o644); err != nil {
			return err
		}
	}
	return strays(dir, files)
}

// strays refuses generated files that no definition yields any more.
func strays(dir string, files []output) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.gen.go"))
	if err != nil {
		return err
	}
	for _, path := range found {
		if !slices.ContainsFunc(files, func(f output) bool { return f.name == filepath.Base(path) }) {
			return fmt.Errorf("%s has no definition: remove it", path)
		}
	}
	return nil
}

// output is one generated file.
type output struct {
	name string
	text []byte
}

func generate(dir string) ([]output, error) {
	defs, err := filepath.Glob(filepath.Join(dir, "defs", "*.def"))
	if err != nil {
		return nil, err
	}
	if len(defs) == 0 {
		return nil, fmt.Errorf("no definitions in %s", filepath.Join(dir, "defs"))
	}
	var all []*unit
	var out []output
	for _, path := range defs {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		units, err := parse(path, string(text))
		if err != nil {
			return nil, err
		}
		code, err := emitFile(filepath.Base(path), units)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		stem := filepath.Base(path[:len(path)-len(".def")])
		out = append(out, output{stem + ".gen.go", code})
		all = append(all, units...)
	}
	table, err := emitTable(all)
	if err != nil {
		return nil, err
	}
	sizes, err := emitSizes(all)
	if err != nil {
		return nil, err
	}
	return append(out, output{"apis.gen.go", table}, output{"sizes.gen_test.go", sizes}), nil
}
