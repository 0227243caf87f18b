package journal

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

var (
	markRecycled = det.NewMark("journal: a file was recycled")
	markGiant    = det.NewMark("journal: a frame larger than a slot")
	markHeldBack = det.NewMark("journal: a group was asked to checkpoint")
	markBroken   = det.NewMark("journal: broken by the disk")
	markStocked  = det.NewMark("journal: a spare file was made")
	markSpareUse = det.NewMark("journal: the spare file is in use")
)

// Writer records what the groups of a shard must not forget. Between two Flushes it collects one
// frame; Flush makes it a write.
type Writer struct {
	cfg  Config
	next int // running number of the next new file

	// The frame under way.
	meta     []byte
	bodies   []core.Ref
	bodySize int64
	moves    []move
	seal     bool

	seq, durable uint64
	salt         uint32
	ordinal      uint32
	cur          *slot
	full         []*slot // still needed, oldest first
	waiting      []*slot // needed no more, but no durable frame says so yet; oldest first
	idle         []*slot // free to be written over, oldest first
	blank        *slot   // never written, given its room: for when the disk is full
	queue        []flight
	groups       det.Map[core.GroupID, *group]
	needy        []core.GroupID
	needyStale   bool

	// Files of earlier starts. pastDead: frames say that they are obsolete; pastGone: such a frame is
	// durable, so that they may be touched.
	adopted  []core.FileInfo
	pastDead bool
	pastGone bool
	ghosts   []ghost // gone in this start; a file of an earlier one may still know them

	broken bool
}

// slot is one use of a file.
type slot struct {
	path     string
	file     core.FileID // 0: not opened by this process
	firstSeq uint64
	lastSeq  uint64
	end      int64
	groups   det.Map[core.GroupID, struct{}] // whose since it is
}

type group struct {
	chain   uint64
	since   *slot // the oldest file that recovery needs for it; nil until its first frame is written
	pending int   // checkpoints recorded and not yet durable
	mark    core.Index
	last    core.Index
	name    string
	gone    bool
}

type ghost struct {
	id   core.GroupID
	name string
}

// move is a group's checkpoint, or its end: when the frame is durable, older files hold it no more.
type move struct {
	id core.GroupID
	to *slot
}

// flight is an operation that was asked for. Of a frame, the write; its file's Create comes before.
type flight struct {
	op    core.OpID
	done  bool
	seq   uint64 // 0: a Create
	floor uint64
	past  bool
	moves []move
}

// NewWriter begins the journal of a shard in a start of the node. It asks for nothing yet.
func NewWriter(cfg Config) *Writer {
	if cfg.Slot == 0 {
		cfg.Slot = 64 << 20
	}
	if cfg.Spare == 0 {
		cfg.Spare = 1
	}
	det.That(cfg.Start > 0, "journal: the start counter begins at 1")
	det.That(cfg.Slot > 2*firstFrame, "journal: a slot holds more than its head")
	w := &Writer{cfg: cfg, next: cfg.First}
	if cfg.Blank != "" {
		w.blank = &slot{path: cfg.Blank}
	}
	return w
}

// Append records a change of g: its hard state unless nil, entries that follow or replace what it
// has, and the highest index known complete here. It takes the Bodies; Data is copied. Replaced are
// all entries from the first given index on.
func (w *Writer) Append(id core.GroupID, hard *Hard, ents []Entry, completed core.Index) {
	if w.broken {
		release(ents)
		return
	}
	g := w.groups.At(id)
	det.That(g != nil && !g.gone, "journal: a group begins with a checkpoint")
	if len(ents) > 0 {
		det.That(ents[0].Index > g.mark, "journal: an append at or below the checkpoint")
		det.That(ents[0].Index <= g.last+1, "journal: an append leaves a gap")
		completed = min(completed, ents[0].Index-1) // an entry of this very frame is not complete
	}
	g.chain++
	w.meta = putRecord(w.meta, recAppend, id, g.chain)
	if hard == nil {
		w.meta = append(w.meta, 0)
	} else {
		w.meta = putHard(append(w.meta, 1), *hard)
	}
	w.meta = binary.AppendUvarint(w.meta, uint64(completed))
	w.entries(g, ents)
}

