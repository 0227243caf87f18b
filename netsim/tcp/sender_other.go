//go:build !linux

package tcp

import (
	"errors"
	"net"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

var errShortFile = errors.New("a file region cannot be read in full")

// sender writes to one socket. One goroutine at a time uses it.
type sender struct {
	nc   *net.TCPConn
	bufs net.Buffers
}

func newSender(nc *net.TCPConn) (*sender, error) { return &sender{nc: nc}, nil }

// add queues b, which stays untouched until send or clear.
func (s *sender) add(b []byte) {
	if len(b) > 0 {
		s.bufs = append(s.bufs, b)
	}
}

// pending says whether something is queued.
func (s *sender) pending() bool { return len(s.bufs) > 0 }

func (s *sender) clear() { s.bufs = nil }

// send writes what add queued and says how many bytes left. Without wait it leaves everything queued:
// only Linux is asked what a socket takes without blocking.
func (s *sender) send(wait, _ bool) (int64, error) {
	if !wait {
		return 0, nil
	}
	return s.bufs.WriteTo(s.nc)
}

func (s *sender) sendfile(reg netsim.Region, r core.Ref) error { return s.copyFile(reg, r) }
