package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// keeper commits ever other offsets for a group without members, and reads them back from whoever
// coordinates it: a register, of which the judge knows every write (A21).
type keeper struct {
	*base
	group string
	node  core.NodeID // session of the coordinator; -1: unknown
	next  int64
	busy  bool
	at    core.Mono
}

var offsetsLoad = kindOfLoad{
	name: "offsets", most: 32, about: "committers without a group's membership that read back what they wrote",
	draw: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			f.add(&keeper{base: b, group: fmt.Sprint("keeper-", b.id), node: -1})
		}
	},
}

func (k *keeper) poll(now core.Mono) core.Mono {
	if k.f.stopped || k.busy {
		return core.Never
	}
	if now < k.at {
		return k.at
	}
	k.at = now + core.Mono(k.rng.Between(60, 600))*core.Millisecond
	switch {
	case k.node < 0:
		n, ok := k.any(now)
		if !ok {
			return k.at
		}
		k.seek(n)
	case !k.reachable(k.node, now):
		k.node = -1
		return k.at
	case k.rng.Chance(1, 3):
		k.read()
	default:
		k.commit()
	}
	return core.Never
}

func (k *keeper) send(n core.NodeID, key wire.Key, version int16, m wire.Message, done func(wire.Message)) {
	k.alone(&k.busy, n, key, version, m, func() { k.node = -1 }, done)
}

func (k *keeper) bad(e wire.Error) bool {
	if k.count(e); e != wire.None && e != wire.CoordinatorLoadInProgress {
		k.node = -1
	}
	return e != wire.None
}

func (k *keeper) seek(n core.NodeID) {
	req := wire.FindCoordinatorRequest{CoordinatorKeys: []string{k.group}}
	k.send(n, wire.KeyFindCoordinator, 4, &req, func(m wire.Message) {
		r := m.(*wire.FindCoordinatorResponse)
		if len(r.Coordinators) == 1 && !k.bad(r.Coordinators[0].ErrorCode) {
			if c := r.Coordinators[0].NodeId; c >= 0 && int(c) < k.f.cfg.Nodes {
				k.node = core.NodeID(k.f.cfg.Nodes) + core.NodeID(c)
			}
		}
	})
}

func (k *keeper) commit() {
	k.next++
	c := &committing{group: k.group, generation: -1, token: fmt.Sprint(k.id, ".", k.next), began: k.f.env.Now(),
		parts: []wire.OffsetCommitRequestPartition{{CommittedOffset: k.next}}}
	k.busy = true
	k.ask(k.node, wire.KeyOffsetCommit, 8, c.request(k.f.cfg.Topic, k.meta.topicID), func(m wire.Message) {
		k.busy = false
		r, ok := m.(*wire.OffsetCommitResponse)
		k.committed(c, r)
		if !ok {
			k.node = -1
		} else if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 && !k.bad(r.Topics[0].Partitions[0].ErrorCode) {
			k.f.Counts.Commits++
		}
	})
}

func (k *keeper) read() {
	began := k.f.env.Now()
	req := wire.OffsetFetchRequest{Groups: []wire.OffsetFetchRequestGroup{{GroupId: k.group, MemberEpoch: -1,
		Topics: []wire.OffsetFetchRequestGroupTopic{{Name: k.f.cfg.Topic, PartitionIndexes: []int32{0}}}}}}
	k.send(k.node, wire.KeyOffsetFetch, 8, &req, func(m wire.Message) {
		r := m.(*wire.OffsetFetchResponse)
		if len(r.Groups) != 1 || k.bad(r.Groups[0].ErrorCode) || len(r.Groups[0].Topics) != 1 || len(r.Groups[0].Topics[0].Partitions) != 1 {
			return
		}
		if p := &r.Groups[0].Topics[0].Partitions[0]; !k.bad(p.ErrorCode) {
			k.stored(began, k.group, p)
		}
	})
}
