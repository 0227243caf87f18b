package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errSlow is a process that used up its time.
var errSlow = errors.New("did not end")

// unit is what can be run alone: a test, or the whole command of a try. Without a bug it took CPU
// seconds and came by the places in Reach.
type unit struct {
	Try   int     `json:"try"` // of a command; -1: a test
	Pkg   string  `json:"pkg,omitempty"`
	Test  string  `json:"test,omitempty"`
	CPU   float64 `json:"cpu"`
	Reach []int   `json:"reach"`

	Traced bool `json:"traced"`
}

// schemata judges bugs that are all in one build. A bug is tried only by what comes by its place:
// nothing else can tell.
type schemata struct {
	o     *order
	c     *code
	dir   string // of overlays and binaries
	sites []*site
	dirs  map[string]string // of packages with tests, by import path
	tests [][]string        // import paths of a try of tests; nil: a command
	units []unit
}

// isTests says whether a try names packages, whose tests are run one by one.
func (t try) isTests() bool { return t.Command[0] == "tests" }

// measureSchemata judges bugs as measure does.
func measureSchemata(ctx context.Context, o *order, c *code, all []*mutant, st *state, out io.Writer) error {
	sites, why, err := c.fit(all, o.n)
	if err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(why)) {
		if !st.judged[n] {
			m := all[n]
			v := verdict{N: n, File: m.File, Line: m.Line, Func: m.Func, Op: m.Op, From: m.From, To: m.To,
				Verdict: stillborn, Said: brief(why[n].Error())}
			if err := st.add(v); err != nil {
				return err
			}
		}
	}
	s := &schemata{o: o, c: c, sites: sites, dirs: map[string]string{}}
	if s.dir, err = filepath.Abs(o.work); err != nil {
		return err
	}
	if err := s.prepare(ctx, st.head, out); err != nil {
		return err
	}
	for _, m := range sites {
		if st.judged[m.n] {
			continue
		}
		v, err := s.judge(ctx, m)
		if err != nil {
			return err
		}
		if err := st.add(v); err != nil {
			return err
		}
		fmt.Fprintf(out, "%4d/%d %-9s %-10s %6.1f s  %s:%d %s: %s => %s\n", st.viable(), o.n, v.Verdict, v.By, v.Seconds,
			m.File, m.Line, m.Op, m.From, m.To)
	}
	st.write(out)
	return nil
}

// prepared is what is kept of a draw's build and of the run without a bug.
type prepared struct {
	Key   string
	Units []unit
}

// prepare builds, and runs everything once without a bug; what an earlier run of the same draw did of
// that is not done again.
func (s *schemata) prepare(ctx context.Context, head header, out io.Writer) error {
	key, err := json.Marshal([]any{head, s.o.n, s.o.builds})
	if err != nil {
		return err
	}
	if err := s.resolve(ctx); err != nil {
		return err
	}
	name := filepath.Join(s.dir, "reach.json")
	p := prepared{}
	if b, err := os.ReadFile(name); err == nil && json.Unmarshal(b, &p) == nil && p.Key == string(key) {
		s.units = p.Units
	} else {
		if err := os.RemoveAll(s.dir); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(s.dir, "tests"), 0o755); err != nil {
			return err
		}
		began := time.Now()
		if err := s.build(ctx); err != nil {
			return err
		}
		fmt.Fprintf(out, "built %d bugs in %.0f s\n", len(s.sites), time.Since(began).Seconds())
		if err := s.list(ctx); err != nil {
			return err
		}
	}
	err = s.trace(ctx, out)
	b, more := json.Marshal(prepared{string(key), s.units})
	if more == nil {
		more = os.WriteFile(name, b, 0o644)
	}
	return errors.Join(err, more)
}

// resolve turns the packages that tries name into import paths.
func (s *schemata) resolve(ctx context.Context) error {
	var own []string
	for _, m := range s.sites {
		own = append(own, m.src.pkg)
	}
	slices.Sort(own)
	own = slices.Compact(own)
	for _, t := range s.o.tries {
		if !t.isTests() {
			s.tests = append(s.tests, nil)
			continue
		}
		patterns := []string{"list", "-f", `{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}`, "--"}
		for _, p := range t.Command[1:] {
			if p == "{package}" {
				patterns = append(patterns, own...)
			} else {
				patterns = append(patterns, p)
			}
		}
		cmd := exec.CommandContext(ctx, "go", patterns...)
		cmd.Dir, cmd.Env = s.c.dir, environ(s.o)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		text, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("go list: %w\n%s", err, &errs)
		}
		pkgs := []string{}
		for line := range strings.Lines(string(text)) {
			if pkg, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				pkgs = append(pkgs, pkg)
				s.dirs[pkg] = dir
			}
		}
		s.tests = append(s.tests, pkgs)
	}
	return nil
}

