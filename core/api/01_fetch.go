package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// Fetch: v4-18
//
// Behaviour:
//   - Reads all partitions at once; each gives at least one batch, from the one that holds the offset.
//     The answer takes them in order while max_bytes lasts, and at least the first that has any.
//   - Waits up to max_wait until there are min_bytes. An error ends the wait. A new leader that does not
//     know its high watermark yet is no error while it lasts: after max_wait OFFSET_NOT_AVAILABLE
//     (DESIGN.md 11, rule 8).
//   - Sessions (KIP-227) live on the shard that the connection belongs to (fetch_session.go).
//   - Records go out as the regions that replicas named; nothing is copied but very small ones.
//   - NOT_LEADER_OR_FOLLOWER names the leader, unless it is known dead (KIP-951).
//
// Version notes:
//   - v5: log start offset. v7: sessions. v9: leader epoch of the client is checked. v12: tagged fields.
//   - v13: topic ids; an unknown one is UNKNOWN_TOPIC_ID. v16: addresses of leaders.
//   - v15, v17, v18 changed fields of followers only.
//
// Left out: followers (a replica id is refused: replication is raft's), last_fetched_epoch (followers
// again), reading from the nearest replica (preferred_read_replica is -1). There are no transactions yet:
// the last stable offset is the high watermark and nothing is aborted.
func fetch(r *request, body wire.Message) {
	q := body.(*wire.FetchRequest)
	p := &poll{r: r, q: q, byID: r.version() >= 13}
	if q.ReplicaId >= 0 || q.ReplicaState != nil && q.ReplicaState.ReplicaId >= 0 {
		r.answer(p.refuse(wire.InvalidRequest))
		return
	}
	if err := p.open(); err != wire.None {
		r.answer(&wire.FetchResponse{ErrorCode: err, Responses: []wire.FetchResponseTopic{}})
		return
	}
	r.conn.desk.refresh(r.h())
	p.most = max(0, min(int64(q.MaxBytes), r.conn.desk.fetchMax))
	p.least = min(int64(q.MinBytes), p.most)
	if q.MaxWaitMs > 0 && p.least > 0 {
		p.patient = true
		r.conn.polls = append(r.conn.polls, p)
	}
	r.undo = p.release
	p.reading = 1
	for i := range p.parts {
		p.read(i)
	}
	p.reading--
	p.judge()
}

// poll is a Fetch on its way.
type poll struct {
	r       *request
	q       *wire.FetchRequest
	byID    bool
	session *session // incremental: whose parts these are; nil otherwise
	full    bool     // a session is to be made
	parts   []fetching
	most    int64 // bytes wanted at most, and
	least   int64 // at least before max_wait is over
	patient bool  // it may wait
	waiting bool  // the timer runs
	reading int   // reads that are not back
}

// fetching is one partition of a poll.
type fetching struct {
	cached *cachedPart
	part   Part // Topic nil: unknown
	err    wire.Error
	leader Leadership
	region replica.Region
	out    bool // a read is not back
	again  bool // and it was called for another meanwhile
}

// watched is a partition that may call a connection.
type watched struct {
	part   Part
	notify func()
}

// refuse answers every partition with err; before v7 there is no other place for it.
func (p *poll) refuse(err wire.Error) *wire.FetchResponse {
	resp := &wire.FetchResponse{ErrorCode: err, Responses: []wire.FetchResponseTopic{}}
	eachFetched(p.q, func(key partKey, ask *wire.FetchRequestPartition) {
		out := wire.NewFetchResponsePartition()
		out.PartitionIndex, out.ErrorCode, out.HighWatermark = key.index, err, -1
		addFetched(resp, key, out)
	})
	return resp
}

// open finds out what is to be read: the partitions of the request, or those of its session.
func (p *poll) open() wire.Error {
	q, s := p.q, &p.r.conn.desk.sessions
	var parts []*cachedPart
	if q.SessionEpoch == initialEpoch || q.SessionEpoch == finalEpoch {
		if x := s.by[q.SessionId]; x != nil {
			s.close(x)
		}
		p.full = q.SessionEpoch == initialEpoch && p.r.version() >= 7
		eachFetched(q, func(key partKey, ask *wire.FetchRequestPartition) {
			parts = append(parts, &cachedPart{key: key, ask: *ask, high: -1, start: -1})
		})
	} else {
		x, err := s.next(p.r.h(), q, p.byID)
		if err != wire.None {
			return err
		}
		if p.session, parts = x, x.parts; len(parts) == 0 {
			s.close(x)
			p.session = nil
		}
	}
	p.parts = make([]fetching, len(parts))
	view := p.r.h().View()
	for i, c := range parts {
		f := &p.parts[i]
		f.cached = c
		t := view.Topic(c.key.name)
		if p.byID {
			t = view.TopicByID(c.key.id)
		}
		switch {
		case t != nil && c.key.index >= 0 && int(c.key.index) < len(t.Partitions):
			f.part = Part{t, c.key.index}
		case t == nil && p.byID:
			f.err = wire.UnknownTopicId
		default:
			f.err = wire.UnknownTopicOrPartition
		}
	}
	return wire.None
}

