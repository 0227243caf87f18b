package workload

import (
	"fmt"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

type memberStage uint8

const (
	seeking   memberStage = iota // for the coordinator
	joining                      // JoinGroup is to be sent
	syncing                      // SyncGroup is to be sent
	resuming                     // OffsetFetch is to be sent
	consuming                    // heartbeats, fetches, commits
)

// member is a consumer of a classic group:
//
//	seeking -> joining -> syncing -> resuming -> consuming
//	   ^          ^_________|___________|____________|   rebalance, fenced
//	   |____________________________________________|   the coordinator is elsewhere or silent
type member struct {
	*fetcher
	group    string
	stage    memberStage
	busy     bool // a group call is on its way
	at0      core.Mono
	node     core.NodeID // the coordinator's session
	id       string
	gen      int32
	members  []wire.JoinGroupResponseMember // the leader's
	instance *string                        // of a static one
	mine     []int32
	beatAt   core.Mono
	saveAt   core.Mono
	saved    map[int32]core.Offset
	joinAt   core.Mono // its first request to join since it was given partitions last; 0: none
	commits  int
}

const (
	sessionTimeout = 6000 // ms
	beatEvery      = core.Second
	saveEvery      = 700 * core.Millisecond
)

func newMember(b *base, group string) *member {
	return &member{fetcher: newFetcher(b, b.rng.Chance(2, 3)), group: group, saved: map[int32]core.Offset{}}
}

func (m *member) poll(now core.Mono) core.Mono {
	next := m.refresh(now)
	if !m.busy {
		if now < m.at0 {
			next = min(next, m.at0)
		} else {
			next = min(next, m.act(now))
		}
	}
	if m.stage == consuming {
		next = min(next, m.fetch(now))
	}
	return next
}

// act sends the group call that the stage wants.
func (m *member) act(now core.Mono) core.Mono {
	if m.stage != seeking && !m.reachable(m.node, now) {
		m.again(seeking)
		return m.at0
	}
	switch m.stage {
	case seeking:
		if n, ok := m.any(now); ok {
			m.seek(n)
			return core.Never
		}
		return now + m.f.stretched(50*core.Millisecond, waitsLonger)
	case joining:
		m.join()
	case syncing:
		m.sync()
	case resuming:
		m.resume()
	case consuming:
		if now >= m.beatAt {
			m.beat(now)
		} else if now >= m.saveAt {
			m.save(now)
		} else {
			return min(m.beatAt, m.saveAt)
		}
	}
	return core.Never
}

// again goes back to a stage, after a pause.
func (m *member) again(s memberStage) {
	if s <= joining && m.stage >= syncing {
		m.revoke()
		m.mine = nil
	}
	m.stage = s
	m.at0 = m.f.env.Now() + m.backoff()
}

// call is ask to the coordinator; no answer means that it may be elsewhere.
func (m *member) call(key wire.Key, version int16, req wire.Message, done func(wire.Message)) {
	m.busy = true
	m.ask(m.node, key, version, req, func(resp wire.Message) {
		m.busy = false
		if resp == nil {
			m.again(seeking)
			return
		}
		done(resp)
	})
}

// trouble sends the member where an error code says; false: there is none.
func (m *member) trouble(e wire.Error) bool {
	m.count(e)
	switch e {
	case wire.None:
		return false
	case wire.RebalanceInProgress:
		m.f.Counts.Rebalances++
		m.again(joining)
	case wire.IllegalGeneration, wire.MemberIdRequired:
		m.again(joining)
	case wire.UnknownMemberId, wire.FencedInstanceId:
		m.id = ""
		m.again(joining)
	case wire.CoordinatorLoadInProgress:
		m.at0 = m.f.env.Now() + m.backoff()
	default:
		m.again(seeking)
	}
	return true
}

func (m *member) seek(n core.NodeID) {
	m.busy = true
	req := wire.FindCoordinatorRequest{CoordinatorKeys: []string{m.group}}
	m.ask(n, wire.KeyFindCoordinator, 4, &req, func(resp wire.Message) {
		m.busy = false
		m.at0 = m.f.env.Now() + m.backoff()
		r, ok := resp.(*wire.FindCoordinatorResponse)
		if !ok || len(r.Coordinators) != 1 {
			return
		}
		c := r.Coordinators[0]
		if m.count(c.ErrorCode); c.ErrorCode == wire.None && c.NodeId >= 0 && int(c.NodeId) < m.f.cfg.Nodes {
			m.node = core.NodeID(m.f.cfg.Nodes) + core.NodeID(c.NodeId)
			m.stage, m.at0 = joining, 0
		}
	})
}

func (m *member) join() {
	m.f.Counts.Joins++
	if m.joinAt == 0 {
		m.joinAt = m.f.env.Now()
	}
	m.call(wire.KeyJoinGroup, 9, m.joinRequest(), func(resp wire.Message) {
		r := resp.(*wire.JoinGroupResponse)
		if r.MemberId != "" {
			m.id = r.MemberId
		}
		if m.trouble(r.ErrorCode) {
			return
		}
		m.gen, m.members = r.GenerationId, nil
		if r.Leader == r.MemberId {
			m.members = r.Members
		}
		m.stage, m.at0 = syncing, 0
	})
}

// joinRequest asks to join as who the member is now.
func (m *member) joinRequest() *wire.JoinGroupRequest {
	sub := wire.NewConsumerProtocolSubscription()
	sub.Topics = []string{m.f.cfg.Topic}
	req := wire.NewJoinGroupRequest()
	req.GroupId, req.MemberId, req.GroupInstanceId, req.ProtocolType = m.group, m.id, m.instance, "consumer"
	req.SessionTimeoutMs = int32(m.f.stretched(sessionTimeout, groupsSlower))
	req.RebalanceTimeoutMs = int32(m.f.stretched(1200, groupsSlower))
	req.Protocols = []wire.JoinGroupRequestProtocol{{Name: "range", Metadata: wire.AppendPayload(nil, &sub, 1)}}
	return &req
}

func (m *member) sync() {
	kind, name := "consumer", "range"
	req := wire.SyncGroupRequest{GroupId: m.group, GenerationId: m.gen, MemberId: m.id, GroupInstanceId: m.instance, ProtocolType: &kind, ProtocolName: &name}
	parts, n := int32(m.f.cfg.Partitions), int32(len(m.members))
	for i, o := range m.members { // range assignment, in the order the coordinator named them
		var a wire.ConsumerProtocolAssignment
		t := wire.ConsumerProtocolAssignmentTopicPartition{Topic: m.f.cfg.Topic}
		for p := int32(i) * parts / n; p < int32(i+1)*parts/n; p++ {
			t.Partitions = append(t.Partitions, p)
		}
		if len(t.Partitions) > 0 {
			a.AssignedPartitions = append(a.AssignedPartitions, t)
		}
		req.Assignments = append(req.Assignments, wire.SyncGroupRequestAssignment{MemberId: o.MemberId, Assignment: wire.AppendPayload(nil, &a, 1)})
	}
	m.call(wire.KeySyncGroup, 5, &req, func(resp wire.Message) {
		r := resp.(*wire.SyncGroupResponse)
		if m.trouble(r.ErrorCode) {
			return
		}
		var a wire.ConsumerProtocolAssignment
		if _, err := wire.DecodeAssignment(r.Assignment, &a); err != nil {
			m.f.env.Fail("protocol", "an assignment cannot be read: "+err.Error())
			return
		}
		m.mine = m.mine[:0]
		for _, t := range a.AssignedPartitions {
			m.mine = append(m.mine, t.Partitions...)
		}
		m.owned()
		m.stage, m.at0 = resuming, 0
	})
}

// owned tells what the member was given.
func (m *member) owned() {
	o := m.op(checker.Own, m.joinAt)
	m.joinAt = 0
	o.Group, o.Member, o.Generation = m.group, m.name(), int64(m.gen)
	for _, p := range m.mine {
		o.Partitions = append(o.Partitions, int64(p))
	}
	m.f.tell(o)
}

// name is the member as an owner: a static one keeps its place when its process is replaced.
func (m *member) name() string {
	if m.instance != nil {
		return *m.instance
	}
	return m.id
}

func (m *member) resume() {
	began := m.f.env.Now()
	req := wire.OffsetFetchRequest{Groups: []wire.OffsetFetchRequestGroup{{GroupId: m.group, MemberEpoch: -1,
		Topics: []wire.OffsetFetchRequestGroupTopic{{Name: m.f.cfg.Topic, PartitionIndexes: m.mine}}}}}
	m.call(wire.KeyOffsetFetch, 8, &req, func(resp wire.Message) {
		r := resp.(*wire.OffsetFetchResponse)
		if len(r.Groups) != 1 {
			m.again(seeking)
			return
		}
		if m.trouble(r.Groups[0].ErrorCode) {
			return
		}
		m.revoke()
		clear(m.saved)
		for _, t := range r.Groups[0].Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != wire.None {
					m.trouble(p.ErrorCode)
					return
				}
				m.stored(began, m.group, &p)
				m.assign(p.PartitionIndex, core.Offset(max(p.CommittedOffset, 0)))
				m.saved[p.PartitionIndex] = m.fetcher.at[p.PartitionIndex]
			}
		}
		now := m.f.env.Now()
		m.stage, m.at0, m.beatAt, m.saveAt = consuming, 0, now+m.f.stretched(beatEvery, groupsSlower), now+m.f.slowly(saveEvery)
	})
}

