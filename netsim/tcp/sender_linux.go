package tcp

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

const iovMax = 1024

// sender writes to one socket; memory goes out without being copied and, but for its first growth, without allocating.
// One goroutine at a time uses it.
type sender struct {
	raw syscall.RawConn
	iov []unix.Iovec
	msg unix.Msghdr

	// Arguments and results of the callbacks, which are made once.
	write, file func(fd uintptr) bool
	flags       int
	wait        bool
	sent        int64
	err         error
	reg         netsim.Region
	off, left   int64
	wide        bool
}

func newSender(nc *net.TCPConn) (*sender, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{raw: raw}
	s.write, s.file = s.onWritable, s.onRegion
	return s, nil
}

// add queues b, which stays untouched until send or clear.
func (s *sender) add(b []byte) {
	if len(b) == 0 {
		return
	}
	var v unix.Iovec
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
	s.iov = append(s.iov, v)
}

// pending says whether something is queued.
func (s *sender) pending() bool { return len(s.iov) > 0 }

func (s *sender) clear() {
	clear(s.iov)
	s.iov = s.iov[:0]
}

// send writes what add queued and says how many bytes left. Unless wait, it stops where the socket
// would block; what is left stays queued. more says that the rest of the message follows at once.
func (s *sender) send(wait, more bool) (int64, error) {
	s.sent, s.err, s.wait, s.flags = 0, nil, wait, unix.MSG_NOSIGNAL
	if more {
		s.flags |= unix.MSG_MORE
	}
	err := s.raw.Write(s.write)
	if s.err != nil {
		err = s.err
	}
	return s.sent, err
}

func (s *sender) onWritable(fd uintptr) bool {
	for len(s.iov) > 0 {
		n := min(len(s.iov), iovMax)
		s.msg.Iov = &s.iov[0]
		s.msg.SetIovlen(n)
		flags := s.flags
		if n < len(s.iov) {
			flags |= unix.MSG_MORE
		}
		r, _, e := unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), uintptr(flags))
		runtime.KeepAlive(s.iov)
		switch e {
		case 0:
			s.sent += int64(r)
			s.advance(uint64(r))
		case unix.EINTR:
		case unix.EAGAIN:
			return !s.wait
		default:
			s.err = e
			return true
		}
	}
	return true
}

func (s *sender) advance(n uint64) {
	i := 0
	for ; i < len(s.iov) && n >= s.iov[i].Len; i++ {
		n -= s.iov[i].Len
	}
	if i < len(s.iov) && n > 0 {
		s.iov[i].Base = (*byte)(unsafe.Add(unsafe.Pointer(s.iov[i].Base), n))
		s.iov[i].Len -= n
	}
	left := copy(s.iov, s.iov[i:])
	clear(s.iov[left:])
	s.iov = s.iov[:left]
}

// streamed is from how many bytes on a region counts as one of many that a reader takes in order: the kernel reads ahead
// twice as far in such a file. To ask for the region itself (FADV_WILLNEED) was slower, from the disk as from the cache: it
// waits for what reading would have taken meanwhile.
const streamed = 256 << 10

// wideBuffer is how many bytes of such regions a socket may hold unsent, of which the kernel makes twice as many: what
// tcp_wmem lets it grow to by itself on a path with a delay. Without one it stays at a few hundred KiB, and each of
// them costs a sleep and a wake-up of both ends.
const wideBuffer = 2 << 20

// region sends a region of a file behind what is queued, all of it or an error; more says that something follows at
// once. It goes through memory piece by piece, because that was faster than sendfile (docs/decisions/0027).
func (s *sender) region(reg netsim.Region, r core.Ref, more bool) error {
	if int64(r.Len) >= streamed {
		s.widen()
		if fd, ok := reg.Fd(); ok {
			_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // a hint: without it the region comes a little slower
		}
	}
	s.reg, s.off, s.left = reg, r.Off, int64(r.Len)
	s.err, s.wait, s.flags = nil, true, unix.MSG_NOSIGNAL
	if more {
		s.flags |= unix.MSG_MORE
	}
	err := s.raw.Write(s.file)
	s.reg = nil
	if s.err != nil {
		err = s.err
	}
	return err
}

// widen asks once for the larger buffer. Where net.core.wmem_max allows less, the buffer stays the one that grows by
// itself: to ask would fix it at less than that.
func (s *sender) widen() {
	if s.wide {
		return
	}
	s.wide = true
	if !mayWiden() {
		return
	}
	_ = s.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, wideBuffer)
	})
}

var mayWiden = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/proc/sys/net/core/wmem_max")
	if err != nil {
		return false
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return err == nil && most >= wideBuffer
})

// onRegion sends pieces until the socket is full. What it did not take of one is read again when there is room: a reader
// that is slow, or gone, holds no memory.
func (s *sender) onRegion(fd uintptr) bool {
	for s.left > 0 {
		piece := takePiece(s.left)
		if n, _ := s.reg.ReadAt(piece.Bytes(), s.off); n < int(piece.Len) {
			s.err = errShortFile
			piece.give()
			return true
		}
		s.add(piece.Bytes())
		room := s.onWritable(fd)
		sent := int64(piece.Len)
		if last := len(s.iov) - 1; last >= 0 {
			sent -= int64(s.iov[last].Len)
			s.iov[last] = unix.Iovec{}
			s.iov = s.iov[:last]
		}
		s.off, s.left = s.off+sent, s.left-sent
		piece.give()
		if !room || s.err != nil {
			return room
		}
	}
	return true
}
