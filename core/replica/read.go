package replica

import (
	"encoding/binary"
	"slices"

	"go.etcd.io/raft/v3"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/seg"
)

// walkBytes is how much of a segment one Read takes while headers are walked.
const walkBytes = 64 << 10

// Region answers Read.
type Region struct {
	Err   Outcome
	High  core.Offset
	Start core.Offset
	Gen   uint64     // Own: the last compaction that this copy has carried out
	Bytes []core.Ref // whole batches from the one that holds the offset; a file region may end in a part of one
	Size  int64
}

// readIndex waits for proof that this node still led when it was asked (raft thesis, 6.4).
type readIndex struct {
	ctx   uint64 // 0: raft has not been asked yet
	index uint64 // 0: not confirmed
	done  func(Outcome)
}

// Watch calls Fire once when the log grew beyond From, or a reader must look again for another
// reason: leadership or health changed. A later one with the same Key takes its place.
type Watch struct {
	Key  core.ConnID
	From core.Offset
	Fire func()
}

// MayRead is what a client's read needs: this node leads, and knows the high watermark.
func (r *Replica) MayRead() Outcome {
	switch {
	case r.closed:
		return UnknownPartition
	case r.offline != "":
		return StorageError
	case !r.leads:
		return NotLeader
	case !r.ready:
		return NotAvailable
	}
	return OK
}

// Watch registers w; it fires at most once.
func (r *Replica) Watch(w Watch) {
	for i := range r.watches {
		if r.watches[i].Key == w.Key {
			r.watches[i] = w
			return
		}
	}
	r.watches = append(r.watches, w)
}

// Unwatch forgets the watch of key.
func (r *Replica) Unwatch(key core.ConnID) {
	r.watches = slices.DeleteFunc(r.watches, func(w Watch) bool { return w.Key == key })
}

// wakeReaders fires the watches that the log or the state of this replica satisfies.
func (r *Replica) wakeReaders() { r.fireWatches(false) }

func (r *Replica) fireWatches(all bool) {
	all = all || r.MayRead() != OK
	kept := r.watches[:0]
	var fire []func()
	for _, w := range r.watches {
		if all || r.high > w.From {
			fire = append(fire, w.Fire)
		} else {
			kept = append(kept, w)
		}
	}
	clear(r.watches[len(kept):])
	r.watches = kept
	for _, f := range fire {
		f()
	}
}

// Read finds up to limit bytes from offset on, below the high watermark. done is called once, in this
// step when the place is known from memory. From what is appended and not committed it gives nothing, as in Kafka.
func (r *Replica) Read(offset core.Offset, limit int64, done func(Region)) {
	res := Region{Err: r.MayRead(), High: r.high, Start: r.start}
	if res.Err != OK {
		done(res)
		return
	}
	switch {
	case offset < r.start:
		markOutside.Hit()
		res.Err = OutOfRange
		done(res)
	case offset > r.End():
		r.aboveEnd(offset, limit, done)
	case offset >= r.high: // it will be there
		done(res)
	case offset >= r.log.end0:
		done(r.hot(offset, limit, res))
	default:
		markCold.Hit()
		r.cold(offset, limit, done)
	}
}

// aboveEnd answers a read above the log's end, which is out of range if this node still leads. One that was deposed and
// does not know it may be asked for what its successor has shown; a reader that is told OutOfRange begins anew (A25).
func (r *Replica) aboveEnd(offset core.Offset, limit int64, done func(Region)) {
	r.Linear(func(out Outcome) {
		res := Region{Err: out, High: r.high, Start: r.start}
		switch {
		case out != OK:
		case offset <= r.End():
			r.Read(offset, limit, done)
			return
		default:
			markOutside.Hit()
			res.Err = OutOfRange
		}
		done(res)
	})
}

