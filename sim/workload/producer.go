package workload

import (
	"fmt"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

const (
	inFlight   = 5  // requests a broker, and batches of a partition from the oldest open one on: what a broker remembers
	maxPending = 40 // batches a partition; beyond it the application waits
)

// batch is what a producer must get acknowledged.
type batch struct {
	first    Value
	number   int64 // in its stream
	count    int
	sizes    [5]int // of its values
	seq      int32
	flying   bool
	tries    int
	bytes    []byte    // encoded for the producer id of now
	began    core.Mono // when it was sent first
	notUntil core.Mono
}

// stream is a producer's side of one partition.
type stream struct {
	part    int32
	counter uint32
	seq     int32
	made    int64
	pending []*batch // unacknowledged, by sequence
	lastErr wire.Error
}

// producer is an idempotent producer with acks=all.
type producer struct {
	*base
	number  uint16
	pid     int64
	epoch   int16
	asking  bool
	streams []*stream
	flights []int // requests, by node
	every   core.Mono
	nextAt  core.Mono
	version int16

	// Memory for the next request.
	build  record.Builder
	value  []byte
	picked []*batch
	parts  []int32
	req    wire.ProduceRequest
}

// sending is a request on its way, with room of its own for a few batches.
type sending struct {
	p      *producer
	node   core.NodeID
	picked []*batch
	parts  []int32
	first  []Value
	pid    int64
	epoch  int16
	room   struct {
		picked [4]*batch
		parts  [4]int32
		first  [4]Value
	}
}

func newProducer(b *base, number uint16, rate int64, of int) *producer {
	p := &producer{base: b, number: number, pid: -1, flights: make([]int, b.f.cfg.Nodes),
		every: core.Mono(int64(core.Second) * int64(of) / max(rate, 1)), nextAt: b.f.env.Now()}
	p.version = [...]int16{9, 11, 12, 13, 13}[b.rng.N(5)]
	for i := range b.f.cfg.Partitions {
		p.streams = append(p.streams, &stream{part: int32(i)})
	}
	return p
}

func (p *producer) waiting() (n int) {
	for _, s := range p.streams {
		n += len(s.pending)
	}
	return n
}

func (p *producer) why() string {
	for _, s := range p.streams {
		if len(s.pending) > 0 {
			return fmt.Sprintf("partition %d, last error %v, %d tries, leader %d", s.part, s.lastErr, s.pending[0].tries, p.meta.leader[s.part])
		}
	}
	return ""
}

func (p *producer) poll(now core.Mono) core.Mono {
	next := p.refresh(now)
	p.offer(now)
	if !p.f.stopped {
		next = min(next, p.nextAt)
	}
	if p.pid < 0 {
		p.init(now)
		return min(next, now+p.f.stretched(50*core.Millisecond, waitsLonger))
	}
	if !p.meta.known {
		return next
	}
	for n := range p.flights {
		next = min(next, p.send(now, core.NodeID(n)))
	}
	return next
}

// offer makes the batches that the application hands over until now.
func (p *producer) offer(now core.Mono) {
	for !p.f.stopped && p.nextAt <= now {
		p.nextAt += p.f.slowly(core.Mono(p.rng.Between(int64(p.every)/2, int64(p.every)*3/2) / p.f.burst))
		if p.nextAt < now-p.f.slowly(core.Second) { // the application was blocked: it does not catch up
			p.nextAt = now
		}
		s := p.streams[p.rng.N(int64(len(p.streams)))]
		if p.f.cfg.Hot > 0 && p.rng.Chance(p.f.cfg.Hot, 100) {
			s = p.streams[0]
		}
		if len(s.pending) >= maxPending {
			continue
		}
		b := &batch{first: Value{Producer: p.number, Partition: uint16(s.part), Counter: s.counter}, number: s.made, count: 1, seq: s.seq}
		s.made++
		if p.rng.Chance(1, 4) {
			b.count = int(p.rng.Between(2, 5))
		}
		low, top := int64(minValue), p.f.cfg.MaxRecord
		if p.f.cfg.Large > 0 && p.rng.Chance(1, p.f.cfg.Large) {
			low, top, b.count = 20<<10, 60<<10, min(b.count, 2)
		}
		for i := range b.count {
			b.sizes[i] = int(p.rng.Between(low, top))
		}
		s.counter += uint32(b.count)
		s.seq += int32(b.count)
		s.pending = append(s.pending, b)
		p.f.Counts.Offered++
	}
}

func (p *producer) init(now core.Mono) {
	n, ok := p.any(now)
	if p.asking || !ok {
		return
	}
	p.asking = true
	began := now
	req := wire.NewInitProducerIdRequest()
	req.TransactionTimeoutMs = 60000
	p.ask(n, wire.KeyInitProducerId, 4, &req, func(m wire.Message) {
		p.asking = false
		if r, ok := m.(*wire.InitProducerIdResponse); ok {
			if p.count(r.ErrorCode); r.ErrorCode == wire.None {
				p.pid, p.epoch = r.ProducerId, r.ProducerEpoch
				p.given(began, p.pid, p.epoch)
			}
		}
	})
}

// send fills requests to one broker: of each partition the oldest batch that is not on its way, when
// all before it are.
func (p *producer) send(now core.Mono, n core.NodeID) core.Mono {
	next := core.Never
	for p.flights[n] < inFlight {
		picked, parts := p.picked[:0], p.parts[:0]
		for _, s := range p.streams {
			if p.meta.leader[s.part] != n {
				continue
			}
			for _, b := range s.pending {
				if b.number-s.pending[0].number >= inFlight || !b.flying && b.notUntil > now {
					next = min(next, b.notUntil)
					break
				}
				if !b.flying {
					picked, parts = append(picked, b), append(parts, s.part)
					break
				}
			}
		}
		p.picked, p.parts = picked, parts
		if len(picked) == 0 {
			return next
		}
		if !p.reachable(n, now) {
			p.meta.stale = true
			return min(next, p.session(n).retryAt)
		}
		p.request(n, picked, parts)
	}
	return next
}

func (p *producer) request(n core.NodeID, picked []*batch, parts []int32) {
	if len(p.req.TopicData) == 0 {
		p.req = wire.ProduceRequest{Acks: -1, TimeoutMs: 1000, TopicData: make([]wire.ProduceRequestTopic, 1)}
	}
	t := &p.req.TopicData[0]
	t.Name, t.TopicId, t.PartitionData = p.f.cfg.Topic, p.meta.topicID, t.PartitionData[:0]
	x := &sending{p: p, node: n, pid: p.pid, epoch: p.epoch}
	x.picked = append(x.room.picked[:0], picked...)
	x.parts = append(x.room.parts[:0], parts...)
	x.first = x.room.first[:0]
	for i, b := range picked {
		if b.bytes == nil {
			b.bytes = p.encode(b)
		}
		b.flying = true
		if b.tries++; b.tries > 1 {
			p.f.Counts.Retries++
		} else {
			b.began = p.f.env.Now()
		}
		x.first = append(x.first, b.first)
		t.PartitionData = append(t.PartitionData, wire.ProduceRequestPartition{Index: parts[i], Records: core.RefOf(b.bytes)})
	}
	p.flights[n]++
	c := p.ask(n, wire.KeyProduce, p.version, &p.req, x.answered)
	c.first, c.parts = x.first, x.parts
	for i := range t.PartitionData {
		t.PartitionData[i].Records.Release()
	}
}

func (p *producer) encode(b *batch) []byte {
	p.build.Reset()
	p.build.Producer(p.pid, p.epoch, b.seq)
	at := p.f.clock()
	for i, n := range b.sizes[:b.count] {
		v := b.first
		v.Counter += uint32(i)
		p.value = appendValue(p.value[:0], v, n)
		p.build.Append(record.Record{Timestamp: at, Value: p.value})
	}
	if n := uint32(p.f.cfg.Packed); n > 0 && b.first.Counter%n < uint32(len(b.sizes)) {
		return packed(p.build.Build())
	}
	return append([]byte(nil), p.build.Build()...)
}

func (x *sending) answered(m wire.Message) {
	p := x.p
	p.flights[x.node]--
	r, _ := m.(*wire.ProduceResponse)
	now := p.f.env.Now()
	for i, b := range x.picked {
		b.flying = false
		b.notUntil = now + p.backoff()
		if r == nil || x.pid != p.pid || x.epoch != p.epoch {
			continue // unknown: under the old id it is abandoned already
		}
		for _, t := range r.Responses {
			for j := range t.PartitionResponses {
				if a := &t.PartitionResponses[j]; a.Index == x.parts[i] {
					p.verdict(b, p.streams[x.parts[i]], a)
				}
			}
		}
	}
}

func (p *producer) verdict(b *batch, s *stream, a *wire.ProduceResponsePartition) {
	p.count(a.ErrorCode)
	if a.ErrorCode != wire.None {
		s.lastErr = a.ErrorCode
	}
	switch a.ErrorCode {
	case wire.None:
		p.ended(b, checker.OK, a.BaseOffset)
		p.acked(b, s)
	case wire.DuplicateSequenceNumber:
		p.f.Counts.Duplicates++
		p.ended(b, checker.OK, -1)
		p.acked(b, s)
	case wire.NotLeaderOrFollower, wire.FencedLeaderEpoch:
		if a.CurrentLeader != nil {
			p.hint(s.part, a.CurrentLeader.LeaderId, a.CurrentLeader.LeaderEpoch)
		} else {
			p.meta.stale = true
		}
	case wire.OutOfOrderSequenceNumber:
		p.f.Counts.OutOfOrder++
		p.meta.stale = true
	case wire.UnknownProducerId, wire.InvalidProducerEpoch, wire.InvalidProducerIdMapping, wire.ProducerFenced:
		p.reset()
	case wire.CorruptMessage, wire.InvalidRecord, wire.MessageTooLarge, wire.UnsupportedForMessageFormat:
		p.f.env.Fail("protocol", fmt.Sprintf("a good batch of producer %d was refused: %v", p.number, a.ErrorCode))
	default:
		p.meta.stale = true
	}
}

// ended tells how a batch ended.
func (p *producer) ended(b *batch, out checker.Outcome, base int64) {
	p.sent(b.first, b.count, b.began, out, base, -1, p.pid, p.epoch, b.seq)
}

func (p *producer) acked(b *batch, s *stream) {
	p.f.Counts.Acked++
	p.f.Counts.LastAck = p.f.env.Now()
	if b.tries == 1 {
		p.f.Counts.FirstTry++
	}
	for i, o := range s.pending {
		if o == b {
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			return
		}
	}
}

// reset gives the producer id up. What was sent under it and has no answer stays unknown for ever;
// what was never sent goes on under the next one.
func (p *producer) reset() {
	p.f.Counts.Resets++
	for _, s := range p.streams {
		s.seq = 0
		var keep []*batch
		for _, b := range s.pending {
			if b.tries > 0 {
				p.ended(b, checker.Unknown, -1)
				continue
			}
			b.seq, b.bytes = s.seq, nil
			s.seq += int32(b.count)
			keep = append(keep, b)
		}
		s.pending = keep
	}
	p.pid, p.epoch = -1, -1
}
