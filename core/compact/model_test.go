package compact_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

const seeds = 120

func isAborted(h *history, e entry) bool {
	if !e.batch.Transactional() || e.batch.Control() {
		return false
	}
	for _, a := range h.aborted {
		if a.PID == e.batch.ProducerID() && a.First <= e.Offset && e.Offset < a.Last {
			return true
		}
	}
	return false
}

// live are the records that a consumer of committed records gets, from a fold that knows no batches.
func live(t *testing.T, h *history, files []file) (all []entry) {
	for _, e := range entries(t, files) {
		if !e.batch.Control() && !isAborted(h, e) {
			all = append(all, e)
		}
	}
	return all
}

// state is what a reader who starts at the beginning ends with: key to offset and value of its last record. A key
// whose last record is a delete marker is absent.
func state(all []entry) map[string]entry {
	m := map[string]entry{}
	for _, e := range all {
		switch {
		case e.Key == nil:
		case e.Value == nil:
			delete(m, string(e.Key))
		default:
			m[string(e.Key)] = e
		}
	}
	return m
}

func sameRecord(a, b record.Record) bool { return reflect.DeepEqual(a, b) }

// judge holds a compaction against all that A27 and I16 say.
func judge(t *testing.T, h *history, p compact.Plan, before, after []file, res result) {
	t.Helper()
	old, now := entries(t, before), entries(t, after)
	was := map[core.Offset]entry{}
	for _, e := range old {
		was[e.Offset] = e
	}
	// 1. A reader ends with the same state.
	want, got := state(live(t, h, before)), state(live(t, h, after))
	if len(want) != len(got) {
		t.Fatalf("%d keys live, want %d", len(got), len(want))
	}
	for k, e := range want {
		if g, ok := got[k]; !ok || !sameRecord(g.Record, e.Record) {
			t.Fatalf("%s: %+v, want %+v", k, g.Record, e.Record)
		}
	}
	// 2. What is left was there, at its offset, in its order; its batch stands for the same numbers.
	last := core.Offset(-1)
	stays := map[core.Offset]entry{}
	for _, e := range now {
		o, ok := was[e.Offset]
		if !ok || e.Offset <= last || !sameRecord(e.Record, o.Record) {
			t.Fatalf("record %d after %d: %+v, was %+v", e.Offset, last, e.Record, o.Record)
		}
		last = e.Offset
		stays[e.Offset] = e
	}
	judgeBatches(t, h, p, before, after)
	// 3. What is gone may be gone; what must be gone is.
	newest := map[string]core.Offset{}
	for _, e := range live(t, h, before) {
		if e.Key != nil && e.Offset < res.upto {
			newest[string(e.Key)] = e.Offset
		}
	}
	for _, e := range old {
		judgeRecord(t, h, p, res.upto, e, stays, newest)
	}
}

func judgeRecord(t *testing.T, h *history, p compact.Plan, upto core.Offset, e entry, stays map[core.Offset]entry,
	newest map[string]core.Offset) {
	t.Helper()
	s, there := stays[e.Offset]
	horizon, dated := e.batch.DeleteHorizon()
	later, dirty := s.batch.DeleteHorizon, e.Offset >= p.From
	switch {
	case e.Offset >= p.To:
		if !there || !bytes.Equal(s.batch, e.batch) {
			t.Fatalf("record %d is above the plan, and not what it was", e.Offset)
		}
	case e.batch.Control():
		if !there && (!dated || horizon > p.At) {
			t.Fatalf("marker %d went before its time", e.Offset)
		}
	case isAborted(h, e):
		inGroup := e.Offset < upto
		if there && inGroup {
			t.Fatalf("record %d was aborted and stays", e.Offset)
		}
	case e.Offset >= upto:
		if !there {
			t.Fatalf("record %d went, above %d", e.Offset, upto)
		}
	case e.Key == nil:
		if there {
			t.Fatalf("record %d has no key and stays", e.Offset)
		}
	case newest[string(e.Key)] > e.Offset:
		if there && newest[string(e.Key)] >= p.From {
			t.Fatalf("record %d of %s stays, though %d is newer", e.Offset, e.Key, newest[string(e.Key)])
		}
	case e.Value == nil && !there:
		if !dated || horizon > p.At {
			t.Fatalf("delete marker %d went before its time", e.Offset)
		}
	case !there:
		t.Fatalf("record %d, the last of %s, is gone (dirty %v)", e.Offset, e.Key, dirty)
	case e.Value == nil:
		if h, ok := later(); !ok || !dated && h != p.At+core.Wall(p.Retention) || dated && h != horizon {
			t.Fatalf("delete marker %d has the horizon %d, %v", e.Offset, h, ok)
		}
		if dated && horizon <= p.At {
			t.Fatalf("delete marker %d is over and stays", e.Offset)
		}
	}
}

type numbers struct {
	base, last core.Offset
	epoch      core.Epoch
	pid        int64
	pepoch     int16
	seq        int32
	kind       int16
}

func numbersOf(b record.Batch) numbers {
	return numbers{b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Attributes() & 0x38}
}

