package workload

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// compactor has a compacted topic of its own, of one partition with one replica, on a disk that nothing harms. It
// appends records with few keys, delete markers among them, in segments that age closes soon, and reads all of it
// again from the beginning. It judges A27 by a fold of its own: what a reader of the whole log holds of a key in the
// end is what was acknowledged last, or what nobody answered for; a key is gone only when its last record is a delete
// marker that had its time; a record keeps its offset, and nothing is there that was not sent.
type compactor struct {
	*trimmer
	node    core.NodeID // that has the topic
	wide    bool        // ... or all have
	policy  string      // cleanup.policy of such a one
	small   bool        // ... and its segments are as large as those of other topics in the world, which may be small
	doubted bool        // what was read looks wrong, and the broker is asked whether it leads
	lasting string      // delete.retention.ms
	retain  core.Wall
	keys    int64
	sends   []keyed         // by number
	latest  map[int64]int64 // key: the highest acknowledged offset; looked up
	folds   map[int64]int64 // key: the offset of its last record in the pass under way; looked up
	pass    int64           // the next offset to read; 0: none is under way
	end     int64           // of the pass

	passSince core.Wall // the clock that was behind all others when it began
	passEpoch int32     // ... and the leader's epoch

	placed map[int64]int64 // number of the record at an acknowledged offset; looked up
	behind core.Wall       // the clock that is behind all others, when it looked last
	turned core.Wall       // by how much that went back in all
	lost   map[int64]int64 // key: its delete marker, which a pass did not find behind an older record; looked up
}

// keyed is a record that was sent.
type keyed struct {
	key    int64
	marker bool
	acked  bool
	at     core.Wall // the clock that was behind all others when it was sent
}

var compactLoad = kindOfLoad{
	name: "compactors", most: 16, about: "clients that append keyed records to compacted topics of their own, and read all of them",
	later: sometimes(4, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			var steady []core.NodeID
			for i := range f.cfg.Nodes {
				if f.cfg.Steady>>i&1 != 0 {
					steady = append(steady, core.NodeID(i))
				}
			}
			if len(steady) == 0 {
				return // one copy is not enough here
			}
			newCompactor(b, steady[b.rng.N(int64(len(steady)))], false)
		}
	},
}

var squeezeLoad = kindOfLoad{
	name: "squeezers", most: 16, about: "compactors whose topics have as many replicas as others, on any disks",
	last: sometimes(4, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			newCompactor(f.base(), 0, true)
		}
	},
}

// Squeezes says whether loads have compacted topics with several replicas.
func Squeezes(loads []Load) bool {
	return slices.ContainsFunc(loads, func(l Load) bool { return l.Kind == squeezeLoad.name })
}

func newCompactor(b *base, node core.NodeID, wide bool) {
	t := &trimmer{base: b, topic: fmt.Sprint("squeeze-", b.id), acked: map[int64]int64{}, last: -1}
	x := &compactor{trimmer: t, latest: map[int64]int64{}, placed: map[int64]int64{}, lost: map[int64]int64{}, node: node, wide: wide}
	t.delay = [...]string{"0", "100", "1000"}[b.rng.N(3)]
	x.lasting = [...]string{"0", "300", "1500", "86400000"}[b.rng.N(4)]
	n, _ := strconv.ParseInt(x.lasting, 10, 64)
	x.retain = core.Wall(n)
	x.keys = b.rng.Between(1, 40)
	if wide {
		x.policy = [...]string{"compact", "compact", "compact,delete"}[b.rng.N(3)]
		x.small = b.rng.Chance(1, 2)
	}
	b.f.add(x)
}

// Compacts says whether loads have topics that are compacted: then nodes look for what is dirty ten times a second.
func Compacts(loads []Load) bool {
	return slices.ContainsFunc(loads, func(l Load) bool { return l.Kind == compactLoad.name || l.Kind == squeezeLoad.name })
}

func (x *compactor) poll(now core.Mono) core.Mono {
	if x.f.stopped || x.busy {
		return core.Never
	}
	if now < x.at {
		return x.at
	}
	if e, _ := x.f.env.Clocks(); e < x.behind {
		x.turned, x.behind = x.turned+x.behind-e, e
	} else {
		x.behind = e
	}
	x.doubted = false
	most := int64(60)
	if x.wide { // three replicas work on it
		most = 200
	}
	x.at = now + core.Mono(x.rng.Between(5, most))*core.Millisecond
	switch {
	case !x.made || !x.known || !x.reachable(x.leader, now):
		n, ok := x.any(now)
		if !ok {
			return x.at
		}
		if x.made {
			x.look(n)
		} else {
			x.make(n)
		}
	case x.pass > 0:
		x.follow()
	case x.rng.Chance(1, 12):
		x.begin()
	case x.policy == "compact,delete" && x.rng.Chance(1, 8):
		x.forget()
	default:
		x.write()
	}
	return core.Never
}

