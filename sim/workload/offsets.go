package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// keeper commits ever other offsets for a group without members, and reads them back from whoever
// coordinates it (A21). It is the only one to write and asks one thing at a time, so what it reads is
// the last acknowledged commit, or one of those whose answer never came: these may take effect late,
// after others, and once.
type keeper struct {
	*base
	group string
	node  core.NodeID // session of the coordinator; -1: unknown
	next  int64
	now   int64          // what is committed
	open  map[int64]bool // commits without an answer; looked up
	busy  bool
	at    core.Mono
}

var offsetsLoad = kindOfLoad{
	name: "offsets", most: 32, about: "committers without a group's membership that read back what they wrote",
	draw: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			f.add(&keeper{base: b, group: fmt.Sprint("keeper-", b.id), node: -1, now: -1, open: map[int64]bool{}})
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
	k.busy = true
	k.ask(n, key, version, m, func(resp wire.Message) {
		k.busy = false
		if resp == nil {
			k.node = -1
			return
		}
		done(resp)
	})
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
	at := k.next
	k.open[at] = true
	req := wire.NewOffsetCommitRequest()
	req.GroupId, req.GenerationIdOrMemberEpoch = k.group, -1
	req.Topics = []wire.OffsetCommitRequestTopic{{Name: k.f.cfg.Topic,
		Partitions: []wire.OffsetCommitRequestPartition{{CommittedOffset: at, CommittedLeaderEpoch: -1}}}}
	k.send(k.node, wire.KeyOffsetCommit, 8, &req, func(m wire.Message) {
		r := m.(*wire.OffsetCommitResponse)
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 && !k.bad(r.Topics[0].Partitions[0].ErrorCode) {
			k.f.Counts.Commits++
			k.now = at
			delete(k.open, at)
		}
	})
}

func (k *keeper) read() {
	req := wire.OffsetFetchRequest{Groups: []wire.OffsetFetchRequestGroup{{GroupId: k.group, MemberEpoch: -1,
		Topics: []wire.OffsetFetchRequestGroupTopic{{Name: k.f.cfg.Topic, PartitionIndexes: []int32{0}}}}}}
	k.send(k.node, wire.KeyOffsetFetch, 8, &req, func(m wire.Message) {
		r := m.(*wire.OffsetFetchResponse)
		if len(r.Groups) != 1 || k.bad(r.Groups[0].ErrorCode) || len(r.Groups[0].Topics) != 1 || len(r.Groups[0].Topics[0].Partitions) != 1 {
			return
		}
		p := &r.Groups[0].Topics[0].Partitions[0]
		if k.bad(p.ErrorCode) {
			return
		}
		if at := p.CommittedOffset; at != k.now && !k.open[at] {
			k.f.env.Fail("A21", fmt.Sprintf("group %s reads offset %d, and the last commit that was acknowledged is %d", k.group, at, k.now))
		} else if at != k.now {
			delete(k.open, at)
			k.now = at
		}
	})
}
