package compact

import (
	"bytes"
	"math"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
)

func (r *Run) startMapping() {
	r.keys.k0, r.keys.k1 = uint64(r.p.At), uint64(r.p.To)
	r.keys.limit = r.p.Memory / KeyBytes
	r.txns = newTxns(after(r.p.Aborted, r.from))
	for r.seg < len(r.p.Segments) && r.end(r.seg) <= r.from {
		r.seg++
	}
	if r.from == r.upto || r.seg == len(r.p.Segments) {
		r.startCleaning()
	}
}

// mapBatch notes the last offset of each key (Cleaner.buildOffsetMapForSegment).
func (r *Run) mapBatch(b record.Batch) error {
	if b.Control() {
		r.txns.control(b)
		return nil
	}
	if r.txns.data(b) {
		return nil // aborted: a key's last value is another
	}
	plain, err := r.plain(b)
	if err != nil {
		return err
	}
	return b.RawsIn(plain, func(x *record.Raw) {
		switch {
		case r.full || x.Key == nil || x.Offset < r.from:
		case x.Offset >= r.upto: // where the map was full before the run was taken up again
			r.full = true
		case !r.keys.put(x.Key, x.Offset):
			markFull.Hit()
			r.upto, r.full = x.Offset, true
		}
	})
}

// startCleaning begins the second pass.
func (r *Run) startCleaning() {
	r.phase, r.full, r.seg, r.pos, r.next = cleaning, false, 0, 0, 0
	r.stats.Keys = r.keys.n
	if r.mark != nil {
		r.txns = r.mark.txns.resume(r.p.Aborted)
	} else {
		r.txns = newTxns(r.p.Aborted)
	}
	r.startGroup()
}

// startGroup takes the segments from seg on that fit one segment together (Cleaner.groupSegmentsBySize). Their
// sizes are judged as they are, before records go: a second look at the same log finds the same groups.
func (r *Run) startGroup() {
	if r.from == r.upto || r.seg == len(r.p.Segments) || r.p.Segments[r.seg].Base >= r.upto {
		r.phase = finished
		return
	}
	head := r.p.Segments[r.seg]
	size, index := head.Size, head.Index
	r.first, r.last = r.seg, r.seg
	for i := r.seg + 1; i < len(r.p.Segments); i++ {
		s := r.p.Segments[i]
		size, index = size+s.Size, index+s.Index
		if s.Base >= r.upto || size > r.p.SegmentBytes || index > r.p.IndexBytes || r.end(i)-1-head.Base > math.MaxInt32 {
			break
		}
		r.last = i
	}
	r.group = Group{Base: head.Base, Segments: r.last - r.first + 1, Same: r.first == r.last}
}

// endSegment goes on to the next segment, group or pass.
func (r *Run) endSegment() (done *Group) {
	r.next = r.end(r.seg)
	r.seg, r.pos = r.seg+1, 0
	if r.phase == mapping {
		if r.seg == len(r.p.Segments) || r.p.Segments[r.seg].Base >= r.upto {
			r.startCleaning()
		}
		return nil
	}
	if r.seg <= r.last {
		return nil
	}
	g := r.group
	g.Mark = Mark{next: r.upto, upto: r.upto, txns: r.txns.carry()}
	if r.seg < len(r.p.Segments) {
		g.Mark.next = min(r.upto, r.p.Segments[r.seg].Base)
	}
	r.startGroup()
	return &g
}

// cleanBatch writes what stays of a batch (MemoryRecords.filterTo).
func (r *Run) cleanBatch(b record.Batch) error {
	void, marker := r.judge(b)
	horizon, dated := b.DeleteHorizon()
	gone := void && (!b.Control() || dated && horizon <= r.p.At)
	switch {
	case gone && !r.header(b):
		r.lose(b)
		if b.Control() {
			markMarker.Hit()
		} else {
			markAborted.Hit()
		}
		return nil
	case gone:
		r.lose(b)
		r.emptied(b)
		return nil
	}
	if marker != nil {
		r.group.Aborted = append(r.group.Aborted, *marker)
	}
	plain, err := r.plain(b)
	if err != nil {
		return err
	}
	kept, tombs, err := r.choose(b, plain, dated && horizon <= r.p.At)
	r.stats.Records += int64(b.Count())
	r.stats.Kept += int64(kept)
	date := !dated && (tombs || void && b.Control())
	switch {
	case err != nil:
		return err
	case kept == 0 && r.header(b):
		r.emptied(b)
	case kept == 0:
		r.group.Same = false
	case kept == b.Count() && !date:
		r.out = append(r.out, b...)
	case date:
		markHorizon.Hit()
		r.rewrite(b, plain, saturate(r.p.At, r.p.Retention))
	default:
		r.rewrite(b, plain, horizon)
	}
	return nil
}

