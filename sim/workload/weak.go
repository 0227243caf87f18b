package workload

import (
	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// weak is a producer without idempotence that never retries: one batch at a time, with acks=0, 1 or
// all. What it is told is believed to the letter: a definite error means that the batch is nowhere
// (RELIABILITY.md 1.3), an acknowledgement with acks=all that it stays.
type weak struct {
	*base
	number  uint16
	acks    int16
	counter []uint32 // by partition
	busy    bool
	nextAt  core.Mono
	build   record.Builder
}

const weakEvery = 250 * core.Millisecond

var weakLoad = kindOfLoad{
	name: "produce-weak", most: 64, about: "producers without idempotence or retries, with acks 0, 1 and all in turn",
	draw: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for i := range n {
			w := &weak{base: f.base(), number: f.number(), acks: int16(i+int(f.cfg.Seed%3))%3 - 1, counter: make([]uint32, f.cfg.Partitions)}
			f.weak = append(f.weak, w)
			f.add(w)
		}
	},
}

func (p *weak) poll(now core.Mono) core.Mono {
	next := p.refresh(now)
	if p.f.stopped || p.busy || !p.meta.known {
		return next
	}
	if now < p.nextAt {
		return min(next, p.nextAt)
	}
	p.nextAt = now + core.Mono(p.rng.Between(int64(weakEvery)/2, int64(weakEvery)*3/2))
	part := p.rng.N(int64(len(p.counter)))
	n := p.meta.leader[part]
	if n == core.NoNode || !p.reachable(n, now) {
		p.meta.stale = true
		return min(next, p.nextAt)
	}
	p.send(n, int32(part))
	return min(next, p.nextAt)
}

func (p *weak) send(n core.NodeID, part int32) {
	v, count := Value{Producer: p.number, Partition: uint16(part), Counter: p.counter[part]}, int(p.rng.Between(1, 3))
	p.counter[part] += uint32(count)
	p.build.Reset()
	var buf []byte
	for i := range count {
		x := v
		x.Counter += uint32(i)
		buf = appendValue(buf[:0], x, int(p.rng.Between(minValue, p.f.cfg.MaxRecord)))
		p.build.Append(record.Record{Timestamp: p.f.clock(), Value: buf})
	}
	p.f.Counts.Weak++
	began := p.f.env.Now()
	t := wire.ProduceRequestTopic{Name: p.f.cfg.Topic, TopicId: p.meta.topicID,
		PartitionData: []wire.ProduceRequestPartition{{Index: part, Records: core.RefOf(p.build.Build())}}}
	req := wire.ProduceRequest{Acks: p.acks, TimeoutMs: 1000, TopicData: []wire.ProduceRequestTopic{t}}
	if p.acks == 0 {
		p.tell(n, wire.KeyProduce, 9, &req)
		p.ended(v, count, began, checker.OK, -1)
	} else {
		p.busy = true
		c := p.ask(n, wire.KeyProduce, 11, &req, func(m wire.Message) {
			p.busy = false
			if r, ok := m.(*wire.ProduceResponse); ok && len(r.Responses) == 1 && len(r.Responses[0].PartitionResponses) == 1 {
				p.verdict(v, count, began, &r.Responses[0].PartitionResponses[0])
			} else {
				p.ended(v, count, began, checker.Unknown, -1)
			}
		})
		if p.acks == -1 {
			c.first, c.parts = []Value{v}, []int32{part}
		}
	}
	t.PartitionData[0].Records.Release()
}

func (p *weak) ended(v Value, count int, began core.Mono, out checker.Outcome, base int64) {
	p.sent(v, count, began, out, base, p.acks, -1, -1, -1)
}

func (p *weak) verdict(v Value, count int, began core.Mono, a *wire.ProduceResponsePartition) {
	p.count(a.ErrorCode)
	out, base := checker.Unknown, int64(-1)
	switch a.ErrorCode {
	case wire.None:
		p.f.Counts.WeakAcked++
		out, base = checker.OK, a.BaseOffset
	case wire.NotLeaderOrFollower, wire.FencedLeaderEpoch, wire.UnknownTopicOrPartition, wire.NotEnoughReplicas:
		out = checker.Fail
		p.meta.stale = true
	case wire.CorruptMessage, wire.InvalidRecord, wire.MessageTooLarge, wire.OutOfOrderSequenceNumber, wire.DuplicateSequenceNumber:
		p.f.env.Fail("protocol", "a good batch without idempotence was refused: "+a.ErrorCode.String())
	default:
		p.meta.stale = true
	}
	p.ended(v, count, began, out, base)
}