func (m *member) beat(now core.Mono) {
	m.beatAt = now + m.f.stretched(beatEvery, groupsSlower)
	req := wire.HeartbeatRequest{GroupId: m.group, GenerationId: m.gen, MemberId: m.id, GroupInstanceId: m.instance}
	m.call(wire.KeyHeartbeat, 4, &req, func(resp wire.Message) {
		m.trouble(resp.(*wire.HeartbeatResponse).ErrorCode)
	})
}

// save commits the positions that moved.
func (m *member) save(now core.Mono) {
	m.saveAt = now + m.f.slowly(saveEvery)
	if c := m.moved(); len(c.parts) > 0 {
		m.commit(c, func(r *wire.OffsetCommitResponse) { m.kept(c, r) })
	}
}

// commit sends a commit and tells how it ended. done is not called when no answer came.
func (m *member) commit(c *committing, done func(*wire.OffsetCommitResponse)) {
	c.began = m.f.env.Now()
	m.busy = true
	m.ask(m.node, wire.KeyOffsetCommit, 8, c.request(m.f.cfg.Topic, m.meta.topicID), func(resp wire.Message) {
		m.busy = false
		r, ok := resp.(*wire.OffsetCommitResponse)
		m.committed(c, r)
		if !ok {
			m.again(seeking)
			return
		}
		done(r)
	})
}

// moved is a commit of the positions that moved, in the present generation.
func (m *member) moved() *committing {
	m.commits++
	c := &committing{group: m.group, member: m.id, instance: m.instance, generation: m.gen,
		token: fmt.Sprint(m.base.id, ".", m.commits)}
	for _, p := range m.mine {
		if at, ok := m.fetcher.at[p]; ok && at != m.saved[p] {
			c.parts = append(c.parts, wire.OffsetCommitRequestPartition{PartitionIndex: p, CommittedOffset: int64(at)})
		}
	}
	return c
}

func (m *member) kept(c *committing, r *wire.OffsetCommitResponse) {
	for _, t := range r.Topics {
		for i, p := range t.Partitions {
			if m.trouble(p.ErrorCode) {
				return
			}
			m.f.Counts.Commits++
			m.saved[p.PartitionIndex] = core.Offset(c.parts[i].CommittedOffset)
		}
	}
}
