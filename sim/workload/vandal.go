package workload

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// vandal misbehaves: garbage, halves of requests, requests with bits flipped, unknown keys, large
// frames of nothing, questions whose answers it does not wait for or never reads. A broker may close
// its connection or answer; it may not fall, and nobody else may notice.
type vandal struct {
	*base
	conn core.ConnID
	open bool
	mute core.Mono // not before
}

var vandalLoad = kindOfLoad{
	name: "vandals", most: 16, about: "clients that send garbage, halves and hang up in the middle",
	draw: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			f.add(&vandal{base: f.base()})
		}
	},
}

func (v *vandal) poll(now core.Mono) core.Mono {
	if now < v.mute {
		return v.mute
	}
	v.mute = now + core.Mono(v.rng.Between(150, 800))*core.Millisecond
	if v.conn == 0 {
		v.conn = v.f.env.Dial(core.NodeID(v.rng.N(int64(v.f.cfg.Nodes))))
		v.f.raw[v.conn] = v
		return v.mute
	}
	if v.open {
		v.f.Counts.Rude++
		v.act()
	}
	if v.conn != 0 && v.rng.Chance(1, 3) {
		v.hang()
	}
	return v.mute
}

func (v *vandal) act() {
	switch v.rng.N(8) {
	case 0: // garbage
		v.f.env.Send(v.conn, v.noise(v.rng.Between(0, 300)))
	case 1: // the first half of a request
		q := v.question()
		v.f.env.Send(v.conn, q[:v.rng.N(int64(len(q)))])
	case 2: // a flipped bit
		q := v.question()
		q[v.rng.N(int64(len(q)))] ^= 1 << v.rng.N(8)
		v.f.env.Send(v.conn, q)
	case 3: // an unknown key or version
		q := v.question()
		q[v.rng.N(2)*2] = byte(v.rng.Between(1, 100))
		v.f.env.Send(v.conn, q)
	case 4: // a long frame of nothing
		q := v.question()
		v.f.env.Send(v.conn, append(q, make([]byte, v.rng.Between(1<<10, 1<<16))...))
	case 5: // asks and goes
		v.f.env.Send(v.conn, v.question())
		v.hang()
	case 6: // asks a lot and reads nothing
		v.f.env.Deafen(v.conn, true)
		for range v.rng.Between(5, 70) {
			v.f.env.Send(v.conn, v.question())
		}
	case 7: // more bytes than the request has
		v.f.env.Send(v.conn, append(v.question(), v.noise(40)...))
	}
}

func (v *vandal) noise(n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(v.rng.Uint64())
	}
	return b
}

// question is a good request that changes nothing.
func (v *vandal) question() []byte {
	v.f.corr++
	h := wire.RequestHeader{CorrelationId: v.f.corr}
	var m wire.Message
	switch v.rng.N(3) {
	case 0:
		req := wire.NewMetadataRequest()
		req.Topics, req.AllowAutoTopicCreation = []wire.MetadataRequestTopic{{Name: &v.f.cfg.Topic}}, false
		h.ApiKey, h.ApiVersion, m = wire.KeyMetadata, 12, &req
	case 1:
		req := wire.ListOffsetsRequest{ReplicaId: -1, Topics: []wire.ListOffsetsRequestTopic{{Name: v.f.cfg.Topic,
			Partitions: []wire.ListOffsetsRequestPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}}}}
		h.ApiKey, h.ApiVersion, m = wire.KeyListOffsets, 6, &req
	case 2:
		req := wire.NewFetchRequest()
		req.ReplicaId, req.MaxWaitMs, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 500, 1, 8<<10, -1
		req.Topics = []wire.FetchRequestTopic{{Topic: v.f.cfg.Topic, Partitions: []wire.FetchRequestPartition{
			{CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: 4 << 10}}}}
		h.ApiKey, h.ApiVersion, m = wire.KeyFetch, 12, &req
	}
	w := wire.Writer{}
	w.Request(h, m)
	return w.AppendTo(nil)[4:]
}

func (v *vandal) hang() {
	delete(v.f.raw, v.conn)
	v.f.env.Hang(v.conn)
	v.conn, v.open = 0, false
}

func (v *vandal) closed() {
	delete(v.f.raw, v.conn)
	v.conn, v.open = 0, false
}