// read asks for the records of one partition, and to be called when there are more.
func (p *poll) read(i int) {
	f := &p.parts[i]
	if f.part.Topic == nil {
		return
	}
	ask := &f.cached.ask
	op := ReadOp{Offset: core.Offset(ask.FetchOffset), Epoch: core.Epoch(ask.CurrentLeaderEpoch),
		Max: max(1, min(int64(ask.PartitionMaxBytes), p.most))}
	if p.patient {
		op.Key, op.Notify = p.r.conn.id, p.r.conn.watch(f.part)
	}
	f.out, f.again = true, false
	p.reading++
	p.r.h().Read(f.part, op, func(region replica.Region, l Leadership) {
		if !p.r.acting() {
			releaseAll(region.Bytes)
			return
		}
		p.reading--
		f.out = false
		releaseAll(f.region.Bytes)
		f.region, f.leader = region, l
		f.err = wire.None
		if region.Err != replica.NotAvailable {
			f.err = outcomeError(region.Err)
		}
		if f.err == wire.UnknownTopicOrPartition && p.byID && p.r.h().View().TopicByID(f.part.Topic.ID) == nil {
			f.err = wire.UnknownTopicId // deleted meanwhile
		}
		if f.again {
			p.read(i)
		}
		p.judge()
	})
}

// watch makes c's callback for a partition, once.
func (c *Conn) watch(part Part) func() {
	g := part.Group()
	w := c.watched.At(g)
	if w == nil {
		w = &watched{notify: func() { c.notified(g) }}
		c.watched.Set(g, w)
	}
	w.part = part
	return w.notify
}

// notified has every fetch that waits look at a partition again.
func (c *Conn) notified(g core.GroupID) {
	for i := 0; i < len(c.polls); i++ {
		p := c.polls[i]
		for j := range p.parts {
			f := &p.parts[j]
			if f.part.Topic == nil || f.part.Group() != g || !p.r.acting() {
				continue
			}
			if f.out {
				f.again = true
			} else {
				p.read(j)
			}
		}
		if i < len(c.polls) && c.polls[i] != p {
			i-- // p was answered and left the list
		}
	}
}

// judge answers when there is enough, or begins to wait.
func (p *poll) judge() {
	if p.reading > 0 || !p.r.acting() {
		return
	}
	total, ready := int64(0), !p.patient || len(p.parts) == 0
	for i := range p.parts {
		f := &p.parts[i]
		total += f.region.Size
		ready = ready || f.err != wire.None
	}
	if ready || total >= p.least {
		p.finish()
		return
	}
	if !p.waiting {
		p.waiting = true
		p.r.after(core.Mono(p.q.MaxWaitMs)*core.Millisecond, p.finish)
	}
}

// finish answers with what there is.
func (p *poll) finish() {
	c := p.r.conn
	for i := range c.polls {
		if c.polls[i] == p {
			c.polls = append(c.polls[:i], c.polls[i+1:]...)
			break
		}
	}
	resp := &wire.FetchResponse{Responses: []wire.FetchResponseTopic{}}
	if p.overtaken() {
		resp.ErrorCode = wire.InvalidFetchSessionEpoch
		p.r.answer(resp)
		p.release()
		return
	}
	var parts [][]core.Ref
	left, any := p.most, false
	for i := range p.parts {
		f := &p.parts[i]
		take := f.take(left, !any)
		size := core.Size(take)
		left, any = left-size, any || size > 0
		out := f.answer(size)
		if size > 0 {
			out.Records, parts = place(take, parts)
		}
		p.hint(resp, f, &out)
		if tell := f.cached.tell(&out); tell || p.session == nil {
			addFetched(resp, f.cached.key, out)
		}
	}
	p.settle(resp)
	p.r.answerAs(p.r.version(), resp, parts)
	p.release()
}

// overtaken says that a later fetch of the session, or a new one in its place, came before this one was
// answered.
func (p *poll) overtaken() bool {
	return p.session != nil && (p.session.closed || p.session.epoch != nextEpoch(p.q.SessionEpoch))
}

// settle puts the session into the answer, or makes one.
func (p *poll) settle(resp *wire.FetchResponse) {
	desk := p.r.conn.desk
	switch {
	case p.session != nil:
		resp.SessionId = p.session.id
		p.session.rotate(func(c *cachedPart) bool { return c.fed })
	case p.full:
		parts := make([]*cachedPart, len(p.parts))
		for i := range p.parts {
			parts[i] = p.parts[i].cached
		}
		desk.refresh(p.r.h())
		if x := desk.sessions.open(p.r.h(), p.byID, parts, desk.slots); x != nil {
			resp.SessionId = x.id
		}
	}
}

