package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Every log.retention.check.interval.ms the leaders of this shard look which segments are too old or too many
// (replica.Retain), a few partitions in a step. The first time comes soon after the start, as in Kafka
// (log.initial.task.delay.ms): a node that restarts often must delete too.
const (
	retainFirst = 30 * core.Second
	retainStep  = 64 // partitions
	retainPause = core.Millisecond
)

type retaining struct {
	at    det.Timer
	begun core.Mono // the round under way
	next  core.GroupID
}

func (s *Shard) retainEvery() core.Mono {
	return core.Mono(s.values.RetentionCheckMs) * core.Millisecond
}

func (s *Shard) onRetain(int64) {
	x := &s.retain
	if x.next == 0 {
		x.begun = s.now.Mono
	}
	left := retainStep
	for _, g := range s.groups.Keys() {
		if g < x.next {
			continue
		}
		if left == 0 {
			x.next = g
			s.timers.Arm(&x.at, int64(s.now.Mono+retainPause))
			return
		}
		left--
		h := s.groups.At(g)
		s.guard(h, h.r.Retain)
	}
	x.next = 0
	s.timers.Arm(&x.at, int64(max(x.begun+s.retainEvery(), s.now.Mono+retainPause)))
}
