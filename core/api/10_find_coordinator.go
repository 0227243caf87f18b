package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// FindCoordinator: v0-6
//
// Behaviour:
//   - The coordinator of a group is the leader of its partition of __consumer_offsets. That topic is made
//     by the first who asks, and the answer waits for the leaders of the partitions that it names.
//   - Without a leader: COORDINATOR_NOT_AVAILABLE, after up to 500 ms.
//
// Version notes:
//   - v1: key types, and an error message. v4: several keys. v6: key type 2 (share groups).
//
// Left out: transactions. Their coordinator (key type 1) is UNSUPPORTED_VERSION. Share groups and unknown
// key types are INVALID_REQUEST, as in a Kafka that has share groups switched off.
func findCoordinator(r *request, body wire.Message) {
	q := body.(*wire.FindCoordinatorRequest)
	f := &finding{r: r, kind: q.KeyType, keys: q.CoordinatorKeys}
	if r.version() < 4 {
		f.keys = []string{q.Key}
	}
	if f.kind != groupKey || len(f.keys) == 0 || r.h().View().Topic(meta.OffsetsTopic) != nil {
		f.lead(leaderGrace)
		return
	}
	r.admin(offsetsTopic(r.h()), int32(createGrace/core.Millisecond), func(meta.Result,
		AdminErr) {
		f.lead(createGrace)
	})
}

// Key types of FindCoordinator.
const (
	groupKey       = 0
	transactionKey = 1
)

// finding is a FindCoordinator on its way.
type finding struct {
	r    *request
	kind int8
	keys []string
}

func (f *finding) lead(grace core.Mono) {
	var groups []core.GroupID
	if f.kind == groupKey {
		for _, k := range f.keys {
			if p, ok := f.r.h().CoordinatorOf(k); ok && f.r.conn.desk.hopeful(f.r.h(), p.Group()) {
				groups = append(groups, p.Group())
			}
		}
	}
	f.r.awaitLeaders(groups, grace, f.answer)
}

func (f *finding) answer() {
	resp := &wire.FindCoordinatorResponse{}
	for _, k := range f.keys {
		resp.Coordinators = append(resp.Coordinators, f.find(k))
	}
	if f.r.version() < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage = c.ErrorCode, c.ErrorMessage
		resp.NodeId, resp.Host, resp.Port = c.NodeId, c.Host, c.Port
	}
	f.r.answer(resp)
}

func (f *finding) find(key string) wire.FindCoordinatorResponseCoordinator {
	out := wire.FindCoordinatorResponseCoordinator{Key: key, NodeId: -1, Port: -1,
		ErrorCode: wire.CoordinatorNotAvailable}
	h, message := f.r.h(), ""
	switch p, ok := h.CoordinatorOf(key); {
	case f.kind == transactionKey:
		out.ErrorCode, message = wire.UnsupportedVersion, noTransactions
	case f.kind != groupKey:
		out.ErrorCode = wire.InvalidRequest
	case ok && led(h, p.Group()):
		n := h.Leadership(p.Group()).Leader
		if host, port, _, ok := f.r.conn.reachable(n); ok {
			out.NodeId, out.Host, out.Port, out.ErrorCode = int32(n), host, port, wire.None
		}
	}
	if out.ErrorCode != wire.None {
		out.ErrorMessage = messageOr(message, out.ErrorCode)
	}
	return out
}
