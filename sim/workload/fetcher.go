package workload

import (
	"fmt"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// fetcher follows partitions from positions: one Fetch on its way to each broker, in a fetch session
// (KIP-227) or without.
type fetcher struct {
	*base
	at      map[int32]core.Offset // position by partition; looked up, and visited by partition number
	flying  []bool                // by node
	nextAt  []core.Mono
	session []fetchSession
	use     bool // sessions
	version int16
	round   int  // answers of an older assignment are dropped
	scan    bool // tell the log of every batch
	think   core.Mono
}

type fetchSession struct {
	id    int32
	epoch int32
	sent  map[int32]core.Offset // what the broker knows
}

func newFetcher(b *base, sessions bool) *fetcher {
	n := b.f.cfg.Nodes
	f := &fetcher{base: b, at: map[int32]core.Offset{}, flying: make([]bool, n), nextAt: make([]core.Mono, n),
		session: make([]fetchSession, n), use: sessions, think: b.f.slowly(core.Mono(b.rng.Between(60, 120)) * core.Millisecond)}
	f.version = [...]int16{11, 12, 13, 17, 18}[b.rng.N(5)]
	return f
}

// assign begins to read a partition at an offset.
func (f *fetcher) assign(part int32, at core.Offset) {
	f.at[part] = at
	o := f.op(checker.Assign, f.f.env.Now())
	o.Partition, o.From = int64(part), int64(at)
	f.f.tell(o)
}

// revoke forgets every partition.
func (f *fetcher) revoke() {
	clear(f.at)
	f.round++
	clear(f.session)
}

// fetch asks every broker that leads something of ours.
func (f *fetcher) fetch(now core.Mono) core.Mono {
	next := core.Never
	if !f.meta.known {
		return next
	}
	for n := range f.flying {
		if f.flying[n] {
			continue
		}
		if now < f.nextAt[n] {
			next = min(next, f.nextAt[n])
			continue
		}
		f.ask1(core.NodeID(n), now)
	}
	return next
}

func (f *fetcher) ask1(n core.NodeID, now core.Mono) {
	req := wire.NewFetchRequest()
	req.ReplicaId, req.MaxWaitMs, req.MinBytes, req.MaxBytes = -1, 300, 1, 1<<20
	req.SessionEpoch = -1
	s := &f.session[n]
	if f.use {
		req.SessionId, req.SessionEpoch = s.id, s.epoch
		if s.epoch == 0 {
			s.sent = map[int32]core.Offset{}
		}
	}
	t := wire.FetchRequestTopic{Topic: f.f.cfg.Topic, TopicId: f.meta.topicID}
	mine := false
	var forgotten []int32
	for p := range int32(f.f.cfg.Partitions) {
		at, ok := f.at[p]
		ok = ok && f.meta.leader[p] == n
		mine = mine || ok
		if !ok {
			if _, was := s.sent[p]; f.use && was {
				forgotten = append(forgotten, p)
				delete(s.sent, p)
			}
			continue
		}
		if was, known := s.sent[p]; f.use && known && was == at {
			continue
		}
		if f.use {
			s.sent[p] = at
		}
		t.Partitions = append(t.Partitions, wire.FetchRequestPartition{Partition: p, CurrentLeaderEpoch: f.meta.epoch[p],
			FetchOffset: int64(at), LastFetchedEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: 256 << 10})
	}
	if !mine || !f.reachable(n, now) {
		*s = fetchSession{}
		f.nextAt[n] = now + f.think
		return
	}
	if len(t.Partitions) > 0 {
		req.Topics = []wire.FetchRequestTopic{t}
	}
	if len(forgotten) > 0 {
		req.ForgottenTopicsData = []wire.FetchRequestForgottenTopic{{Topic: t.Topic, TopicId: t.TopicId, Partitions: forgotten}}
	}
	f.flying[n] = true
	f.f.Counts.Polls++
	round, epochs := f.round, append([]int32(nil), f.meta.epoch...)
	began := now
	f.ask(n, wire.KeyFetch, f.version, &req, func(m wire.Message) {
		f.flying[n] = false
		f.nextAt[n] = f.f.env.Now() + f.think
		r, ok := m.(*wire.FetchResponse)
		if !ok || round != f.round {
			f.session[n] = fetchSession{}
			return
		}
		f.answer(n, r, epochs, began)
	})
}

func (f *fetcher) answer(n core.NodeID, r *wire.FetchResponse, epochs []int32, began core.Mono) {
	s := &f.session[n]
	f.count(r.ErrorCode)
	if r.ErrorCode != wire.None {
		*s = fetchSession{}
		f.meta.stale = true
		return
	}
	if f.use {
		if s.id = r.SessionId; s.id == 0 {
			*s = fetchSession{}
		} else {
			s.epoch++
		}
	}
	for _, t := range r.Responses {
		for i := range t.Partitions {
			f.partition(s, &t.Partitions[i], epochs, began)
		}
	}
}

func (f *fetcher) partition(s *fetchSession, p *wire.FetchResponsePartition, epochs []int32, began core.Mono) {
	at, ok := f.at[p.PartitionIndex]
	f.count(p.ErrorCode)
	if !ok {
		return
	}
	switch p.ErrorCode {
	case wire.None:
		if f.scan {
			f.scanned(p.PartitionIndex, at, p.Records.Bytes(), began)
		}
		o := f.op(checker.Fetch, began)
		o.Partition, o.From = int64(p.PartitionIndex), int64(at)
		o.HW, o.LeaderEpoch = p.HighWatermark, int64(epochs[p.PartitionIndex])
		if !f.scan {
			f.records(o, p.PartitionIndex, at, p.Records.Bytes())
		}
		f.f.tell(o)
		return
	case wire.OffsetOutOfRange:
		o := f.op(checker.Fetch, began)
		o.Partition, o.From, o.Outcome, o.Error = int64(p.PartitionIndex), int64(at), checker.Fail, "OFFSET_OUT_OF_RANGE"
		f.f.tell(o)
	case wire.NotLeaderOrFollower, wire.FencedLeaderEpoch:
		if p.CurrentLeader != nil {
			f.hint(p.PartitionIndex, p.CurrentLeader.LeaderId, p.CurrentLeader.LeaderEpoch)
		} else {
			f.meta.stale = true
		}
	default:
		f.meta.stale = true
	}
	delete(s.sent, p.PartitionIndex) // ask again, whatever the broker remembers
}

// batches visits the whole batches of an answer, from the one that holds at on. The last one may be
// cut, as Kafka does. One whose checksum is wrong ends the visit: a real client fails the fetch there and
// asks again (check.crcs), until the broker has found what rotted.
func (f *fetcher) batches(b []byte, visit func(record.Batch)) {
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err == record.ErrShort {
			return
		}
		if err != nil || batch.Check() != 0 {
			f.f.Counts.Damaged++
			return
		}
		b = rest
		visit(batch)
	}
}