// hot serves from the window.
func (r *Replica) hot(offset core.Offset, limit int64, res Region) Region {
	lo, hi := 0, int(r.commit+1-r.log.first)
	for lo < hi { // the first entry that ends beyond offset
		if mid := (lo + hi) / 2; r.log.notes[mid].end > offset {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for i := lo; i < int(r.commit+1-r.log.first); i++ {
		n := &r.log.notes[i]
		if !n.batch {
			continue
		}
		if res.Size > 0 && res.Size+int64(n.stub.Len) > limit {
			break
		}
		res.add(r, n)
	}
	r.observeServed(offset, res)
	return res
}

// add appends one batch, growing the last file region when it continues it.
func (res *Region) add(r *Replica, n *note) {
	res.Size += int64(n.stub.Len)
	if !n.written || n.body.Buf != nil && n.stub.Len <= inlineBytes {
		res.Bytes = append(res.Bytes, n.body.Retain())
		return
	}
	f := r.segment(n.at.seg).file
	if k := len(res.Bytes); k > 0 {
		l := &res.Bytes[k-1]
		if l.Buf == nil && l.File == f && l.Off+int64(l.Len) == n.at.pos && int64(l.Len)+int64(n.stub.Len) < 1<<30 {
			l.Len += n.stub.Len
			return
		}
	}
	res.Bytes = append(res.Bytes, core.Ref{File: f, Off: n.at.pos, Len: n.stub.Len})
}

func (r *Replica) observeServed(offset core.Offset, res Region) {
	if o := r.cfg.Observer; o != nil && res.Size > 0 {
		o.Served(r.cfg.Node, r.cfg.Group, offset, r.high, r.high)
	}
}

// limit is where the bytes of s end that can be served from the file: what the window has dropped is
// committed, durable and written; what it holds is served from its notes.
func (r *Replica) limit(s *segment) int64 {
	switch at := r.log.at0; {
	case at.seg == s.base:
		return at.pos
	case at.seg < s.base:
		return 0
	}
	return s.size
}

func (r *Replica) segmentOf(offset core.Offset) *segment {
	for i := len(r.segs) - 1; i >= 0; i-- {
		if r.segs[i].base <= offset {
			return r.segs[i]
		}
	}
	return nil
}

// cold serves from a segment file.
func (r *Replica) cold(offset core.Offset, limit int64, done func(Region)) {
	was := r.log.end0
	r.coldRegion(offset, limit, func(s *segment, pos, size int64, err core.Errno) {
		res := Region{Err: r.MayRead(), High: r.high, Start: r.start}
		if res.Err == OK && err == core.OK && s == nil && offset >= r.start {
			// Compaction left nothing between the offset and the window as it was.
			if offset < was && was < r.log.end0 {
				r.cold(was, limit, done)
			} else {
				done(r.hot(max(offset, r.log.end0), limit, res))
			}
			return
		}
		switch {
		case res.Err != OK:
		case err != core.OK:
			res.Err = StorageError
		case s == nil || offset < r.start:
			res.Err = OutOfRange
		default:
			res.Size = size
			res.Bytes = []core.Ref{{File: s.file, Off: pos, Len: int32(size)}}
			r.observeServed(offset, res)
		}
		done(res)
	})
}

// coldRegion finds a stretch of about size bytes of a segment that begins with the batch which holds
// offset: index first, then a walk over headers. The stretch ends at a batch's edge where the index
// knows one. Where compaction left no batch that holds offset, the next one will do; s is nil when there is none.
func (r *Replica) coldRegion(offset core.Offset, size int64, done func(s *segment, pos, size int64, err core.Errno)) {
	s := r.segmentOf(offset)
	det.That(s != nil, "replica: an offset at or above the log start has a segment")
	r.coldIn(s, offset, size, done)
}

// coldIn is coldRegion from segment s on.
func (r *Replica) coldIn(s *segment, offset core.Offset, size int64, done func(s *segment, pos, size int64, err core.Errno)) {
	r.find(s, offset, func(pos int64, exact bool) {
		if end := r.edge(s, pos, size); exact && end > pos {
			done(s, pos, end-pos, core.OK)
			return
		}
		r.walk(s, pos, func(h seg.Seen) bool { return h.Head.LastOffset() >= offset }, func(h seg.Seen, found bool, err core.Errno) {
			if next := r.after(s); err == core.OK && !found && next != nil && next.base <= r.log.at0.seg {
				r.coldIn(next, offset, size, done)
				return
			}
			if err != core.OK || !found {
				done(nil, 0, 0, err)
				return
			}
			if s.x != nil {
				s.x.Learn(h.Pos, h.Head.BaseOffset())
			}
			end := r.edge(s, h.Pos, size)
			if end == h.Pos {
				end = min(r.limit(s), h.Pos+max(size, int64(h.Head.Size())))
			}
			done(s, h.Pos, max(end, h.End())-h.Pos, core.OK)
		})
	})
}

// edge is where a stretch of about size bytes from pos on ends with a batch, as far as the index knows; pos
// when it knows none.
func (r *Replica) edge(s *segment, pos, size int64) int64 {
	limit := r.limit(s)
	if pos+size >= limit {
		return max(limit, pos)
	}
	if s.x == nil || s.x.Hollow() {
		return pos
	}
	return max(s.x.Edge(pos+size), pos)
}

// walk reads the headers of s from pos on until want says yes; done gets that header, which is valid
// during the call.
func (r *Replica) walk(s *segment, pos int64, want func(seg.Seen) bool, done func(h seg.Seen, found bool, err core.Errno)) {
	limit := r.limit(s)
	r.walkTo(s, pos, limit, want, func(h seg.Seen, found bool, err core.Errno) {
		if !found && err == core.OK && r.limit(s) > limit { // the window let go of more while this was read
			r.walk(s, max(pos, limit), want, done)
			return
		}
		done(h, found, err)
	})
}

// walkTo is walk as far as limit.
func (r *Replica) walkTo(s *segment, pos, limit int64, want func(seg.Seen) bool, done func(h seg.Seen, found bool, err core.Errno)) {
	if pos >= limit {
		done(seg.Seen{}, false, core.OK)
		return
	}
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		if ev.Err != core.OK && ev.Err != core.ErrShort || ev.Body.Len == 0 {
			done(seg.Seen{}, false, core.ErrIO)
			return
		}
		w := seg.NewWalk(pos, limit)
		w.Feed(pos, ev.Body.Bytes())
		for {
			h, ok := w.Next()
			if !ok {
				break
			}
			if want(h) {
				done(h, true, core.OK)
				return
			}
		}
		if w.Err() != nil || w.Pos() == pos {
			done(seg.Seen{}, false, core.ErrIO)
			return
		}
		r.walkTo(s, w.Pos(), limit, want, done)
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: pos, N: min(limit-pos, walkBytes), Op: op})
}

