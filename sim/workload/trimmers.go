package workload

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// trimmer has a topic of its own, of one partition with small segments, to which it appends batches of one
// record, and from whose beginning it deletes. It judges A26: the log start never goes back, lies at or above
// what was acknowledged and at or below what was asked for; nothing below it is served, nothing that was
// acknowledged at or above it is missing. It does one thing at a time, so what was answered is in the past.
//
// A leader that was deposed and does not know it may answer reads from the past. So what looks like a violation
// is one only if the same broker, in the same leader epoch, then proves that it leads: see doubt.
type trimmer struct {
	*base
	topic   string
	delay   string // file.delete.delay.ms
	made    bool
	known   bool // leader and epoch are
	leader  core.NodeID
	epoch   int32
	busy    bool
	at      core.Mono
	sent    int64           // batches, so the log has at most so many offsets
	acked   map[int64]int64 // the number of the batch at an offset; looked up
	last    int64           // the highest offset in acked; -1
	low     int64           // the log start is at least this
	allowed int64           // ... and at most this
	may     int64           // ... or this, when a DeleteRecords that nobody answered comes late
	keeps   *keeping        // retention moves it too; nil: nothing but DeleteRecords does
}

var trimLoad = kindOfLoad{
	name: "trimmers", most: 16, about: "clients that append to topics of their own and delete from their beginning",
	later: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			t := &trimmer{base: b, topic: fmt.Sprint("trim-", b.id), acked: map[int64]int64{}, last: -1}
			t.delay = [...]string{"100", "1000", "60000"}[b.rng.N(3)]
			f.add(t)
		}
	},
}

func (t *trimmer) poll(now core.Mono) core.Mono {
	if t.f.stopped || t.busy {
		return core.Never
	}
	if now < t.at {
		return t.at
	}
	t.at = now + t.f.slowly(core.Mono(t.rng.Between(30, 250))*core.Millisecond)
	switch {
	case !t.made || !t.known || !t.reachable(t.leader, now):
		n, ok := t.any(now)
		if !ok {
			return t.at
		}
		if t.made {
			t.look(n)
		} else {
			t.create(n)
		}
	default:
		switch d := t.rng.N(10); {
		case d < 5:
			t.append()
		case d < 7:
			t.trim()
		case d < 8:
			t.first()
		default:
			t.read()
		}
	}
	return core.Never
}

// send asks n; done is not called without an answer.
func (t *trimmer) send(n core.NodeID, key wire.Key, version int16, m wire.Message, done func(wire.Message)) {
	t.alone(&t.busy, n, key, version, m, func() { t.known = false }, done)
}

func (t *trimmer) bad(e wire.Error) bool {
	if t.count(e); e != wire.None && e != wire.OffsetOutOfRange {
		t.known = false
	}
	return e != wire.None
}

func (t *trimmer) create(n core.NodeID) {
	size := "1048576"
	req := wire.NewCreateTopicsRequest()
	req.TimeoutMs = 1000
	req.Topics = []wire.CreateTopicsRequestTopic{{Name: t.topic, NumPartitions: 1, ReplicationFactor: int16(t.f.cfg.Factor),
		Configs: []wire.CreateTopicsRequestConfig{{Name: "segment.bytes", Value: &size}, {Name: "file.delete.delay.ms", Value: &t.delay}}}}
	if t.keeps != nil {
		req.Topics[0].Configs = append(req.Topics[0].Configs, t.keeps.configs()...)
	}
	t.send(n, wire.KeyCreateTopics, 7, &req, func(m wire.Message) {
		if r := m.(*wire.CreateTopicsResponse); len(r.Topics) == 1 {
			e := r.Topics[0].ErrorCode
			t.count(e)
			t.made = e == wire.None || e == wire.TopicAlreadyExists
		}
	})
}

