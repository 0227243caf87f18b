package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// built is the folder of the program, when a test needed it.
var built string

// karst is the program, built once for all tests of this package.
var karst = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "karst-docs-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "karst")
	c := exec.Command("go", "build", "-o", path, "./cmd/karst")
	c.Dir = ".."
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %s%w", out, err)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	path, err := karst()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// surface is what can be typed: targets of the Makefile, commands and flags of karst, files.
type surface struct {
	makefile string
	program  string
	helped   map[string]string
}

func newSurface(t *testing.T) *surface {
	return &surface{makefile: read(t, "../Makefile"), program: program(t), helped: map[string]string{}}
}

// block looks at a line of a block, in which cd moves the lines after it too.
func (s *surface) block(line string, dir *string) error {
	line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
	for _, words := range simple(line) {
		if len(words) == 2 && words[0] == "cd" {
			*dir = filepath.Join(*dir, words[1])
		}
		if err := s.command(words, *dir); err != nil {
			return err
		}
	}
	return nil
}

// line looks at a line by itself.
func (s *surface) line(line, dir string) error { return s.block(line, &dir) }

// separators end a simple command.
var separators = []string{"|", ";", "&&", "||", "&"}

// simple splits a line into simple commands and these into words. What follows a # or two spaces is
// a remark.
func simple(line string) (commands [][]string) {
	var words []string
	for _, m := range regexp.MustCompile(`#|&&|\|\||[|;&<>]|\s+|(?:[^\s'"|;&<>#]|'[^']*'|"[^"]*")+`).FindAllString(line, -1) {
		if m[0] == '#' || len(m) > 1 && strings.TrimSpace(m) == "" {
			break
		}
		switch {
		case strings.TrimSpace(m) == "":
		case slices.Contains(separators, m):
			commands, words = append(commands, words), nil
		default:
			words = append(words, m)
		}
	}
	return slices.DeleteFunc(append(commands, words), func(c []string) bool { return len(c) == 0 })
}

// command looks at one simple command. Programs that are not ours may be anything.
func (s *surface) command(words []string, dir string) error {
	for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	switch name := words[0]; {
	case name == "make":
		return s.target(words[1:])
	case name == "go":
		return s.goTool(words[1:], dir)
	case name == "karst" || name == "bin/karst":
		return s.karst(words[1:])
	case strings.HasPrefix(name, "kafka-") && strings.HasSuffix(name, ".sh"):
		return s.shim(name, words[1:])
	case strings.Contains(name, "/"):
		return exists(dir, name)
	}
	return nil
}

func (s *surface) target(args []string) error {
	for _, a := range args {
		if name, _, ok := strings.Cut(a, "="); ok {
			if !regexp.MustCompile(`(?m)^` + name + `\s*\?=|\$[({]` + name + `[)}]`).MatchString(s.makefile) {
				return fmt.Errorf("the Makefile reads no %s", name)
			}
		} else if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(a) + `:`).MatchString(s.makefile) {
			return fmt.Errorf("the Makefile has no target %q", a)
		}
	}
	return nil
}

// goTool looks at the packages that a go command names, and at what go run is given.
func (s *surface) goTool(args []string, dir string) error {
	for i, a := range args {
		if !strings.HasPrefix(a, "./") || i > 0 && args[i-1] == "-o" {
			continue
		}
		if err := exists(dir, strings.TrimSuffix(strings.TrimSuffix(a, "..."), "/")); err != nil {
			return err
		}
		if args[0] == "run" {
			if a == "./cmd/karst" {
				return s.karst(args[i+1:])
			}
			return nil
		}
	}
	return nil
}

func exists(dir, name string) error {
	_, err := os.Stat(filepath.Join(dir, name))
	return err
}

// karst looks whether the commands and flags exist, as --help says.
func (s *surface) karst(args []string) error {
	path := []string{"karst"}
	help, err := s.help(path)
	for err == nil && len(args) > 0 && strings.Contains(help, " [command]\n") && !strings.HasPrefix(args[0], "-") {
		if takesFile(help, path) && strings.ContainsAny(args[0], "./ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			break // a command of its own that has others below it, as karst check
		}
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(args[0]) + ` +[A-Z]`).MatchString(help) {
			return fmt.Errorf("%s has no command %q", strings.Join(path, " "), args[0])
		}
		path, args = append(path, args[0]), args[1:]
		help, err = s.help(path)
	}
	if err != nil {
		return err
	}
	return flags(strings.Join(path, " "), args, help)
}

// takesFile says whether a command also does something by itself, with a word behind it.
func takesFile(help string, path []string) bool {
	return regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(strings.Join(path, " ")) + ` [A-Z]`).MatchString(help)
}

// shim looks at the flags of one of Kafka's scripts.
func (s *surface) shim(name string, args []string) error {
	help, err := s.help([]string{"karst", "kafka", strings.TrimPrefix(strings.TrimSuffix(name, ".sh"), "kafka-")})
	if err != nil {
		return err
	}
	return flags(name, args, help)
}

func (s *surface) help(path []string) (string, error) {
	key := strings.Join(path, " ")
	if text, ok := s.helped[key]; ok {
		return text, nil
	}
	out, err := exec.Command(s.program, append(path[1:], "--help")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --help: %s%w", key, out, err)
	}
	s.helped[key] = string(out)
	return string(out), nil
}

// flags looks for each word that is a flag in the text of a help.
func flags(who string, args []string, help string) error {
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if !regexp.MustCompile(`^(-[A-Za-z]|--[a-z].*)$`).MatchString(name) {
			continue
		}
		if !regexp.MustCompile(`(?m)^ *(-\w, )?` + name + `[ ,\n]`).MatchString(help) {
			return fmt.Errorf("%s has no flag %s", who, name)
		}
	}
	return nil
}
