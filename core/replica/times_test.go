package replica

import (
	"encoding/binary"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// todayHost is a host that knows what day it is, and nothing else.
type todayHost struct {
	Host
	now core.Now
}

func (h *todayHost) Now() core.Now { return h.now }

func TestCheckpointsKeepTheTimesOfSegments(t *testing.T) {
	h := &todayHost{now: core.Now{Wall: 1234}}
	w := &window{first: 8, term0: 1, end0: 70, at0: place{60, 500}, time0: times{90, 95}}
	r := &Replica{h: h, log: w, applied: 7}
	r.segs = []*segment{{base: 0, size: 900, times: times{10, 99}}, {base: 60, size: 800, times: times{90, 200}},
		{base: 80, size: 3, times: times{-1, -1}}}
	state := r.encodeState()
	got := &Replica{h: h}
	if rest, ok := got.decodeState(state, h.now.Wall); !ok || !slices.Equal(rest, r.ps.encode()) {
		t.Fatalf("% x is not read back", state)
	}
	// Of the segment that the checkpoint ends in, it knows what lies before the end.
	if want := []times{{10, 99}, {90, 95}, {-1, -1}}; !slices.Equal(got.since, want) || !slices.Equal(got.bases, []core.Offset{0, 60, 80}) {
		t.Errorf("%v %v, want %v", got.bases, got.since, want)
	}
	for n := range len(state) - len(r.ps.encode()) {
		(&Replica{h: h}).decodeState(state[:n], 0) // no panic
	}

	// What builds before wrote: bases and lengths, or bases alone. Ages count from today.
	for version := byte(1); version <= 2; version++ {
		b := binary.AppendUvarint([]byte{version}, 2)
		for _, base := range []uint64{0, 60} {
			b = binary.AppendUvarint(b, base)
			if version == 2 {
				b = binary.AppendUvarint(b, 900)
			}
		}
		b = append(r.epochs.encode(b), r.ps.encode()...)
		old := &Replica{h: h}
		if rest, ok := old.decodeState(b, 1234); !ok || !slices.Equal(rest, r.ps.encode()) {
			t.Fatalf("version %d is not read", version)
		}
		if want := []times{{1234, 1234}, {1234, 1234}}; !slices.Equal(old.since, want) || len(old.sizes) != 2 {
			t.Errorf("version %d: %v", version, old.since)
		}
	}
	if _, ok := (&Replica{h: h}).decodeState(append([]byte{stateVersion + 1}, state[1:]...), 0); ok {
		t.Error("a version to come is read")
	}
}

// The times of a segment after a truncation, after entries left the window, and over rolls, against those that
// are counted from all batches.
func TestTheWindowKnowsTheTimesOfItsEnd(t *testing.T) {
	w := &window{first: 2, term0: 1, time0: noTimes}
	var all []note // of entry 2 on
	add := func(roll bool, at core.Wall) {
		s := journal.Stub{Base: w.end(w.last()), Count: 1, Len: 100, PID: -1, PEpoch: -1, Seq: -1, MaxTime: at}
		if roll {
			s.Flags = journal.Roll
		}
		all = append(all, *w.push(entryOf(w.last()+1, s.Append(nil))))
	}
	for i, at := range []core.Wall{50, 40, 70, 60, 10, 30, 20, -1, -1, 5, 80} {
		add(i == 4 || i == 7, at)
		if i == 8 {
			all = append(all, *w.push(entryOf(w.last()+1, journal.AppendRollingStart(nil, w.end(w.last())))))
			if n := w.note(w.last()); !n.rolls || n.at != (place{9, 0}) {
				t.Fatalf("a log that is emptied goes on at %+v", *n)
			}
		}
	}
	want := func(i uint64) times {
		x := noTimes
		for k := range all[:i-1] {
			if n := &all[k]; n.batch && n.at.seg == w.after(i).seg {
				x.add(n.at.pos, n.stub.MaxTime)
			}
		}
		return x
	}
	for dropped := range len(all) {
		for i := w.first; i <= w.last(); i++ {
			if got := w.timesAt(i); got != want(i) {
				t.Fatalf("%d dropped, entry %d: %v, want %v", dropped, i, got, want(i))
			}
		}
		w.drop(1)
		if got := w.timesAt(w.first - 1); got != w.time0 {
			t.Fatalf("%d dropped: %v, want %v", dropped+1, got, w.time0)
		}
	}
	// Not at the end of the log, or on an empty segment: nothing begins.
	for _, start := range []core.Offset{w.end0 - 1, w.end0 + 1} {
		if n := w.push(entryOf(w.last()+1, journal.AppendRollingStart(nil, start))); n.rolls {
			t.Errorf("a start at %d of %d begins a segment", start, w.end0)
		}
	}
	w.push(entryOf(w.last()+1, journal.AppendRollingStart(nil, w.end0)))
	if n := w.push(entryOf(w.last()+1, journal.AppendRollingStart(nil, w.end0))); n.rolls {
		t.Error("an empty segment is closed")
	}
}

func entryOf(i uint64, data []byte) raftpb.Entry {
	return raftpb.Entry{Index: i, Term: 1, Data: data}
}
