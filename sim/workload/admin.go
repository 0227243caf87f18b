package workload

import (
	"fmt"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// admin makes the topic and waits until all of it has leaders.
type admin struct {
	*base
	asking  bool
	created bool
	done    bool
}

func (a *admin) poll(now core.Mono) core.Mono {
	if a.done {
		return core.Never
	}
	if a.created {
		return min(a.refresh(now), a.look(now))
	}
	if n, ok := a.any(now); ok && !a.asking {
		a.create(n)
	}
	return now + 20*core.Millisecond
}

func (a *admin) look(now core.Mono) core.Mono {
	m := &a.meta
	a.done = m.known && !slices.Contains(m.leader, core.NoNode)
	if !a.done && m.known {
		m.stale = true
	}
	return now + 20*core.Millisecond
}

func (a *admin) create(n core.NodeID) {
	a.asking = true
	t := wire.CreateTopicsRequestTopic{Name: a.f.cfg.Topic, NumPartitions: int32(a.f.cfg.Partitions), ReplicationFactor: int16(a.f.cfg.Factor)}
	var keys []string
	for k := range a.f.cfg.Configs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v := a.f.cfg.Configs[k]
		t.Configs = append(t.Configs, wire.CreateTopicsRequestConfig{Name: k, Value: &v})
	}
	req := wire.NewCreateTopicsRequest()
	req.Topics, req.TimeoutMs = []wire.CreateTopicsRequestTopic{t}, 1000
	a.ask(n, wire.KeyCreateTopics, 7, &req, func(m wire.Message) {
		a.asking = false
		if r, ok := m.(*wire.CreateTopicsResponse); ok && len(r.Topics) == 1 {
			e := r.Topics[0].ErrorCode
			a.count(e)
			a.created = e == wire.None || e == wire.TopicAlreadyExists
			if e == wire.InvalidConfig || e == wire.InvalidPartitions {
				text := ""
				if r.Topics[0].ErrorMessage != nil {
					text = *r.Topics[0].ErrorMessage
				}
				a.f.env.Fail("protocol", "the topic was refused: "+e.String()+" "+text)
			}
		}
	})
}

// auditor asks for the end of every partition and for the truth about replicas.
type auditor struct {
	*base
	flights int
	nextAt  core.Mono
	wholeAt core.Mono // when it last saw a leader and all replicas in sync everywhere
	asked   core.Mono
}

const auditEvery = 300 * core.Millisecond

func (a *auditor) poll(now core.Mono) core.Mono {
	next := a.refresh(now)
	if a.f.stopped {
		a.nextAt = min(a.nextAt, now+auditEvery)
	}
	every := a.f.slowly(auditEvery)
	if !a.meta.known || a.flights > 0 || now < a.nextAt {
		return min(next, max(a.nextAt, now+every))
	}
	a.nextAt = now + every
	whole := true
	for i, l := range a.meta.leader {
		whole = whole && l != core.NoNode && a.lacks(i) == 0
	}
	if whole && !a.meta.stale {
		a.wholeAt = a.asked
	}
	a.meta.stale, a.asked = true, now // look again
	for n := range a.f.cfg.Nodes {
		a.ends(core.NodeID(n), now)
	}
	return min(next, a.nextAt)
}

// lacks are the replicas of a partition that should be in sync and are not.
func (a *auditor) lacks(i int) uint64 {
	return a.f.cfg.Core & a.meta.homes[i] &^ a.meta.isr[i]
}

// why says what keeps the cluster from being whole.
func (a *auditor) why() string {
	s := ""
	for i, l := range a.meta.leader {
		if l == core.NoNode || a.lacks(i) != 0 {
			s += fmt.Sprintf("partition %d: leader %d, %03b in sync; ", i, l, a.meta.isr[i])
		}
	}
	return s
}

func (a *auditor) ends(n core.NodeID, now core.Mono) {
	t := wire.ListOffsetsRequestTopic{Name: a.f.cfg.Topic}
	for i, l := range a.meta.leader {
		if l == n {
			t.Partitions = append(t.Partitions, wire.ListOffsetsRequestPartition{PartitionIndex: int32(i),
				CurrentLeaderEpoch: a.meta.epoch[i], Timestamp: -1})
		}
	}
	if len(t.Partitions) == 0 || !a.reachable(n, now) {
		return
	}
	a.flights++
	req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{t}}
	a.ask(n, wire.KeyListOffsets, 7, &req, func(m wire.Message) {
		a.flights--
		r, ok := m.(*wire.ListOffsetsResponse)
		if !ok {
			return
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if a.count(p.ErrorCode); p.ErrorCode == wire.None && p.LeaderEpoch >= 0 {
					a.listed(now, p.PartitionIndex, -1, &p)
				}
			}
		}
	})
}
