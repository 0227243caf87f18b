package replica

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/seg"
)

// What tools may see of a replica: what its checkpoint keeps, and what it has lost.

// State is what the journal keeps for a replica in a mark (Mark.State), in words.
type State struct {
	Segments  []SegmentState
	Epochs    []EpochState
	Producers []ProducerState
}

// SegmentState is a file of the log, and how long it was when the checkpoint was taken.
type SegmentState struct {
	Base  core.Offset
	Bytes int64

	Generation uint64 // the decision that compaction wrote it for; 0: it holds what was appended
}

// EpochState is the first offset of a leader epoch.
type EpochState struct {
	Epoch core.Epoch
	First core.Offset
}

// ProducerState is what is remembered of an idempotent producer: its newest batch, and how many are known.
type ProducerState struct {
	ID        int64
	Epoch     int16
	Batches   int         // remembered, at most five
	First     int32       // sequence of the newest one's first record
	Last      int32       // ... and of its last
	Offset    core.Offset // of its first record
	Timestamp core.Wall   // the largest in it
}

// DecodeState reads Mark.State; false when it is not what a replica wrote.
func DecodeState(b []byte) (st State, ok bool) {
	var r Replica
	rest, ok := r.decodeState(b, 0)
	if !ok || !r.ps.decode(rest) {
		return State{}, false
	}
	for i, base := range r.bases {
		st.Segments = append(st.Segments, SegmentState{base, r.sizes[i], r.gens[i]})
	}
	for _, e := range r.epochs {
		st.Epochs = append(st.Epochs, EpochState{e.epoch, e.base})
	}
	r.ps.folded.Each(func(pid int64, p *producer) {
		last := p.last()
		st.Producers = append(st.Producers, ProducerState{ID: pid, Epoch: p.epoch, Batches: int(p.n), First: last.seq,
			Last: nextSeq(last.seq, last.n-1), Offset: last.base, Timestamp: p.time})
	})
	return st, true
}

// Lost is a stretch of a file that has to be fetched from another replica.
type Lost struct {
	Path     string
	From, To int64 // bytes; To is -1 for all that the leader has in this segment
}

// String is PATH:FROM-TO.
func (l Lost) String() string {
	s := l.Path + ":" + strconv.FormatInt(l.From, 10) + "-"
	if l.To >= 0 {
		s += strconv.FormatInt(l.To, 10)
	}
	return s
}

func (r *Replica) lostAt(h hole) Lost {
	gen := uint64(0)
	if s := r.segment(h.seg); s != nil {
		gen = s.gen
	}
	return Lost{seg.PathOf(r.cfg.Dir, h.seg, gen), h.pos, h.end}
}

// Mending says what this replica fetches before it takes part, or may lead, and why; nothing when it is well.
func (r *Replica) Mending() (lost []Lost, why string) {
	if r.mend == nil {
		for _, s := range r.segs {
			if s.damaged {
				lost, why = append(lost, Lost{s.path, 0, s.size}), "what it lost was compacted away elsewhere"
			}
		}
		return lost, why
	}
	for _, h := range r.mend.holes {
		lost = append(lost, r.lostAt(h))
	}
	return lost, r.mend.why
}

// Base is where the window begins in the segments, after a snapshot was installed: where that ends.
func (r *Replica) Base() (path string, pos int64) { return r.path(r.log.at0.seg), r.log.at0.pos }
