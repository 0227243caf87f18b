package workload

import (
	"bytes"
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/wire"
)

const requestTimeout = 1500 * core.Millisecond

// base is what every client has: a connection to each broker it talks to, and metadata.
type base struct {
	f        *Fleet
	id       int
	rng      *det.Rand
	sessions []*session // by node, and from Nodes on those to coordinators
	meta     metadata
	hurry    core.Mono // gives up on an answer so soon; 0: as most do
}

// patience is how long a client waits for an answer: a join waits for the other members.
func (b *base) patience(k wire.Key) core.Mono {
	if b.hurry > 0 {
		return b.hurry
	}
	if k == wire.KeyJoinGroup || k == wire.KeySyncGroup {
		return b.f.stretched(8*core.Second, groupsSlower)
	}
	return b.f.stretched(requestTimeout, waitsLonger)
}

func (b *base) core() *base { return b }

// metadata is what a client believes of the topic.
type metadata struct {
	known   bool
	stale   bool
	asking  bool
	askAt   core.Mono // not before
	topicID wire.UUID
	leader  []core.NodeID
	epoch   []int32
	isr     []uint64 // in sync, as bits
	homes   []uint64 // replicas, as bits
}

// call is a request on its way.
type call struct {
	corr     int32
	key      wire.Key
	version  int16
	deadline core.Mono
	done     func(resp wire.Message) // nil: no answer came, and none will
	first    []Value                 // Produce: the first value of each batch, by place in the request
	parts    []int32
}

// session is a connection to one broker.
type session struct {
	b       *base
	node    core.NodeID
	conn    core.ConnID
	alive   bool
	open    bool
	retryAt core.Mono
	in      []byte
	out     [][]byte
	pending []call
	gen     int
}

func (b *base) session(n core.NodeID) *session {
	if b.sessions[n] == nil {
		b.sessions[n] = &session{b: b, node: n % core.NodeID(b.f.cfg.Nodes)}
	}
	return b.sessions[n]
}

// reachable says whether a request to n could be sent now.
func (b *base) reachable(n core.NodeID, now core.Mono) bool {
	s := b.session(n)
	return s.alive || now >= s.retryAt
}

// ask sends a request. done is called exactly once, later.
func (b *base) ask(n core.NodeID, key wire.Key, version int16, m wire.Message, done func(wire.Message)) *call {
	now := b.f.env.Now()
	s := b.session(n)
	if !s.alive {
		s.alive, s.open = true, false
		s.gen++
		s.conn = b.f.env.Dial(s.node)
		b.f.conns[s.conn] = s
	}
	b.f.corr++
	b.f.Counts.Asked++
	b.f.Counts.Met.asked(key)
	b.f.out.Request(wire.RequestHeader{ApiKey: key, ApiVersion: version, CorrelationId: b.f.corr}, m)
	b.f.frame = b.f.out.AppendTo(b.f.frame[:0])
	frame := b.f.frame[4:]
	s.pending = append(s.pending, call{corr: b.f.corr, key: key, version: version, deadline: now + b.patience(key), done: done})
	if s.open {
		b.f.env.Send(s.conn, frame)
	} else {
		s.out = append(s.out, bytes.Clone(frame))
	}
	return &s.pending[len(s.pending)-1]
}

// alone is ask for a client that does one thing at a time: busy is set until this is over. lost is called
// instead of done when no answer comes.
func (b *base) alone(busy *bool, n core.NodeID, key wire.Key, version int16, m wire.Message, lost func(), done func(wire.Message)) {
	*busy = true
	b.ask(n, key, version, m, func(resp wire.Message) {
		*busy = false
		if resp == nil {
			lost()
			return
		}
		done(resp)
	})
}

// tell sends a request that has no answer.
func (b *base) tell(n core.NodeID, key wire.Key, version int16, m wire.Message) {
	b.ask(n, key, version, m, nil)
	s := b.session(n)
	s.pending = s.pending[:len(s.pending)-1]
}

