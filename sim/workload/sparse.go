package workload

import (
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
)

// A sparse world is the standard one in which clients do everything Config.Sparse times less often, so that a year
// of it can be played: with 86,400 what they do in a second takes a day, and topics keep for days what they
// keep for seconds. Two things do not stretch that far. Who waits for a broker waits as long as real clients do, and
// sessions of groups last for at most half an hour, which is what brokers allow. When the load ends, so does this:
// what follows is as quick as ever.

// What stretches, at most so many times.
const (
	waitsLonger  = 20  // 30 s for an answer, a second or two until it is asked again
	groupsSlower = 300 // sessions of half an hour
)

// slowly is a time between two things that a client does while there is load.
func (f *Fleet) slowly(t core.Mono) core.Mono {
	if f.cfg.Sparse <= 1 || f.stopped {
		return t
	}
	return t * core.Mono(f.cfg.Sparse)
}

// stretched is t, but at most so many times as long.
func (f *Fleet) stretched(t core.Mono, most int64) core.Mono {
	return t * core.Mono(max(1, min(f.cfg.Sparse, most)))
}

// spread is a setting of milliseconds in a world so sparse. Negative ones stand for no limit.
func (f *Fleet) spread(ms string) string {
	v, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || v <= 0 || f.cfg.Sparse <= 1 {
		return ms
	}
	return strconv.FormatInt(min(v*f.cfg.Sparse, 10*365*24*3600*1000), 10)
}

// wakeAll lets every client look at what has changed.
func (f *Fleet) wakeAll() {
	for i := range f.clients {
		f.wakeAt(i, f.env.Now())
	}
}

// WaitsSince is when a batch was first sent that has no answer yet, the oldest of them; Never: there is none.
func (f *Fleet) WaitsSince() core.Mono {
	since := core.Never
	for _, p := range f.produce {
		for _, s := range p.streams {
			if len(s.pending) > 0 && s.pending[0].tries > 0 {
				since = min(since, s.pending[0].began)
			}
		}
	}
	return since
}

// RetentionCheck is how often brokers must look for what is too old, 0: as often as they do by default. Where loads
// have topics that keep little, that is five times a second; in a sparse world once a day.
func RetentionCheck(loads []Load, sparse int64) core.Mono {
	switch {
	case sparse > 1:
		return min(checkEvery*core.Mono(sparse), 24*3600*core.Second)
	case slices.ContainsFunc(loads, func(l Load) bool { return l.Kind == retainLoad.name }):
		return checkEvery
	}
	return 0
}

const checkEvery = 200 * core.Millisecond

// Patience is how much longer than by default loads need in the end.
func Patience(loads []Load, sparse int64) core.Mono {
	if !slices.ContainsFunc(loads, func(l Load) bool { return l.Kind == retainLoad.name }) || sparse <= 1 {
		return 0
	}
	return 4*RetentionCheck(loads, sparse) + retainAhead*core.Mono(sparse)
}