func (x *compactor) make(n core.NodeID) {
	policy, age, ratio, size := "compact", "60", "0.01", "1048576"
	if x.wide {
		policy, age = x.policy, "200"
	}
	req := wire.NewCreateTopicsRequest()
	req.TimeoutMs = 1000
	req.Topics = []wire.CreateTopicsRequestTopic{{Name: x.topic, NumPartitions: -1, ReplicationFactor: -1,
		Assignments: []wire.CreateTopicsRequestAssignment{{BrokerIds: []int32{int32(x.node)}}},
		Configs: []wire.CreateTopicsRequestConfig{{Name: "cleanup.policy", Value: &policy}, {Name: "segment.ms", Value: &age},
			{Name: "min.cleanable.dirty.ratio", Value: &ratio}, {Name: "segment.bytes", Value: &size},
			{Name: "delete.retention.ms", Value: &x.lasting}, {Name: "file.delete.delay.ms", Value: &x.delay}}}}
	if x.wide {
		t := &req.Topics[0]
		t.NumPartitions, t.ReplicationFactor, t.Assignments = 1, int16(x.f.cfg.Factor), nil
		if x.small {
			t.Configs = slices.DeleteFunc(t.Configs, func(c wire.CreateTopicsRequestConfig) bool { return c.Name == "segment.bytes" })
		}
	}
	x.send(n, wire.KeyCreateTopics, 7, &req, func(m wire.Message) {
		if r := m.(*wire.CreateTopicsResponse); len(r.Topics) == 1 {
			e := r.Topics[0].ErrorCode
			x.count(e)
			x.made = e == wire.None || e == wire.TopicAlreadyExists
		}
	})
}

// write sends a batch of a few records.
func (x *compactor) write() {
	var b record.Builder
	earliest, _ := x.f.env.Clocks()
	first := int64(len(x.sends))
	n := x.rng.Between(1, 5)
	for range n {
		k := keyed{key: x.rng.N(x.keys), marker: x.rng.Chance(1, 4), at: earliest}
		r := record.Record{Key: binary.BigEndian.AppendUint64(nil, uint64(k.key)), Timestamp: x.f.clock(),
			Headers: []record.Header{{Key: "n", Value: binary.BigEndian.AppendUint64(nil, uint64(len(x.sends)))}}}
		if !k.marker {
			r.Value = make([]byte, x.rng.Between(0, 3000))
		}
		x.sends = append(x.sends, k)
		b.Append(r)
	}
	req := wire.ProduceRequest{Acks: -1, TimeoutMs: 1000, TopicData: []wire.ProduceRequestTopic{{Name: x.topic,
		PartitionData: []wire.ProduceRequestPartition{{Records: core.RefOf(b.Build())}}}}}
	x.send(x.leader, wire.KeyProduce, 9, &req, func(m wire.Message) {
		r := m.(*wire.ProduceResponse)
		if len(r.Responses) != 1 || len(r.Responses[0].PartitionResponses) != 1 {
			return
		}
		p := &r.Responses[0].PartitionResponses[0]
		if x.bad(p.ErrorCode) {
			return
		}
		for i := range n {
			k := &x.sends[first+i]
			k.acked = true
			x.placed[p.BaseOffset+i] = first + i
			if was, ok := x.latest[k.key]; !ok || was < p.BaseOffset+i {
				x.latest[k.key] = p.BaseOffset + i
			}
		}
		x.last = max(x.last, p.BaseOffset+n-1)
	})
	req.TopicData[0].PartitionData[0].Records.Release()
}

// forget deletes from the beginning of the log: a key whose last record lies there may be gone.
func (x *compactor) forget() {
	to := x.rng.Between(max(0, x.low-3), max(x.low, x.last))
	x.may = max(x.may, to)
	req := wire.DeleteRecordsRequest{TimeoutMs: 1000, Topics: []wire.DeleteRecordsRequestTopic{{Name: x.topic,
		Partitions: []wire.DeleteRecordsRequestPartition{{Offset: to}}}}}
	x.send(x.leader, wire.KeyDeleteRecords, 2, &req, func(m wire.Message) {
		r := m.(*wire.DeleteRecordsResponse)
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 && !x.bad(r.Topics[0].Partitions[0].ErrorCode) {
			x.low = max(x.low, r.Topics[0].Partitions[0].LowWatermark)
			x.f.Counts.Trims++
		}
	})
}

// begin starts a pass over all that is there.
func (x *compactor) begin() {
	earliest, _ := x.f.env.Clocks()
	x.list(-1, func(end int64) {
		if end <= x.last {
			if x.fail("the log ends at %d, but offset %d was acknowledged", end, x.last); x.wide {
				return
			}
		}
		x.folds, x.pass, x.end = map[int64]int64{}, x.low+1, end
		x.passSince, x.passEpoch = earliest, x.epoch
	})
}