func (s *session) opened() {
	s.open = true
	for _, frame := range s.out {
		s.b.f.env.Send(s.conn, frame)
	}
	s.out = nil
}

func (s *session) bytes(b []byte) {
	if len(s.in) > 0 { // else b has whole frames, as nearly always
		s.in = append(s.in, b...)
		b = s.in
	}
	used := 0
	for {
		frame, _, _, ok, err := wire.SplitFrame(b[used:], 64<<20)
		if err != nil {
			s.b.f.env.Fail("protocol", "a broker sent a frame of an impossible length")
			s.gone(true)
			return
		}
		if !ok {
			break
		}
		used += 4 + len(frame)
		gen := s.gen
		if !s.answer(frame) || s.gen != gen || !s.alive {
			return
		}
	}
	s.in = append(s.in[:0], b[used:]...)
}

// answer hands a response to the oldest request: brokers answer in order.
func (s *session) answer(frame []byte) bool {
	if len(s.pending) == 0 {
		s.b.f.env.Fail("protocol", "a broker answered more than it was asked")
		s.gone(true)
		return false
	}
	c := s.pending[0]
	s.pending = append(s.pending[:0], s.pending[1:]...)
	m, err := s.b.f.decode(frame, &c)
	if err != nil {
		s.b.f.Counts.Undecodable++
		s.b.f.env.Fail("protocol", "the answer to "+c.key.String()+" cannot be read: "+err.Error())
		c.done(nil)
		s.gone(true)
		return false
	}
	s.b.f.answers = c.key
	c.done(m)
	return true
}

// decode reads an answer; what it yields is valid until the next call.
func (f *Fleet) decode(frame []byte, c *call) (wire.Message, error) {
	f.lent.B = frame
	r := &f.in
	r.Reset(core.Ref{Buf: &f.lent, Len: int32(len(frame))}) // borrowed: nobody releases it
	r.SetBudget(1 << 30)
	var h wire.ResponseHeader
	h.Decode(r, c.key, c.version)
	if h.CorrelationId != c.corr {
		return nil, errCorrelation
	}
	m := wire.Lookup(c.key).NewResponse()
	m.Decode(r, c.version)
	return m, r.Finish()
}

type constError string

func (e constError) Error() string { return string(e) }

const errCorrelation = constError("it has another correlation id: answers left out of order")

// asked is the produce request that a response, which begins with head, answers; or nil.
func (s *session) asked(head []byte) *call {
	corr := int32(binary.BigEndian.Uint32(head[4:]))
	for i := range s.pending {
		if c := &s.pending[i]; c.corr == corr && len(c.first) > 0 {
			return c
		}
	}
	return nil
}

// answers visits the acknowledged batches of a response that is about to leave.
func (s *session) answers(frame []byte, visit func(v Value)) {
	if len(frame) < 8 {
		return
	}
	c := s.asked(frame)
	if c == nil {
		return
	}
	m, err := s.b.f.decode(frame[4:], c)
	if err != nil {
		return // the client will say so
	}
	for _, t := range m.(*wire.ProduceResponse).Responses {
		for _, p := range t.PartitionResponses {
			for j, part := range c.parts {
				if part == p.Index && p.ErrorCode == wire.None {
					visit(c.first[j])
				}
			}
		}
	}
}

// gone ends a connection, on our side when hang.
func (s *session) gone(hang bool) {
	if !s.alive {
		return
	}
	delete(s.b.f.conns, s.conn)
	if hang {
		s.b.f.env.Hang(s.conn)
	}
	s.alive, s.open = false, false
	s.retryAt = s.b.f.env.Now() + s.b.backoff()
	s.in, s.out = s.in[:0], nil
	calls := s.pending
	s.pending = nil
	s.b.meta.stale = true
	for _, c := range calls {
		c.done(nil)
	}
}

// backoff draws 50 to 100 ms.
func (b *base) backoff() core.Mono {
	return b.f.stretched(core.Mono(b.rng.Between(50, 100))*core.Millisecond, waitsLonger)
}

