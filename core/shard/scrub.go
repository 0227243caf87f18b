package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
)

// Old segments are read again in the background: a piece of a partition (256 KiB) every second, which is
// nothing to a disk, or as many as it takes to be through within log.scrub.period.ms. A partition that has more to
// read keeps its turn.
const (
	scrubEvery = core.Second
	scrubPace  = 256 // turns of a second at most: 64 MiB/s
	scrubTries = 4   // partitions that may have nothing to read
	scrubCount = 10 * core.Second
)

// scrubPause is how long the scrubber rests after a piece. What is there is counted again from time to time.
func (s *Shard) scrubPause() core.Mono {
	if s.scrubAgain == 0 || s.now.Mono >= s.scrubAgain {
		s.scrubAgain = s.now.Mono + scrubCount
		all := int64(0)
		for _, g := range s.groups.Keys() {
			all += s.groups.At(g).r.Bytes()
		}
		pieces := all/replica.ScrubBytes + int64(s.groups.Len())
		period := core.Mono(s.values.ScrubPeriodMs) * core.Millisecond
		s.scrubRest = max(min(s.pace.Scrub, period/core.Mono(max(1, pieces))), scrubEvery/scrubPace)
	}
	return s.scrubRest
}

func (s *Shard) onScrub(int64) {
	s.timers.Arm(&s.scrub, int64(s.now.Mono+s.scrubPause()))
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