// gather puts the records of a batch from at on into an operation. One that is no value of this
// partition is bad.
func (f *fetcher) gather(o *checker.Op, part int32, at core.Offset, batch record.Batch, each func(record.Record)) {
	err := batch.Records(func(r record.Record) bool {
		if r.Offset < at {
			return true
		}
		if v, ok := ParseValue(r.Value); ok && int32(v.Partition) == part {
			o.Runs = row(o.Runs, r.Offset, v)
			f.f.Counts.Records++
		} else {
			o.Bad = append(o.Bad, int64(r.Offset))
		}
		if each != nil {
			each(r)
		}
		return true
	})
	if err != nil {
		o.Bad = append(o.Bad, int64(batch.BaseOffset()))
	}
}

// records puts every record from at on into an operation, and moves the position.
func (f *fetcher) records(o *checker.Op, part int32, at core.Offset, b []byte) {
	f.batches(b, func(batch record.Batch) {
		f.gather(o, part, at, batch, nil)
		at = max(at, batch.LastOffset()+1)
	})
	f.at[part] = at
}

// scanned tells of every batch whole, and moves the position.
func (f *fetcher) scanned(part int32, at core.Offset, b []byte, began core.Mono) {
	f.batches(b, func(batch record.Batch) {
		if batch.LastOffset() < at {
			return
		}
		o := f.op(checker.Scan, began)
		o.Partition, o.Base, o.Count = int64(part), int64(batch.BaseOffset()), int64(batch.Count())
		o.PID, o.Epoch, o.Seq = batch.ProducerID(), int64(batch.ProducerEpoch()), int64(batch.BaseSequence())
		f.gather(o, part, batch.BaseOffset(), batch, func(r record.Record) { o.Times = append(o.Times, int64(r.Timestamp)) })
		f.f.tell(o)
		at = max(at, batch.LastOffset()+1)
	})
	f.at[part] = at
}

