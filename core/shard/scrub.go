package shard

import "github.com/karst-stream/karst/core"

// Old segments are read again in the background: a piece of a partition (256 KiB) every second, which is
// nothing to a disk and a terabyte in seven weeks. A partition that has more to read keeps its turn.
const (
	scrubEvery = core.Second
	scrubTries = 4 // partitions that may have nothing to read
)

func (s *Shard) onScrub(int64) {
	s.timers.Arm(&s.scrub, int64(s.now.Mono+scrubEvery))
	groups := s.groups.Keys()
	for range min(scrubTries, len(groups)) {
		s.scrubbed %= len(groups)
		asked := false
		h := s.groups.At(groups[s.scrubbed])
		s.guard(h, func() { asked = h.r.Scrub() })
		if asked {
			return
		}
		s.scrubbed++
	}
}
