package tcp

import (
	"errors"
	"net"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

const iovMax = 1024

var errShortFile = errors.New("a file region cannot be read in full")

// sender writes to one socket without copying and, but for its first growth, without allocating.
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
	in          int
	off, left   int64
	wide        bool
}

func newSender(nc *net.TCPConn) (*sender, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{raw: raw}
	s.write, s.file = s.onWritable, s.onSendfile
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
// waits for what sendfile would have taken meanwhile.
const streamed = 256 << 10

// wideBuffer is how many bytes of such regions a socket may hold unsent, of which the kernel makes twice as many: what
// tcp_wmem lets it grow to by itself on a path with a delay. Without one it stays at a few hundred KiB, and each of
// them costs a sleep and a wake-up of both ends. The pages are the cache's own.
const wideBuffer = 2 << 20

// sendfile sends a region of a file, all of it or an error.
func (s *sender) sendfile(reg netsim.Region, r core.Ref) error {
	fd, ok := reg.Fd()
	if !ok {
		return s.copyFile(reg, r)
	}
	if int64(r.Len) >= streamed {
		s.widen()
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // a hint: without it the region comes a little slower
	}
	s.in, s.off, s.left, s.err = fd, r.Off, int64(r.Len), nil
	err := s.raw.Write(s.file)
	if s.err != nil {
		err = s.err
	}
	return err
}

// widen asks once for the larger buffer. A kernel that refuses leaves the usual one.
func (s *sender) widen() {
	if s.wide {
		return
	}
	s.wide = true
	_ = s.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, wideBuffer)
	})
}

func (s *sender) onSendfile(fd uintptr) bool {
	for s.left > 0 {
		n, err := unix.Sendfile(int(fd), s.in, &s.off, int(s.left))
		switch {
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR:
		case err != nil:
			s.err = err
			return true
		case n == 0:
			s.err = errShortFile
			return true
		default:
			s.left -= int64(n)
		}
	}
	return true
}
