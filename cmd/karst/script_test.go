package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are what the scripts have beyond testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"status": status,
	"dev":    dev,
	"subst":  subst,
}

// status N COMMAND...: the command ends with exit status N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("%q is not a status", args[0])
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
	}
}

// dev FLAGS...: a karst dev runs until the script ends. It is ready when the command returns, and
// KARST_BOOTSTRAP names its brokers.
func dev(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! dev")
	}
	program, err := exec.LookPath("karst")
	if err != nil {
		ts.Fatalf("%v", err)
	}
	cmd := exec.Command(program, append([]string{"dev"}, args...)...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("WORK"))
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.StdoutPipe()
	if err != nil {
		ts.Fatalf("%v", err)
	}
	if err := cmd.Start(); err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		ts.Logf("dev: %s", lines.Text())
		if rest, ok := strings.CutPrefix(lines.Text(), "ready"); ok {
			_, addresses, _ := strings.Cut(rest, "-B ")
			ts.Setenv("KARST_BOOTSTRAP", addresses)
			go io.Copy(io.Discard, out)
			return
		}
	}
	cmd.Wait()
	ts.Fatalf("karst dev did not become ready:\n%s", errText.String())
}

// subst FILE REGEXP TEXT: what differs from run to run is replaced in a file (or stdout, written to
// the file "out"), so that the rest can be compared byte for byte.
func subst(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: subst FILE REGEXP TEXT")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		ts.Fatalf("%v", err)
	}
	text := ts.ReadFile(args[0])
	if !re.MatchString(text) {
		ts.Fatalf("%q matches nothing in\n%s", args[1], text)
	}
	name := args[0]
	if name == "stdout" {
		name = "out"
	}
	err = os.WriteFile(ts.MkAbs(name), []byte(re.ReplaceAllString(text, args[2])), 0o644)
	if err != nil {
		ts.Fatalf("%v", err)
	}
}
