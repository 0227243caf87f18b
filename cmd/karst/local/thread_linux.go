package local

import (
	"io"
	"net"
	"strconv"
	"syscall"
)

// tied makes the kernel kill the child when the thread that started it dies; its own process group
// keeps a ^C at the terminal away from it.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

const self = "/proc/self/exe" // the running program even when its file was replaced meanwhile

// mark tells other supervisors in this network namespace that a port is ours. It is an abstract
// socket: it leaves no file, and dies with the process.
func mark(port int) (io.Closer, error) {
	return net.Listen("unix", "@karst-port-"+strconv.Itoa(port))
}