// Checkpoint records everything that is needed of g from here on: the mark, whose segments the
// caller has synced up to m.Index, and all entries after it. When its frame is durable, older files
// no longer need to be kept for g.
func (w *Writer) Checkpoint(id core.GroupID, m Mark, tail []Entry) {
	if w.broken {
		release(tail)
		return
	}
	det.That(m.Offset >= 0 && m.Segment >= 0 && m.Pos >= 0 && m.LogStart >= 0, "journal: a mark below zero")
	det.That(len(tail) == 0 || tail[0].Index == m.Index+1, "journal: a tail begins after its mark")
	g := w.groups.At(id)
	if g == nil {
		g = &group{}
		w.groups.Set(id, g)
	}
	det.That(!g.gone, "journal: a group comes back")
	g.chain++
	g.mark, g.last, g.name = m.Index, m.Index, m.Name
	w.meta = putRecord(w.meta, recCheckpoint, id, g.chain)
	w.meta = putMark(w.meta, &m)
	w.entries(g, tail)
	w.moved(id, g)
}

// Gone records that g was deleted here and holds no file back any more.
func (w *Writer) Gone(id core.GroupID) {
	if w.broken {
		return
	}
	g := w.groups.At(id)
	if g == nil {
		g = &group{}
		w.groups.Set(id, g)
	}
	det.That(!g.gone, "journal: a group goes twice")
	g.gone = true
	g.chain++
	w.meta = putGone(w.meta, id, g.chain, g.name)
	w.moved(id, g)
	if !w.pastGone && w.cfg.Start > 1 {
		w.ghosts = append(w.ghosts, ghost{id, g.name})
	}
}

func (w *Writer) moved(id core.GroupID, g *group) {
	g.pending++
	w.needyStale = true
	w.moves = append(w.moves, move{id: id})
}

func (w *Writer) entries(g *group, ents []Entry) {
	w.meta = putEntries(w.meta, ents)
	for i := range ents {
		e := &ents[i]
		det.That(e.Index == ents[0].Index+core.Index(i), "journal: entries are contiguous")
		g.last = e.Index
		if e.Body.Len == 0 {
			continue
		}
		stub, ok := DecodeStub(e.Data)
		det.That(ok && stub.Len == e.Body.Len, "journal: an inline batch is the one of its stub")
		det.That(e.Body.InMemory(), "journal: an inline batch is in memory")
		w.bodies = append(w.bodies, e.Body)
		w.bodySize += int64(e.Body.Len)
	}
}

func release(ents []Entry) {
	for i := range ents {
		ents[i].Body.Release()
	}
}

// Seal makes the next Flush write a frame even if nothing was recorded, so that the disk learns of
// what is durable. An idle journal does it once, a clean stop too.
func (w *Writer) Seal() { w.seal = true }

// Flush asks for one synced write of all that was recorded since the last and tells its sequence; 0
// when there was nothing. It also opens, recycles and removes files.
func (w *Writer) Flush(fx *core.Effects) (seq uint64) {
	if w.broken {
		w.drop()
		return 0
	}
	w.trim(fx)
	if len(w.meta) == 0 && !w.seal {
		return 0
	}
	w.seq++
	size := headerSize + int64(len(w.meta)) + w.bodySize
	fresh := w.cur == nil || w.cur.end+size > w.cfg.Slot && w.cur.end > firstFrame
	if fresh {
		w.roll(fx)
		size = headerSize + int64(len(w.meta)) + w.bodySize
	}
	if w.cur.end+size > w.cfg.Slot {
		markGiant.Hit()
	}
	w.write(fx, fresh)
	w.stock(fx)
	return w.seq
}

// stock makes a spare file long before it is needed. Nobody waits for it; what finds no room waits by itself,
// and tells its shard so (disk.go there), while the journal has half a file left for votes and hard states.
func (w *Writer) stock(fx *core.Effects) {
	if w.blank != nil || w.cur.end < w.cfg.Slot/2 {
		return
	}
	markStocked.Hit()
	w.blank = &slot{path: Path(w.cfg.Shard, w.next), file: w.cfg.NewFile()}
	w.next++
	fx.Add(core.Effect{Kind: core.Create, Sync: true, File: w.blank.file, Path: w.blank.path})
	fx.Add(core.Effect{Kind: core.Truncate, Sync: true, File: w.blank.file, Off: w.cfg.Slot})
}