// judge says whether the batch is void: of an aborted transaction, or the marker of one without records.
func (r *Run) judge(b record.Batch) (void bool, marker *Aborted) {
	if b.Control() {
		return r.txns.control(b)
	}
	return r.txns.data(b), nil
}

// header says that the batch must stay, without records if need be: it is the last of a producer,
// which tells the sequence and epoch to expect, or the last of what a compaction looks at, which tells where that ends.
func (r *Run) header(b record.Batch) bool {
	if b.LastOffset()+1 == r.p.To {
		return true
	}
	p, ok := find(r.p.Producers, b.ProducerID())
	switch {
	case !ok:
		return false
	case p.Last >= 0:
		return b.LastOffset() == p.Last
	}
	return b.Control() && b.ProducerEpoch() == p.Epoch
}

func find(all []Producer, pid int64) (p Producer, ok bool) {
	lo, hi := 0, len(all)
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if all[m].PID < pid {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo == len(all) || all[lo].PID != pid || pid < 0 {
		return p, false
	}
	return all[lo], true
}

func (r *Run) lose(b record.Batch) {
	r.group.Same = false
	r.stats.Records += int64(b.Count())
}

// emptied keeps the header of a batch. One that was empty before is written as it is.
func (r *Run) emptied(b record.Batch) {
	at := len(r.out)
	r.out = record.AppendEmpty(r.out, b)
	if !bytes.Equal(r.out[at:], b) {
		markEmptied.Hit()
		r.group.Same = false
	}
}

// choose notes in keep which records of a batch stay (Cleaner.shouldRetainRecord), and says whether a
// delete marker is among them. expired: the delete horizon of the batch is over.
func (r *Run) choose(b record.Batch, plain []byte, expired bool) (kept int32, tombs bool, err error) {
	words := (int(b.Count()) + 63) / 64
	if int(b.Count()) > len(plain) {
		return 0, false, record.ErrRecords
	}
	if words > cap(r.keep) {
		r.keep = make([]uint64, words)
	}
	r.keep = r.keep[:words]
	clear(r.keep)
	control, i := b.Control(), int32(-1)
	err = b.RawsIn(plain, func(x *record.Raw) {
		i++
		switch {
		case control || x.Offset >= r.upto:
		case x.Key == nil:
			r.stats.Keyless++
			return
		case x.Offset < r.keys.last(x.Key) || mut.On("M19") && x.Offset == r.keys.last(x.Key) && i == b.LastOffsetDelta(): // the last of a batch goes
			return
		case x.Null && (expired || mut.On("M19b")): // delete markers go at once
			markExpired.Hit()
			r.stats.Expired++
			return
		}
		r.keep[i/64] |= 1 << (i % 64)
		kept++
		tombs = tombs || x.Null
	})
	return kept, tombs, err
}

// rewrite writes the records of b that choose kept; horizon is -1 for a batch without one.
func (r *Run) rewrite(b record.Batch, plain []byte, horizon core.Wall) {
	r.group.Same = false
	w, i := &r.write, int32(-1)
	w.Begin(r.out, b, horizon)
	_ = b.RawsIn(plain, func(x *record.Raw) { // choose went over all of it
		if i++; r.keep[i/64]&(1<<(i%64)) != 0 {
			w.Keep(x)
		}
	})
	if b.Codec() != record.None {
		if packed := r.lz4.pack(w.Plain()); len(packed) < len(w.Plain()) {
			r.out = w.Pack(record.LZ4, packed)
			return
		}
	}
	r.out = w.End()
}

// saturate is at + ms, or the last moment there is.
func saturate(at core.Wall, ms int64) core.Wall {
	if int64(at) > math.MaxInt64-ms {
		return math.MaxInt64
	}
	return at + core.Wall(ms)
}
