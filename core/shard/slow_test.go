package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// credits are what a connection was given in this step.
func credits(s *Shard) (n int64) {
	for _, e := range s.fx.List {
		if e.Kind == core.CreditConn {
			n += e.N
		}
	}
	s.fx = &core.Effects{}
	return n
}

// A client that does not read its answers gets no credit for more; all of it comes when it has read.
func TestASlowReaderIsOwedItsCredits(t *testing.T) {
	const id = core.ConnID(5)
	s := &Shard{fx: &core.Effects{}}
	c := &conn{queued: queuedMax}
	s.conns.Set(id, c)
	if s.Credit(id, 2); credits(s) != 2 {
		t.Error("as much as may wait does wait: no credit")
	}
	c.queued = queuedMax + 10
	s.Credit(id, 3)
	if s.Credit(id, 4); credits(s) != 0 {
		t.Error("credit while answers wait")
	}
	if s.connSent(&core.Event{Conn: id, N: 9}); credits(s) != 0 {
		t.Error("credit while one byte too many waits")
	}
	if s.connSent(&core.Event{Conn: id, N: 1}); credits(s) != 7 || c.owed != 0 {
		t.Error("what was owed did not come")
	}
	if s.connSent(&core.Event{Conn: id, N: 1 << 40}); credits(s) != 0 || c.queued != 0 {
		t.Error("it is not owed again")
	}
}
