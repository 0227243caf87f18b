package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
)

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// tracked is a group while its records are replayed.
type tracked struct {
	out     Group
	start   uint32 // of the newest start that has records of it
	shard   core.ShardID
	chain   uint64
	founded bool   // a checkpoint of that start was seen
	missed  string // a hole may have held records of it, unless the next one is the next of its chain
}

func (g *tracked) damage(why string) {
	if g.out.Damaged == "" {
		g.out.Damaged = why
	}
}

// frame applies one whole frame. It answers false, and has applied nothing, when the frame is torn;
// a frame that is bad though it was durable damages groups instead.
func (r *recovery) frame(s *stream, f *file, h *header, meta []byte) bool {
	proven := h.seq <= s.durable || s.ailing
	inline, kept := int64(0), false
	if !r.at.walk(meta, func(*rec) {}, func(e *ent) { inline += e.body }) || inline != int64(h.payloadLen) {
		return r.hole(s, h.seq, h.seq)
	}
	at := h.at + headerSize + int64(h.metaLen)
	var rotten []int64 // positions
	if inline > 0 {
		meta, kept = slices.Clone(meta), true // the window moves on to the payload
		r.at.walk(meta, func(*rec) {}, func(e *ent) {
			if e.body > 0 && !r.intact(at, e) {
				rotten = append(rotten, at)
			}
			at += e.body
		})
	}
	if len(rotten) > 0 && (!proven || mut.On("M07")) {
		markTornBody.Hit()
		return false
	}
	a := applier{r: r, s: s, f: f, at: h.at + headerSize + int64(h.metaLen), rotten: rotten, kept: kept && len(meta) <= 4<<10}
	r.at.walk(meta, a.record, a.entry)
	return true
}

// intact verifies an inline batch: the bytes that its CRC skips against stub and term, the rest
// against the stub's CRC.
func (r *recovery) intact(at int64, e *ent) bool {
	stub, ok := DecodeStub(e.data)
	if !ok || int64(stub.Len) != e.body || e.term > maxInt32 {
		return false
	}
	prefix := record.Prefix(stub.Base, stub.Len, e.term.Epoch(), stub.CRC)
	if !bytes.Equal(r.w.at(at, record.Unchecked), prefix[:]) {
		return false
	}
	crc := uint32(0)
	for end, at := at+e.body, at+record.Unchecked; at < end; {
		b := r.w.at(at, min(chunk, end-at))
		if b == nil {
			return false
		}
		crc = crc32.Update(crc, castagnoli, b)
		at += int64(len(b))
	}
	return crc == stub.CRC
}

// applier brings the records of one frame to their groups.
type applier struct {
	r      *recovery
	s      *stream
	f      *file
	at     int64 // position of the next inline batch
	rotten []int64
	kept   bool     // the meta section is a small copy, which entries may point into
	g      *tracked // of the record under way; nil: its entries do not matter
	first  bool     // no entry of it was seen yet
}

func (a *applier) record(c *rec) {
	g := a.r.groups.At(c.group)
	if g == nil {
		g = &tracked{out: Group{ID: c.group}}
		a.r.groups.Set(c.group, g)
	}
	a.g, a.first = g, true
	mine := tracked{start: a.s.start, shard: a.s.shard, founded: true}
	switch c.kind {
	case recGone:
		mine.out = Group{ID: c.group, Mark: Mark{Name: cmp.Or(c.mark.Name, g.out.Mark.Name)}, Gone: true}
		*g = mine
		return
	case recCheckpoint:
		mine.chain = c.chain
		mine.out = Group{ID: c.group, Mark: c.mark, Hard: c.mark.Hard, Bound: c.mark.Index}
		*g = mine
		return
	}
	if g.start != a.s.start { // its first checkpoint of this start is in a file that was recycled, or lost
		*g = tracked{out: Group{ID: c.group, Mark: g.out.Mark}, start: a.s.start, shard: a.s.shard}
	}
	if !g.founded || g.out.Gone {
		a.g = nil
		return
	}
	if c.chain == g.chain+1 {
		g.missed = ""
	} else {
		g.damage(fmt.Sprintf("its journal lacks what lies between records %d and %d", g.chain, c.chain))
	}
	g.chain = c.chain
	if c.hasHard {
		g.out.Hard = c.hard
	}
	g.out.Bound = max(g.out.Bound, c.completed)
}

func (a *applier) entry(e *ent) {
	at := a.at
	a.at += e.body
	if a.g == nil {
		return
	}
	out := &a.g.out
	if e.index <= out.Mark.Index || e.index > out.Last()+1 || !a.first && e.index != out.Last()+1 {
		a.g.damage(fmt.Sprintf("entry %d does not continue %d..%d", e.index, out.Mark.Index, out.Last()))
		a.g = nil
		return
	}
	if a.first {
		a.first = false
		if keep := e.index - out.Mark.Index - 1; keep < core.Index(len(out.Tail)) {
			markReplaced.Hit()
			out.Tail = slices.Delete(out.Tail, int(keep), len(out.Tail))
			out.Bound = min(out.Bound, e.index-1)
		}
	}
	t := TailEntry{Index: e.index, Term: e.term, Type: e.typ, Data: e.data}
	if !a.kept {
		t.Data = bytes.Clone(e.data)
	}
	if e.typ == 0 && len(t.Data) > 0 && t.Data[0] == KindBatch {
		if t.Stub, t.IsBatch = DecodeStub(t.Data); !t.IsBatch {
			a.g.damage(fmt.Sprintf("entry %d has a stub that this build cannot read", e.index))
		}
	}
	if e.body > 0 && (!t.IsBatch || int64(t.Stub.Len) != e.body) {
		a.g.damage(fmt.Sprintf("entry %d carries %d bytes that its stub does not name", e.index, e.body))
	} else if e.body > 0 {
		t.Inline, t.Path, t.At = true, a.f.path, at
		t.Rotten = slices.Contains(a.rotten, at)
	}
	out.Tail = append(out.Tail, t)
}

// verdict is what recovery says of a group in the end.
func (g *tracked) verdict() Group {
	out := &g.out
	if out.Gone {
		return *out
	}
	if g.missed != "" {
		g.damage(g.missed)
	}
	if !g.founded {
		g.damage(fmt.Sprintf("the journal of shard %d, start %d, has lost its checkpoint", g.shard, g.start))
	}
	if out.Bound > out.Last() {
		g.damage(fmt.Sprintf("entry %d was complete, the journal ends at %d", out.Bound, out.Last()))
	}
	well := out.Damaged == ""
	for i := range out.Tail {
		if t := &out.Tail[i]; t.Rotten {
			g.damage(fmt.Sprintf("the batch of entry %d rots at %s:%d", t.Index, t.Path, t.At))
			out.Mendable = well
		}
	}
	out.Hard.Commit = min(out.Hard.Commit, out.Last())
	return *out
}
