package shard

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// used is how much of the disk its files take, of several directories the last one's.
func (n *rigNode) used() (size int64) {
	for path, b := range n.disk {
		if n.dirs < 2 || strings.HasPrefix(path, inDir(n.dirs-1, "")) {
			size += int64(len(b))
		}
	}
	return size
}

// noRoom says that an effect finds the disk full: whatever makes a file longer does, and a new file.
func (n *rigNode) noRoom(e *core.Effect, vec []core.Ref) bool {
	if n.room == 0 || n.dirs > 1 && e.File.Dir() != n.dirs-1 {
		return false
	}
	path := n.files[e.File]
	f, there := n.disk[path]
	grows := int64(0)
	switch e.Kind {
	case core.Create:
		_, there = n.disk[inDir(e.File.Dir(), e.Path)]
		return !there && n.used() >= n.room
	case core.Write:
		if !there {
			return true // its Create found no room
		}
		grows = e.Off + core.Size(vec) - int64(len(f))
	case core.Truncate:
		grows = e.Off - int64(len(f))
	}
	return grows > 0 && n.used()+grows > n.room
}

// fill lets nothing more onto the disk.
func (n *rigNode) fill() { n.room = max(n.used(), 1) }

// fetchAll reads a partition from its beginning, and counts records.
func (r *rig) fetchAll(n *rigNode, conn core.ConnID, topic string, p int32) (end int64, err wire.Error) {
	r.t.Helper()
	req := wire.FetchRequest{ReplicaId: -1, MaxWaitMs: 100, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1,
		Topics: []wire.FetchRequestTopic{{Topic: topic, Partitions: []wire.FetchRequestPartition{{Partition: p, PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1}}}}}
	var resp wire.FetchResponse
	r.call(n, conn, 1, 12, &req, &resp)
	x := resp.Responses[0].Partitions[0]
	if x.ErrorCode == 0 && len(x.Records.Bytes()) == 0 {
		r.t.Errorf("node %d serves nothing of %s-%d", n.id, topic, p)
	}
	return x.HighWatermark, wire.Error(x.ErrorCode)
}

// large and small batches take different ways to the disk.
func batchFor(i int) []byte {
	if i%4 == 3 {
		return batchOf(fmt.Sprint(i), string(make([]byte, 40<<10)))
	}
	return batchOf(fmt.Sprint(i), "x")
}

// equalLogs waits until all nodes hold the same bytes of a partition.
func (r *rig) equalLogs(path string) {
	r.t.Helper()
	r.until("equal logs in "+path, 20*core.Second, func() bool {
		first := r.nodes[0].disk[path]
		for _, n := range r.nodes {
			if len(first) == 0 || !bytes.Equal(first, n.disk[path]) {
				return false
			}
		}
		return true
	})
}

func TestALeaderWithoutRoomHandsOver(t *testing.T) {
	for _, shards := range []int{1, 2} {
		r := newRig(t, 3, shards)
		r.open()
		r.createTopic("events", 3, 3)
		old := r.led("events", 0)
		acked := core.Offset(0)
		for i := range 8 {
			if off, err := r.produce(old, 10, "events", 0, batchFor(i)); err != 0 || off != acked {
				t.Fatalf("offset %d, %v", off, err)
			}
			acked += 2
		}
		old.fill()
		for i := range 200 {
			l := r.led("events", 0)
			off, err := r.produce(l, core.ConnID(20+l.id), "events", 0, batchFor(i))
			switch err {
			case wire.None:
				if off < acked {
					t.Fatalf("offset %d after %d: an acknowledged batch is gone", off, acked)
				}
				acked = off + 2
			case wire.KafkaStorageError, wire.NotLeaderOrFollower, wire.NotEnoughReplicas:
				r.run(20 * core.Millisecond)
			default:
				t.Fatalf("produce to node %d: %v", l.id, err)
			}
		}
		if l := r.led("events", 0); l == old {
			t.Fatalf("node %d has no room and leads\n%s", old.id, r.describe())
		}
		for _, s := range old.shards {
			if st := s.Stats(); st.Offline > 0 {
				t.Errorf("%d replicas went offline", st.Offline)
			}
		}
		l := r.led("events", 0)
		if hw, err := r.fetchAll(l, 40, "events", 0); err != 0 || core.Offset(hw) != acked {
			t.Errorf("high watermark %d of %d, %v", hw, acked, err)
		}
		old.room = 0
		r.equalLogs("events-0/00000000000000000000.log")
		r.until("the node is as the others", 10*core.Second, func() bool { return !old.shards[0].Full(old.id) })
	}
}

