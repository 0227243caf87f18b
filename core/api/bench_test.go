package api

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// quick is a Host whose partition answers at once and remembers nothing.
type quick struct {
	*world
	region core.Ref
}

func (q *quick) Produce(_ Part, b core.Ref, _ replica.Acks, done func(replica.Result, Leadership)) {
	b.Release()
	done(replica.Result{}, Leadership{Leader: 1, Term: 2})
}

func (q *quick) Read(_ Part, op ReadOp, done func(replica.Region, Leadership)) {
	done(replica.Region{High: 9, Bytes: []core.Ref{q.region.Retain()}, Size: int64(q.region.Len)}, Leadership{Leader: 1, Term: 2})
}
func (q *quick) Unwatch(Part, core.ConnID)        {}
func (q *quick) Setting(string) string            { return "57671680" }
func (q *quick) Credit(core.ConnID, int64)        {}
func (q *quick) Send(_ core.ConnID, v []core.Ref) { releaseAll(v) }

func benchmarkOne(b *testing.B, h wire.RequestHeader, m wire.Message) {
	core.Poison = false
	defer func() { core.Poison = true }()
	w := newWorld(&testing.T{})
	w.topic("t", 1, "")
	var rb record.Builder
	rb.Append(record.Record{Value: make([]byte, 1000), Timestamp: 1_000_000})
	ref := core.RefOf(rb.Build())
	if q, ok := m.(*wire.ProduceRequest); ok {
		q.TopicData[0].PartitionData[0].Records = ref
	}
	var e wire.Writer
	e.Request(h, m)
	var bytes []byte
	for _, r := range e.Vec(nil) {
		bytes = append(bytes, r.Bytes()...)
		r.Release()
	}
	host := &quick{w, ref}
	c := w.desk.Open(1, "PLAINTEXT\x0010.0.0.1:9092")
	b.ReportAllocs()
	for b.Loop() {
		f := core.RefOf(bytes[4:])
		c.Frame(host, f, Intake(f))
	}
	c.Closed()
	ref.Release()
}

func BenchmarkProduce(b *testing.B) {
	benchmarkOne(b, wire.RequestHeader{ApiKey: wire.KeyProduce, ApiVersion: 9}, &wire.ProduceRequest{Acks: -1, TimeoutMs: 1000,
		TopicData: []wire.ProduceRequestTopic{{Name: "t", PartitionData: make([]wire.ProduceRequestPartition, 1)}}})
}

func BenchmarkFetch(b *testing.B) {
	m := wire.NewFetchRequest()
	m.MaxWaitMs, m.MinBytes = 500, 1
	m.Topics = []wire.FetchRequestTopic{{Topic: "t", Partitions: []wire.FetchRequestPartition{{PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1}}}}
	benchmarkOne(b, wire.RequestHeader{ApiKey: wire.KeyFetch, ApiVersion: 12}, &m)
}
