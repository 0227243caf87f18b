//go:build !linux

package local

import (
	"io"
	"syscall"
)

// tied has no death signal here: the control pipe alone ties the node to its supervisor.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

const self = ""

// mark has no abstract sockets here: two supervisors that start at the same moment may choose the
// same port, and one of them begins again.
func mark(int) (io.Closer, error) { return io.NopCloser(nil), nil }
