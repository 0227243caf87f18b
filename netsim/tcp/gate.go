package tcp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gate is a listener that is bound and does not listen yet: its port is the node's own from the
// start, while clients are refused at once, instead of hanging in the kernel's queue, until the
// cluster can answer them.
type gate struct {
	name string
	text string // as configured
	addr *net.TCPAddr

	mu     sync.Mutex
	fd     int // bound; -1 when given to ln
	ln     net.Listener
	closed bool
}

// backlog is capped by the kernel (net.core.somaxconn).
const backlog = 4096

func bind(l Listener) (*gate, error) {
	g := &gate{name: l.Name, text: net.JoinHostPort(l.Host, strconv.Itoa(l.Port))}
	addr, err := net.ResolveTCPAddr("tcp", g.text)
	if err == nil {
		err = g.bindTo(addr)
	}
	if err != nil {
		return nil, taken("listener "+l.Name, g.text, err)
	}
	return g, nil
}

func (g *gate) bindTo(addr *net.TCPAddr) (err error) {
	sa, family := sockaddr(addr)
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil && addr.IP == nil && family == unix.AF_INET6 { // a machine without IPv6
		return g.bindTo(&net.TCPAddr{IP: net.IPv4zero, Port: addr.Port})
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if family == unix.AF_INET6 {
		only := 1
		if addr.IP == nil {
			only = 0 // all of IPv4, too
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	g.fd, g.addr = fd, &net.TCPAddr{IP: addr.IP, Zone: addr.Zone}
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		g.addr.Port = b.Port
	case *unix.SockaddrInet6:
		g.addr.Port = b.Port
	}
	return nil
}

func sockaddr(a *net.TCPAddr) (unix.Sockaddr, int) {
	if ip := a.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip)}, unix.AF_INET
	}
	sa := &unix.SockaddrInet6{Port: a.Port}
	copy(sa.Addr[:], a.IP.To16())
	if z, err := net.InterfaceByName(a.Zone); err == nil {
		sa.ZoneId = uint32(z.Index)
	}
	return sa, unix.AF_INET6
}

// listen opens the gate.
func (g *gate) listen() (net.Listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.ln != nil {
		return nil, net.ErrClosed
	}
	if err := unix.Listen(g.fd, backlog); err != nil {
		return nil, taken("listener "+g.name, g.text, err)
	}
	f := os.NewFile(uintptr(g.fd), "listener "+g.name)
	g.fd = -1
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, taken("listener "+g.name, g.text, err)
	}
	g.ln = ln
	return ln, nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.ln != nil {
		_ = g.ln.Close()
	} else if g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
	}
}

// refusal is an address that cannot be had: the remedy in words, and the system's error, which
// errors.Is finds.
type refusal struct {
	text  string
	cause error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.cause }

// taken is the one error for a port that cannot be had.
func taken(what, addr string, err error) error {
	_, port, _ := net.SplitHostPort(addr)
	text := fmt.Sprintf("%s: cannot listen on %s: %v", what, addr, err)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		text = fmt.Sprintf("%s: port %s (%s) is taken by another process: stop it, or choose another port", what, port, addr)
	case errors.Is(err, unix.EACCES):
		text = fmt.Sprintf("%s: this user may not listen on port %s (%s): choose a port above 1023", what, port, addr)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		text = fmt.Sprintf("%s: %s is no address of this machine: listen on one of its own, and advertise the other", what, addr)
	}
	return &refusal{text, err}
}

// openGates is OpenGate. A second one changes nothing.
func (t *Net) openGates() {
	for _, g := range t.gates {
		ln, err := g.listen()
		if errors.Is(err, net.ErrClosed) {
			continue
		}
		if err != nil {
			t.log.Error("gate not opened", "error", err)
			if t.o.Fail != nil {
				t.o.Fail(err)
			}
			continue
		}
		t.start(func() { t.accept(ln, func(nc *net.TCPConn) { t.serve(nc, g.name) }) })
	}
}

// accept hands out connections until ln is closed. When descriptors run out it waits for some to end.
func (t *Net) accept(ln net.Listener, each func(*net.TCPConn)) {
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			each(nc.(*net.TCPConn))
		case t.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			t.log.Warn("a connection was not accepted", "listener", ln.Addr().String(), "error", err)
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}