func (t *trimmer) look(n core.NodeID) {
	req := wire.NewMetadataRequest()
	req.Topics, req.AllowAutoTopicCreation = []wire.MetadataRequestTopic{{Name: &t.topic}}, false
	t.send(n, wire.KeyMetadata, 12, &req, func(m wire.Message) {
		r := m.(*wire.MetadataResponse)
		if len(r.Topics) != 1 || t.bad(r.Topics[0].ErrorCode) || len(r.Topics[0].Partitions) != 1 {
			return
		}
		p := &r.Topics[0].Partitions[0]
		if id := p.LeaderId; !t.bad(p.ErrorCode) && id >= 0 && int(id) < t.f.cfg.Nodes && p.LeaderEpoch >= t.epoch {
			t.known, t.leader, t.epoch = true, core.NodeID(id), p.LeaderEpoch
		}
	})
}

// append sends a batch whose record names it, most of them large ones.
func (t *trimmer) append() {
	number := t.sent
	t.sent++
	size := 200
	if t.rng.Chance(2, 3) {
		size = int(t.rng.Between(20<<10, 180<<10))
	}
	at := t.f.clock()
	if t.keeps != nil {
		at = t.keeps.date(t.rng, at)
	}
	var b record.Builder
	b.Append(record.Record{Value: append(binary.BigEndian.AppendUint64(nil, uint64(number)), make([]byte, size)...), Timestamp: at})
	batch := b.Build()
	if t.keeps != nil {
		t.keeps.sends(number, at, int64(len(batch)))
	}
	req := wire.ProduceRequest{Acks: -1, TimeoutMs: 1000, TopicData: []wire.ProduceRequestTopic{{Name: t.topic,
		PartitionData: []wire.ProduceRequestPartition{{Records: core.RefOf(batch)}}}}}
	t.send(t.leader, wire.KeyProduce, 9, &req, func(m wire.Message) {
		r := m.(*wire.ProduceResponse)
		if len(r.Responses) != 1 || len(r.Responses[0].PartitionResponses) != 1 {
			return
		}
		p := &r.Responses[0].PartitionResponses[0]
		if t.bad(p.ErrorCode) {
			return
		}
		if was, ok := t.acked[p.BaseOffset]; ok {
			t.f.env.Fail("A26", fmt.Sprintf("%s: batches %d and %d are both at offset %d", t.topic, was, number, p.BaseOffset))
		}
		t.acked[p.BaseOffset] = number
		t.last = max(t.last, p.BaseOffset)
		if t.keeps != nil {
			t.keeps.took(p.BaseOffset, number)
		}
		t.began("a produce", p.LogStartOffset)
	})
	req.TopicData[0].PartitionData[0].Records.Release()
}

// began judges a log start that was told by a leader that is known to be the true one.
func (t *trimmer) began(by string, start int64) {
	if most := t.most(); start < t.low || start > most {
		t.f.env.Fail("A26", fmt.Sprintf("%s: by the answer to %s the log starts at %d, which must be in [%d, %d]", t.topic, by, start, t.low, most))
	}
	t.low = max(t.low, start)
}

// most is the highest log start that there is a reason for by now.
func (t *trimmer) most() int64 {
	t.allowed = max(t.allowed, min(t.may, t.sent))
	if t.keeps != nil {
		t.allowed = max(t.allowed, t.keeps.most(t.f.env, t.allowed, t.sent))
	}
	return t.allowed
}

func (t *trimmer) trim() {
	to := int64(-1)
	if t.rng.Chance(3, 4) {
		to = t.rng.Between(max(0, t.low-3), t.last+3)
	}
	before := t.may
	t.may = max(t.may, to)
	if to < 0 {
		t.may = math.MaxInt64
	}
	req := wire.DeleteRecordsRequest{TimeoutMs: 1000, Topics: []wire.DeleteRecordsRequestTopic{{Name: t.topic,
		Partitions: []wire.DeleteRecordsRequestPartition{{Offset: to}}}}}
	t.send(t.leader, wire.KeyDeleteRecords, 2, &req, func(m wire.Message) {
		t.most()
		t.may = before // it will not be carried out again
		r := m.(*wire.DeleteRecordsResponse)
		if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 || t.bad(r.Topics[0].Partitions[0].ErrorCode) {
			return
		}
		start := r.Topics[0].Partitions[0].LowWatermark
		if start < to || to < 0 && start <= t.last {
			t.f.env.Fail("A26", fmt.Sprintf("%s: asked to delete up to %d of at least %d, a leader answers %d", t.topic, to, t.last+1, start))
		}
		t.f.Counts.Trims++
		t.began("DeleteRecords", start)
	})
}