// write asks for the frame under way, with the file's head before it when the file is fresh.
func (w *Writer) write(fx *core.Effects, fresh bool) {
	s := w.cur
	det.That(int64(len(w.meta)) <= maxUint32 && w.bodySize <= maxUint32, "journal: a frame below 4 GiB")
	if fresh {
		w.salt = crc32.Update(w.salt+w.ordinal, castagnoli, w.meta)
	}
	f := head{start: w.cfg.Start, ordinal: w.ordinal, shard: w.cfg.Shard, salt: w.salt, firstSeq: s.firstSeq}
	h := header{metaCRC: crc32.Checksum(w.meta, castagnoli), metaLen: uint32(len(w.meta)),
		payloadLen: uint32(w.bodySize), shard: f.shard, generation: f.generation(), seq: w.seq,
		durable: w.durable, floor: w.floor(), at: s.end}
	if w.pastDead {
		h.flags |= flagPastDead
	}
	off, lead := s.end, 0
	if fresh {
		off, lead = 0, firstFrame
	}
	ref := core.NewRef(lead + headerSize + len(w.meta))
	b := ref.Bytes()
	if fresh {
		clear(b[:lead])
		f.put(b)
		f.put(b[headAgain:])
	}
	h.put(b[lead:], w.salt)
	copy(b[lead+headerSize:], w.meta)

	fl := flight{op: w.cfg.NewOp(), seq: w.seq, floor: h.floor, past: w.pastDead}
	if len(w.moves) > 0 {
		fl.moves = slices.Clone(w.moves)
		w.settle(fl.moves)
	}
	w.queue = append(w.queue, fl)
	w.bodies = slices.Insert(w.bodies, 0, ref)
	fx.Add(core.Effect{Kind: core.Write, Sync: true, File: s.file, Off: off, Op: fl.op}, w.bodies...)

	s.lastSeq = w.seq
	s.end = align(s.end + h.size())
	w.reset()
}

// settle says to which file the moves go; a new group holds that file from now on.
func (w *Writer) settle(moves []move) {
	for i := range moves {
		m := &moves[i]
		m.to = w.cur
		if g := w.groups.At(m.id); g.since == nil {
			g.since = w.cur
			w.cur.groups.Set(m.id, struct{}{})
		}
	}
}

func (w *Writer) reset() {
	clear(w.bodies)
	w.meta, w.bodies, w.moves = w.meta[:0], w.bodies[:0], w.moves[:0]
	w.bodySize, w.seal = 0, false
	if cap(w.meta) > 1<<20 { // one large checkpoint shall not be remembered for ever
		w.meta = nil
	}
}

// drop forgets the frame under way.
func (w *Writer) drop() {
	for _, b := range w.bodies {
		b.Release()
	}
	w.reset()
}

// floor is the lowest sequence that recovery may need.
func (w *Writer) floor() uint64 {
	if len(w.full) > 0 {
		return w.full[0].firstSeq
	}
	return w.cur.firstSeq
}

// roll goes to the next file: an idle one, else the spare one, else a new one.
func (w *Writer) roll(fx *core.Effects) {
	if w.cur != nil {
		w.full = append(w.full, w.cur)
		w.needyStale = true
	}
	s := &slot{}
	if len(w.idle) > 0 {
		s.path, s.file = w.idle[0].path, w.idle[0].file
		w.idle = slices.Delete(w.idle, 0, 1)
		markRecycled.Hit()
	} else if w.blank != nil {
		s.path, s.file = w.blank.path, w.blank.file
		w.blank = nil
		markSpareUse.Hit()
	} else {
		s.path = Path(w.cfg.Shard, w.next)
		w.next++
	}
	if s.file == 0 {
		s.file = w.cfg.NewFile()
		op := w.cfg.NewOp()
		fx.Add(core.Effect{Kind: core.Create, Sync: true, File: s.file, Path: s.path, Op: op})
		w.queue = append(w.queue, flight{op: op})
		// A frame that makes its file longer costs the sync a write of the inode as well, a quarter more.
		fx.Add(core.Effect{Kind: core.Truncate, File: s.file, Off: w.cfg.Slot})
	}
	s.firstSeq, s.lastSeq, s.end = w.seq, w.seq, firstFrame
	w.cur = s
	w.ordinal++
	for _, g := range w.ghosts { // their first Gone may be in a file that is recycled before the past is
		w.meta = putGone(w.meta, g.id, 0, g.name)
	}
	w.release()
}

