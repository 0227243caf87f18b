package api

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// Metadata: v0-13
//
// Behaviour:
//   - All topics (null, in v0 an empty list), or those asked for, by name or from v12 by id.
//   - A topic that this node does not know is looked for in the metadata leader's log before it is called
//     unknown: who creates one through one node may use it through all.
//   - Unknown names are created when the client and auto.create.topics.enable allow it, and the answer
//     waits until their partitions have leaders: clients write at once and some give up soon.
//   - An answer that would name a dead leader, or none, waits up to 500 ms for the next; then the partition
//     says LEADER_NOT_AVAILABLE. A wait in vain is not repeated until the leadership changes.
//   - Brokers are those that are not suspect, at their listener of the name that the client came through.
//   - The in-sync set is the leader's last word; offline replicas are those on suspect nodes.
//
// Version notes:
//   - v1: controller, internal flag, null for all. v2: cluster id. v4: the client may forbid creation.
//   - v5: offline replicas. v7: leader epoch. v8: authorised operations. v10: topic ids. v12: asked by id.
//   - v11: no more operations on the cluster. v13: an error for the whole answer, which is never needed.
//
// Left out: access rules; authorised operations are all that there are, when the client asks for them.
func metadata(r *request, body wire.Message) {
	m := &describing{r: r, q: body.(*wire.MetadataRequest)}
	m.all = m.q.Topics == nil || r.version() == 0 && len(m.q.Topics) == 0
	if m.malformed() {
		m.reject()
		return
	}
	if m.unheard() {
		r.fresh(m.begin)
		return
	}
	m.begin()
}

// begin creates what is to be created.
func (m *describing) begin() {
	missing := m.missing()
	inTurn(len(missing), func(i int, one func()) { m.create(missing[i], one) }, m.lead)
}

// unheard says whether a topic is asked for that this node does not know: another may have just made it.
func (m *describing) unheard() bool {
	view := m.r.h().View()
	for i := range m.q.Topics {
		t := &m.q.Topics[i]
		if t.TopicId != (wire.UUID{}) && view.TopicByID(t.TopicId) == nil ||
			t.TopicId == (wire.UUID{}) && view.Topic(*t.Name) == nil {
			return true
		}
	}
	return false
}

// describing is a Metadata on its way.
type describing struct {
	r       *request
	q       *wire.MetadataRequest
	all     bool
	failed  det.Map[string, wire.Error] // names that could not be created
	created []core.GroupID
}

// createGrace is how long the answer waits for the leaders of topics that it made.
const createGrace = 5 * core.Second

// malformed says that a topic is named by nothing, or by what the version has no meaning for.
func (m *describing) malformed() bool {
	for i := range m.q.Topics {
		t := &m.q.Topics[i]
		byID := t.TopicId != (wire.UUID{})
		if t.Name == nil && !byID || m.r.version() < 12 && (byID || t.Name == nil) {
			return true
		}
	}
	return false
}

func (m *describing) reject() {
	resp := m.shell()
	for i := range m.q.Topics {
		t := wire.NewMetadataResponseTopic()
		t.ErrorCode, t.TopicId = wire.InvalidRequest, m.q.Topics[i].TopicId
		if t.Name = m.q.Topics[i].Name; t.Name == nil && m.r.version() < 12 {
			t.Name = new(string)
		}
		resp.Topics = append(resp.Topics, t)
	}
	m.r.answer(resp)
}