func (t *trimmer) first() {
	t.list(-2, func(start int64) {
		if most := t.most(); start < t.low || start > most {
			t.doubt(fmt.Sprintf("the first offset is %d, which must be in [%d, %d]", start, t.low, most))
		}
	})
}

func (t *trimmer) list(time int64, done func(offset int64)) {
	req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{{Name: t.topic,
		Partitions: []wire.ListOffsetsRequestPartition{{CurrentLeaderEpoch: t.epoch, Timestamp: time}}}}}
	t.send(t.leader, wire.KeyListOffsets, 7, &req, func(m wire.Message) {
		r := m.(*wire.ListOffsetsResponse)
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 && !t.bad(r.Topics[0].Partitions[0].ErrorCode) {
			done(r.Topics[0].Partitions[0].Offset)
		}
	})
}

// doubt reports what a broker answered last, if it still leads in the epoch in which it answered.
func (t *trimmer) doubt(what string) {
	leader, epoch := t.leader, t.epoch
	t.list(-1, func(int64) {
		t.f.env.Fail("A26", fmt.Sprintf("%s, node %d, epoch %d: %s", t.topic, leader, epoch, what))
	})
}

// read fetches at an offset around the beginning of the log, or anywhere.
func (t *trimmer) read() {
	at := t.rng.Between(max(0, t.low-3), t.low+3)
	if t.rng.Chance(1, 2) {
		at = t.rng.Between(0, t.last+1)
	}
	low := t.low
	t.fetch(at, func(p *wire.FetchResponsePartition) {
		_, there := t.acked[at]
		switch t.bad(p.ErrorCode); {
		case p.ErrorCode == wire.OffsetOutOfRange && there && at >= t.most():
			t.doubt(fmt.Sprintf("offset %d is out of range, but it was acknowledged, and there was no reason for a start above %d", at, t.allowed))
		case p.ErrorCode == wire.None && at < low:
			t.doubt(fmt.Sprintf("offset %d is served below the log start %d", at, low))
		case p.ErrorCode == wire.None && p.Records.Len > 0:
			t.judge(p.Records.Bytes())
		}
	})
}

func (t *trimmer) fetch(at int64, done func(*wire.FetchResponsePartition)) {
	req := wire.NewFetchRequest()
	req.ReplicaId, req.MaxWaitMs, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 100, 1, 1<<20, -1
	req.Topics = []wire.FetchRequestTopic{{Topic: t.topic, Partitions: []wire.FetchRequestPartition{{CurrentLeaderEpoch: t.epoch,
		FetchOffset: at, LastFetchedEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: 1 << 20}}}}
	t.send(t.leader, wire.KeyFetch, 12, &req, func(m wire.Message) {
		r := m.(*wire.FetchResponse)
		if !t.bad(r.ErrorCode) && len(r.Responses) == 1 && len(r.Responses[0].Partitions) == 1 {
			done(&r.Responses[0].Partitions[0])
		}
	})
}

// judge looks at records: what was acknowledged is what is served, whoever serves it. It answers the offset after
// the last of them.
func (t *trimmer) judge(b []byte) (next int64) {
	for {
		batch, rest, err := record.Next(b)
		if err != nil {
			return next
		}
		b = rest
		if !batch.CRCValid() { // rot on a disk, which a fetch does not see: a client asks again
			t.f.Counts.Damaged++
			return next
		}
		next = int64(batch.LastOffset()) + 1
		want, ok := t.acked[int64(batch.BaseOffset())]
		_ = batch.Records(func(x record.Record) bool {
			if ok && (len(x.Value) < 8 || binary.BigEndian.Uint64(x.Value) != uint64(want)) {
				t.f.env.Fail("A26", fmt.Sprintf("%s: offset %d does not hold batch %d, which was acknowledged there", t.topic, batch.BaseOffset(), want))
			}
			return true
		})
	}
}
