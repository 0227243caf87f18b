package sim

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// A trace has one line for each event and effect, in columns that never move:
//
//	time, node.shard, < event or > effect, its kind, the other end, id, offset or count, bytes, hash
//
// The hash runs over everything before it, bodies included, so that the last line names the run.
func (w *World) line(kind string, n core.NodeID, s core.ShardID, a, b uint64, body []byte) {
	w.hash = w.hash.U64(uint64(w.now)).U64(uint64(n)<<16 | uint64(s)).Str(kind).U64(a).U64(b)
	if len(body) > 0 {
		w.hash = w.hash.Bytes(body)
	}
	if w.opts.Trace != nil {
		w.print(kind, n, s, a, b, int64(len(body)))
	}
}

func (w *World) print(kind string, n core.NodeID, s core.ShardID, a, b uint64, size int64) {
	fmt.Fprintf(w.opts.Trace, "%13.6f n%d.%d %-13s %12x %12x %8d %016x\n", seconds(w.now), n, s, kind, a, b, size, uint64(w.hash))
}

func (w *World) traceEvent(n *node, s core.ShardID, e *core.Event) {
	h := w.hash.U64(uint64(w.now)).U64(uint64(n.id)<<32 | uint64(s)<<16 | uint64(e.Kind)<<8 | uint64(e.Err)).
		U64(uint64(e.Conn) ^ uint64(e.Link)<<1 ^ uint64(e.Node)<<2 ^ uint64(e.Op)<<3).I64(e.N)
	if e.Body.Len > 0 {
		h = h.Bytes(e.Body.Bytes())
	}
	w.hash = h
	if w.opts.Trace != nil {
		w.print("< "+e.Kind.String(), n.id, s, uint64(e.Conn)|uint64(e.Link)|uint64(e.Op), uint64(uint32(e.Node)), e.N+int64(e.Body.Len))
	}
}

func (w *World) traceEffect(n *node, s core.ShardID, e *core.Effect, vec []core.Ref) {
	h := w.hash.U64(uint64(n.id)<<32 | uint64(s)<<16 | uint64(e.Kind)<<8 | b2u(e.Sync)).
		U64(uint64(e.Conn) ^ uint64(e.Link)<<1 ^ uint64(e.Node)<<2 ^ uint64(e.Op)<<3 ^ uint64(e.File)<<4).I64(e.Off).I64(e.N)
	if e.Path != "" {
		h = h.Str(e.Path)
	}
	for _, r := range vec {
		if e.Kind == core.Write && r.InMemory() { // what leaves by the network is hashed where it arrives
			h = h.Bytes(r.Bytes())
		} else {
			h = h.I64(int64(r.Len))
		}
	}
	w.hash = h
	if w.opts.Trace != nil {
		w.print("> "+e.Kind.String(), n.id, s, uint64(e.Conn)|uint64(e.Link)|uint64(e.Op)|uint64(uint32(e.Node)),
			uint64(e.File)<<32|uint64(e.Off), e.N+core.Size(vec))
	}
}

// Unseed is the hash of a run and one more draw from each of its streams: equal runs leave equal
// generators.
func (w *World) unseed() det.Hash {
	return w.hash.U64(w.steps.Uint64()).U64(w.faults.Uint64()).U64(w.netRand.Uint64())
}
