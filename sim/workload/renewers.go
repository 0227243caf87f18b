package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// renewer has a topic and a group of its own. It makes the topic, commits offsets for it, asks where the group begins,
// deletes the topic and makes it again under the same name, and so on. It judges A32: an offset that was committed for a
// topic which is gone is never told for the one that has its name now, whether clients speak of names (OffsetCommit 9,
// OffsetFetch 8) or of ids (10); a group that took it would begin behind the end of a young topic. And one that was
// committed for the id of the topic that is there is told.
type renewer struct {
	*base
	topic, group string
	node         core.NodeID // session of the coordinator; -1: unknown
	id           wire.UUID   // of the topic that is there, as far as was seen
	step         renewing
	left         int // commits and reads before it goes
	busy         bool
	at           core.Mono
	writes       []renewed // by offset
	missed       bool      // a read told of no offset though one was acknowledged for id
}

// renewed is a commit; its offset is its number.
type renewed struct {
	id    wire.UUID // of the topic that it was meant for
	byID  bool
	acked bool
	void  bool // that topic is gone, so nobody may be told of it any more
}

type renewing uint8

const (
	making renewing = iota
	looking
	using
	removing
)

var renewLoad = kindOfLoad{
	name: "renewers", most: 16, about: "clients that commit offsets for a topic of their own, delete it and make it again",
	last: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			f.add(&renewer{base: b, topic: fmt.Sprint("again-", b.id), group: fmt.Sprint("renewer-", b.id), node: -1})
		}
	},
}

func (x *renewer) poll(now core.Mono) core.Mono {
	if x.f.stopped || x.busy {
		return core.Never
	}
	if now < x.at {
		return x.at
	}
	x.at = now + x.f.slowly(core.Mono(x.rng.Between(20, 250))*core.Millisecond)
	n, ok := x.any(now)
	if !ok {
		return x.at
	}
	switch {
	case x.step == making:
		x.make(n)
	case x.step == looking:
		x.look(n)
	case x.step == removing:
		x.remove(n)
	case x.node < 0:
		x.seek(n)
	case !x.reachable(x.node, now):
		x.node = -1
		return x.at
	case x.rng.Chance(1, 2):
		x.read()
	default:
		x.commit()
	}
	return core.Never
}

func (x *renewer) send(n core.NodeID, key wire.Key, version int16, m wire.Message, done func(wire.Message)) {
	x.alone(&x.busy, n, key, version, m, func() { x.node = -1 }, done)
}

func (x *renewer) bad(e wire.Error) bool {
	if x.count(e); e != wire.None && e != wire.CoordinatorLoadInProgress && e != wire.UnknownTopicId && e != wire.UnknownTopicOrPartition {
		x.node = -1
	}
	return e != wire.None
}

func (x *renewer) make(n core.NodeID) {
	req := wire.NewCreateTopicsRequest()
	req.TimeoutMs = 1000
	req.Topics = []wire.CreateTopicsRequestTopic{{Name: x.topic, NumPartitions: 1, ReplicationFactor: int16(x.f.cfg.Factor)}}
	x.send(n, wire.KeyCreateTopics, 7, &req, func(m wire.Message) {
		if r := m.(*wire.CreateTopicsResponse); len(r.Topics) == 1 {
			if e := r.Topics[0].ErrorCode; !x.bad(e) || e == wire.TopicAlreadyExists {
				x.step = looking
			}
		}
	})
}

// look asks which topic has the name now, in a way that shows all that was decided before.
func (x *renewer) look(n core.NodeID) {
	began := x.f.env.Now()
	req := wire.NewDescribeTopicPartitionsRequest()
	req.Topics = []wire.DescribeTopicPartitionsRequestTopic{{Name: x.topic}}
	x.send(n, wire.KeyDescribeTopicPartitions, 0, &req, func(m wire.Message) {
		r := m.(*wire.DescribeTopicPartitionsResponse)
		if len(r.Topics) != 1 || x.f.env.Now()-began >= freshFor {
			return // it may be old news
		}
		switch t := &r.Topics[0]; {
		case t.ErrorCode == wire.UnknownTopicOrPartition: // a deletion that nobody answered came late
			x.gone(false)
			x.step = making
		case x.bad(t.ErrorCode):
		case t.TopicId == x.id:
			if x.missed {
				x.fail("no offset is told, but one was acknowledged for this topic")
			}
			x.step = using
		default:
			x.gone(false)
			x.id, x.step, x.left = t.TopicId, using, int(x.rng.Between(3, 12))
		}
		x.missed = false
	})
}