// missing are the names that are to be created, each once.
func (m *describing) missing() []string {
	if m.all || !m.q.AllowAutoTopicCreation || m.r.h().Setting("auto.create.topics.enable") != "true" {
		return nil
	}
	var out []string
	view := m.r.h().View()
	for i := range m.q.Topics {
		t := &m.q.Topics[i]
		if t.TopicId != (wire.UUID{}) || view.Topic(*t.Name) != nil {
			continue
		}
		if meta.CheckName(*t.Name) == "" && *t.Name != meta.TransactionsTopic && *t.Name != meta.MetadataTopic {
			out = append(out, *t.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m *describing) create(name string, one func()) {
	m.r.admin(autoTopic(m.r.h(), name), int32(createGrace/core.Millisecond), func(res meta.Result, e AdminErr) {
		switch {
		case e != AdminOK || res.Code == meta.TopicExists:
			// When nobody knows, the view tells: UNKNOWN_TOPIC_OR_PARTITION, after which clients come again.
		case res.Code != meta.Done:
			m.failed.Set(name, codeError(res.Code))
		default:
			m.created = append(m.created, groupsOf(res)...)
		}
		one()
	})
}

// secondThought is how long an answer that names leaders on other nodes waits before it looks at them
// again. A client that lost its connection to a dying node asks within a millisecond, maybe before this
// node's own connection to it has closed; sent back there, many clients do not ask again for seconds.
const secondThought = 5 * core.Millisecond

// lead waits for the leaders of what was created, then for those of everything in the answer.
func (m *describing) lead() {
	m.r.awaitLeaders(m.created, createGrace, func() {
		if gone := m.leaderless(); len(gone) > 0 || !m.remote() {
			m.r.awaitLeaders(gone, leaderGrace, m.answer)
			return
		}
		m.r.after(secondThought, func() { m.r.awaitLeaders(m.leaderless(), leaderGrace, m.answer) })
	})
}

// remote says whether the answer names a leader on another node that seems alive.
func (m *describing) remote() bool {
	h := m.r.h()
	elsewhere := func(t *meta.Topic) bool {
		for i := range t.Partitions {
			if g := t.Partitions[i].Group; led(h, g) && h.Leadership(g).Leader != h.Node() {
				return true
			}
		}
		return false
	}
	if m.all {
		return slices.ContainsFunc(h.View().Topics, elsewhere)
	}
	for i := range m.q.Topics {
		if t := m.find(&m.q.Topics[i]); t != nil && elsewhere(t) {
			return true
		}
	}
	return false
}

// leaderless are the groups whose leader a client could not reach, and for which waiting may help.
func (m *describing) leaderless() []core.GroupID {
	var out []core.GroupID
	visit := func(t *meta.Topic) {
		for i := range t.Partitions {
			if g := t.Partitions[i].Group; !led(m.r.h(), g) && m.r.conn.desk.hopeful(m.r.h(), g) {
				out = append(out, g)
			}
		}
	}
	view := m.r.h().View()
	if m.all {
		for _, t := range view.Topics {
			visit(t)
		}
		return out
	}
	for i := range m.q.Topics {
		if t := m.find(&m.q.Topics[i]); t != nil {
			visit(t)
		}
	}
	return out
}

func (m *describing) find(t *wire.MetadataRequestTopic) *meta.Topic {
	if t.TopicId != (wire.UUID{}) {
		return m.r.h().View().TopicByID(t.TopicId)
	}
	return m.r.h().View().Topic(*t.Name)
}

// shell is the answer without topics.
func (m *describing) shell() *wire.MetadataResponse {
	c, h := m.r.conn, m.r.h()
	resp := wire.NewMetadataResponse()
	view := h.View()
	for i := range view.Brokers {
		if host, port, rack, ok := c.reachable(view.Brokers[i].ID); ok {
			resp.Brokers = append(resp.Brokers,
				wire.MetadataResponseBroker{NodeId: int32(view.Brokers[i].ID), Host: host, Port: port, Rack: rack})
		}
	}
	resp.ClusterId = &view.ClusterID
	resp.ControllerId = int32(c.controller())
	resp.Topics = []wire.MetadataResponseTopic{}
	if m.q.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	return &resp
}

func (m *describing) answer() {
	resp := m.shell()
	if m.all {
		for _, t := range m.r.h().View().Topics {
			resp.Topics = append(resp.Topics, m.topic(t))
		}
		m.r.answer(resp)
		return
	}
	seen := map[partKey]bool{} //det:ok looked up, never ranged
	for i := range m.q.Topics {
		t := &m.q.Topics[i]
		key := partKey{name: text(t.Name), id: t.TopicId}
		if t.TopicId != (wire.UUID{}) {
			key.name = ""
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		if found := m.find(t); found != nil {
			resp.Topics = append(resp.Topics, m.topic(found))
			continue
		}
		resp.Topics = append(resp.Topics, m.unknown(t))
	}
	m.r.answer(resp)
}

func (m *describing) unknown(t *wire.MetadataRequestTopic) wire.MetadataResponseTopic {
	out := wire.NewMetadataResponseTopic()
	out.Partitions = []wire.MetadataResponsePartition{}
	if t.TopicId != (wire.UUID{}) {
		out.ErrorCode, out.TopicId = wire.UnknownTopicId, t.TopicId
		return out
	}
	out.Name, out.IsInternal = t.Name, meta.Internal(*t.Name)
	out.ErrorCode = wire.UnknownTopicOrPartition
	if meta.CheckName(*t.Name) != "" {
		out.ErrorCode = wire.InvalidTopicException
	} else if e, ok := m.failed.Get(*t.Name); ok {
		out.ErrorCode = e
	}
	return out
}

func (m *describing) topic(t *meta.Topic) wire.MetadataResponseTopic {
	out := wire.NewMetadataResponseTopic()
	out.Name, out.TopicId, out.IsInternal = &t.Name, t.ID, t.Internal
	out.Partitions = make([]wire.MetadataResponsePartition, len(t.Partitions))
	for i := range t.Partitions {
		s := m.r.conn.stateOf(Part{t, int32(i)})
		err := s.err
		if err == wire.ListenerNotFound && m.r.version() < 6 {
			err = wire.LeaderNotAvailable
		}
		out.Partitions[i] = wire.MetadataResponsePartition{ErrorCode: err, PartitionIndex: int32(i),
			LeaderId: s.leader, LeaderEpoch: s.epoch, ReplicaNodes: s.replicas, IsrNodes: s.isr,
			OfflineReplicas: s.offline}
	}
	if m.q.IncludeTopicAuthorizedOperations {
		out.TopicAuthorizedOperations = topicOperations
	}
	return out
}

// Everything that Kafka lets be done, as bits by the numbers of AclOperation; without access rules
// everybody may do it (AuthHelper.authorizedOperations).
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

// partState is what a client is told of a partition.
type partState struct {
	err      wire.Error
	leader   int32
	epoch    int32
	replicas []int32
	isr      []int32
	offline  []int32
}

// stateOf describes a partition as this node believes it to be.
func (c *Conn) stateOf(p Part) partState {
	h := c.h
	l := h.Leadership(p.Group())
	s := partState{leader: -1, epoch: -1, replicas: nodeIDs(p.Topic.Partitions[p.Index].Replicas),
		isr: []int32{}, offline: []int32{}}
	for _, n := range l.ISR {
		if !h.Suspect(n) { // a leader's last word may name itself
			s.isr = append(s.isr, int32(n))
		}
	}
	if l.Term > 0 {
		s.epoch = int32(l.Term.Epoch())
	}
	for _, n := range p.Topic.Partitions[p.Index].Replicas {
		if n != h.Node() && h.Suspect(n) {
			s.offline = append(s.offline, int32(n))
		}
	}
	if !led(h, p.Group()) {
		s.err = wire.LeaderNotAvailable
		return s
	}
	if _, _, _, ok := c.reachable(l.Leader); !ok {
		s.err = wire.ListenerNotFound
		if h.Suspect(l.Leader) {
			s.err = wire.LeaderNotAvailable
		}
		return s
	}
	s.leader = int32(l.Leader)
	return s
}

func nodeIDs(nodes []core.NodeID) []int32 {
	out := make([]int32, len(nodes))
	for i, n := range nodes {
		out[i] = int32(n)
	}
	return out
}
