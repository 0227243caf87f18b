package node

import (
	"bufio"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// obey reads the supervisor's pipe. The line "powercut" loses whatever no sync covers and ends the
// process; the end of the pipe means that the supervisor is dead, and nodes do not outlive it.
func (n *node) obey(control io.Reader) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		switch text := strings.TrimSpace(lines.Text()); text {
		case "powercut":
			n.powerCut()
		case "":
		default:
			n.log.Warn("unknown word on the control pipe", "word", text)
		}
	}
	n.die()
}

// powerCut stops the steps and the network first: nothing that a client or peer is told may rest on
// bytes that are being undone.
func (n *node) powerCut() {
	if !n.o.PowerSwitch {
		n.log.Error("the power cannot be cut: this node runs without the power switch")
		return
	}
	for _, l := range n.loops {
		l.halt(false)
	}
	n.net.Close()
	if err := n.disks.powerCut(); err != nil {
		n.log.Error("the power cut failed: the data directory is not what a machine would leave", "error", err)
	}
	n.die()
}

// die is SIGKILL to oneself: no handler, no deferred call.
func (n *node) die() {
	if n.o.kill != nil {
		n.o.kill()
		return
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // the signal arrives
}

// Memory. A node stays below 512 MiB; the collector is lazy while the heap is small, since buffers
// are pooled and a collection empties the pools.
const (
	gcPercent   = 200
	memoryLimit = 380 << 20
)

// tuneMemory sets the collector, unless the environment does, and gives back how it was.
func tuneMemory() (restore func()) {
	percent, limit := -2, int64(-1)
	if os.Getenv("GOGC") == "" {
		percent = debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		limit = debug.SetMemoryLimit(memoryLimit)
	}
	return func() {
		if percent != -2 {
			debug.SetGCPercent(percent)
		}
		if limit != -1 {
			debug.SetMemoryLimit(limit)
		}
	}
}
