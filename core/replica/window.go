package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// maxMsgBatchBytes bounds the batch bytes of the entries that raft is given for one MsgApp.
const maxMsgBatchBytes = 1 << 20

// place is where a batch lies: a position in the segment whose first record has offset seg.
type place struct {
	seg core.Offset
	pos int64
}

// note is what the window knows of an entry beside what raft does; notes[i] belongs to ents[i].
type note struct {
	stub    journal.Stub
	batch   bool
	rolls   bool        // no batch, but a new segment begins: all of the log before it was removed
	inline  bool        // its bytes rode in the journal
	issued  bool        // a write of its bytes to the segment was asked for
	written bool        // ... and is done: they are in the page cache at least
	end     core.Offset // the next offset after this entry
	at      place       // of its batch
	body    core.Ref    // its bytes in memory, until the budget wants the room
}

func (n *note) after() place {
	if !n.batch {
		return n.at
	}
	return place{n.at.seg, n.at.pos + int64(n.stub.Len)}
}

// window is raft.Storage over the recent log. It answers from memory only: an entry is a stub, so
// the window is small; what is older is shipped as segments.
//
// Invariant: ents[i].Index == first+i, and first-1 <= applied and completed of the replica.
type window struct {
	conf  raftpb.ConfState
	hard  raftpb.HardState
	first uint64 // index of ents[0]
	term0 uint64 // term of first-1
	end0  core.Offset
	at0   place // where the batch after first-1 goes
	time0 times // of what at0.seg holds before it
	ents  []raftpb.Entry
	notes []note
	bytes int64 // of the batches that ents name, in memory or not
	snap  func() (raftpb.Snapshot, error)
}

func (w *window) last() uint64 { return w.first + uint64(len(w.ents)) - 1 }

func (w *window) note(i uint64) *note { return &w.notes[i-w.first] }

// end is the next offset after index i, for i in [first-1, last].
func (w *window) end(i uint64) core.Offset {
	if i == w.first-1 {
		return w.end0
	}
	return w.note(i).end
}

// after is where the batch that follows index i goes.
func (w *window) after(i uint64) place {
	if i == w.first-1 {
		return w.at0
	}
	return w.note(i).after()
}

// push appends one entry and derives its place.
func (w *window) push(e raftpb.Entry) *note {
	det.That(e.Index == w.last()+1, "replica: append leaves a gap in the window")
	at, end := w.after(w.last()), w.end(w.last())
	n := note{at: at, end: end}
	if s, ok := journal.DecodeStub(e.Data); ok && e.Type == raftpb.EntryNormal {
		det.That(s.Base == end, "I10: offsets are dense")
		n.stub, n.batch = s, true
		if s.Flags&journal.Roll != 0 {
			n.at = place{s.Base, 0}
		}
		n.end = s.Base + core.Offset(s.Count)
	} else if start, ok := startOf(&e); ok && start == end && at.pos > 0 && journal.StartRolls(e.Data) {
		n.at, n.rolls = place{start, 0}, true
	}
	w.ents = append(w.ents, e)
	w.notes = append(w.notes, n)
	w.bytes += int64(n.stub.Len)
	return &w.notes[len(w.notes)-1]
}

// keep removes all but the first k entries, whose bodies are released already.
func (w *window) keep(k int) {
	for i := range w.notes[k:] {
		w.bytes -= int64(w.notes[k+i].stub.Len)
	}
	clear(w.notes[k:])
	w.ents, w.notes = w.ents[:k:k], w.notes[:k]
}

// drop removes the first k entries, whose bodies are released already.
func (w *window) drop(k int) {
	if k == 0 {
		return
	}
	w.time0 = w.timesAt(w.first + uint64(k) - 1)
	for i := range w.notes[:k] {
		w.bytes -= int64(w.notes[i].stub.Len)
	}
	w.term0 = w.ents[k-1].Term
	w.end0, w.at0 = w.notes[k-1].end, w.notes[k-1].after()
	w.first += uint64(k)
	// Copying instead of re-slicing lets the old arrays be reused once the window is short again.
	if k*2 >= len(w.ents) {
		w.ents = append(make([]raftpb.Entry, 0, max(64, len(w.ents)-k)), w.ents[k:]...)
		w.notes = slices.Delete(w.notes, 0, k)
	} else {
		w.ents = w.ents[k:]
		w.notes = w.notes[k:]
	}
}

func (w *window) InitialState() (raftpb.HardState, raftpb.ConfState, error) {
	return w.hard, w.conf, nil
}

func (w *window) Entries(lo, hi, maxSize uint64) ([]raftpb.Entry, error) {
	if lo < w.first {
		return nil, raft.ErrCompacted
	}
	if hi > w.last()+1 {
		return nil, raft.ErrUnavailable
	}
	ents := w.ents[lo-w.first : hi-w.first]
	size, bytes := uint64(0), int64(0)
	for i := range ents {
		size += uint64(ents[i].Size())
		bytes += int64(w.notes[lo-w.first+uint64(i)].stub.Len)
		if i > 0 && (size > maxSize || bytes > maxMsgBatchBytes) {
			ents = ents[:i]
			break
		}
	}
	return ents[:len(ents):len(ents)], nil
}

func (w *window) Term(i uint64) (uint64, error) {
	switch {
	case i == w.first-1:
		return w.term0, nil
	case i < w.first-1:
		return 0, raft.ErrCompacted
	case i > w.last():
		return 0, raft.ErrUnavailable
	}
	return w.ents[i-w.first].Term, nil
}

func (w *window) LastIndex() (uint64, error)         { return w.last(), nil }
func (w *window) FirstIndex() (uint64, error)        { return w.first, nil }
func (w *window) Snapshot() (raftpb.Snapshot, error) { return w.snap() }