func (b *base) nextDeadline() core.Mono {
	next := core.Never
	now := b.f.env.Now()
	for _, s := range b.sessions {
		if s == nil || !s.alive || len(s.pending) == 0 {
			continue
		}
		if s.pending[0].deadline <= now {
			b.f.Counts.Timeouts++
			s.gone(true)
			next = min(next, s.retryAt)
			continue
		}
		next = min(next, s.pending[0].deadline)
	}
	return next
}

// any draws a broker that can be asked now.
func (b *base) any(now core.Mono) (core.NodeID, bool) {
	n := b.rng.N(int64(b.f.cfg.Nodes))
	for i := range int64(b.f.cfg.Nodes) {
		id := core.NodeID((n + i) % int64(b.f.cfg.Nodes))
		if b.reachable(id, now) {
			return id, true
		}
	}
	return 0, false
}

// refresh asks for metadata when what is known is missing or doubted.
func (b *base) refresh(now core.Mono) core.Mono {
	m := &b.meta
	if m.asking || m.known && !m.stale {
		return core.Never
	}
	if now < m.askAt {
		return m.askAt
	}
	n, ok := b.any(now)
	if !ok {
		return now + 50*core.Millisecond
	}
	m.asking = true
	req := wire.NewMetadataRequest()
	req.Topics = []wire.MetadataRequestTopic{{Name: &b.f.cfg.Topic}}
	req.AllowAutoTopicCreation = false
	b.ask(n, wire.KeyMetadata, 12, &req, func(resp wire.Message) {
		m.asking = false
		m.askAt = b.f.env.Now() + b.backoff()
		if r, ok := resp.(*wire.MetadataResponse); ok {
			b.learn(r)
			if len(r.Topics) == 1 {
				b.shown(now, n, b.f.cfg.Topic, &r.Topics[0])
			}
		}
	})
	return core.Never
}

func (b *base) learn(r *wire.MetadataResponse) {
	m := &b.meta
	if len(r.Topics) != 1 || r.Topics[0].ErrorCode != wire.None || len(r.Topics[0].Partitions) < b.f.cfg.Partitions {
		return
	}
	t := r.Topics[0]
	if !m.known {
		m.leader = make([]core.NodeID, b.f.cfg.Partitions)
		m.epoch = make([]int32, b.f.cfg.Partitions)
		m.isr = make([]uint64, b.f.cfg.Partitions)
		m.homes = make([]uint64, b.f.cfg.Partitions)
		for i := range m.leader {
			m.leader[i], m.epoch[i] = core.NoNode, -1
		}
	}
	m.topicID, m.known, m.stale = t.TopicId, true, false
	for _, p := range t.Partitions {
		i := p.PartitionIndex
		if i < 0 || int(i) >= len(m.leader) {
			continue
		}
		m.isr[i], m.homes[i] = bits(p.IsrNodes), bits(p.ReplicaNodes)
		if p.LeaderEpoch >= m.epoch[i] {
			m.leader[i], m.epoch[i] = core.NodeID(p.LeaderId), p.LeaderEpoch
		}
		if m.leader[i] < 0 || int(m.leader[i]) >= b.f.cfg.Nodes {
			m.leader[i] = core.NoNode
			m.stale = true
		}
	}
}

func bits(nodes []int32) (set uint64) {
	for _, n := range nodes {
		set |= 1 << (n & 63)
	}
	return set
}

// hint is a leader that an answer named (KIP-951).
func (b *base) hint(part, leader, epoch int32) {
	if epoch > b.meta.epoch[part] && leader >= 0 && int(leader) < b.f.cfg.Nodes {
		b.meta.leader[part], b.meta.epoch[part] = core.NodeID(leader), epoch
	} else {
		b.meta.stale = true
	}
}

// count notes what the answer that is being read says, of the whole or of a part.
func (b *base) count(e wire.Error) {
	b.f.Counts.Errors[e]++
	b.f.Counts.Met.Answers[Answer{b.f.answers, e}]++
}