// take is the part of the region that fits: whole Refs from the first on, the first one in any case if
// must is set.
func (f *fetching) take(left int64, must bool) []core.Ref {
	n := 0
	for n < len(f.region.Bytes) {
		size := int64(f.region.Bytes[n].Len)
		if size > left && !(must && n == 0) {
			break
		}
		left -= size
		n++
	}
	return f.region.Bytes[:n]
}

// answer is the answer for one partition without its records.
func (f *fetching) answer(size int64) wire.FetchResponsePartition {
	out := wire.NewFetchResponsePartition()
	out.PartitionIndex, out.ErrorCode = f.cached.key.index, f.err
	out.HighWatermark = -1
	f.cached.fed = size > 0
	if f.err == wire.None && f.region.Err == replica.NotAvailable {
		out.ErrorCode = wire.OffsetNotAvailable
		return out
	}
	if f.err == wire.None || f.err == wire.OffsetOutOfRange {
		out.HighWatermark, out.LogStartOffset = int64(f.region.High), int64(f.region.Start)
		out.LastStableOffset = out.HighWatermark
	}
	return out
}

// hint names the leader, if a client can go there.
func (p *poll) hint(resp *wire.FetchResponse, f *fetching, out *wire.FetchResponsePartition) {
	if p.q.IsolationLevel == 1 {
		out.AbortedTransactions = []wire.FetchResponseAbortedTransaction{}
	}
	if p.r.version() < 16 || f.err != wire.NotLeaderOrFollower {
		return
	}
	host, port, rack, ok := p.r.conn.leaderHint(f.leader)
	if !ok {
		return
	}
	id := int32(f.leader.Leader)
	out.CurrentLeader = &wire.FetchResponseLeader{LeaderId: id, LeaderEpoch: int32(f.leader.Term.Epoch())}
	for _, e := range resp.NodeEndpoints {
		if e.NodeId == id {
			return
		}
	}
	resp.NodeEndpoints = append(resp.NodeEndpoints, wire.FetchResponseEndpoint{NodeId: id, Host: host,
		Port: port, Rack: rack})
}

// release gives the regions back: the answer holds references of its own.
func (p *poll) release() {
	for i := range p.parts {
		releaseAll(p.parts[i].region.Bytes)
		p.parts[i].region.Bytes = nil
	}
}

func releaseAll(refs []core.Ref) {
	for i := range refs {
		refs[i].Release()
	}
}

// addFetched appends one partition; neighbours of one topic share its entry.
func addFetched(resp *wire.FetchResponse, key partKey, out wire.FetchResponsePartition) {
	n := len(resp.Responses)
	if n == 0 || resp.Responses[n-1].Topic != key.name || resp.Responses[n-1].TopicId != key.id {
		resp.Responses = append(resp.Responses, wire.FetchResponseTopic{Topic: key.name, TopicId: key.id})
		n++
	}
	t := &resp.Responses[n-1]
	t.Partitions = append(t.Partitions, out)
}

const (
	placeholder = ^core.FileID(0) // a Ref of this file stands for the list of number Off
	inlineBytes = 16 << 10        // so many bytes in several Refs are copied into one: entries of a vector cost more
)

// place makes one Ref of a region, since messages have room for one: itself, a copy of a small one, or a
// placeholder for a list. The Refs stay f's; parts holds references of its own.
func place(take []core.Ref, parts [][]core.Ref) (core.Ref, [][]core.Ref) {
	if len(take) == 1 {
		return take[0], parts
	}
	own := make([]core.Ref, 0, len(take))
	for i := 0; i < len(take); {
		j, n := i, int32(0)
		for j < len(take) && take[j].InMemory() && n+take[j].Len <= inlineBytes {
			n += take[j].Len
			j++
		}
		if j-i < 2 {
			own = append(own, take[i].Retain())
			i++
			continue
		}
		ref := core.NewRef(int(n))
		at := 0
		for ; i < j; i++ {
			at += copy(ref.Bytes()[at:], take[i].Bytes())
		}
		own = append(own, ref)
	}
	return core.Ref{File: placeholder, Off: int64(len(parts)), Len: int32(core.Size(take))}, append(parts, own)
}

// splice puts the lists in the place of their placeholders.
func splice(vec []core.Ref, parts [][]core.Ref) []core.Ref {
	out := make([]core.Ref, 0, len(vec)+len(parts)*2)
	for _, r := range vec {
		if !r.InMemory() && r.File == placeholder {
			out = append(out, parts[r.Off]...)
		} else {
			out = append(out, r)
		}
	}
	return out
}
