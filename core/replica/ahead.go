package replica

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// What a catch-up has brought lies behind the end of the log, in files that are the log's or follow it. Raft does not
// know of it before the end. So that a crash, or another leader, costs nothing, checkpoints say how far it is synced:
//
//	bytes written ──▶ synced ──▶ checkpoint: the log as it was, and "ahead of it, up to here, with this last batch"
//	  ... crash ──▶ the boot keeps the files to there, when the log has not gone on since
//	  ... the next MsgSnap: the last batch is asked for again. It is the same (base, length, epoch, checksum): the
//	      leader of an epoch gives an offset to one batch, so the logs are equal up to there. Else all is cut.
//	  ... entries come: the log goes on without. They ride in the journal, and what is ahead of it is cut from the
//	      files when they are durable there (store.go, cutAt): a crash finds the one or the other.
type ahead struct {
	entry uint64 // the last of the log while this holds
	term  uint64 // ... and its term
	low   core.Offset
	at    place // where the next byte goes
	next  core.Offset
	last  tailBatch
	times times // of at.seg, up to at.pos
	mid   times // of the segment in which the log ends, once that has been left
}

// tailBatch names a batch: what equals this is the same one, byte for byte.
type tailBatch struct {
	at    place
	base  core.Offset
	size  int32
	epoch core.Epoch
	crc   uint32
}

func batchAt(b record.Batch, at place) tailBatch {
	return tailBatch{at, b.BaseOffset(), int32(len(b)), b.LeaderEpoch(), b.CRC()}
}

var (
	markNoted    = det.NewMark("replica: a checkpoint says how far a catch-up has got")
	markResumed  = det.NewMark("replica: a catch-up went on where an earlier one was cut")
	markKept     = det.NewMark("replica: a boot kept what a catch-up had brought")
	markUnproved = det.NewMark("replica: what a catch-up had brought was not the leader's")
	markUndone   = det.NewMark("replica: what a catch-up had brought was cut, entries came instead")
	markBuried   = det.NewMark("replica: a catch-up ended the follower's own log before an entry that was never committed")
)

// reached is what r.ahead says after a write.
func (r *Replica) reached(p *pull) *ahead {
	i := r.log.last()
	t, err := r.log.Term(i)
	det.That(err == nil, "replica: the last entry has a term")
	a := &ahead{entry: i, term: t, low: p.low, at: place{p.seg, p.pos}, next: p.next, last: p.last, times: p.times, mid: noTimes}
	if end := r.log.after(i).seg; end != p.seg {
		if s := r.segment(end); s != nil {
			a.mid = s.times
		}
	}
	return a
}

// resume lets a catch-up begin with the last batch of an earlier one.
func (p *pull) resume(a *ahead) {
	markResumed.Hit()
	p.seg, p.pos, p.next, p.low, p.times = a.at.seg, a.last.at.pos, a.last.base, a.low, a.times
	p.proving = true
}

// notePull syncs what has come and has a checkpoint say how far that is.
func (r *Replica) notePull(p *pull) {
	if r.mayMark() {
		markNoted.Hit()
		r.syncAll()
		r.ask()
	}
}

// bury ends the log before p.dead and forgets what is ahead of it, durably, before anything is written over it.
func (r *Replica) bury(p *pull) {
	if p.buried || !r.mayMark() {
		return // markDurable comes by
	}
	if r.marked != r.applied {
		r.syncAll() // what is applied must not need what the next checkpoint leaves out
		return
	}
	if r.ahead != nil {
		r.cutAt(r.log.after(r.log.last()), true)
		r.retime(r.log.last())
		r.ahead, r.noted = nil, nil
	}
	if p.dead <= r.log.last() {
		markBuried.Hit()
		r.truncate(p.dead)
	}
	p.buried = true
	r.aim()
	r.mark()
	if r.cut != nil {
		r.cut.seq = r.marking
	}
}