// reader follows every partition from its first offset; the last one of a run reads to the end that
// the leaders name, and tells the log of every batch.
type reader struct {
	*fetcher
	toEnd   bool
	begun   bool
	sealed  bool
	ends    map[int32]core.Offset
	asking  int
	askedAt core.Mono
}

func newReader(b *base, toEnd bool) *reader {
	r := &reader{fetcher: newFetcher(b, false), toEnd: toEnd, ends: map[int32]core.Offset{}}
	r.scan = toEnd
	if toEnd {
		r.think = core.Millisecond
	}
	return r
}

func (r *reader) poll(now core.Mono) core.Mono {
	if !r.begun {
		r.begun = true
		for p := range int32(r.f.cfg.Partitions) {
			r.assign(p, 0)
		}
	}
	next := r.refresh(now)
	if r.toEnd {
		next = min(next, r.findEnds(now))
	}
	if r.finished() {
		r.seal(now)
		return core.Never
	}
	return min(next, r.fetch(now))
}

// findEnds asks for the last offset of each partition until every leader has answered.
func (r *reader) findEnds(now core.Mono) core.Mono {
	if !r.meta.known || len(r.ends) == r.f.cfg.Partitions {
		return core.Never
	}
	if r.asking > 0 || now < r.askedAt+100*core.Millisecond {
		return r.askedAt + 100*core.Millisecond
	}
	r.askedAt = now
	for n := range r.f.cfg.Nodes {
		r.askEnds(core.NodeID(n), now)
	}
	return now + 100*core.Millisecond
}

func (r *reader) askEnds(n core.NodeID, now core.Mono) {
	t := wire.ListOffsetsRequestTopic{Name: r.f.cfg.Topic}
	for i, l := range r.meta.leader {
		if _, ok := r.ends[int32(i)]; !ok && l == n {
			t.Partitions = append(t.Partitions, wire.ListOffsetsRequestPartition{PartitionIndex: int32(i), CurrentLeaderEpoch: -1, Timestamp: -1})
		}
	}
	if len(t.Partitions) == 0 || !r.reachable(n, now) {
		return
	}
	r.asking++
	req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{t}}
	r.ask(n, wire.KeyListOffsets, 6, &req, func(m wire.Message) {
		r.asking--
		a, ok := m.(*wire.ListOffsetsResponse)
		if !ok {
			return
		}
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				if r.count(p.ErrorCode); p.ErrorCode == wire.None {
					r.ends[p.PartitionIndex] = core.Offset(p.Offset)
				} else {
					r.meta.stale = true
				}
			}
		}
	})
}

func (r *reader) finished() bool {
	if !r.toEnd || len(r.ends) < r.f.cfg.Partitions {
		return false
	}
	for p := range int32(r.f.cfg.Partitions) {
		if r.at[p] < r.ends[p] {
			return false
		}
	}
	return true
}

// seal says of every partition that it was read to its end.
func (r *reader) seal(now core.Mono) {
	if r.sealed {
		return
	}
	r.sealed = true
	for p := range int32(r.f.cfg.Partitions) {
		o := r.op(checker.Sealed, now)
		o.Partition, o.End = int64(p), int64(r.at[p])
		r.f.tell(o)
	}
}

func (r *reader) why() string {
	s := fmt.Sprintf("the last reader knows %d of %d ends; ", len(r.ends), r.f.cfg.Partitions)
	for p := range int32(r.f.cfg.Partitions) {
		if end, ok := r.ends[p]; ok && r.at[p] < end {
			s += fmt.Sprintf("partition %d: at %d of %d; ", p, r.at[p], end)
		}
	}
	return s
}