// Nobody has room: nobody takes batches, everybody reads, topics can be deleted, leaders can change; and with
// room everything goes on by itself.
func TestAClusterWithoutRoomReads(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		r := newRig(t, nodes, 2)
		r.open()
		r.createTopic("events", 2, int16(nodes))
		r.createTopic("rubbish", 1, int16(nodes))
		l := r.led("events", 0)
		acked := core.Offset(0)
		for i := range 8 {
			if _, err := r.produce(l, 10, "events", 0, batchFor(i)); err != 0 {
				t.Fatal(err)
			}
			acked += 2
		}
		for _, n := range r.nodes {
			n.fill()
		}
		l, acked = r.refuseForRoom(acked)
		r.run(2 * core.Second)
		if hw, err := r.fetchAll(l, 40, "events", 0); err != 0 || core.Offset(hw) < acked {
			t.Errorf("high watermark %d of %d, %v", hw, acked, err)
		}
		if nodes == 3 {
			r.kill(l)
			r.until("another leader", 3*core.Second, func() bool {
				for _, n := range r.nodes {
					if !n.down && r.leads(n, "events", 0) {
						return true
					}
				}
				return false
			})
			r.start(l)
			for _, n := range r.nodes {
				if n != l && r.leads(n, "events", 0) {
					if hw, err := r.fetchAll(n, 50, "events", 0); err != 0 || core.Offset(hw) < acked {
						t.Errorf("after an election: high watermark %d of %d, %v", hw, acked, err)
					}
				}
			}
		}
		other := r.nodes[0] // who was killed cannot begin before there is room
		if other == l && nodes > 1 {
			other = r.nodes[1]
		}
		r.deleteTopic(other, "rubbish")
		for _, n := range r.nodes {
			n.room = 0
		}
		r.open()
		r.until("room", 10*core.Second, func() bool { return !r.nodes[0].shards[0].Full(1) })
		for i, done := 0, 0; done < 5; i++ {
			l = r.led("events", 0)
			off, err := r.produce(l, core.ConnID(60+l.id), "events", 0, batchFor(i))
			switch {
			case err == 0 && off < acked:
				t.Fatalf("offset %d after %d: an acknowledged batch is gone", off, acked)
			case err == 0:
				acked = off + 2
				done++
			case i > 500:
				t.Fatalf("with room: %v\n%s", err, r.describe())
			default:
				r.run(20 * core.Millisecond)
			}
		}
		r.equalLogs("events-0/00000000000000000000.log")
	}
}

// refuseForRoom sends batches until several were refused for want of room. It returns the partition's
// leader then, and how far the log is acknowledged.
func (r *rig) refuseForRoom(acked core.Offset) (l *rigNode, _ core.Offset) {
	r.t.Helper()
	for i, refused := 0, 0; refused < 5; i++ {
		l = r.led("events", 0)
		// Small ones: a large one that waits for room keeps a new leader from knowing what is committed.
		off, err := r.produceFor(l, core.ConnID(20+l.id), "events", 0, batchFor(4*i), 300)
		switch {
		case err == 0:
			acked = off + 2
		case err == wire.KafkaStorageError || err == wire.NotEnoughReplicas:
			refused++
		case err != wire.RequestTimedOut && err != wire.NotLeaderOrFollower || i > 200:
			r.t.Fatalf("produce %d: %v\n%s", i, err, r.describe())
		}
	}
	return l, acked
}

// led is the node that leads a partition, as the first node that runs knows; it waits for one.
func (r *rig) led(topic string, p int32) (n *rigNode) {
	r.t.Helper()
	r.until("a leader", 5*core.Second, func() bool {
		for _, o := range r.nodes {
			if !o.down {
				s := o.shards[0]
				l := s.Leadership(s.view.Topic(topic).Partitions[p].Group)
				if l.Leader != core.NoNode && !l.Dead {
					n = r.node(l.Leader)
				}
				break
			}
		}
		return n != nil
	})
	return n
}

// leads says whether n leads a partition and knows the high watermark.
func (r *rig) leads(n *rigNode, topic string, p int32) bool {
	g := n.shards[0].view.Topic(topic).Partitions[p].Group
	for _, s := range n.shards {
		if h := s.groups.At(g); h != nil {
			return h.r.MayRead() == replica.OK
		}
	}
	return false
}

func (r *rig) produceFor(n *rigNode, conn core.ConnID, topic string, p int32, batch []byte, millis int32) (core.Offset, wire.Error) {
	r.t.Helper()
	req := wire.ProduceRequest{Acks: -1, TimeoutMs: millis, TopicData: []wire.ProduceRequestTopic{{Name: topic,
		PartitionData: []wire.ProduceRequestPartition{{Index: p, Records: core.RefOf(batch)}}}}}
	var resp wire.ProduceResponse
	r.call(n, conn, 0, 9, &req, &resp)
	x := resp.Responses[0].PartitionResponses[0]
	return core.Offset(x.BaseOffset), wire.Error(x.ErrorCode)
}

func (r *rig) deleteTopic(n *rigNode, name string) {
	r.t.Helper()
	req := wire.DeleteTopicsRequest{TopicNames: []string{name}, TimeoutMs: 5000}
	var resp wire.DeleteTopicsResponse
	r.call(n, 70, 20, 5, &req, &resp)
	if e := wire.Error(resp.Responses[0].ErrorCode); e != 0 {
		r.t.Fatalf("deleting %s: %v", name, e)
	}
}
