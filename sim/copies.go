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
	at     map[workload.Value][]place
	done   map[workload.Value]bool // acknowledged before: its places are forgotten
	proved int64
	buf    []byte
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
	c.w, c.at, c.done = w, map[workload.Value][]place{}, map[workload.Value]bool{}
}

// write looks for records in a Write effect.
func (c *copies) write(n *node, e *core.Effect, vec []core.Ref) {
	b, ok := c.bytes(n, vec)
	if !ok {
		return
	}
	workload.FindValues(b, func(v workload.Value, at, size int, whole bool) {
		if !whole {
			c.w.failAt("I11", "node %d writes a damaged record of producer %d into %s at %d", n.id, v.Producer, n.disk.Path(e.File), e.Off+int64(at))
			return
		}
		if c.done[v] {
			return
		}
		p := place{n.id, n.life, e.File, n.disk.Path(e.File), e.Off + int64(at), int64(size)}
		for i, o := range c.at[v] {
			if o.node == p.node && o.path == p.path && o.off == p.off {
				c.at[v][i] = p
				return
			}
		}
		c.at[v] = append(c.at[v], p)
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
	if c.done[v] {
		return
	}
	durable := uint64(0)
	nodes := 0
	for _, p := range c.at[v] {
		if durable>>p.node&1 == 0 && c.durable(&p, v) {
			durable |= 1 << p.node
			nodes++
		}
	}
	if nodes <= len(c.w.nodes)/2 && c.w.plan.Liars == 0 {
		c.w.failAt("I6", "%v is acknowledged and on %d platters of %d; written %s", v, nodes, len(c.w.nodes), c.places(v))
	}
	c.proved++
	c.done[v] = true
	delete(c.at, v)
}

func (c *copies) places(v workload.Value) string {
	s := ""
	for _, p := range c.at[v] {
		s += fmt.Sprintf("on node %d in %s at %d (life %d, durable %v); ", p.node, p.path, p.off, p.life, c.durable(&p, v))
	}
	return s
}

// durable says whether a power loss now would leave v at p.
func (c *copies) durable(p *place, v workload.Value) bool {
	var head [workload.ValueHead]byte
	n := c.w.nodes[p.node]
	if c.w.lossy(n) {
		return true // it was; what became of it is the budget's affair
	}
	if k, err := n.own().ReadAt(p.path, p.off, head[:]); err != core.OK || k < len(head) || !workload.SameHead(head[:], v) {
		return false
	}
	return n.own().OnPlatter(p.path, p.off, p.n)
}

// answer looks at what leaves for a client.
func (c *copies) answer(conn core.ConnID, vec []core.Ref) {
	if len(vec) == 0 || !vec[0].InMemory() {
		return
	}
	b := vec[0].Bytes()
	if len(vec) > 1 {
		b = nil
		for _, r := range vec {
			if !r.InMemory() {
				return // a fetch of file regions
			}
			b = append(b, r.Bytes()...)
		}
	}
	c.w.fleet.Answers(conn, b, c.acked)
}
