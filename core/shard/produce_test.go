package shard

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// call sends one request on connection conn of node n and decodes the answer into resp.
func (r *rig) call(n *rigNode, conn core.ConnID, key wire.Key, version int16, req, resp wire.Message) {
	r.t.Helper()
	var w wire.Writer
	w.Request(wire.RequestHeader{ApiKey: key, ApiVersion: version, CorrelationId: 7}, req)
	out := r.request(n, conn, gather(n, w.Vec(nil))[4:])
	rd := wire.NewReader(core.RefOf(out[4:]))
	var h wire.ResponseHeader
	h.Decode(rd, key, version)
	resp.Decode(rd, version)
	if err := rd.Finish(); err != nil {
		r.t.Fatalf("%v v%d: %v", key, version, err)
	}
}

func (r *rig) createTopic(name string, partitions int32, rf int16) {
	r.t.Helper()
	n, made := r.nodes[0], false
	n.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(&meta.CreateTopic{Name: name, ID: s.DrawID(), Partitions: partitions, Replication: rf}, 5000, func(res meta.Result, e api.AdminErr) {
			if e != api.AdminOK || res.Code != meta.Done {
				r.t.Errorf("create topic: %v %v", e, res)
			}
			made = true
		})
	})})
	r.until("the topic and its leaders", 10*core.Second, func() bool {
		if !made {
			return false
		}
		for _, n := range r.nodes {
			for _, s := range n.shards {
				t := s.view.Topic(name)
				for p := range partitions {
					if n.down {
						continue
					}
					if t == nil || s.Leadership(t.Partitions[p].Group).Leader == core.NoNode {
						return false
					}
				}
			}
		}
		return true
	})
}

// leader is the node that leads a partition, as node n knows.
func (r *rig) leader(n *rigNode, topic string, p int32) *rigNode {
	r.t.Helper()
	s := n.shards[0]
	t := s.view.Topic(topic)
	if t == nil {
		r.t.Fatalf("no topic %s", topic)
	}
	return r.node(s.Leadership(t.Partitions[p].Group).Leader)
}

func batchOf(values ...string) []byte {
	var b record.Builder
	for _, v := range values {
		b.Append(record.Record{Value: []byte(v)})
	}
	return append([]byte(nil), b.Build()...)
}

func (r *rig) produce(n *rigNode, conn core.ConnID, topic string, p int32, batch []byte) (core.Offset, wire.Error) {
	r.t.Helper()
	req := wire.ProduceRequest{Acks: -1, TimeoutMs: 5000, TopicData: []wire.ProduceRequestTopic{{Name: topic,
		PartitionData: []wire.ProduceRequestPartition{{Index: p, Records: core.RefOf(batch)}}}}}
	var resp wire.ProduceResponse
	r.call(n, conn, 0, 9, &req, &resp)
	x := resp.Responses[0].PartitionResponses[0]
	return core.Offset(x.BaseOffset), wire.Error(x.ErrorCode)
}

func TestProducedBatchesAreFetchedFromEveryCluster(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		for _, shards := range []int{1, 2} {
			t.Run(fmt.Sprintf("%d nodes %d shards", nodes, shards), func(t *testing.T) {
				r := newRig(t, nodes, shards)
				r.open()
				r.createTopic("events", 4, int16(min(3, nodes)))
				for p := range int32(4) {
					l := r.leader(r.nodes[0], "events", p)
					for i := range 5 {
						off, err := r.produce(l, core.ConnID(10+p), "events", p, batchOf(fmt.Sprint("a", i), fmt.Sprint("b", i)))
						if err != 0 || off != core.Offset(2*i) {
							t.Fatalf("produce %d: offset %d, %v", i, off, err)
						}
					}
					req := wire.FetchRequest{ReplicaId: -1, MaxWaitMs: 100, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1,
						Topics: []wire.FetchRequestTopic{{Topic: "events", Partitions: []wire.FetchRequestPartition{{Partition: p, FetchOffset: 3, PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1}}}}}
					var resp wire.FetchResponse
					r.call(l, core.ConnID(20+p), 1, 12, &req, &resp)
					x := resp.Responses[0].Partitions[0]
					if x.ErrorCode != 0 || x.HighWatermark != 10 {
						t.Fatalf("fetch: %+v", x)
					}
					b, _, err := record.Next(x.Records.Bytes())
					if err != nil || b.BaseOffset() != 2 || !b.CRCValid() {
						t.Fatalf("fetch from the middle of a batch begins with that batch: %v %d", err, b.BaseOffset())
					}
				}
				t.Log(r.describe())
			})
		}
	}
}

func TestAcknowledgedBatchesSurviveTheLeader(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.createTopic("events", 2, 3)
	const rounds = 6
	next := core.Offset(0)
	for round := range rounds {
		n := r.nodes[(round+1)%3]
		l := r.leader(n, "events", 0)
		for i := range 40 {
			size := 100
			if i%8 == 0 {
				size = 60 << 10 // goes straight to its segment
			}
			b := batchOf(fmt.Sprint(round, i), string(make([]byte, size)))
			off, err := r.produce(l, core.ConnID(100*round+5), "events", 0, b)
			if err != 0 || off != next {
				t.Fatalf("round %d: offset %d, want %d, %v", round, off, next, err)
			}
			next += 2
		}
		r.kill(l)
		r.until("a new leader", 2*core.Second, func() bool {
			for _, o := range r.nodes {
				if x := o.shards[0]; !o.down {
					l2 := x.Leadership(x.view.Topic("events").Partitions[0].Group)
					return l2.Leader != l.id && l2.Leader != core.NoNode
				}
			}
			return false
		})
		r.start(l)
		r.open()
		r.run(500 * core.Millisecond)
	}
	r.run(3 * core.Second)
	var first []byte
	for _, n := range r.nodes {
		log := n.disk["events-0/00000000000000000000.log"]
		if len(log) == 0 || first != nil && !bytes.Equal(first, log) {
			t.Fatalf("node %d: %d bytes, another has %d\n%s", n.id, len(log), len(first), r.describe())
		}
		first = log
	}
	if rec := first; len(rec) < rounds*40*100 {
		t.Fatalf("only %d bytes", len(rec))
	}
}