// trim removes the files that are free beyond Spare.
func (w *Writer) trim(fx *core.Effects) {
	kept := w.idle[:0]
	for _, s := range w.idle {
		if len(kept) < w.cfg.Spare && s.end <= align(w.cfg.Slot) {
			kept = append(kept, s)
			continue
		}
		if s.file == 0 {
			s.file = w.cfg.NewFile()
			fx.Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path})
		}
		markTrimmed.Hit()
		fx.Add(core.Effect{Kind: core.Remove, File: s.file, Path: s.path})
	}
	clear(w.idle[len(kept):])
	w.idle = kept
}

// Owns says whether the answer to op is for Done.
func (w *Writer) Owns(op core.OpID) bool {
	return slices.ContainsFunc(w.queue, func(f flight) bool { return f.op == op && !f.done })
}

// Done takes the answer to an operation that Owns. Frames up to durable are on disk; they become so
// in order, whatever the order of answers. ok is false once the journal has failed: a sync that failed
// is never tried again, the pages it lost look clean.
func (w *Writer) Done(op core.OpID, err core.Errno) (durable uint64, ok bool) {
	i := slices.IndexFunc(w.queue, func(f flight) bool { return f.op == op && !f.done })
	det.That(i >= 0, "journal: an answer to nothing")
	w.queue[i].done = true
	if err != core.OK {
		if !w.broken {
			markBroken.Hit()
		}
		w.broken = true
		w.drop()
	}
	if w.broken {
		return w.durable, false
	}
	n := 0
	for ; n < len(w.queue) && w.queue[n].done; n++ {
		if w.queue[n].seq > 0 {
			w.synced(&w.queue[n])
		}
	}
	w.queue = slices.Delete(w.queue, 0, n)
	return w.durable, true
}

// synced is told of each frame that became durable, in order.
func (w *Writer) synced(f *flight) {
	det.That(f.seq == w.durable+1, "journal: frames become durable in order")
	w.durable = f.seq
	for _, m := range f.moves {
		g := w.groups.At(m.id)
		g.pending--
		if g.since != m.to {
			g.since.groups.Delete(m.id)
			g.since = m.to
			g.since.groups.Set(m.id, struct{}{})
		}
		if g.gone && g.pending == 0 {
			g.since.groups.Delete(m.id)
			w.groups.Delete(m.id)
		}
		w.needyStale = true
	}
	w.release()
	for len(w.waiting) > 0 && w.waiting[0].lastSeq < f.floor {
		w.idle = append(w.idle, w.waiting[0])
		w.waiting = slices.Delete(w.waiting, 0, 1)
	}
	if f.past {
		w.pastGone, w.ghosts = true, nil
		for _, info := range w.adopted {
			w.idle = append(w.idle, &slot{path: info.Path, end: info.Size})
		}
		w.adopted = nil
	}
}

// release moves full files that hold nothing to those that wait for a durable frame to say so.
func (w *Writer) release() {
	for len(w.full) > 0 && w.full[0].groups.Len() == 0 {
		w.waiting = append(w.waiting, w.full[0])
		w.full = slices.Delete(w.full, 0, 1)
		w.needyStale = true
	}
}

// Needy are the groups, sorted, that hold the oldest full file back: each is to Checkpoint as soon as
// it can. Nil while fewer than Spare files are full. Groups whose checkpoint is under way are left
// out. The slice is valid until the next call of any method.
func (w *Writer) Needy() []core.GroupID {
	if !w.needyStale {
		return w.needy
	}
	w.needyStale = false
	w.needy = w.needy[:0]
	if len(w.full) < w.cfg.Spare || w.broken {
		w.needy = nil
		return nil
	}
	for _, id := range w.full[0].groups.Keys() {
		if w.groups.At(id).pending == 0 {
			w.needy = append(w.needy, id)
			markHeldBack.Hit()
		}
	}
	return w.needy
}

// Adopt says that all frames of earlier starts are obsolete: every group that recovery found has a
// durable checkpoint, or its end, in this start, in whichever shard. Each shard's writer must be told,
// even if it is given no files. The files are recycled, or removed beyond Spare, once the next frame
// is durable.
func (w *Writer) Adopt(files []core.FileInfo) {
	w.adopted = append(w.adopted, files...)
	w.pastDead, w.seal = true, true
}

// Broken says that the disk has failed the journal for ever.
func (w *Writer) Broken() bool { return w.broken }

// Durable is the sequence up to which frames are on disk.
func (w *Writer) Durable() uint64 { return w.durable }

// Seq is the sequence of the frame that was written last.
func (w *Writer) Seq() uint64 { return w.seq }

// Abandon releases what the frame under way holds: no Flush follows.
func (w *Writer) Abandon() { w.drop() }
