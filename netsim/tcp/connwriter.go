package tcp

import (
	"errors"

	"github.com/karst-stream/karst/core"
)

// enqueue takes the Refs of vec, or refuses them when the connection is gone.
func (c *conn) enqueue(vec []core.Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.bye {
		return false
	}
	c.out = append(c.out, vec...)
	for i := range vec {
		c.fromF = c.fromF || vec[i].Len > 0 && !vec[i].InMemory()
	}
	return true
}

// flush writes what the step left, on the step's goroutine as far as the socket takes it.
func (c *conn) flush() {
	c.mu.Lock()
	if c.writing {
		c.mu.Unlock()
		return // whoever writes looks again
	}
	if c.dead || len(c.out) == 0 {
		c.idle()
		c.mu.Unlock()
		return
	}
	c.writing = true
	vec, files := c.takeOut()
	c.mu.Unlock()
	if files || !c.tryNow(vec) {
		go c.drain(vec) // the reader waits for its end, and Close for the reader's
		return
	}
	c.wrote(vec, core.Size(vec))
	c.mu.Lock()
	c.writing = false
	c.recycle(vec)
	c.idle()
	c.mu.Unlock()
}

func (c *conn) takeOut() (vec []core.Ref, files bool) {
	vec, files = c.out, c.fromF
	c.out, c.spare, c.fromF = c.spare, nil, false
	return vec, files
}

func (c *conn) recycle(vec []core.Ref) {
	if c.spare == nil && cap(vec) <= 1024 {
		clear(vec)
		c.spare = vec[:0]
	}
}

// idle is called when nobody writes, with mu held: it tells the reader, and says goodbye if asked to.
func (c *conn) idle() {
	c.changed.Broadcast()
	if c.bye && len(c.out) == 0 && !c.stopped {
		c.halt()
		c.pat.interrupt()
	}
}

// tryNow writes what the socket takes at once; when that is not all, the rest stays in the sender.
func (c *conn) tryNow(vec []core.Ref) bool {
	for i := range vec {
		c.snd.add(vec[i].Bytes())
	}
	_, err := c.snd.send(false, false)
	return err == nil && !c.snd.pending()
}

// drain writes vec, of which a part may be out already, and whatever is queued by then.
func (c *conn) drain(vec []core.Ref) {
	for {
		err := c.writeAll(vec)
		if err != nil {
			c.snd.clear()
			release(vec)
			if errors.Is(err, errShortFile) {
				c.t.log.Error("connection closed", "conn", uint64(c.id), "error", err)
			}
			_ = c.nc.Close()
			c.mu.Lock()
			c.dead = true
			c.halt()
			c.writing = false
			c.changed.Broadcast()
			c.mu.Unlock()
			return
		}
		c.wrote(vec, core.Size(vec))
		c.mu.Lock()
		c.recycle(vec)
		if c.dead || len(c.out) == 0 {
			c.writing = false
			c.idle()
			c.mu.Unlock()
			return
		}
		vec, _ = c.takeOut()
		c.mu.Unlock()
	}
}

// writeAll sends vec in order, memory gathered with the file regions behind it.
func (c *conn) writeAll(vec []core.Ref) error {
	if c.snd.pending() { // of tryNow, which saw memory only and queued all of it
		_, err := c.snd.send(true, false)
		return err
	}
	for len(vec) > 0 && vec[len(vec)-1].Len == 0 {
		vec = vec[:len(vec)-1]
	}
	for i := range vec {
		r := vec[i]
		if r.InMemory() || r.Len == 0 {
			c.snd.add(r.Bytes())
		} else if err := c.sendRegion(r, i < len(vec)-1); err != nil {
			return err
		}
	}
	_, err := c.snd.send(true, false)
	return err
}

func (c *conn) sendRegion(r core.Ref, more bool) error {
	if c.t.o.Region == nil {
		return errShortFile
	}
	reg, ok := c.t.o.Region(r.File)
	if !ok {
		return errShortFile
	}
	defer reg.Release()
	if err := c.snd.region(reg, r, more); err != nil {
		return err
	}
	c.t.Counters.Files.Add(int64(r.Len))
	return nil
}

// wrote releases what is out and tells the shard.
func (c *conn) wrote(vec []core.Ref, n int64) {
	release(vec)
	if n == 0 {
		return
	}
	c.t.Counters.BytesOut.Add(n)
	c.answered.Store(true)
	c.sent[0] = core.Event{Kind: core.ConnSent, Conn: c.id, N: n}
	c.t.post(c.home, c.sent[:])
}