// build writes the schema as an overlay and compiles the tests and what the order says.
func (s *schemata) build(ctx context.Context) error {
	by := map[*source][]*site{}
	for _, m := range s.sites {
		by[m.src] = append(by[m.src], m)
	}
	// With a module of its own, what is written here is no part of the one around it.
	if err := os.WriteFile(filepath.Join(s.dir, "go.mod"), []byte("module "+switchName+"\n"), 0o644); err != nil {
		return err
	}
	replace := map[string]string{}
	put := func(original, text string) error {
		name := filepath.Join(s.dir, fmt.Sprintf("file%d.go", len(replace)))
		replace[original] = name
		return os.WriteFile(name, []byte(text), 0o644)
	}
	if err := put(filepath.Join(s.c.root, switchName, "switch.go"), switchSource); err != nil {
		return err
	}
	for _, src := range s.c.files {
		if len(by[src]) == 0 {
			continue
		}
		if err := put(src.path, s.c.schema(src, by[src])); err != nil {
			return err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlay := filepath.Join(s.dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o644); err != nil {
		return err
	}
	builds := slices.Clone(s.o.builds)
	if pkgs := slices.Sorted(maps.Keys(s.dirs)); len(pkgs) > 0 {
		words := []string{"go", "test", "-c", "-vet=off", "-overlay=" + overlay, "-o", filepath.Join(s.dir, "tests") + "/"}
		builds = append(builds, append(words, pkgs...))
	}
	for _, words := range builds {
		if said, _, err := s.process(ctx, s.c.dir, s.fill(words), nil, 0); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, said)
		}
	}
	return nil
}

func (s *schemata) fill(words []string) []string {
	fill := strings.NewReplacer("{overlay}", filepath.Join(s.dir, "overlay.json"), "{tmp}", s.dir)
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = fill.Replace(w)
	}
	return all
}

func (s *schemata) binary(pkg string) string {
	return filepath.Join(s.dir, "tests", path.Base(pkg)+".test")
}

// list finds the units.
func (s *schemata) list(ctx context.Context) error {
	for _, pkg := range slices.Sorted(maps.Keys(s.dirs)) {
		list, _, err := s.process(ctx, s.dirs[pkg], []string{s.binary(pkg), "-test.list", "^(Test|Fuzz|Example)"}, nil, 0)
		if err != nil {
			return fmt.Errorf("tests of %s: %w\n%s", pkg, err, list)
		}
		for _, name := range strings.Fields(list) {
			s.units = append(s.units, unit{Try: -1, Pkg: pkg, Test: name})
		}
	}
	for i, t := range s.o.tries {
		if !t.isTests() {
			s.units = append(s.units, unit{Try: i})
		}
	}
	return nil
}

// trace runs every unit alone and without a bug, and notes by which places it comes.
func (s *schemata) trace(ctx context.Context, out io.Writer) error {
	file, began, ran, used := filepath.Join(s.dir, "trace"), time.Now(), 0, 0.0
	for i := range s.units {
		u := &s.units[i]
		if u.Traced {
			continue
		}
		if err := os.RemoveAll(file); err != nil {
			return err
		}
		said, cpu, err := s.try(ctx, u.Pkg, []*unit{u}, []string{traceEnv + "=" + file}, 0)
		if err != nil {
			return fmt.Errorf("without a bug %s fails: %w\n%s", s.name(u), err, telling(said))
		}
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // without a file it came by no switch at all
			return err
		}
		for _, n := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(n)
			if err != nil {
				return err
			}
			u.Reach = append(u.Reach, n)
		}
		u.CPU, u.Traced = cpu.Seconds(), true
		ran, used = ran+1, used+u.CPU
	}
	fmt.Fprintf(out, "%d tests and commands pass without a bug, in %.0f s of processor time and %.0f s\n",
		ran, used, time.Since(began).Seconds())
	return nil
}

func (s *schemata) name(u *unit) string {
	if u.Try >= 0 {
		return "try " + strconv.Quote(s.o.tries[u.Try].Name)
	}
	return u.Pkg + " " + u.Test
}