// fail reports a violation. Of a topic with several replicas it is one only if who answered still leads in the epoch in
// which it did: see trimmer.
func (x *compactor) fail(format string, args ...any) {
	what := x.topic + ": " + fmt.Sprintf(format, args...)
	if !x.wide {
		x.f.env.Fail("A27", what)
		return
	}
	if !x.doubted {
		x.doubted = true
		leader, epoch := x.leader, x.epoch
		x.pass = 0
		x.list(-1, func(int64) { x.f.env.Fail("A27", fmt.Sprintf("%s (node %d, epoch %d)", what, leader, epoch)) })
	}
}

// follow reads on; pass is one more than the offset.
func (x *compactor) follow() {
	x.fetch(x.pass-1, func(p *wire.FetchResponsePartition) {
		if x.bad(p.ErrorCode) {
			if p.ErrorCode == wire.OffsetOutOfRange && x.pass-1 < x.may {
				x.pass = 0
			} else if p.ErrorCode == wire.OffsetOutOfRange {
				x.fail("offset %d is out of range, the log ends at %d", x.pass-1, x.end)
			}
			return
		}
		at := x.pass
		for b := p.Records.Bytes(); ; {
			batch, rest, err := record.Next(b)
			if err != nil {
				break
			}
			b = rest
			if !batch.CRCValid() && x.wide { // rot on a disk, which a fetch does not see: a client asks again
				x.f.Counts.Damaged++
				break
			}
			if !batch.CRCValid() {
				x.fail("the batch at offset %d does not match its checksum", batch.BaseOffset())
				return
			}
			_ = batch.Records(func(r record.Record) bool { x.take(&r); return !x.doubted })
			if x.doubted {
				return
			}
			x.pass = max(x.pass, int64(batch.LastOffset())+2)
		}
		if x.pass == at && p.HighWatermark > at-1 && p.Records.Len == 0 {
			x.fail("nothing is served at offset %d below the high watermark %d", at-1, p.HighWatermark)
		}
		if x.pass-1 >= x.end && !x.doubted {
			x.judgeFold()
			x.pass = 0
		}
	})
}

// take folds a record.
func (x *compactor) take(r *record.Record) {
	o := int64(r.Offset)
	if o < x.pass-1 {
		return // the batch began before what was asked for
	}
	if len(r.Key) != 8 || len(r.Headers) != 1 || len(r.Headers[0].Value) != 8 {
		x.fail("the record at offset %d was not sent", o)
		return
	}
	key, n := int64(binary.BigEndian.Uint64(r.Key)), int64(binary.BigEndian.Uint64(r.Headers[0].Value))
	if n >= int64(len(x.sends)) || x.sends[n].key != key || x.sends[n].marker != (r.Value == nil) {
		x.fail("the record at offset %d was not sent", o)
		return
	}
	if was, ok := x.placed[o]; ok && was != n || !ok && x.sends[n].acked {
		x.fail("record %d is at offset %d, where it was not acknowledged", n, o)
	}
	if was, ok := x.folds[key]; ok && was >= o {
		x.fail("offset %d comes after %d", o, was)
	}
	x.folds[key] = o
}

// slow says that a delete marker may have come and gone between two reads of the pass. Where one replica serves it, who
// has seen what the marker deletes has as much time as delete.retention.ms to see the marker; another replica may be ahead.
func (x *compactor) slow(latest core.Wall) bool {
	return x.wide && (x.epoch != x.passEpoch || latest-x.passSince+x.turned >= x.retain)
}

// judgeFold holds what was read of each key against what was acknowledged.
func (x *compactor) judgeFold() {
	x.f.Counts.Folds++
	_, latest := x.f.env.Clocks()
	open := map[int64]bool{} // keys with a delete marker that nobody answered for; looked up
	for i := range x.sends {
		if k := &x.sends[i]; k.marker && !k.acked {
			open[k.key] = true
		}
	}
	for key := range x.keys {
		want, ok := x.latest[key]
		if !ok {
			continue
		}
		got, there := x.folds[key]
		last := &x.sends[x.placed[want]]
		switch {
		case want < x.may:
		case there && got < want && (last.marker || open[key]) && x.slow(latest):
		case there && got >= want: // a later one may be there that nobody answered for
		case !there && open[key]: // it may have come, and have had its time
		case last.marker && !there && latest-last.at+x.turned >= x.retain:
		case last.marker && there && latest-last.at+x.turned >= x.retain && x.lost[key] != want:
			// The marker had its time while the reader was on its way from the one to the other. Whoever begins now, when
			// it is gone, must find neither.
			x.lost[key] = want
		case last.marker && !there:
			x.fail("key %d: its delete marker at offset %d went after %d ms, delete.retention.ms is %d", key, want, latest-last.at, x.retain)
		case there:
			x.fail("key %d: its last record at offset %d is gone, the one at %d shows", key, want, got)
		default:
			x.fail("key %d: its last record at offset %d is gone", key, want)
		}
	}
}