// pullMarked is called when a checkpoint is durable.
func (r *Replica) pullMarked() {
	p := r.pull
	if p == nil {
		return
	}
	if p.buried {
		p.dead, p.buried, p.proving, p.begun, p.low, p.partial, p.want = 0, false, false, false, 0, nil, 0
		r.landed(p, p.held-p.inWrite) // it may begin anew with whole files, which need memory of their own
		r.startPull(p)
		return
	}
	r.pullOn()
}

// endAhead is called when raft goes on without a catch-up: what follows the log in its files is to be cut.
func (r *Replica) endAhead() {
	r.dropPull()
	r.shelve()
	end := r.log.after(r.log.last())
	if r.ahead == nil && r.active().base <= end.seg { // nor has it begun a segment that nothing came to
		return
	}
	markUndone.Hit()
	r.ahead, r.noted = nil, nil
	r.cutAt(end, true)
	r.retime(r.log.last())
}

// landed gives n bytes of a catch-up's memory back.
func (r *Replica) landed(p *pull, n int64) {
	n = min(n, p.held)
	if n > 0 {
		p.held -= n
		r.h.Landed(n)
	}
}

func (a *ahead) encode(b []byte) []byte {
	if a == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	for _, v := range a.fields() {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func (a *ahead) fields() [15]int64 {
	l := &a.last
	return [15]int64{int64(a.entry), int64(a.term), int64(a.low), int64(a.at.seg), a.at.pos, int64(a.next),
		l.at.pos, int64(l.base), int64(l.size), int64(l.epoch), int64(l.crc),
		int64(a.times.first), int64(a.times.max), int64(a.mid.first), int64(a.mid.max)}
}

// decodeAhead reads what encode wrote; rest follows it.
func decodeAhead(b []byte) (a *ahead, rest []byte, ok bool) {
	if len(b) == 0 || b[0] > 1 {
		return nil, nil, false
	}
	if b[0] == 0 {
		return nil, b[1:], true
	}
	b = b[1:]
	var v [15]int64
	for i := range v {
		x, n := binary.Varint(b)
		if n <= 0 {
			return nil, nil, false
		}
		v[i], b = x, b[n:]
	}
	at := place{core.Offset(v[3]), v[4]}
	return &ahead{entry: uint64(v[0]), term: uint64(v[1]), low: core.Offset(v[2]), at: at, next: core.Offset(v[5]),
		last:  tailBatch{place{at.seg, v[6]}, core.Offset(v[7]), int32(v[8]), core.Epoch(v[9]), uint32(v[10])},
		times: times{core.Wall(v[11]), core.Wall(v[12])}, mid: times{core.Wall(v[13]), core.Wall(v[14])}}, b, true
}

// bootAhead opens what a catch-up had brought when the checkpoint was written, if the log has not gone on since and all
// of it is there.
func (r *Replica) bootAhead(files []core.FileInfo, b *booting) {
	a := r.noted
	r.noted = nil
	if a == nil || len(b.holes) > 0 || a.entry != r.log.last() {
		return
	}
	if t, err := r.log.Term(a.entry); err != nil || t != a.term {
		return
	}
	end := r.log.after(a.entry)
	var segs []*segment
	found := false
	for k, base := range r.bases {
		want, have := r.sizes[k], sizeOf(files, seg.PathOf(r.cfg.Dir, base, r.gens[k]))
		switch {
		case base < end.seg || base > a.at.seg || base == end.seg && a.low > 0:
			continue
		case base == a.at.seg && have >= a.at.pos:
			found = true
		case base == a.at.seg || have != want:
			return
		}
		if base > end.seg {
			s := r.knownOf(base, r.gens[k])
			s.size, s.times = have, r.since[k]
			segs = append(segs, s)
		}
	}
	if !found {
		return
	}
	markKept.Hit()
	for _, s := range segs {
		r.segs = append(r.segs, s)
		r.h.FX().Add(core.Effect{Kind: core.Create, File: s.file, Path: s.path, Op: r.bootOp(s.path)})
	}
	r.active().times = a.times
	if s := r.segment(end.seg); s != nil && end.seg != a.at.seg && a.low == 0 {
		s.times = a.mid
	}
	r.ahead, r.noted = a, a
}
