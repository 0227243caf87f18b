package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
)

// Every log.cleaner.backoff.ms this shard decides to compact the dirtiest of the partitions that it leads, as Kafka's
// LogCleanerManager chooses it, unless another one is under way.

const compactLeast = 10 * core.Millisecond

func (s *Shard) compactEvery() core.Mono {
	return max(core.Mono(s.values.CleanerBackoffMs)*core.Millisecond, compactLeast)
}

func (s *Shard) onCompact(int64) {
	s.timers.Arm(&s.compact, int64(s.now.Mono+s.compactEvery()))
	s.sweeps.look(s)
	if !s.values.CleanerOn {
		return
	}
	var best *hosted
	var choice compact.Choice
	busy := false
	for _, g := range s.groups.Keys() {
		h := s.groups.At(g)
		busy = h.r.Compacting() || busy
		s.guard(h, func() {
			if c, ok := h.r.Compactable(); ok && (best == nil || c.Dirtier(&choice)) {
				best, choice = h, c
			}
		})
	}
	if best != nil && !busy {
		s.guard(best, func() { best.r.Compact(choice) })
	}
}
