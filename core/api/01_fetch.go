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
//   - Sessions (KIP-227) live on the shard that made them and are reached from every connection of the
//     node (fetch_session.go).
//   - Records go out as the regions that replicas named; nothing is copied but very small ones.
//   - NOT_LEADER_OR_FOLLOWER names the leader, unless it is known dead (KIP-951).
//
// Version notes:
//   - v5: log start offset. v7: sessions. v9: leader epoch of the client is checked. v12: tagged fields.
//   - v10: zstd. Topics whose compression.type is zstd are refused to older ones (KIP-110).
//   - v13: topic ids; an unknown one is UNKNOWN_TOPIC_ID. v16: addresses of leaders.
//   - v15, v17, v18 changed fields of followers only.
//
// A debugging consumer (replica id -2), of whom Kafka's broker does not ask that he goes to the leader either,
// reads what this node's own copy has in its files: that is how tools compare copies. Its SnapshotId.EndOffset is then the
// number of the last compaction that the copy has carried out; there is none in a log that was never compacted.
//
// Left out: followers (any other replica id is refused: replication is raft's), last_fetched_epoch (followers
// again), reading from the nearest replica (preferred_read_replica is -1). There are no transactions yet:
// the last stable offset is the high watermark and nothing is aborted.
func fetch(r *request, body wire.Message) {
	q := body.(*wire.FetchRequest)
	p := &poll{r: r, q: q, byID: r.version() >= 13}
	if q.ReplicaId >= 0 || q.ReplicaState != nil && q.ReplicaState.ReplicaId >= 0 {
		r.answer(p.refuse(wire.InvalidRequest))
		return
	}
	p.own = q.ReplicaId == debugging || q.ReplicaState != nil && q.ReplicaState.ReplicaId == debugging
	p.open()
}

// debugging is the replica id of a consumer that wants to see the copy of the broker which it asks
// (FetchRequest.DEBUGGING_CONSUMER_ID).
const debugging = -2

// poll is a Fetch on its way.
type poll struct {
	r       *request
	q       *wire.FetchRequest
	byID    bool
	session int32 // incremental: whose parts these are; 0 otherwise
	full    bool  // a session is to be made
	parts   []fetching
	own     bool  // of this node's copies, whoever leads
	most    int64 // bytes wanted at most, and
	least   int64 // at least before max_wait is over
	patient bool  // it may wait
	waiting bool  // the timer runs
	over    bool  // nothing more is read
	reading int   // reads that are not back
}

