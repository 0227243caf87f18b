package local

import "syscall"

// tied makes the kernel kill the child when the thread that started it dies; its own process group
// keeps a ^C at the terminal away from it.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

const self = "/proc/self/exe" // the running program even when its file was replaced meanwhile
