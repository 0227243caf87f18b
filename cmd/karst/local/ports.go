package local

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// claims are the ports that a cluster chose. Until release, a listener holds each, so that two choices
// never meet. The marks stay for as long as the supervisor lives: a node binds its port at once, but
// listens only when the cluster answers, and until then the kernel would give the port away; so would
// it while a node is dead.
type claims struct {
	held  []net.Listener
	marks []io.Closer
}

// release frees the ports for the nodes.
func (c *claims) release() {
	for _, l := range c.held {
		l.Close()
	}
	c.held = nil
}

// close gives the ports up.
func (c *claims) close() {
	c.release()
	for _, m := range c.marks {
		m.Close()
	}
	c.marks = nil
}

// take claims one port, which is free.
func (c *claims) take(host string, port int) error {
	m, err := mark(port)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		m.Close()
		return err
	}
	c.held, c.marks = append(c.held, l), append(c.marks, m)
	return nil
}

// near claims the wanted port or, when it is taken, any free one.
func (c *claims) near(host string, want int) (int, error) {
	if c.take(host, want) == nil {
		return want, nil
	}
	return c.any(host)
}

// any claims a free port below the range from which the kernel draws ports of outgoing connections:
// otherwise a client could sit on the port of a dead node when that is revived.
func (c *claims) any(host string) (int, error) {
	const low, high, draws = 12000, 32000, 200
	var last error
	for range draws {
		port := low + rand.IntN(high-low)
		if last = c.take(host, port); last == nil {
			return port, nil
		}
	}
	return 0, catalogue.PortTaken.New("no free port found between %d and %d: %v", low, high, last)
}

// given claims the ports that the user named, all or none.
func (c *claims) given(host string, ports []int) error {
	for _, p := range ports {
		if p < 1 || p > 65535 {
			return catalogue.BadFlag.New("--ports: %d is not a port", p)
		}
		err := c.take(host, p)
		if errors.Is(err, syscall.EADDRINUSE) {
			return catalogue.DevPortTaken.New("port %d is taken", p)
		}
		if err != nil {
			return catalogue.DevPortTaken.New("port %d cannot be used: %v", p, err)
		}
	}
	return nil
}