// fetching is one partition of a poll.
type fetching struct {
	cached cachedPart // as its session had it when the fetch began
	part   Part       // Topic nil: unknown
	err    wire.Error
	leader Leadership
	region replica.Region
	out    bool // a read is not back
	again  bool // and it was called for another meanwhile

	take   []core.Ref // what of the region is answered
	answer wire.FetchResponsePartition
	tell   bool // the client does not know it yet
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
func (p *poll) open() {
	q, desk := p.q, p.r.conn.desk
	if q.SessionEpoch == initialEpoch || q.SessionEpoch == finalEpoch {
		p.full = q.SessionEpoch == initialEpoch && p.r.version() >= 7
		var parts []cachedPart
		eachFetched(q, func(key partKey, ask *wire.FetchRequestPartition) {
			c := newCachedPart(key, ask)
			c.resolve(p.r.h().View())
			parts = append(parts, c)
		})
		if q.SessionId == 0 {
			p.begin(parts)
			return
		}
		p.r.h().OnDesk(desk.sessions.shardOf(q.SessionId), func(_ Host, d *Desk) {
			d.sessions.closeID(q.SessionId)
		}, func() {
			if p.r.acting() {
				p.begin(parts)
			}
		})
		return
	}
	var (
		parts []cachedPart
		err   wire.Error
	)
	p.r.h().OnDesk(desk.sessions.shardOf(q.SessionId), func(h Host, d *Desk) {
		parts, err = d.sessions.next(h, q, p.byID)
	}, func() {
		switch {
		case !p.r.acting():
		case err != wire.None:
			p.r.answer(&wire.FetchResponse{ErrorCode: err, Responses: []wire.FetchResponseTopic{}})
		default:
			if len(parts) > 0 {
				p.session = q.SessionId
			}
			p.begin(parts)
		}
	})
}

// begin reads them.
func (p *poll) begin(parts []cachedPart) {
	r, q := p.r, p.q
	p.parts = make([]fetching, len(parts))
	view := r.conn.desk.refresh(r.h())
	for i := range parts {
		f := &p.parts[i]
		f.cached = parts[i]
		f.part, f.err = f.cached.find(view, p.byID)
		if r.version() < 10 && f.part.Topic != nil && r.conn.desk.rulesOf(r.h(), f.part.Topic).zstd() {
			f.part, f.err = Part{}, wire.UnsupportedCompressionType
		}
	}
	p.most = max(0, min(int64(q.MaxBytes), r.conn.desk.fetchMax))
	p.least = min(int64(q.MinBytes), p.most)
	if q.MaxWaitMs > 0 && p.least > 0 && !p.own {
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

// read asks for the records of one partition, and to be called when there are more.
func (p *poll) read(i int) {
	f := &p.parts[i]
	if f.part.Topic == nil {
		return
	}
	ask := &f.cached.ask
	op := ReadOp{Offset: core.Offset(ask.FetchOffset), Epoch: core.Epoch(ask.CurrentLeaderEpoch),
		Max: max(1, min(int64(ask.PartitionMaxBytes), p.most)), Own: p.own}
	if p.patient {
		op.Key, op.Notify = p.r.conn.id, p.r.conn.watch(f.part)
	}
	f.out, f.again = true, false
	p.reading++
	p.r.h().Read(f.part, op, func(region replica.Region, l Leadership) {
		if p.over || !p.r.acting() {
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
	if p.reading > 0 || p.over || !p.r.acting() {
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

// finish answers with what there is, once the session has noted what its client is about to be told.
func (p *poll) finish() {
	c := p.r.conn
	p.over = true
	p.r.cancel()
	for i := range c.polls {
		if c.polls[i] == p {
			c.polls = append(c.polls[:i], c.polls[i+1:]...)
			break
		}
	}
	told := make([]cachedPart, len(p.parts))
	left, any := p.most, false
	for i := range p.parts {
		f := &p.parts[i]
		f.take = f.fit(left, !any)
		size := core.Size(f.take)
		left, any = left-size, any || size > 0
		f.answer = f.describe()
		f.tell = f.cached.tell(&f.answer, size)
		told[i] = f.cached
	}
	if p.session == 0 {
		p.reply(p.make(told))
		return
	}
	overtaken := false
	p.r.h().OnDesk(c.desk.sessions.shardOf(p.session), func(_ Host, d *Desk) {
		overtaken = !d.sessions.settle(p.session, p.q.SessionEpoch, told)
	}, func() {
		switch {
		case !p.r.acting():
		case overtaken:
			p.r.answer(&wire.FetchResponse{ErrorCode: wire.InvalidFetchSessionEpoch,
				Responses: []wire.FetchResponseTopic{}})
			p.release()
		default:
			p.reply(p.session)
		}
	})
}

// make opens a session, if one was asked for, and is its id; else 0.
func (p *poll) make(told []cachedPart) int32 {
	if !p.full {
		return 0
	}
	desk := p.r.conn.desk
	desk.refresh(p.r.h())
	if x := desk.sessions.open(p.r.h(), p.byID, told, desk.slots); x != nil {
		return x.id
	}
	return 0
}

func (p *poll) reply(session int32) {
	resp := &wire.FetchResponse{SessionId: session, Responses: []wire.FetchResponseTopic{}}
	var parts [][]core.Ref
	for i := range p.parts {
		f := &p.parts[i]
		if len(f.take) > 0 {
			f.answer.Records, parts = place(f.take, parts)
		}
		p.hint(resp, f, &f.answer)
		if f.tell || p.session == 0 {
			addFetched(resp, f.cached.key, f.answer)
		}
	}
	p.r.answerAs(p.r.version(), resp, parts)
	p.release()
}

// fit is the part of the region that there is room for: whole Refs from the first on, the first one in any
// case if must is set.
func (f *fetching) fit(left int64, must bool) []core.Ref {
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

// describe is the answer for one partition without its records.
func (f *fetching) describe() wire.FetchResponsePartition {
	out := wire.NewFetchResponsePartition()
	out.PartitionIndex, out.ErrorCode = f.cached.key.index, f.err
	out.HighWatermark = -1
	if f.err == wire.None && f.region.Err == replica.NotAvailable {
		markNoHigh.Hit()
		out.ErrorCode = wire.OffsetNotAvailable
		return out
	}
	if f.err == wire.None || f.err == wire.OffsetOutOfRange {
		out.HighWatermark, out.LogStartOffset = int64(f.region.High), int64(f.region.Start)
		out.LastStableOffset = out.HighWatermark
	}
	if f.region.Gen > 0 { // a tool has to know which copies are equal: see the head of this file
		out.SnapshotId = &wire.FetchResponseSnapshot{EndOffset: int64(f.region.Gen)}
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
	markFetchHint.Hit()
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
