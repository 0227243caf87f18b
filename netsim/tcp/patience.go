package tcp

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// patient reads a connection and gives up on a frame that does not come on: after limit without a
// byte, and when memory is short already after a second with fewer than minPace bytes, because the
// rest of that frame holds memory that others wait for. Between frames it waits for ever. Deadlines
// are armed at most once a second, so that a busy connection does not pay for them.
type patient struct {
	nc    *net.TCPConn
	fr    *frames // its half says whether a frame has begun
	limit time.Duration
	short func() bool

	mu      sync.Mutex // of the deadline and closing
	closing bool

	armed  time.Time // the deadline that is set; zero: none
	since  time.Time // when the last byte of this frame came, or its first was seen
	window time.Time // of one second
	pace   int       // bytes in it
}

const (
	pulse   = time.Second
	minPace = 16 << 10
)

func (p *patient) Read(b []byte) (int, error) {
	if !p.fr.half {
		p.since = time.Time{}
		n, err := p.read(b)
		for errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
			if err := p.arm(time.Time{}); err != nil {
				return 0, err
			}
			n, err = p.read(b)
		}
		return n, err
	}
	for {
		now := time.Now()
		if p.since.IsZero() {
			p.since, p.window, p.pace = now, now, 0
		}
		if p.armed.Before(now) {
			if err := p.arm(now.Add(min(pulse, p.limit))); err != nil {
				return 0, err
			}
		}
		n, err := p.read(b)
		now = time.Now()
		p.pace += n
		if now.Sub(p.window) >= pulse {
			if p.pace < minPace && p.short() {
				return n, errSilent
			}
			p.window, p.pace = now, 0
		}
		if n > 0 {
			p.since = now
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if now.Sub(p.since) >= p.limit {
			return 0, errSilent
		}
	}
}

func (p *patient) read(b []byte) (int, error) {
	p.mu.Lock()
	closing := p.closing
	p.mu.Unlock()
	if closing {
		return 0, errClosing
	}
	return p.nc.Read(b)
}

func (p *patient) arm(at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return errClosing
	}
	p.armed = at
	return p.nc.SetReadDeadline(at)
}

// interrupt ends the reading: what waits and what comes gets errClosing.
func (p *patient) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	_ = p.nc.SetReadDeadline(time.Unix(1, 0))
}