// Linear calls done with OK once this node has proved that it leads and knows everything that was
// committed when it was asked; at once with an error otherwise.
func (r *Replica) Linear(done func(Outcome)) {
	if out := r.MayRead(); out != OK && (out != NotAvailable || !r.settled()) {
		done(out)
		return
	}
	if mut.On("M05") { // a leader that was deposed and does not know it answers from what it has
		done(OK)
		return
	}
	r.reads = append(r.reads, &readIndex{done: done})
	r.wake()
	r.h.Dirty(r)
}

// settled says of a leader that is not ready that its high watermark is right nevertheless: when it was
// elected it held nothing beyond it. A new topic's first leader is always one. What is left is to prove
// the leadership, which takes no longer than the no-op.
func (r *Replica) settled() bool {
	last := r.log.last()
	if r.noop > 0 {
		last = r.noop - 1
	}
	return r.leads && r.high == r.log.end(last)
}

// askReadIndex asks raft once for everything that came in this step. A context is never used again:
// raft could answer a repeated one with an older index.
func (r *Replica) askReadIndex() {
	asked := false
	for i := len(r.reads) - 1; i >= 0 && r.reads[i].ctx == 0; i-- {
		if !asked {
			asked = true
			r.readSeq++
		}
		r.reads[i].ctx = r.readSeq
	}
	if asked {
		r.rn.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.readSeq))
	}
}

func (r *Replica) readStates(rs raft.ReadState) {
	if len(rs.RequestCtx) != 8 {
		return
	}
	ctx := binary.LittleEndian.Uint64(rs.RequestCtx)
	for _, q := range r.reads {
		if q.ctx != 0 && q.ctx <= ctx && q.index == 0 {
			q.index = rs.Index
		}
	}
}

// answerReads answers those whose index this node has committed. It may be one that raft has just moved
// to, so this is asked after every advance, not only when an index becomes known.
func (r *Replica) answerReads() {
	kept := r.reads[:0]
	var fire []func(Outcome)
	for _, q := range r.reads {
		if q.index != 0 && q.index <= r.commit {
			fire = append(fire, q.done)
		} else {
			kept = append(kept, q)
		}
	}
	clear(r.reads[len(kept):])
	r.reads = kept
	for _, f := range fire {
		f(OK)
	}
}

func (r *Replica) failReads() {
	reads := r.reads
	if len(reads) > 0 {
		markReadsLost.Hit()
	}
	r.reads = nil
	for _, q := range reads {
		q.done(NotLeader)
	}
}
