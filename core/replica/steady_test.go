package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// touches says whether f asks anything of a host that has nothing to give.
func touches(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// A leader feeds a follower in sync from its window; others need nothing.
func TestWhatAFollowerInSyncLacksIsNeeded(t *testing.T) {
	r := &Replica{leads: true, cfg: Config{ID: core.NewRaftID(1, 1), Node: 1}, isr: []core.NodeID{1, 2},
		match: []matched{{id: core.NewRaftID(1, 1), index: 3}, {id: core.NewRaftID(1, 2), index: 7}, {id: core.NewRaftID(1, 3), index: 5}}}
	for i, want := range map[uint64]bool{6: false, 7: false, 8: true} {
		if r.needed(i) != want {
			t.Errorf("entry %d is needed: %v", i, !want)
		}
	}
	if r.leads = false; r.needed(8) {
		t.Error("a follower feeds nobody")
	}
}

// Whoever waits for an entry that never came into the log is told so, once; the others wait on.
func TestWaitersForNothingAreAnswered(t *testing.T) {
	told := map[int]int{}
	var ws []waiter
	for k, index := range []uint64{0, 5, 0, 6} {
		ws = append(ws, waiter{index: index, done: func(res Result) {
			if told[k]++; res.Err != NotLeader {
				t.Errorf("waiter %d is told %v", k, res.Err)
			}
		}})
	}
	if kept := answerUnlogged(ws, Result{Err: NotLeader}); len(kept) != 2 || kept[0].index != 5 || kept[1].index != 6 {
		t.Errorf("%d wait on", len(kept))
	}
	if told[0] != 1 || told[2] != 1 || len(told) != 2 {
		t.Errorf("answers by waiter: %v", told)
	}
}

// A group of which nothing is new writes no frame.
func TestASealOfNothingNewWritesNothing(t *testing.T) {
	r := &Replica{h: &neighbours{}, began: true, complete: 5, sealed: 5, log: &window{first: 6}}
	if touches(func() {
		if !r.Seal() {
			t.Error("all is complete")
		}
	}) {
		t.Error("the journal is asked to write")
	}
	if r.sealed = 4; !touches(func() { r.Seal() }) {
		t.Error("what is new is not written")
	}
}

// A state is of a format that we know, or nothing of it is read.
func TestAStateOfAnotherFormatIsRefused(t *testing.T) {
	for v := range 256 {
		b := append([]byte{byte(v)}, make([]byte, 64)...)
		if _, ok := new(Replica).decodeState(b, 0); ok != (v >= 1 && v <= stateVersion) {
			t.Errorf("version %d is read: %v", v, ok)
		}
	}
	if _, ok := new(Replica).decodeState(nil, 0); ok {
		t.Error("nothing is read")
	}
}

// What was not committed of segments that stay for a while will be cut, and what was committed will not.
func TestTheUncommittedRestIsCut(t *testing.T) {
	r := &Replica{commit: 4, log: &window{first: 5, at0: place{20, 700}}}
	for _, base := range []core.Offset{10, 20, 30, 40} {
		r.segs = append(r.segs, &segment{base: base, size: 1000})
	}
	r.cutBelow(40)
	for i, want := range []segment{{}, {ends: 700, cuts: true}, {ends: 0, cuts: true}, {}} {
		if s := r.segs[i]; s.cuts != want.cuts || s.ends != want.ends {
			t.Errorf("segment %d: cut %v at %d, want %v at %d", s.base, s.cuts, s.ends, want.cuts, want.ends)
		}
	}
}

// Nobody works at indexes while the files are not settled.
func TestIndexesWaitForTheirFiles(t *testing.T) {
	for name, set := range map[string]func(r *Replica){
		"nothing is behind": func(r *Replica) { r.behind = false },
		"another walk":      func(r *Replica) { r.walking = true },
		"not begun":         func(r *Replica) { r.began = false },
		"opening":           func(r *Replica) { r.opening = 1 },
		"offline":           func(r *Replica) { r.offline = "its disk" },
		"none are kept":     func(r *Replica) { r.cfg.Settings.IndexInterval = -1 },
		"":                  func(*Replica) {},
	} {
		r := &Replica{h: &neighbours{}, behind: true, began: true, log: &window{first: 1}, segs: []*segment{{size: 1000}}}
		set(r)
		if worked := touches(r.pumpIndex) || !r.behind && name != "nothing is behind"; worked != (name == "") {
			t.Errorf("%q: work is done: %v", name, worked)
		}
	}
}

// giver is a host for a replica that mends: it notes what is asked and written.
type giver struct {
	neighbours
	fx    core.Effects
	asked []Control
}

func (h *giver) FX() *core.Effects                             { return &h.fx }
func (h *giver) NewOp(func(*core.Event)) core.OpID             { return 1 }
func (h *giver) Leader(core.GroupID) (core.NodeID, core.Term)  { return 2, 3 }
func (h *giver) Tell(_ core.NodeID, _ core.GroupID, c Control) { h.asked = append(h.asked, c) }

// A batch that is larger than a piece comes in several: what has come is kept, and the rest is asked for.
func TestABatchIsMendedInPieces(t *testing.T) {
	var w record.Builder
	w.Append(record.Record{Value: make([]byte, 1000)})
	b := w.Build()
	h := &giver{}
	r := &Replica{h: h, cfg: Config{Node: 1}, log: &window{first: 1, ents: []raftpb.Entry{}}, segs: []*segment{{size: 0}}}
	r.mend = &mend{holes: []hole{{end: int64(len(b))}, {seg: 1}}}
	r.askMend()
	const piece = 300
	for at := 0; at < len(b); at += piece {
		if len(h.asked) != 1 || h.asked[0].Pos != int64(at) {
			t.Fatalf("after %d bytes it asks %+v", at, h.asked)
		}
		c := h.asked[0]
		h.asked = nil
		c.Body = core.RefOf(b[at:min(at+piece, len(b))])
		r.gotMend(2, c)
	}
	written := 0
	for i := range h.fx.List {
		if e := &h.fx.List[i]; e.Kind == core.Write {
			for _, x := range h.fx.Vec(e) {
				written += len(x.Bytes())
			}
		}
	}
	if written != len(b) || len(r.mend.holes) != 1 || r.Mended() != 1 {
		t.Errorf("%d of %d bytes were written, %d mends, %d holes are left", written, len(b), r.Mended(), len(r.mend.holes))
	}
}

// A write that is under way when the end of what it writes is cut off has still written the rest.
func TestAWriteWhoseEndIsCutOffIsWritten(t *testing.T) {
	r := &Replica{log: &window{first: 5}}
	for _, term := range []uint64{1, 1, 3, 3} {
		r.log.ents = append(r.log.ents, raftpb.Entry{Term: term})
		r.log.notes = append(r.log.notes, note{batch: true, issued: true})
	}
	all, tail := r.writing(5, 8, 3), r.writing(7, 8, 3)
	r.shorten(7)
	r.log.keep(2)
	r.log.ents = append(r.log.ents, raftpb.Entry{Term: 2}) // of a leader that did not have them
	r.log.notes = append(r.log.notes, note{batch: true, issued: true})
	r.written(tail)
	r.written(all)
	for i, want := range []bool{true, true, false} {
		if r.log.notes[i].written != want {
			t.Errorf("entry %d is written: %v", 5+i, !want)
		}
	}
	if len(r.spans) != 0 {
		t.Errorf("%d writes are under way", len(r.spans))
	}
}
