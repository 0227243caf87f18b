package tcp

import (
	"errors"
	"sync"
)

var errClosing = errors.New("the connection is closing")

// budget is memory for frames, in bytes, given first come first served. Whoever wants more than there
// is gets it alone, when nothing else is out.
type budget struct {
	mu    sync.Mutex
	total int64
	used  int64
	queue []*claim
}

type claim struct {
	n     int64
	given chan struct{}
}

// try takes n bytes if nobody has to wait.
func (b *budget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 || !b.fits(n) {
		return false
	}
	b.used += n
	return true
}

// take waits for n bytes, or until dead is closed.
func (b *budget) take(n int64, dead <-chan struct{}) error {
	if b.try(n) {
		return nil
	}
	b.mu.Lock()
	c := &claim{n: n, given: make(chan struct{})}
	b.queue = append(b.queue, c)
	b.grant() // something may have come back since
	b.mu.Unlock()
	select {
	case <-c.given:
		return nil
	case <-dead:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, q := range b.queue {
		if q == c {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			b.grant()
			return errClosing
		}
	}
	b.used -= n // it was given meanwhile
	b.grant()
	return errClosing
}

func (b *budget) give(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	b.used -= n
	b.grant()
	b.mu.Unlock()
}

func (b *budget) fits(n int64) bool { return b.used+n <= b.total || b.used == 0 }

func (b *budget) grant() {
	for len(b.queue) > 0 && b.fits(b.queue[0].n) {
		c := b.queue[0]
		b.queue = b.queue[:copy(b.queue, b.queue[1:])]
		b.used += c.n
		close(c.given)
	}
}

// short says whether somebody waits.
func (b *budget) short() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) > 0
}

func (b *budget) out() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
