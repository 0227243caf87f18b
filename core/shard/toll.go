package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/replica"
)

// How fast catch-ups go. Rates and memory are the node's, so shard 0 keeps the account: a replica asks for each
// stretch before it asks a leader for it, or, as a leader, before it reads it, and is told when its turn has come. In a
// lane everybody is served in the order of asking, one stretch at a time; what was let through is paid for by the
// time that it takes at the lane's rate before the next is let through.
//
//	replica ──Toll──▶ lane of shard 0 ──its turn: paid up, and room in memory──▶ done(bytes)
//	replica ──Landed(bytes)──▶ shard 0: room again
//
// Grants of a slow lane are small, a fraction of a second each, so that other traffic gets in between.
type tolls struct {
	lanes [replica.LanesCount]tollLane
	air   int64 // bytes that were let in and have not landed
}

type tollLane struct {
	rate int64     // bytes a second; 0: nothing passes
	free core.Mono // when what was let through is paid for
	asks []func(n int64)
	at   det.Timer
}

const (
	leastToll = 64 << 10
	tollsIn   = 32      // grants of a second, at least
	noRate    = 1 << 40 // from here on a rate is none
)

var (
	markTolled = det.NewMark("toll: a catch-up waited for its throttle")
	markNoAir  = det.NewMark("toll: a catch-up waited for memory")
)

// Toll asks for the right to move bytes of catch-ups; see replica.Host.
func (s *Shard) Toll(r *replica.Replica, lane replica.Lane, done func(bytes int64)) {
	from, g := s.cfg.Shard, r.Group()
	s.on(0, func(t *Shard) {
		t.home.tolls.ask(t, lane, func(n int64) {
			t.on(from, func(f *Shard) {
				h := f.groups.At(g)
				if h == nil || h.r != r {
					f.spent(lane, n)
					return
				}
				f.guard(h, func() { done(n) })
				f.markDirty(h)
			})
		})
	})
}

// Landed gives memory of a catch-up back.
func (s *Shard) Landed(n int64) { s.spent(replica.LaneIn, n) }

// PullSync is after how many bytes a catch-up is synced.
func (s *Shard) PullSync() int64 { return s.limits.PullSync }

// spent gives back what a grant of a lane of intake took.
func (s *Shard) spent(lane replica.Lane, n int64) {
	if lane == replica.LaneOut {
		return
	}
	s.on(0, func(t *Shard) {
		x := &t.home.tolls
		x.air -= n
		det.That(x.air >= 0, "toll: what lands was let in")
		x.pump(t, replica.LaneIn)
		x.pump(t, replica.LaneNamed)
		x.pump(t, replica.LaneFree)
	})
}

func (x *tolls) init(s *Shard) {
	for k := range x.lanes {
		lane := replica.Lane(k)
		x.lanes[k].at.Fire = func(int64) { x.pump(s, lane) }
	}
	x.setRates(s)
}

// setRates takes the broker's settings. What was let through at an old rate is forgiven.
func (x *tolls) setRates(s *Shard) {
	v := &s.values
	for k, rate := range [replica.LanesCount]int64{v.CatchUpRate, v.FollowerThrottle, v.LeaderThrottle, noRate} {
		if l := &x.lanes[k]; l.rate != rate {
			l.rate, l.free = rate, 0
			if s.started {
				x.pump(s, replica.Lane(k))
			}
		}
	}
}

func (x *tolls) ask(s *Shard, lane replica.Lane, done func(n int64)) {
	l := &x.lanes[lane]
	l.asks = append(l.asks, done)
	if len(l.asks) == 1 {
		x.pump(s, lane)
	}
}

// pump lets through what may pass.
func (x *tolls) pump(s *Shard, lane replica.Lane) {
	l := &x.lanes[lane]
	for len(l.asks) > 0 && l.rate > 0 {
		if l.free > s.now.Mono {
			markTolled.Hit()
			s.timers.Arm(&l.at, int64(l.free))
			return
		}
		n := s.limits.PullBytes
		if l.rate < noRate {
			n = min(n, max(l.rate/tollsIn, leastToll))
		}
		if lane != replica.LaneOut {
			if x.air > 0 && x.air+n > s.limits.PullMemory {
				markNoAir.Hit()
				return // what lands comes by
			}
			x.air += n
		}
		l.free = s.now.Mono + tollTime(n, l.rate)
		done := l.asks[0]
		l.asks[0] = nil
		l.asks = l.asks[1:]
		done(n)
	}
}

// tollTime is how long n bytes take at a rate, rounded up.
func tollTime(n, rate int64) core.Mono {
	if rate >= noRate || n <= 0 {
		return 0
	}
	whole, rest := n/rate, n%rate
	return core.Mono(whole)*core.Second + core.Mono((rest*int64(core.Second/core.Microsecond)+rate-1)/rate)*core.Microsecond
}
