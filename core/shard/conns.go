package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
)

// conn is a client connection whose home this shard is.
type conn struct {
	api    *api.Conn
	queued int64 // bytes of answers that have not left
	owed   int64 // credits that wait until they have
}

// queuedMax is how many bytes of answers may wait before a client must read some: it gets no credit for
// more requests.
const queuedMax = 4 << 20

var markSlowReader = det.NewMark("shard: a client that does not read its answers got no credit")

func (s *Shard) connOpen(ev *core.Event) {
	s.conns.Set(ev.Conn, &conn{api: s.desk.Open(ev.Conn, string(ev.Body.Bytes()))})
	ev.Body.Release()
}

func (s *Shard) connFrame(ev *core.Event) {
	c, ok := s.conns.Get(ev.Conn)
	if !ok {
		ev.Body.Release()
		return
	}
	c.api.Frame(s, ev.Body, ev.Check)
}

func (s *Shard) connSent(ev *core.Event) {
	c, ok := s.conns.Get(ev.Conn)
	if !ok {
		return
	}
	c.queued = max(0, c.queued-ev.N)
	if c.queued <= queuedMax && c.owed > 0 {
		s.fx.Add(core.Effect{Kind: core.CreditConn, Conn: ev.Conn, N: c.owed})
		c.owed = 0
	}
}

func (s *Shard) connClosed(ev *core.Event) {
	if c, ok := s.conns.Get(ev.Conn); ok {
		c.api.Closed()
		s.conns.Delete(ev.Conn)
	}
}

// Send gives a connection one whole answer; it takes vec.
func (s *Shard) Send(id core.ConnID, vec []core.Ref) {
	c, ok := s.conns.Get(id)
	if !ok {
		for i := range vec {
			vec[i].Release()
		}
		return
	}
	c.queued += core.Size(vec)
	s.fx.Add(core.Effect{Kind: core.SendConn, Conn: id}, vec...)
}

func (s *Shard) Close(id core.ConnID) {
	if _, ok := s.conns.Get(id); ok {
		s.fx.Add(core.Effect{Kind: core.CloseConn, Conn: id})
	}
}

// Credit allows a connection more frames.
func (s *Shard) Credit(id core.ConnID, frames int64) {
	c, ok := s.conns.Get(id)
	if !ok {
		return
	}
	if c.queued > queuedMax {
		markSlowReader.Hit()
		c.owed += frames
		return
	}
	s.fx.Add(core.Effect{Kind: core.CreditConn, Conn: id, N: frames})
}
