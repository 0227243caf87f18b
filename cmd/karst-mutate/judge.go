package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What became of a bug.
const (
	killed    = "killed"    // a try failed
	timeout   = "timeout"   // a try did not end: found as well
	survived  = "survived"  // every try passed
	stillborn = "stillborn" // it does not compile
)

// verdict is a line of the state.
type verdict struct {
	N       int     `json:"n"` // place in the draw, from 0
	File    string  `json:"file"`
	Line    int     `json:"line"`
	Func    string  `json:"func,omitempty"`
	Op      string  `json:"op"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Verdict string  `json:"verdict"`
	By      string  `json:"by,omitempty"` // the try
	Said    string  `json:"said,omitempty"`
	Seconds float64 `json:"seconds"`
}

// judge runs the tries.
type judge struct {
	o     *order
	c     *code
	env   []string
	tmp   string
	limit []time.Duration // by try
	kept  map[string]bool // files of the cache that every bug may use
}

func newJudge(o *order, c *code) (*judge, error) {
	tmp, err := os.MkdirTemp("", "karst-mutate-")
	return &judge{o: o, c: c, env: environ(o), tmp: tmp}, err
}

func (j *judge) close() { os.RemoveAll(j.tmp) }

// overlay writes the file for go's -overlay. Without a bug it replaces a file by itself, so that the
// commands are the same.
func (j *judge) overlay(s *source, text []byte) error {
	mutated := filepath.Join(j.tmp, "mutated.go")
	if err := os.WriteFile(mutated, text, 0o644); err != nil {
		return err
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {s.path: mutated}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.tmp, "overlay.json"), b, 0o644)
}

// baseline runs every try without a bug, twice: first to fill the cache, then to see how long it takes.
func (j *judge) baseline(ctx context.Context) error {
	s := j.c.files[0]
	if err := j.overlay(s, s.text); err != nil {
		return err
	}
	first := make([]time.Duration, len(j.o.tries))
	for round := range 2 {
		for i, t := range j.o.tries {
			began := time.Now()
			said, err := j.command(ctx, t.Command, s.pkg, time.Hour)
			if err != nil {
				return fmt.Errorf("without a bug try %q fails: %w\n%s", t.Name, err, said)
			}
			if took := time.Since(began); round == 0 {
				first[i] = took
			} else {
				j.limit = append(j.limit, max(j.o.limit, first[i]+4*took))
			}
		}
	}
	return j.keepCache()
}

// judge plants one bug and runs the tries until one fails.
func (j *judge) judge(ctx context.Context, m *mutant) (v verdict, err error) {
	v = verdict{File: m.File, Line: m.Line, Func: m.Func, Op: m.Op, From: m.From, To: m.To, Verdict: survived}
	if now, err := os.ReadFile(m.src.path); err != nil || !bytes.Equal(now, m.src.text) {
		return v, fmt.Errorf("%s was changed meanwhile: the draw is of other code", m.File)
	}
	if err := j.overlay(m.src, m.mutated()); err != nil {
		return v, err
	}
	began := time.Now()
	defer func() {
		v.Seconds = float64(time.Since(began).Milliseconds()) / 1000
		err = errors.Join(err, j.trimCache())
	}()
	build := []string{"go", "build", "-overlay={overlay}", "-o", "{tmp}/built", "{package}"}
	if said, err := j.command(ctx, build, m.src.pkg, time.Hour); ctx.Err() != nil {
		return v, ctx.Err()
	} else if err != nil {
		v.Verdict, v.Said = stillborn, said
		return v, nil
	}
	for i, t := range j.o.tries {
		said, err := j.command(ctx, t.Command, m.src.pkg, j.limit[i])
		switch {
		case ctx.Err() != nil:
			return v, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			v.Verdict, v.By = timeout, t.Name
			return v, nil
		case err != nil:
			v.Verdict, v.By, v.Said = killed, t.Name, said
			return v, nil
		}
	}
	return v, nil
}

// command runs one command in a process group of its own, which ends with it, and tells the last of
// what it said.
func (j *judge) command(ctx context.Context, words []string, pkg string, limit time.Duration) (said string, err error) {
	fill := strings.NewReplacer("{overlay}", filepath.Join(j.tmp, "overlay.json"), "{package}", pkg, "{tmp}", j.tmp)
	args := make([]string, len(words))
	for i, w := range words {
		args[i] = fill.Replace(w)
	}
	if j.o.memory > 0 {
		limited := "ulimit -v " + strconv.FormatInt(j.o.memory<<10, 10) + ` && exec "$@"`
		args = append([]string{"sh", "-c", limited, "sh"}, args...)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = j.c.dir, j.env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return telling(out.String()), err
}

// telling is the line of a failure that says most: the first that speaks of one, else the last.
func telling(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, word := range []string{"violation of", "panic:", "--- FAIL", "FAIL"} {
		for _, l := range lines {
			if strings.Contains(l, word) {
				return brief(l)
			}
		}
	}
	return brief(lines[len(lines)-1])
}

// keepCache notes what our own cache holds for the code without bugs.
func (j *judge) keepCache() error {
	if j.o.cache == "" {
		return nil
	}
	j.kept = map[string]bool{}
	return j.walkCache(func(path string) error {
		j.kept[path] = true
		return nil
	})
}

// trimCache removes what a bug left there: nobody compiles it again, and hundreds fill a disk.
func (j *judge) trimCache() error {
	if j.kept == nil {
		return nil
	}
	return j.walkCache(func(path string) error {
		if j.kept[path] {
			return nil
		}
		return os.Remove(path)
	})
}

func (j *judge) walkCache(visit func(path string) error) error {
	return filepath.WalkDir(j.o.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return visit(path)
	})
}
