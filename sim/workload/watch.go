package workload

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// watcher asks where logs end, which record is the first as late as a time, and what offsets a group of
// all watchers has committed; some also commit. It stays with the broker that answered until that one
// refuses or is silent, which it notices soon: so two of them may believe in two leaders, and real time
// between them shows whether the older one still answered as if it led (I19).
type watcher struct {
	*base
	keeper  *keeper // of the group's offsets
	writes  bool
	flights int
	nextAt  core.Mono
}

const (
	watchGroup = "watchers"
	watchEvery = 60 // ms
)

var watchLoad = kindOfLoad{
	name: "watchers", most: 32, about: "impatient clients that ask for ends of logs, offsets by time and committed offsets",
	draw: sometimes(2, 2, 3),
	start: func(f *Fleet, n int) {
		for i := range n {
			b := f.base()
			b.hurry = 300 * core.Millisecond
			w := &watcher{base: b, writes: i == 0, keeper: &keeper{base: b, group: watchGroup, node: -1}}
			f.add(w)
		}
	},
}

func (w *watcher) poll(now core.Mono) core.Mono {
	if w.f.stopped {
		return core.Never
	}
	next := w.refresh(now)
	if now < w.nextAt {
		return min(next, w.nextAt)
	}
	w.nextAt = now + core.Mono(w.rng.Between(watchEvery/2, watchEvery*3/2))*core.Millisecond
	if w.meta.known && w.flights == 0 {
		w.logs(now)
	}
	if !w.keeper.busy {
		w.keeper.turn(now, w.writes)
	}
	return min(next, w.nextAt)
}

// logs asks the leader of a partition for the end, and now and then for a time before that, on the same
// connection. The end is proved to come from the true leader; the answer before it, in the same leader
// epoch, then does too.
func (w *watcher) logs(now core.Mono) {
	part := int32(w.rng.N(int64(w.f.cfg.Partitions)))
	n := w.meta.leader[part]
	if n == core.NoNode || !w.reachable(n, now) {
		w.meta.stale = true
		return
	}
	at := int64(w.f.clock()) - w.rng.N(int64(20*core.Second/core.Millisecond))
	ask := func(t int64, done func(p *wire.ListOffsetsResponsePartition)) {
		w.flights++
		req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{{Name: w.f.cfg.Topic,
			Partitions: []wire.ListOffsetsRequestPartition{{PartitionIndex: part, CurrentLeaderEpoch: w.meta.epoch[part], Timestamp: t}}}}}
		w.ask(n, wire.KeyListOffsets, 7, &req, func(m wire.Message) {
			w.flights--
			r, ok := m.(*wire.ListOffsetsResponse)
			if !ok || len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
				done(nil)
				return
			}
			p := &r.Topics[0].Partitions[0]
			if w.count(p.ErrorCode); p.ErrorCode != wire.None {
				w.meta.stale = true
				p = nil
			}
			done(p)
		})
	}
	var found *wire.ListOffsetsResponsePartition
	if w.rng.Chance(1, 3) {
		ask(at, func(p *wire.ListOffsetsResponsePartition) { found = p })
	}
	ask(-1, func(p *wire.ListOffsetsResponsePartition) {
		if p == nil {
			return
		}
		w.listed(now, part, -1, p)
		if found != nil {
			w.listed(now, part, at, found)
		}
	})
}

// turn reads the group's offset, or commits another one.
func (k *keeper) turn(now core.Mono, writes bool) {
	switch {
	case k.node < 0:
		if n, ok := k.any(now); ok {
			k.seek(n)
		}
	case !k.reachable(k.node, now):
		k.node = -1
	case writes && k.rng.Chance(1, 2):
		k.commit()
	default:
		k.read()
	}
}

// clock is the time that records are stamped with, in ms.
func (f *Fleet) clock() core.Wall { return core.Wall(f.env.Now()/core.Millisecond) + 1_790_000_000_000 }
