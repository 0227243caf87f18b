package replica

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/seg"
)

// markEvery is after how many entries a group whose batches all went straight to segments writes a
// checkpoint unasked: it keeps the log that a boot must read short.
const markEvery = 4096

var markRetired = det.NewMark("replica: checkpoint let a journal file be used again")

// Needed is called when the journal wants to use a file again that holds records of this group: what
// lives there only moves to the segments, then a checkpoint is written.
func (r *Replica) Needed() {
	if !r.mayMark() {
		return
	}
	markRetired.Hit()
	r.syncAll()
}

// syncAll moves to the segments what lives in the journal only, syncs them and writes a checkpoint.
func (r *Replica) syncAll() {
	r.flushFill()
	r.noted = r.ahead
	if r.pull != nil {
		r.pull.fresh = 0
	}
	r.aim()
	for _, s := range r.segs {
		if !s.dirty || mut.On("M27c") && r.pull != nil { // a catch-up is noted before it is synced
			continue
		}
		s.dirty = false
		r.syncing++
		op := r.h.NewOp(func(ev *core.Event) {
			if r.diskFailed(ev, "syncing "+s.path) {
				return
			}
			r.syncing--
			if r.syncing == 0 {
				r.checkpoint()
			}
		})
		r.h.FX().Add(core.Effect{Kind: core.SyncFile, File: s.file, Op: op})
	}
	if r.syncing == 0 {
		r.checkpoint()
	}
}

// mayMark says that a checkpoint can begin: no other is under way.
func (r *Replica) mayMark() bool {
	return r.offline == "" && r.syncing == 0 && r.marking == 0 && r.opening == 0 && r.cut == nil
}

// aim fixes what the next checkpoint covers: all that is applied, and the producer state and log start as of
// now. The segments that it names are those of the log: what was shed can go when it is durable.
func (r *Replica) aim() {
	r.syncTo, r.syncState, r.syncStart, r.syncConf = r.applied, r.encodeState(), r.floor, r.log.conf
	r.shed.unnamed = len(r.shed.files)
}

// encodeState is what the journal keeps for us in a mark: bases and lengths of the log's segments, by which a
// boot knows files that do not belong to it, and which of its own are not whole; their timestamps, of the last as
// of what is applied, and their indexes; its epochs, then the producer state. Version 1 had no lengths, version 2
// no timestamps and no indexes, version 3 nothing of a catch-up; version 4 is that of a log that was never compacted; version
// 5 is of partitions with one replica (decodeDecisions).
func (r *Replica) encodeState() []byte {
	version := byte(stateVersion)
	if !r.compacting.any(r.segs) {
		version = 4 // so that an older node can read it
	}
	b := binary.AppendUvarint([]byte{version}, uint64(len(r.segs)))
	at := r.log.after(r.applied).seg
	for _, s := range r.segs {
		b = binary.AppendUvarint(b, uint64(s.base))
		b = binary.AppendUvarint(b, uint64(s.size))
		if version >= 5 {
			b = binary.AppendUvarint(b, s.gen)
		}
		t := s.times
		if s.base == at {
			t = r.log.timesAt(r.applied)
		}
		b = binary.AppendVarint(b, int64(t.first))
		b = binary.AppendVarint(b, int64(t.max))
		if x := s.x; x != nil && s.again == nil && s.closing == 0 {
			b = x.Append(b)
		} else {
			b = append(b, 0)
		}
	}
	b = r.noted.encode(r.epochs.encode(b))
	if version >= 5 {
		b = r.compacting.encode(b, r.segs)
	}
	if mut.On("M10b") { // a restart forgets the producers of what the checkpoint covers
		return b
	}
	return append(b, r.ps.encode()...)
}

const stateVersion = 6

