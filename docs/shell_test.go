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

// shellBlocks finds the fenced blocks that are marked as sh. Those marked console are shown, not run.
var shellBlocks = regexp.MustCompile("(?s)```sh\n(.*?)```")

// readyLine is how `karst dev` says that it serves, and where.
var readyLine = regexp.MustCompile(`^ready in .*-B (\S+)`)

// TestShellBlocksOfTheReadmeRun types what the README tells its reader to type.
func TestShellBlocksOfTheReadmeRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel) // after the cluster has ended
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, ctx: ctx, repo: repo, dir: t.TempDir(), env: append(os.Environ(), "NO_COLOR=1")}
	for _, m := range shellBlocks.FindAllStringSubmatch(read(t, "../README.md"), -1) {
		for _, line := range strings.Split(strings.TrimSpace(m[1]), "\n") {
			s.run(line)
		}
	}
	if s.ran < 10 {
		t.Errorf("only %d commands were run", s.ran)
	}
}

// shell runs lines in a directory of its own, which stands for the repository.
type shell struct {
	t    *testing.T
	ctx  context.Context
	repo string
	dir  string
	env  []string
	ran  int
}

func (s *shell) run(line string) {
	s.t.Helper()
	s.ran++
	if strings.HasPrefix(line, "bin/karst dev -n") {
		s.dev(line)
		return
	}
	c := s.command(line)
	if strings.HasPrefix(line, "go build ") {
		c = s.command(strings.Replace(line, "-o bin/", "-o "+s.dir+"/bin/", 1))
		c.Dir = s.repo
	}
	out, err := c.CombinedOutput()
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
