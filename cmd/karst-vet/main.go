// Command karst-vet refuses what the compiler allows and this project does not. It owns three groups
// of rules: layers (who may import whom, read from docs/layers.txt), det (nothing in core/ may be left
// to chance) and tidy (what a reviewer should not have to say twice). It promises that every refusal
// names its place and what to write instead, and that a clean tree prints nothing. It refuses to
// guess: a folder that docs/layers.txt does not name, or code that does not compile, is a finding.
//
//	go run ./cmd/karst-vet [-C DIR]
//
// A warning does not change the exit status. Exit 1: something is refused. Exit 2: it could not look.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	dir := flag.String("C", ".", "the module's folder")
	flag.Parse()
	os.Exit(run(*dir, os.Stdout, os.Stderr))
}

// run vets the module in dir and returns the exit status.
func run(dir string, out, errs io.Writer) int {
	found, err := vet(dir)
	if err != nil {
		fmt.Fprintln(errs, "karst-vet:", err)
		return 2
	}
	refused := 0
	for _, f := range found {
		fmt.Fprintln(out, f)
		if !f.warning {
			refused++
		}
	}
	if refused > 0 {
		fmt.Fprintf(out, "karst-vet: %d refused\n", refused)
		return 1
	}
	return 0
}

// vet applies every rule to the module in dir; findings come ordered by place.
func vet(dir string) ([]finding, error) {
	t, err := load(dir)
	if err != nil {
		return nil, err
	}
	rules, err := readLayers(dir)
	if err != nil {
		return nil, err
	}
	layers(t, rules)
	if err := chance(t); err != nil {
		return nil, err
	}
	tidy(t)
	return t.sorted(), nil
}
