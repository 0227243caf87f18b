package sim

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/sim/workload"
)

// copies knows where on which disk the records of unacknowledged batches were written, by finding
// their marks in what shards write, whatever format surrounds them. So it can ask the platters, not
// the replicas, whether a batch is durable at the moment at which its answer leaves (I6), and sees
// damaged records on their way to a disk (I11).
type copies struct {
	w      *World
	racks  map[rackKey]*rack
	last   *rack // and the one that was asked for last
	lastOf rackKey
	spare  [][]place
	proved int64
	buf    []byte
}

// rack holds what is known of neighbours: records are written, answered and written again in runs.
type rack [rackSize]track

const rackSize = 64

type rackKey struct {
	producer, partition uint16
	no                  uint32
}

// track is what is known of one record.
type track struct {
	done bool // acknowledged before: its places are forgotten
	at   []place
}

func (c *copies) track(v workload.Value) *track {
	k := rackKey{v.Producer, v.Partition, v.Counter / rackSize}
	if c.last == nil || c.lastOf != k {
		c.last, c.lastOf = c.racks[k], k
		if c.last == nil {
			c.last = new(rack)
			c.racks[k] = c.last
		}
	}
	return &c.last[v.Counter%rackSize]
}

// place is where a record begins.
type place struct {
	node core.NodeID
	life uint32
	file core.FileID
	path string
	off  int64
	n    int64
}

func (c *copies) init(w *World) {
	c.w, c.racks = w, map[rackKey]*rack{}
}

// write looks for records in a Write effect.
func (c *copies) write(n *node, e *core.Effect, vec []core.Ref) {
	b, ok := c.bytes(n, vec)
	if !ok {
		return
	}
	path := n.disk.Path(e.File)
	workload.FindValues(b, func(v workload.Value, at, size int, whole bool) {
		if !whole {
			c.w.failAt("I11", "node %d writes a damaged record of producer %d into %s at %d", n.id, v.Producer, path, e.Off+int64(at))
			return
		}
		t := c.track(v)
		if t.done {
			return
		}
		p := place{n.id, n.life, e.File, path, e.Off + int64(at), int64(size)}
		for i := range t.at {
			if o := &t.at[i]; o.node == p.node && o.off == p.off && o.path == p.path {
				*o = p
				return
			}
		}
		if n := len(c.spare); t.at == nil && n > 0 {
			t.at, c.spare = c.spare[n-1], c.spare[:n-1]
		}
		t.at = append(t.at, p)
	})
}

func (c *copies) bytes(n *node, vec []core.Ref) ([]byte, bool) {
	if len(vec) == 1 && vec[0].InMemory() {
		return vec[0].Bytes(), true
	}
	b, ok := n.disk.Gather(c.buf[:0], vec)
	c.buf = b
	return b, ok
}

// acked is called when the answer to the batch that begins with v is handed to the network.
func (c *copies) acked(v workload.Value) {
	t := c.track(v)
	if t.done {
		return
	}
	durable := uint64(0)
	nodes := 0
	for i := range t.at {
		if p := &t.at[i]; durable>>p.node&1 == 0 && c.durable(p, v) {
			durable |= 1 << p.node
			nodes++
		}
	}
	if nodes <= len(c.w.nodes)/2 && c.w.plan.Liars == 0 {
		c.w.failAt("I6", "%v is acknowledged and on %d platters of %d; written %s", v, nodes, len(c.w.nodes), c.places(v))
	}
	c.proved++
	if cap(t.at) > 0 {
		c.spare = append(c.spare, t.at[:0])
	}
	*t = track{done: true}
}

func (c *copies) places(v workload.Value) string {
	s := ""
	for _, p := range c.track(v).at {
		s += fmt.Sprintf("on node %d in %s at %d (life %d, durable %v); ", p.node, p.path, p.off, p.life, c.durable(&p, v))
	}
	return s
}

// durable says whether a power loss now would leave v at p.
func (c *copies) durable(p *place, v workload.Value) bool {
	var head [workload.ValueHead]byte
	n := c.w.nodes[p.node]
	if c.w.lossy(n) || p.life <= n.emptied {
		return true // it was; what became of it is the budget's affair
	}
	if k, err := n.own().ReadAt(p.path, p.off, head[:]); err != core.OK || k < len(head) || !workload.SameHead(head[:], v) {
		return false
	}
	return n.own().OnPlatter(p.path, p.off, p.n)
}

// answer looks at what leaves for a client.
func (c *copies) answer(conn core.ConnID, vec []core.Ref) {
	if len(vec) == 0 || !vec[0].InMemory() || !c.w.fleet.Awaits(conn, vec[0].Bytes()) {
		return
	}
	b := vec[0].Bytes()
	if len(vec) > 1 {
		c.buf = c.buf[:0]
		for _, r := range vec {
			if !r.InMemory() {
				return // a fetch of file regions
			}
			c.buf = append(c.buf, r.Bytes()...)
		}
		b = c.buf
	}
	c.w.fleet.Answers(conn, b, c.acked)
}
