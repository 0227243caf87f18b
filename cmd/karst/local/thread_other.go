//go:build !linux

package local

import "syscall"

// tied has no death signal here: the control pipe alone ties the node to its supervisor.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

const self = ""