// try runs units that belong together: tests of one package, or one command.
func (s *schemata) try(ctx context.Context, pkg string, units []*unit, env []string, cpu time.Duration) (string, time.Duration, error) {
	if i := units[0].Try; i >= 0 {
		return s.process(ctx, s.c.dir, s.fill(s.o.tries[i].Command), env, cpu)
	}
	var names []string
	for _, u := range units {
		names = append(names, u.Test)
	}
	return s.process(ctx, s.dirs[pkg], []string{s.binary(pkg), "-test.run", "^(" + strings.Join(names, "|") + ")$",
		"-test.failfast", "-test.timeout", "0"}, env, cpu)
}

// judge runs what comes by a bug's place, in the order of the tries, until something fails.
func (s *schemata) judge(ctx context.Context, m *site) (v verdict, err error) {
	v = verdict{N: m.n, File: m.File, Line: m.Line, Func: m.Func, Op: m.Op, From: m.From, To: m.To, Verdict: survived}
	if now, err := os.ReadFile(m.src.path); err != nil || !bytes.Equal(now, m.src.text) {
		return v, fmt.Errorf("%s was changed meanwhile: the draw is of other code", m.File)
	}
	ran := map[*unit]bool{}
	for i, t := range s.o.tries {
		for _, batch := range s.batches(i, m, ran) {
			without := 0.0
			for _, u := range batch {
				ran[u] = true
				without += u.CPU
			}
			limit := s.o.limit + time.Duration(6*without*float64(time.Second))
			said, used, err := s.try(ctx, batch[0].Pkg, batch, []string{switchEnv + "=" + strconv.Itoa(m.n)}, limit)
			v.Seconds += float64(used.Milliseconds()) / 1000
			switch {
			case ctx.Err() != nil:
				return v, ctx.Err()
			case errors.Is(err, errSlow):
				v.Verdict, v.By = timeout, t.Name
				return v, nil
			case err != nil:
				v.Verdict, v.By, v.Said = killed, t.Name, telling(said)
				return v, nil
			}
		}
	}
	if len(ran) == 0 {
		v.Said = "nothing comes by"
	}
	return v, nil
}

// batches are the units of a try that come by a bug and were not run, the quick ones first.
func (s *schemata) batches(i int, m *site, ran map[*unit]bool) (all [][]*unit) {
	pkgs := s.tests[i]
	if pkgs == nil {
		pkgs = []string{""}
	} else if slices.Contains(s.o.tries[i].Command, "{package}") {
		pkgs = []string{m.src.pkg}
	}
	for _, pkg := range pkgs {
		var units []*unit
		for k := range s.units {
			u := &s.units[k]
			mine := u.Try == i || u.Try < 0 && pkg != "" && u.Pkg == pkg
			if mine && !ran[u] && slices.Contains(u.Reach, m.n) {
				units = append(units, u)
			}
		}
		slices.SortStableFunc(units, func(a, b *unit) int { return cmp.Compare(a.CPU, b.CPU) })
		for most := 0.2; len(units) > 0; most *= 5 {
			n, sum := 0, 0.0
			for n < len(units) && (n == 0 || sum+units[n].CPU <= most) {
				sum += units[n].CPU
				n++
			}
			all = append(all, units[:n])
			units = units[n:]
		}
	}
	return all
}

// process runs a command in a process group of its own, with at most cpu seconds of processor time (0:
// any), so that a busy machine finds no bugs. Who waits for ever is ended after a longer while.
func (s *schemata) process(ctx context.Context, dir string, words, env []string, cpu time.Duration) (said string, used time.Duration, err error) {
	limits := "true"
	if s.o.memory > 0 && env != nil {
		limits += " && ulimit -v " + strconv.FormatInt(s.o.memory<<10, 10)
	}
	waits := time.Hour
	if cpu > 0 {
		seconds := int(cpu/time.Second) + 1
		limits += " && ulimit -t " + strconv.Itoa(seconds)
		waits = time.Minute + 30*cpu
	}
	limited, cancel := context.WithTimeout(ctx, waits)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(limited, "sh", append([]string{"-c", limits + ` && exec "$@"`, "sh"}, words...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(environ(s.o), env...), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if p := cmd.ProcessState; p != nil {
		used = p.UserTime() + p.SystemTime()
		if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() && cpu > 0 && used >= cpu {
			err = errSlow
		}
	}
	if ctx.Err() != nil {
		return out.String(), used, ctx.Err()
	}
	if limited.Err() != nil {
		err = errSlow
	}
	return out.String(), used, err
}
