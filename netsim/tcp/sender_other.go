//go:build !linux

package tcp

import (
	"net"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

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

// region sends a region of a file behind what is queued, all of it or an error.
func (s *sender) region(reg netsim.Region, r core.Ref, _ bool) error {
	for at := int64(0); at < int64(r.Len); {
		piece := takePiece(int64(r.Len) - at)
		if n, _ := reg.ReadAt(piece.Bytes(), r.Off+at); n < int(piece.Len) {
			piece.give()
			return errShortFile
		}
		s.add(piece.Bytes())
		at += int64(piece.Len)
		_, err := s.send(true, false)
		piece.give()
		if err != nil {
			s.clear()
			return err
		}
	}
	return nil
}
