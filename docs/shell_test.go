package docs_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readyLine is how `karst dev` says that it serves, and where.
var readyLine = regexp.MustCompile(`^ready in .*-B (\S+)`)

// TestShellBlocksRun types what the pages tell their reader to type: the blocks marked sh, page by
// page. A cluster that a page starts serves the rest of that page.
func TestShellBlocksRun(t *testing.T) {
	ran := 0
	for _, page := range pages(t) {
		var lines []string
		for _, b := range fences(page, read(t, page)) {
			if b.info == "sh" {
				lines = append(lines, b.lines...)
			}
		}
		if len(lines) > 0 {
			t.Run(filepath.Base(page), func(t *testing.T) { ran += typePage(t, lines) })
		}
	}
	if ran < 10 {
		t.Errorf("only %d commands were run", ran)
	}
}

// typePage types the lines of a page and says how many there were.
func typePage(t *testing.T, lines []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel) // after the cluster has ended
	bin := filepath.Dir(program(t))
	s := &shell{t: t, ctx: ctx, dir: t.TempDir(),
		env: append(os.Environ(), "NO_COLOR=1", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))}
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			s.run(line)
		}
	}
	return s.ran
}

// startsCluster is a karst dev that serves, unlike its verbs.
var startsCluster = regexp.MustCompile(`^(bin/)?karst dev( +-| *(#|$))`)

// shell runs lines in a directory of its own, which stands for the repository.
type shell struct {
	t   *testing.T
	ctx context.Context
	dir string
	env []string
	ran int
}

func (s *shell) run(line string) {
	s.t.Helper()
	s.ran++
	if startsCluster.MatchString(line) {
		s.dev(line)
		return
	}
	if line == "go build -o bin/karst ./cmd/karst" { // just what program did
		if err := os.Symlink(program(s.t), filepath.Join(s.dir, "bin", "karst")); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	out, err := s.command(line).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s\n%s%v", line, out, err)
	}
	if want, ok := strings.CutPrefix(line, "bin/karst consume "); ok && string(out) != "first\nsecond\n" && string(out) != "second\nfirst\n" {
		s.t.Errorf("karst consume %s gave %q", want, out)
	}
}

func (s *shell) command(line string) *exec.Cmd {
	c := exec.CommandContext(s.ctx, "bash", "-euo", "pipefail", "-c", line)
	c.Dir, c.Env = s.dir, s.env
	return c
}

// dev leaves a cluster running until the test ends, and tells the commands after it where it is.
func (s *shell) dev(line string) {
	s.t.Helper()
	c := s.command("exec " + line)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	out, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			s.t.Errorf("%s: %v", line, err)
		}
	})
	said := bufio.NewReader(out)
	for {
		l, err := said.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s ended before it was ready: %v", line, err)
		}
		if m := readyLine.FindStringSubmatch(l); m != nil {
			s.env = append(s.env, "KARST_BOOTSTRAP="+m[1])
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
}