// decodeState takes bases and epochs and gives the rest. What the state says nothing of counts as of now.
func (r *Replica) decodeState(b []byte, now core.Wall) (producers []byte, ok bool) {
	if len(b) == 0 || b[0] < 1 || b[0] > stateVersion {
		return nil, false
	}
	version := b[0]
	sized, timed := version >= 2, version >= 3 // ... and indexed
	count, n := binary.Uvarint(b[1:])
	if n <= 0 || count > uint64(len(b)) {
		return nil, false
	}
	b = b[1+n:]
	for ; count > 0; count-- {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, false
		}
		r.bases, b = append(r.bases, core.Offset(v)), b[n:]
		size := ^uint64(0) // not known
		if sized {
			if size, n = binary.Uvarint(b); n <= 0 {
				return nil, false
			}
			b = b[n:]
		}
		r.sizes = append(r.sizes, int64(size))
		gen := uint64(0)
		if version >= 5 {
			if gen, n = binary.Uvarint(b); n <= 0 {
				return nil, false
			}
			b = b[n:]
		}
		r.gens = append(r.gens, gen)
		t := times{now, now} // what is not known counts as of today
		for _, at := range []*core.Wall{&t.first, &t.max} {
			if timed {
				v, n := binary.Varint(b)
				if n <= 0 {
					return nil, false
				}
				*at, b = core.Wall(v), b[n:]
			}
		}
		r.since = append(r.since, t)
		var x *seg.Index
		if timed {
			if x, b, ok = seg.Decode(b, core.Offset(v)); !ok {
				return nil, false
			}
		}
		r.marks = append(r.marks, x)
	}
	r.epochs, b, ok = decodeEpochs(b)
	if ok && version >= 4 {
		r.noted, b, ok = decodeAhead(b)
	}
	if ok && version >= 5 {
		b, ok = r.compacting.decode(b, version, r.floor, r.gens)
	}
	return b, ok
}

// checkpoint records everything that a boot needs of this group from here on. Entries up to the mark
// are in segments and durable there.
func (r *Replica) checkpoint() {
	if r.cut != nil {
		return // begin again when the journal asks again
	}
	if o, a := r.cfg.Observer, r.noted; o != nil && a != nil {
		if s := r.segment(a.at.seg); s != nil {
			o.Noted(r.cfg.Node, r.cfg.Group, s.path, a.at.pos)
		}
	}
	r.mark()
}

// mark writes what aim has fixed.
func (r *Replica) mark() {
	c := r.syncTo
	det.That(c <= r.applied && c+1 >= r.log.first, "replica: a checkpoint covers what is applied")
	t, err := r.log.Term(c)
	det.That(err == nil, "replica: a checkpoint lies in the window")
	at := r.log.after(c)
	conf := &r.syncConf // of c: what is applied meanwhile comes again with the tail
	m := journal.Mark{Hard: r.hard(), Voters: conf.Voters, Learners: conf.Learners,
		VotersOut: conf.VotersOutgoing, LearnersNext: conf.LearnersNext, AutoLeave: conf.AutoLeave,
		Index: core.Index(c), Term: core.Term(t), Offset: r.log.end(c), Segment: at.seg, Pos: at.pos, LogStart: r.syncStart,
		Name: r.cfg.Dir, TopicID: r.cfg.TopicID, State: r.syncState}
	r.inlined = false
	tail := make([]journal.Entry, 0, r.log.last()-c)
	for i := c + 1; i <= r.log.last(); i++ {
		e, n := &r.log.ents[i-r.log.first], r.log.note(i)
		je := journal.Entry{Index: core.Index(i), Term: core.Term(e.Term), Type: uint8(e.Type), Data: e.Data}
		if n.inline {
			det.That(n.body.Buf != nil, "replica: what only the journal holds stays in memory")
			je.Body = n.body.Retain()
			r.inlined = true
		}
		tail = append(tail, je)
	}
	r.h.Journal().Checkpoint(r.cfg.Group, m, tail)
	if r.complete > c { // the tail is proved by its own record: what is bad of it was not torn
		r.h.Journal().Append(r.cfg.Group, nil, nil, core.Index(r.complete))
	}
	r.sealed = r.complete
	r.marking = r.h.Journal().Seq() + 1
	r.markIndex = c
	r.h.Awaits(r)
}

// Seal lets the journal know what has become complete since its last frame of this group: a batch that went
// straight to its segment is not proved durable by the frame that holds its stub. False: not all is complete.
func (r *Replica) Seal() bool {
	if r.offline != "" {
		return true
	}
	if r.opening > 0 || !r.began {
		return false
	}
	if r.complete > r.sealed {
		r.h.Journal().Append(r.cfg.Group, nil, nil, core.Index(r.complete))
		r.sealed = r.complete
	}
	return r.complete == r.log.last()
}

func (r *Replica) markDurable() {
	r.marking = 0
	r.marked = r.markIndex
	r.releaseShed()
	r.shedSoon()
	r.pullMarked()
	if !r.awake && r.opening == 0 && !r.began {
		r.began = true
		r.live()
	}
}

// markProgress writes a checkpoint when none was needed for long and nothing lives in the journal
// only: it costs a few hundred bytes and no sync of its own.
func (r *Replica) markProgress() {
	if r.inlined || r.applied < r.marked+markEvery || r.syncing > 0 || r.marking > 0 || r.cut != nil || r.opening > 0 {
		return
	}
	r.aim()
	r.checkpoint()
}
