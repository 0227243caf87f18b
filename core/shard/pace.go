package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// How fast compactions go. The rates are the node's, and each shard has its part of them, for all its replicas together: what
// one has moved is paid for by the time that it takes, before any goes on.
//
// The usual pace keeps out of the way of clients, and must not let compaction fall behind for ever: where so much waits that a
// pass would take more than paceBound, it goes as much faster as it takes to be done by then. What arrives meanwhile is
// the next pass's, which is so no longer, however much is written. A rate that somebody has set in Kafka's key is
// kept to. See docs/decisions/0028-the-pace-of-compaction.md.
type sweeps struct {
	free core.Mono // when what was moved is paid for
	owed int64     // bytes that the next passes would read, as of the last look
}

const (
	paceBound   = 60 * 60               // seconds
	paceDebt    = 10 * core.Millisecond // less is not worth a pause
	sweepPasses = 3                     // each byte is read for its key, read again, and written at most once
)

var (
	markPaced  = det.NewMark("compaction: it waited for its pace")
	markHasten = det.NewMark("compaction: so much waited that it went faster")
)

// look counts what there is to compact.
func (x *sweeps) look(s *Shard) {
	x.owed = 0
	for _, g := range s.groups.Keys() {
		x.owed += s.groups.At(g).r.Uncompacted()
	}
}

// renew takes the broker's settings. What was moved at an old rate is forgiven.
func (x *sweeps) renew(s *Shard) {
	x.free = 0
	for _, g := range s.groups.Keys() {
		s.groups.At(g).r.SweepOn()
	}
}

// rate is how many bytes a second the compactions of this shard may move; 0: there is no limit.
func (x *sweeps) rate(s *Shard) int64 {
	part := func(n int64) int64 { return (n + int64(s.cfg.Shards) - 1) / int64(s.cfg.Shards) }
	rate := part(s.values.CleanerPace)
	if least := (sweepPasses*x.owed + paceBound - 1) / paceBound; rate > 0 && rate < least {
		markHasten.Hit()
		rate = least
	}
	if most := part(s.values.CleanerRate); most > 0 && (rate == 0 || most < rate) {
		rate = most
	}
	return rate
}

// Swept is told what a compaction has moved; see replica.Host.
func (s *Shard) Swept(bytes int64) core.Mono {
	x, now := &s.sweeps, s.now.Mono
	rate := x.rate(s)
	if rate == 0 {
		return now
	}
	x.free = max(x.free, now) + tollTime(bytes, rate)
	if x.free < now+paceDebt {
		return now
	}
	markPaced.Hit()
	return x.free
}
