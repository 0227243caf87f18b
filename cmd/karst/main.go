// Command karst is the one binary of Karst: a broker node, a cluster for development, the simulator,
// the demo, and the client commands for topics, records and groups. It owns words and formats: the
// command tree, the output, the exit codes. It promises that scripts can rely on them; it refuses to
// decide anything about the cluster, which core does.
//
// Started under the name of one of Kafka's scripts (kafka-topics.sh and its like) it takes that
// script's flags and prints what it prints.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/shim"
)

func main() { os.Exit(run()) }

func run() int {
	name := filepath.Base(os.Args[0])
	if shim.Known(name) {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return shim.Run(ctx, name, os.Args[1:])
	}
	root := newRoot()
	root.SetArgs(os.Args[1:])
	ctx := context.Background()
	return report(root.ExecuteContext(ctx))
}

// report shows an error in the shape that all errors have, and gives the exit status.
func report(err error) int {
	var status exitStatus
	switch {
	case err == nil:
		return int(catalogue.Done)
	case errors.As(err, &status):
		return int(status)
	}
	var known *catalogue.Error
	if !errors.As(err, &known) {
		known = catalogue.Internal.New("%v", err)
	}
	bold, plain := "", ""
	if colourful(os.Stderr) {
		bold, plain = "\x1b[1;31m", "\x1b[0m"
	}
	known.Show(os.Stderr, bold, plain)
	return int(known.Entry.Exit)
}

// exitStatus ends the process with a status when everything has been said already.
type exitStatus int

func (e exitStatus) Error() string { return "exit status" }

// colourful says whether f may carry colours: a terminal, and nobody objects.
func colourful(f *os.File) bool {
	_, no := os.LookupEnv("NO_COLOR")
	return !no && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
