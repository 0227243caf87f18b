package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// stumbler is a member of a group of its own kind that also says what it should not: things of the generation
// before, a commit ahead of its assignment, a second JoinGroup while the first one waits, and one whose id
// nobody will use. Whatever a coordinator answers to that is counted; it must keep the group whole.
type stumbler struct {
	*member
	nextAt core.Mono
}

var stumbleLoad = kindOfLoad{
	name: "stumblers", most: 16, about: "members of a group that repeat themselves, speak too early and of what is over",
	later: sometimes(3, 2, 3),
	start: func(f *Fleet, n int) {
		for range n {
			f.add(&stumbler{member: newMember(f.base(), "stumblers")})
		}
	},
}

func (s *stumbler) poll(now core.Mono) core.Mono {
	if !s.f.stopped && now >= s.nextAt && !s.busy && s.stage != seeking && s.reachable(s.node, now) {
		s.nextAt = now + core.Mono(s.rng.Between(200, 1500))*core.Millisecond
		s.stumble()
	}
	return s.member.poll(now)
}

// stumble sends what does not belong here; what the member itself sends next comes right behind it.
func (s *stumbler) stumble() {
	switch {
	case s.rng.Chance(1, 8): // an id that nobody joins with
		id := s.id
		s.id = ""
		s.aside(wire.KeyJoinGroup, 9, s.joinRequest())
		s.id = id
	case s.id == "":
	case s.stage == joining:
		s.aside(wire.KeyJoinGroup, 9, s.joinRequest())
	case s.stage == syncing:
		s.early()
	case s.rng.Chance(1, 2):
		s.aside(wire.KeyHeartbeat, 4, &wire.HeartbeatRequest{GroupId: s.group, GenerationId: s.gen - 1, MemberId: s.id})
	default:
		kind, name := "consumer", "range"
		s.aside(wire.KeySyncGroup, 5, &wire.SyncGroupRequest{GroupId: s.group, GenerationId: s.gen - 1, MemberId: s.id,
			ProtocolType: &kind, ProtocolName: &name})
	}
}

// aside asks the coordinator and goes on as if it had not.
func (s *stumbler) aside(key wire.Key, version int16, req wire.Message) {
	s.ask(s.node, key, version, req, func(wire.Message) {})
}

// early commits in a generation whose assignment it has not heard yet.
func (s *stumbler) early() {
	s.commits++
	c := &committing{group: s.group, member: s.id, generation: s.gen, token: fmt.Sprint(s.base.id, ".", s.commits),
		parts: []wire.OffsetCommitRequestPartition{{PartitionIndex: int32(s.rng.N(int64(s.f.cfg.Partitions)))}}, began: s.f.env.Now()}
	s.ask(s.node, wire.KeyOffsetCommit, 8, c.request(s.f.cfg.Topic, s.meta.topicID), func(m wire.Message) {
		r, _ := m.(*wire.OffsetCommitResponse)
		s.committed(c, r)
	})
}