// gone voids what was committed for the topic that was there. That of clients who name it may have been taken for one
// that came after it, unless the deletion that was acknowledged began later.
func (x *renewer) gone(deleted bool) {
	for i := range x.writes {
		w := &x.writes[i]
		w.void = w.void || w.byID || deleted && w.acked
	}
	x.id, x.missed = wire.UUID{}, false
}

func (x *renewer) remove(n core.NodeID) {
	req := wire.DeleteTopicsRequest{TimeoutMs: 1000, Topics: []wire.DeleteTopicsRequestTopic{{Name: &x.topic}}}
	x.send(n, wire.KeyDeleteTopics, 6, &req, func(m wire.Message) {
		if r := m.(*wire.DeleteTopicsResponse); len(r.Responses) == 1 {
			switch e := r.Responses[0].ErrorCode; {
			case e == wire.UnknownTopicOrPartition:
				x.step = looking
			case !x.bad(e):
				x.gone(true)
				x.f.Counts.Renewed++
				x.step = making
			}
		}
	})
}

func (x *renewer) seek(n core.NodeID) {
	req := wire.FindCoordinatorRequest{CoordinatorKeys: []string{x.group}}
	x.send(n, wire.KeyFindCoordinator, 4, &req, func(m wire.Message) {
		r := m.(*wire.FindCoordinatorResponse)
		if len(r.Coordinators) == 1 && !x.bad(r.Coordinators[0].ErrorCode) {
			if c := r.Coordinators[0].NodeId; c >= 0 && int(c) < x.f.cfg.Nodes {
				x.node = core.NodeID(x.f.cfg.Nodes) + core.NodeID(c)
			}
		}
	})
}

// used counts down to the deletion.
func (x *renewer) used() {
	if x.left--; x.left <= 0 && x.step == using {
		x.step = removing
	}
}

func (x *renewer) commit() {
	at := len(x.writes)
	x.writes = append(x.writes, renewed{id: x.id, byID: x.rng.Chance(1, 2)})
	version, none := int16(9), ""
	if x.writes[at].byID {
		version = 10
	}
	req := wire.NewOffsetCommitRequest()
	req.GroupId, req.GenerationIdOrMemberEpoch = x.group, -1
	req.Topics = []wire.OffsetCommitRequestTopic{{Name: x.topic, TopicId: x.id, Partitions: []wire.OffsetCommitRequestPartition{
		{CommittedOffset: int64(at), CommittedLeaderEpoch: -1, CommittedMetadata: &none}}}}
	x.send(x.node, wire.KeyOffsetCommit, version, &req, func(m wire.Message) {
		r := m.(*wire.OffsetCommitResponse)
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 && !x.bad(r.Topics[0].Partitions[0].ErrorCode) {
			x.writes[at].acked = true
			x.f.Counts.Commits++
		}
		x.used()
	})
}

func (x *renewer) read() {
	version, id := int16(8), x.id
	if x.rng.Chance(1, 2) {
		version = 10
	}
	req := wire.OffsetFetchRequest{Groups: []wire.OffsetFetchRequestGroup{{GroupId: x.group, MemberEpoch: -1,
		Topics: []wire.OffsetFetchRequestGroupTopic{{Name: x.topic, TopicId: id, PartitionIndexes: []int32{0}}}}}}
	x.send(x.node, wire.KeyOffsetFetch, version, &req, func(m wire.Message) {
		x.used()
		r := m.(*wire.OffsetFetchResponse)
		if len(r.Groups) != 1 || x.bad(r.Groups[0].ErrorCode) || len(r.Groups[0].Topics) != 1 || len(r.Groups[0].Topics[0].Partitions) != 1 {
			return
		}
		p := &r.Groups[0].Topics[0].Partitions[0]
		if x.bad(p.ErrorCode) {
			return
		}
		x.judge(p.CommittedOffset)
	})
}

// judge takes an answer to where the group begins. While it was on its way nothing else was asked for.
func (x *renewer) judge(at int64) {
	x.f.Counts.Begins++
	switch {
	case at >= int64(len(x.writes)) || at < -1:
		x.fail("offset %d was never committed", at)
	case at >= 0 && x.writes[at].void:
		x.fail("the group begins at offset %d, which was committed for a topic that is gone", at)
	case at >= 0:
	default:
		for _, w := range x.writes {
			if w.byID && w.acked && !w.void && w.id == x.id { // unless that topic is gone without our knowing
				x.missed, x.step = true, looking
			}
		}
	}
}

func (x *renewer) fail(format string, args ...any) {
	x.f.env.Fail("A32", x.topic+": "+fmt.Sprintf(format, args...))
}