func judgeBatches(t *testing.T, h *history, p compact.Plan, before, after []file) {
	t.Helper()
	was, is := map[core.Offset]record.Batch{}, map[core.Offset]bool{}
	for _, b := range batches(t, before) {
		was[b.BaseOffset()] = b
	}
	for _, f := range after {
		for _, b := range batches(t, []file{f}) {
			if o := was[b.BaseOffset()]; o == nil || numbersOf(o) != numbersOf(b) || b.BaseOffset() < f.base {
				t.Fatalf("batch %+v was %+v", numbersOf(b), o)
			}
			is[b.LastOffset()] = true
		}
	}
	if all := batches(t, before[:len(p.Segments)]); !is[all[len(all)-1].LastOffset()] {
		t.Fatal("the last batch of the plan is gone")
	}
	for _, x := range h.producers {
		if x.Last < 0 {
			continue
		}
		for _, b := range was {
			if b.ProducerID() == x.PID && b.LastOffset() == x.Last && !is[x.Last] {
				t.Fatalf("the last batch %d of producer %d is gone", x.Last, x.PID)
			}
		}
	}
}

// TestModel lets logs grow and be compacted again and again, and holds every compaction against a fold that knows nothing
// of maps, passes or groups.
func TestModel(t *testing.T) {
	var sum compact.Stats
	partial, groups, same, emptied := 0, 0, 0, 0
	for seed := uint64(1); seed <= seeds; seed++ {
		m := newMaker(seed)
		dirty := core.Offset(0)
		for range 5 {
			m.grow(m.rnd.Between(0, 6))
			if len(m.h.sealed) == 0 {
				continue
			}
			m.now += core.Wall(m.rnd.N(900))
			p := m.h.plan(dirty, m.now)
			p.SegmentBytes = m.rnd.Between(1, 20_000)
			p.Memory = compact.KeyBytes * m.rnd.Between(1, 60)
			if k := m.rnd.N(int64(len(m.h.sealed))); m.rnd.Chance(1, 3) && m.h.sealed[k].base >= dirty {
				p.To, p.Segments = m.h.sealed[k].base, p.Segments[:k] // transactions may end above
			}
			res := run(t, p, m.h.sealed)
			if dirty == p.To || len(p.Segments) == 0 {
				if len(res.groups) > 0 || res.upto != p.To {
					t.Fatalf("a clean log was compacted: %+v", res.groups)
				}
				continue
			}
			after := replaced(m.h.sealed, res)
			judge(t, &m.h, p, m.h.sealed, after, res)
			resumeEverywhere(t, m.rnd, p, m.h.sealed, res)
			if res.upto < p.To {
				partial++
			}
			for _, g := range res.groups {
				groups++
				if g.Same {
					same++
				}
			}
			for _, b := range batches(t, after) {
				if b.Count() == 0 {
					emptied++
				}
			}
			sum.Expired += res.stats.Expired
			sum.Keyless += res.stats.Keyless
			sum.Records += res.stats.Records
			sum.Kept += res.stats.Kept
			m.h.sealed, dirty = after, res.upto
			if seed%3 > 0 { // else it is stale
				m.h.index = m.h.reindex(p, res)
			}
		}
	}
	for what, n := range map[string]int64{"full maps": int64(partial), "groups": int64(groups), "headers": int64(emptied),
		"expired": sum.Expired, "keyless": sum.Keyless, "records": sum.Records, "kept": sum.Kept} {
		if n < 100 {
			t.Errorf("%s: %d in all", what, n)
		}
	}
	if same == 0 {
		t.Error("no group stayed what it was")
	}
}

// resumeEverywhere drops a run after each of its pieces and takes it up at its last mark, on a disk where
// the groups before are replaced.
func resumeEverywhere(t *testing.T, rnd *det.Rand, p compact.Plan, files []file, want result) {
	t.Helper()
	small := func() int { return int(rnd.N(2000)) }
	r, err := compact.New(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := drive(r, files, small)
	if err != nil {
		t.Fatal(err)
	}
	equalResults(t, want, got)
	gone := 0
	for k, g := range want.groups {
		m, err := compact.DecodeMark(g.Mark.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		gone += g.Segments
		q := p
		q.Segments = p.Segments[gone:]
		r, err := compact.Resume(q, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := drive(r, files[gone:], small)
		if err != nil {
			t.Fatal(err)
		}
		equalResults(t, result{files: want.files[k+1:], groups: want.groups[k+1:], upto: want.upto}, got)
	}
}

func equalResults(t *testing.T, want, got result) {
	t.Helper()
	if got.upto != want.upto || len(got.groups) != len(want.groups) {
		t.Fatalf("up to %d in %d groups, want %d in %d", got.upto, len(got.groups), want.upto, len(want.groups))
	}
	for i := range want.groups {
		a, b := want.groups[i], got.groups[i]
		if a.Base != b.Base || a.Segments != b.Segments || a.Size != b.Size || a.Same != b.Same ||
			!reflect.DeepEqual(a.Aborted, b.Aborted) || !bytes.Equal(a.Mark.Append(nil), b.Mark.Append(nil)) {
			t.Fatalf("group %d: %+v, want %+v", i, b, a)
		}
		if !bytes.Equal(want.files[i].data, got.files[i].data) || int64(len(got.files[i].data)) != b.Size {
			t.Fatalf("group %d: other bytes", i)
		}
	}
}
