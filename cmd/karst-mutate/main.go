// Command karst-mutate measures what the tests would notice. It owns a draw of small bugs from the
// packages it is given (a comparison off by one, && for ||, a statement left out, a return too early,
// two arguments exchanged, another constant) and what became of each: a list of commands, the tries,
// is run on the code with the bug in it, and the first that fails has found it.
//
// It promises that the same code, packages and seed give the same draw, that the working tree is never
// written to (a bug exists in an overlay of the go command only), and that it goes on where it was
// stopped. It refuses to judge a bug that does not compile (the next one of the draw takes its place),
// to believe tries that fail without a bug, and to go on with a draw from other code.
//
// With -schemata all bugs are in one build, each behind a switch, and a process takes the number of its
// bug from the environment: hundreds of bugs cost one compilation. A try "own: tests {package}" runs the
// tests of a package, only those that come by the place of the bug, quick ones first; other tries are run
// when they come by it. Places where the language wants a constant do not take part, and limits are of
// processor time.
//
// Commands of a try are split at spaces. {overlay} is the file for go's -overlay, {package} the import
// path of the package with the bug, {tmp} a folder for what tries make.
//
//	karst-mutate -n 20 -try 'own: go test -overlay={overlay} {package}' ./core/...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// order is what the command line asks for.
type order struct {
	dir      string
	n        int
	seed     string
	state    string
	skip     *regexp.Regexp // nil: nothing
	limit    time.Duration
	memory   int64 // MiB of address space that a try may have; 0: any
	cache    string
	work     string // of schemata; "": bugs are built one by one
	builds   [][]string
	packages []string
	tries    []try
}

// try is a command that is to fail when there is a bug.
type try struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
}

// run returns the exit status: 0 all that was drawn is judged, 1 something went wrong, 2 bad usage,
// 3 stopped before the end.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	o := order{}
	f := flag.NewFlagSet("karst-mutate", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&o.dir, "C", ".", "the module's folder")
	f.IntVar(&o.n, "n", 20, "bugs that compile to be judged")
	f.StringVar(&o.seed, "seed", "", "of the draw; default the commit that is checked out")
	f.StringVar(&o.state, "state", "", "file with what was judged; a run goes on where it ends")
	skip := f.String("skip", "", "regular expression: statements and functions with such a first line are left alone")
	f.DurationVar(&o.limit, "limit", 2*time.Minute, "a try that takes longer, and much longer than without a bug, has found it")
	f.Int64Var(&o.memory, "memory", 8192, "MiB of address space that a try may use; 0: any")
	f.StringVar(&o.cache, "cache", "", "folder for a build cache of its own, which does not grow with the draw; default go's")
	f.StringVar(&o.work, "schemata", "", "folder for one build that holds all bugs, each chosen when a process starts")
	f.Func("build", "`COMMAND` that builds what tries run, once, with -schemata", func(s string) error {
		o.builds = append(o.builds, strings.Fields(s))
		return nil
	})
	list := f.Bool("list", false, "print the draw and judge nothing")
	report := f.Bool("report", false, "print what the state holds and judge nothing")
	f.Func("try", "`NAME: COMMAND`, as often as there are tries; cheap ones first", func(s string) error {
		name, command, ok := strings.Cut(s, ":")
		t := try{strings.TrimSpace(name), strings.Fields(command)}
		if !ok || t.Name == "" || len(t.Command) == 0 {
			return errors.New("want NAME: COMMAND")
		}
		o.tries = append(o.tries, t)
		return nil
	})
	f.Usage = func() {
		fmt.Fprintln(errs, "karst-mutate [flags] package ...")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return 2
	}
	if *skip != "" {
		re, err := regexp.Compile(*skip)
		if err != nil {
			fmt.Fprintln(errs, "karst-mutate: -skip:", err)
			return 2
		}
		o.skip = re
	}
	o.packages = f.Args()
	var err error
	switch {
	case *report:
		err = showState(o.state, out)
	case len(o.packages) == 0 || o.n < 1:
		f.Usage()
		return 2
	case *list:
		err = showDraw(ctx, &o, out)
	case o.state == "" || len(o.tries) == 0:
		fmt.Fprintln(errs, "karst-mutate: give a -state and at least one -try")
		return 2
	default:
		err = measure(ctx, &o, out)
	}
	if err != nil {
		fmt.Fprintln(errs, "karst-mutate:", err)
		if ctx.Err() != nil {
			return 3
		}
		return 1
	}
	return 0
}

// draw loads the packages and orders all that could be wrong with them by chance.
func draw(ctx context.Context, o *order) (*code, []*mutant, error) {
	if o.seed == "" {
		cmd := exec.CommandContext(ctx, "git", "rev-parse", "HEAD")
		cmd.Dir = o.dir
		text, err := cmd.Output()
		if err != nil {
			return nil, nil, fmt.Errorf("git rev-parse HEAD: %w: give a -seed", err)
		}
		o.seed = strings.TrimSpace(string(text))
	}
	c, err := load(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return c, shuffle(c.mutants(o.skip), o.seed), nil
}

func showDraw(ctx context.Context, o *order, out io.Writer) error {
	_, all, err := draw(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d places in all; drawn with %s:\n", len(all), o.seed)
	for i, m := range all[:min(o.n, len(all))] {
		fmt.Fprintf(out, "%4d %s:%d %s: %s\n     - %s\n     + %s\n", i, m.File, m.Line, m.Func, m.Op, m.From, m.To)
	}
	return nil
}

// measure judges bugs in the order of the draw until enough of them compiled.
func measure(ctx context.Context, o *order, out io.Writer) error {
	if o.cache != "" {
		if err := os.MkdirAll(o.cache, 0o755); err != nil {
			return err
		}
	}
	c, all, err := draw(ctx, o)
	if err != nil {
		return err
	}
	st, err := openState(o, c, len(all))
	if err != nil {
		return err
	}
	defer st.close()
	if o.work != "" {
		return measureSchemata(ctx, o, c, all, st, out)
	}
	j, err := newJudge(o, c)
	if err != nil {
		return err
	}
	defer j.close()
	if err := j.baseline(ctx); err != nil {
		return err
	}
	for i, m := range all {
		if st.viable() >= o.n {
			break
		}
		if st.judged[i] {
			continue
		}
		v, err := j.judge(ctx, m)
		if err != nil {
			return err
		}
		v.N = i
		if err := st.add(v); err != nil {
			return err
		}
		fmt.Fprintf(out, "%4d/%d %-9s %-10s %6.1f s  %s:%d %s: %s => %s\n", st.viable(), o.n, v.Verdict, v.By, v.Seconds,
			m.File, m.Line, m.Op, m.From, m.To)
	}
	if st.viable() < o.n {
		return fmt.Errorf("%d bugs were wanted, and %d places gave %d that compile", o.n, len(all), st.viable())
	}
	st.write(out)
	return nil
}
