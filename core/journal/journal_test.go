package journal_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

func one(t *testing.T) (*disk, *rig) {
	d := &disk{}
	r := newRig(t, d, journal.Config{Start: 1, First: 1, Slot: 64 << 10})
	r.w.Checkpoint(1, born(1), nil)
	return d, r
}

func TestWhatWasFlushedIsRecovered(t *testing.T) {
	d, r := one(t)
	m := journal.Mark{Hard: journal.Hard{Term: 4, Vote: 1 << 40, Commit: 8}, Voters: []uint64{1, 2},
		Learners: []uint64{3}, VotersOut: []uint64{4, 5}, LearnersNext: []uint64{6}, AutoLeave: true, Index: 8, Term: 3,
		Offset: 7, Segment: 5, Pos: 4711, LogStart: 2, Name: "zwei-1", TopicID: [16]byte{1, 2}, State: []byte("pids")}
	r.w.Checkpoint(2, m, []journal.Entry{noop(9, 4), inline(10, 4, 300)})
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2), inline(3, 2, 100), direct(4, 2, 900)}, 1)
	if seq := r.sync(); seq != 1 || r.w.Durable() != 1 || r.w.Seq() != 1 {
		t.Fatalf("seq %d, durable %d", seq, r.w.Durable())
	}
	r.w.Append(1, nil, []journal.Entry{{Index: 5, Term: 2, Type: 1, Data: []byte("conf change")}}, 3)
	r.sync()
	if r.flush() != 0 || len(r.fx.List) != 0 {
		t.Error("nothing was recorded, and it was flushed")
	}
	f := recovered(t, d)
	if len(f.Groups) != 2 || f.NextFile != 2 || f.Start != 1 || len(f.Files) != 1 {
		t.Fatalf("found %+v", f)
	}
	two := find(f, 2)
	if !reflect.DeepEqual(two.Mark, m) || two.Hard != m.Hard || two.Bound != 8 || two.Last() != 10 || two.Damaged != "" {
		t.Errorf("group 2: %+v", two)
	}
	g := find(f, 1)
	if !reflect.DeepEqual(g.Mark, born(1)) || g.Hard != *hard(2, 1) || g.Bound != 3 || g.Last() != 5 || g.Damaged != "" {
		t.Fatalf("group 1: %+v", g)
	}
	e := g.Tail
	if e[0].Index != 2 || e[0].IsBatch || len(e[0].Data) != 0 || !e[1].IsBatch || !e[1].Inline || !bodyMatches(d, &e[1]) ||
		e[1].Stub.PID != 9 || e[1].Stub.Count != 1 || !e[2].IsBatch || e[2].Inline || e[3].IsBatch ||
		e[3].Type != 1 || string(e[3].Data) != "conf change" {
		t.Errorf("tail %+v", e)
	}
	if core.Live.Load() != 0 {
		t.Errorf("%d buffers live", core.Live.Load())
	}
}

func TestALaterAppendCutsTheTail(t *testing.T) {
	d, r := one(t)
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2), inline(3, 2, 10), inline(4, 2, 10)}, 1)
	r.sync()
	r.w.Append(1, nil, nil, 4)
	r.w.Append(1, hard(3, 9), []journal.Entry{inline(3, 3, 20)}, 4)
	r.sync()
	g := find(recovered(t, d), 1)
	if g.Last() != 3 || g.Tail[1].Term != 3 || !bodyMatches(d, &g.Tail[1]) || g.Bound != 2 || g.Hard.Commit != 3 || g.Damaged != "" {
		t.Errorf("%+v", g)
	}
}

// At every byte at which the power can fail during the last write, recovery finds what the earlier
// frames say, or all.
func TestACrashAtEveryByteCutsOnlyTheLastFrame(t *testing.T) {
	d, r := one(t)
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2), inline(3, 2, 50)}, 1)
	r.sync()
	r.w.Append(1, nil, []journal.Entry{inline(4, 2, 700), inline(5, 2, 30)}, 3)
	r.flush()
	o := r.ops[0]
	for _, old := range []byte{0, 0xff} { // what lay there before
		for n := 0; n <= len(o.data); n++ {
			c := d.clone()
			c.write(o.path, o.off, slices.Repeat([]byte{old}, len(o.data)+5000))
			c.write(o.path, o.off, o.data[:n])
			g := find(recovered(t, c), 1)
			want := core.Index(3)
			whole := c.clone()
			whole.write(o.path, o.off, o.data)
			if bytes.Equal(whole.files.At(o.path), c.files.At(o.path)) {
				want = 5
			}
			if g.Last() != want || g.Damaged != "" || g.Hard.Term != 2 {
				t.Fatalf("%d bytes over %x: ends at %d, want %d, %q", n, old, g.Last(), want, g.Damaged)
			}
		}
	}
}

// Any sector of the unsynced writes may be there and any may not: the log is a prefix of the frames,
// and never shorter than what was synced.
func TestAnySubsetOfSectorsLeavesAPrefix(t *testing.T) {
	rnd := det.New(3, "sectors")
	cut := 0
	for range 400 {
		d, r := one(t)
		last := core.Index(1)
		more := func() {
			r.w.Append(1, hard(2, 1), []journal.Entry{inline(last+1, 2, int(rnd.Between(1, 3000)))}, last)
			last++
		}
		for range rnd.Between(1, 5) {
			more()
			r.sync()
		}
		synced := last
		for range rnd.Between(1, 5) {
			more()
			r.flush()
		}
		for _, o := range r.ops {
			for i := 0; i < len(o.data); i += 512 {
				if rnd.Chance(2, 3) {
					d.write(o.path, o.off+int64(i), o.data[i:min(i+512, len(o.data))])
				}
			}
		}
		g := find(recovered(t, d), 1)
		if g.Last() < synced || g.Last() > last || g.Damaged != "" {
			t.Fatalf("ends at %d, synced %d, written %d: %q", g.Last(), synced, last, g.Damaged)
		}
		for i := range g.Tail {
			if !bodyMatches(d, &g.Tail[i]) {
				t.Fatalf("entry %d has a bad batch", g.Tail[i].Index)
			}
		}
		if g.Last() < last {
			cut++
		}
	}
	if cut < 100 {
		t.Errorf("only %d of 400 runs lost something", cut)
	}
}

// Each bit of the synced frames may rot. What a later frame proves durable must be found damaged or
// intact, never quietly shorter.
func TestARottenByteInADurableFrameIsDamage(t *testing.T) {
	d, r := one(t)
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2), inline(3, 2, 50)}, 1)
	r.sync()
	r.w.Append(1, nil, []journal.Entry{inline(4, 2, 100)}, 3)
	r.sync()
	r.w.Checkpoint(2, born(2), nil)
	r.sync()
	r.w.Seal()
	r.sync()
	path := journal.Path(0, 1)
	size, damaged, whole := len(d.files.At(path)), 0, 0
	for i := range size {
		c := d.clone()
		c.files.At(path)[i] ^= 0x10
		f := recovered(t, c)
		g := find(f, 1)
		if find(f, 2) == nil && f.Lost == "" {
			t.Fatalf("byte %d: group 2 vanished without a word", i)
		}
		switch {
		case g == nil:
			t.Fatalf("byte %d: the group vanished, lost %q", i, f.Lost)
		case g.Damaged != "":
			damaged++
		case g.Last() != 4:
			t.Fatalf("byte %d: the log ends at %d and claims to be well", i, g.Last())
		default:
			whole++
		}
	}
	if damaged < 400 || whole < 4000 {
		t.Errorf("%d damaged, %d whole", damaged, whole)
	}
}

func TestALaterCheckpointHealsDamage(t *testing.T) {
	d, r := one(t)
	r.sync()
	at := len(d.files.At(journal.Path(0, 1)))
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2)}, 1)
	r.w.Checkpoint(2, born(2), nil)
	r.sync()
	m := born(1)
	m.Index, m.Term = 2, 2
	r.w.Checkpoint(1, m, nil)
	r.w.Append(2, hard(5, 1), nil, 1)
	r.sync()
	r.w.Append(1, hard(3, 1), []journal.Entry{noop(3, 3)}, 2)
	r.sync()
	for _, bad := range []int{50, 120} { // the header of frame 2, and its meta section
		c := d.clone()
		c.files.At(journal.Path(0, 1))[at+bad] ^= 1
		f := recovered(t, c)
		if g := find(f, 1); g.Damaged != "" || g.Last() != 3 {
			t.Errorf("group 1: %+v", g)
		}
		if g := find(f, 2); g.Damaged == "" || f.Lost == "" {
			t.Errorf("group 2 lost its checkpoint and is thought well: %+v", g)
		}
	}
}

func TestAGroupThatMayHaveMovedIntoALostFrameIsDamaged(t *testing.T) {
	d, r := one(t)
	r.sync()
	path := journal.Path(0, 2)
	r = newRig(t, d, journal.Config{Start: 2, First: 2, Slot: 64 << 10})
	r.w.Checkpoint(2, born(2), nil)
	r.sync()
	at := (len(d.files.At(path)) + 63) &^ 63
	r.w.Checkpoint(1, born(1), nil)
	r.sync()
	r.w.Seal()
	r.sync()
	d.files.At(path)[at+70] ^= 1
	if g := find(recovered(t, d), 1); g.Damaged == "" {
		t.Error("start 1 is believed, though start 2 may have voted since")
	}
}

// Frame 2 was durable, frame 3 was not when 4 was written. With both absent, 4 stands behind a hole in
// the unsynced region and heals nobody.
func TestNothingBehindAnUnsyncedHoleCounts(t *testing.T) {
	for _, lost := range []int{1, 2} {
		d, r := one(t)
		r.sync()
		var at []int
		for range 2 {
			at = append(at, (len(d.files.At(journal.Path(0, 1)))+63)&^63)
			r.w.Append(1, hard(2, 1), nil, 1)
			if r.flush(); len(at) == 1 {
				r.finish(0, core.OK)
			} else {
				d.write(r.ops[0].path, r.ops[0].off, r.ops[0].data) // written, never synced
			}
		}
		r.w.Checkpoint(1, born(1), nil)
		r.flush()
		r.finish(1, core.OK)
		for _, n := range at[:lost] {
			d.files.At(journal.Path(0, 1))[n+66] ^= 1
		}
		if g := find(recovered(t, d), 1); (g.Damaged != "") != (lost == 2) {
			t.Errorf("%d lost: damaged %q", lost, g.Damaged)
		}
	}
}

func TestADurableFrameAtTheVeryEndIsMissed(t *testing.T) {
	d, r := one(t)
	r.sync()
	for range 2 {
		at := (len(d.files.At(journal.Path(0, 1))) + 63) &^ 63
		r.w.Append(1, hard(2, 1), nil, 1)
		r.sync()
		d.files.At(journal.Path(0, 1))[at+66] ^= 1 // meta: the header still tells what was durable
	}
	if g := find(recovered(t, d), 1); g.Damaged == "" {
		t.Errorf("%+v", g)
	}
}

func TestAnUnreadableSectorIsNotATornTail(t *testing.T) {
	d, r := one(t)
	r.sync()
	d.sick, d.sickAt = journal.Path(0, 1), int64(len(d.files.At(journal.Path(0, 1))))
	r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 10)}, 1)
	r.sync()
	f := recovered(t, d)
	if g := find(f, 1); g.Damaged == "" || f.Lost == "" {
		t.Errorf("%+v", g)
	}
}

func TestBatchesLargerThanTheReadBufferAreVerified(t *testing.T) {
	d, r := one(t)
	r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 1<<20), inline(3, 2, 700_000), noop(4, 2)}, 1)
	r.sync()
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(5, 2)}, 1)
	r.sync()
	g := find(recovered(t, d), 1)
	if g.Last() != 5 || g.Damaged != "" || !bodyMatches(d, &g.Tail[0]) || !bodyMatches(d, &g.Tail[1]) {
		t.Fatalf("ends at %d: %s", g.Last(), g.Damaged)
	}
	d.files.At(journal.Path(0, 1))[g.Tail[1].At+600_000] ^= 1
	if g := find(recovered(t, d), 1); !strings.Contains(g.Damaged, "entry 3") {
		t.Errorf("damaged %q", g.Damaged)
	}
	m := born(1)
	m.Index = 5
	r.w.Checkpoint(1, m, nil)
	r.sync()
	if g := find(recovered(t, d), 1); g.Damaged != "" || g.Mark.Index != 5 {
		t.Errorf("what is needed no more damages: %+v", g)
	}
}

// A retried batch under another offset or epoch has the same CRC.
func TestABatchUnderAnotherOffsetIsNotTheOne(t *testing.T) {
	for _, at := range []int64{7, 15, 11, 16, 20} { // offset, epoch, size, magic, CRC
		d, r := one(t)
		r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 100)}, 1)
		r.sync()
		r.w.Seal()
		r.sync()
		e := find(recovered(t, d), 1).Tail[0]
		d.files.At(e.Path)[e.At+at] ^= 1
		if g := find(recovered(t, d), 1); g.Damaged == "" {
			t.Errorf("byte %d of the batch: %+v", at, g)
		}
	}
}

func TestCompletionsOutOfOrderMakeAPrefixDurable(t *testing.T) {
	_, r := one(t)
	r.flush()
	for i := range core.Index(3) {
		r.w.Append(1, hard(core.Term(i+2), 1), nil, 1)
		r.flush()
	}
	if len(r.ops) != 5 { // Create and four frames
		t.Fatalf("%d operations", len(r.ops))
	}
	want := func(n int, durable uint64) {
		if got, ok := r.finish(n, core.OK); got != durable || !ok {
			t.Errorf("durable %d, want %d", got, durable)
		}
	}
	want(2, 0)
	want(1, 0)
	want(0, 2) // the Create
	want(1, 2)
	want(0, 4)
	if r.w.Owns(12345) {
		t.Error("owns what it never asked for")
	}
}

func TestAFailedSyncBreaksTheJournalForEver(t *testing.T) {
	d, r := one(t)
	r.sync()
	r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 10)}, 1)
	r.flush()
	r.w.Append(1, nil, []journal.Entry{inline(3, 2, 10)}, 1)
	r.flush()
	r.w.Append(1, nil, []journal.Entry{inline(4, 2, 10)}, 1)
	if durable, ok := r.finish(0, core.ErrIO); ok || durable != 1 || !r.w.Broken() {
		t.Errorf("durable %d, ok %v", durable, ok)
	}
	r.w.Append(1, nil, []journal.Entry{inline(5, 2, 10)}, 1)
	r.w.Checkpoint(1, born(1), []journal.Entry{inline(2, 2, 10)})
	if r.flush() != 0 || len(r.fx.List) != 0 {
		t.Error("a broken journal writes on")
	}
	if durable, ok := r.finish(0, core.OK); ok || durable != 1 {
		t.Errorf("durable %d, ok %v after the failure", durable, ok)
	}
	if core.Live.Load() != 0 {
		t.Errorf("%d buffers live", core.Live.Load())
	}
	if g := find(recovered(t, d), 1); g.Damaged != "" {
		t.Error(g.Damaged)
	}
}

// fill writes frames for group 1 until the journal goes to another file; it gives the new last index.
func fill(r *rig, last core.Index) core.Index {
	for files := len(r.w.Needy()); len(r.w.Needy()) <= files; last++ {
		if r.w.Seq() > 10_000 {
			r.t.Fatal("nobody becomes needy")
		}
		r.w.Append(1, hard(2, 1), []journal.Entry{inline(last+1, 2, 9000)}, last)
		r.sync()
	}
	return last
}

func TestFilesAreRecycledOnceTheirGroupsHaveMovedOn(t *testing.T) {
	d, r := one(t)
	r.w.Checkpoint(2, born(2), nil)
	r.sync()
	last := core.Index(1)
	for round := range 12 {
		last = fill(r, last)
		if got := r.w.Needy(); !slices.Equal(got, []core.GroupID{1, 2}) {
			t.Fatalf("round %d: needy %v", round, got)
		}
		m := born(1)
		m.Index, m.Term = last, 2
		r.w.Checkpoint(1, m, nil)
		if got := r.w.Needy(); !slices.Equal(got, []core.GroupID{2}) {
			t.Fatalf("needy %v while the checkpoint of 1 is under way", got)
		}
		r.w.Checkpoint(2, born(2), nil)
		r.sync()
		if got := r.w.Needy(); len(got) != 0 {
			t.Fatalf("needy %v", got)
		}
		f := recovered(t, d)
		if g := find(f, 1); g.Mark.Index != last || g.Last() != last || g.Damaged != "" {
			t.Fatalf("round %d: %+v", round, g)
		}
		if g := find(f, 2); g.Damaged != "" || g.Mark.Name != "t-2" {
			t.Fatalf("round %d: %+v", round, g)
		}
	}
	if n := d.files.Len(); n != 3 { // one of them blank
		t.Errorf("%d files after 12 rounds", n)
	}
	for _, info := range d.List() {
		if info.Size > 64<<10 {
			t.Errorf("%s has %d bytes", info.Path, info.Size)
		}
	}
}

// A crash while a recycled file is being written over, at every sector of the first writes.
func TestACrashInARecycledFileForgetsNothing(t *testing.T) {
	d, r := one(t)
	r.sync()
	last := core.Index(1)
	for range 3 {
		last = fill(r, last)
		m := born(1)
		m.Index, m.Term = last, 2
		r.w.Checkpoint(1, m, nil)
		r.sync()
	}
	checked := 0
	for range 20 {
		r.w.Append(1, nil, []journal.Entry{inline(last+1, 2, 5000)}, last)
		r.flush()
		o := r.ops[0]
		for n := 0; n <= len(o.data); n += 512 {
			for _, tail := range []bool{false, true} { // the beginning arrived, or the end
				c := d.clone()
				if tail {
					c.write(o.path, o.off+int64(n), o.data[n:])
				} else {
					c.write(o.path, o.off, o.data[:n])
				}
				g := find(recovered(t, c), 1)
				if g == nil || g.Damaged != "" || g.Last() != last && g.Last() != last+1 {
					t.Fatalf("seq %d, %d of %d bytes, tail %v: %+v", r.w.Seq(), n, len(o.data), tail, g)
				}
				checked++
			}
		}
		r.sync()
		last++
	}
	if checked < 200 {
		t.Errorf("%d crashes checked", checked)
	}
}

func TestAFrameLargerThanASlotHasAFileOfItsOwn(t *testing.T) {
	d, r := one(t)
	r.sync()
	r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 200<<10)}, 1)
	r.sync()
	r.w.Append(1, nil, []journal.Entry{inline(3, 2, 10)}, 1)
	r.sync()
	if d.files.Len() != 3 {
		t.Errorf("%d files", d.files.Len())
	}
	if g := find(recovered(t, d), 1); g.Last() != 3 || g.Damaged != "" || !bodyMatches(d, &g.Tail[0]) {
		t.Errorf("%+v", g)
	}
	m := born(1)
	m.Index = 3
	r.w.Checkpoint(1, m, nil)
	r.sync()
	for range 2 {
		r.w.Seal()
		r.sync()
	}
	if !slices.Contains(r.removed, journal.Path(0, 2)) {
		t.Errorf("the giant stays; removed: %v", r.removed)
	}
}

func TestANewStartTakesOverAndAdopts(t *testing.T) {
	d, r := one(t)
	r.w.Checkpoint(2, born(2), nil)
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2)}, 1)
	r.sync()
	other := newRig(t, d, journal.Config{Shard: 1, Start: 1, First: 2, Slot: 64 << 10})
	other.w.Checkpoint(3, born(3), nil)
	other.sync()

	f := recovered(t, d)
	if len(f.Groups) != 3 || f.NextFile != 3 {
		t.Fatalf("%+v", f)
	}
	// Start 2 has one shard. Group 1 has moved; 2 is deleted; 3 has not moved yet.
	r = newRig(t, d, journal.Config{Start: 2, First: f.NextFile, Slot: 64 << 10})
	m := born(1)
	m.Index, m.Term = 2, 2
	r.w.Checkpoint(1, m, nil)
	r.w.Gone(2)
	r.sync()
	f2 := recovered(t, d)
	if g := find(f2, 1); g.Mark.Index != 2 || len(g.Tail) != 0 {
		t.Errorf("group 1: %+v", g)
	}
	if g := find(f2, 2); !g.Gone || g.Mark.Name != "t-2" {
		t.Errorf("group 2: %+v", g)
	}
	if g := find(f2, 3); g.Gone || g.Damaged != "" || g.Mark.Name != "t-3" {
		t.Errorf("group 3: %+v", g)
	}
	// Many files later the past still knows group 2, and it stays gone.
	last := core.Index(2)
	for range 5 {
		last = fill(r, last)
		m.Index = last
		r.w.Checkpoint(1, m, nil)
		r.sync()
		if g := find(recovered(t, d), 2); !g.Gone || g.Mark.Name != "t-2" {
			t.Fatalf("group 2 is back: %+v", g)
		}
	}
	r.w.Checkpoint(3, born(3), nil)
	r.sync()
	r.w.Adopt(f.Files)
	r.sync()
	r.w.Seal()
	r.sync() // removes what is beyond Spare
	f3 := recovered(t, d)
	if g := find(f3, 2); g != nil && !g.Gone || find(f3, 1).Damaged != "" || find(f3, 3).Damaged != "" || f3.Start != 2 {
		t.Errorf("after adoption: %+v", f3.Groups)
	}
	if n := d.files.Len(); n > 3 || len(r.removed) == 0 {
		t.Errorf("%d files, removed %v", n, r.removed)
	}
}

func TestASealProvesWhatWasDurable(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		d, r := one(t)
		r.sync()
		r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 10)}, 1)
		r.sync()
		end := len(d.files.At(journal.Path(0, 1)))
		if sealed {
			r.w.Seal()
			if r.sync() != 3 {
				t.Fatal("no seal frame")
			}
		}
		d.files.At(journal.Path(0, 1))[end-1] ^= 1 // the end of the batch
		if g := find(recovered(t, d), 1); (g.Damaged != "") != sealed {
			t.Errorf("sealed %v: damaged %q", sealed, g.Damaged)
		}
	}
}

// A client that knows the format puts frames into its batch; without the salt they prove nothing.
func TestAFrameInsideAPayloadIsNotAFrame(t *testing.T) {
	d, r := one(t)
	r.sync()
	good := slices.Clone(d.files.At(journal.Path(0, 1)))
	r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 9000)}, 1)
	r.sync()
	f := d.files.At(journal.Path(0, 1))
	clear(f[len(good)+50 : len(good)+200]) // the append is torn
	for at := len(good) + 512; at < len(good)+4096; at += 64 {
		copy(f[at&^63:], good[4608:4672])
	}
	if g := find(recovered(t, d), 1); g.Last() != 1 || g.Damaged != "" {
		t.Errorf("%+v", g)
	}
}

func TestANewerFormatIsRefusedWithTheRemedy(t *testing.T) {
	d, r := one(t)
	r.sync()
	b := d.files.At(journal.Path(0, 1))
	b[3] = journal.Version + 1
	journal.Reseal(b)
	_, err := journal.Recover(d)
	if err == nil || !strings.Contains(err.Error(), "start the newer release") {
		t.Error(err)
	}
}

func TestAnUnreadableFileIsRefusedWithTheRemedy(t *testing.T) {
	d, r := one(t)
	r.sync()
	d.sick = journal.Path(0, 1)
	if _, err := journal.Recover(d); err == nil || !strings.Contains(err.Error(), "repair the disk") {
		t.Error(err)
	}
}

func TestStubsRoundTripAndLiesAreRefused(t *testing.T) {
	s := journal.StubOf(batch(1<<40, 3, 100, 'x'))
	s.Flags = journal.Roll | journal.Control
	b := s.Append(nil)
	if got, ok := journal.DecodeStub(b); !ok || got != s || s.Next() != 1<<40+1 {
		t.Errorf("%+v, want %+v", got, s)
	}
	for n := range b {
		if _, ok := journal.DecodeStub(b[:n]); ok {
			t.Errorf("%d bytes of a stub pass", n)
		}
	}
	if _, ok := journal.DecodeStub(append(b, 0)); ok {
		t.Error("a longer stub passes")
	}
	for _, lie := range []func(*journal.Stub){
		func(s *journal.Stub) { s.Count = 0 }, func(s *journal.Stub) { s.Count = -1 }, func(s *journal.Stub) { s.Len = 60 },
		func(s *journal.Stub) { s.Base = -1 }, func(s *journal.Stub) { s.Base = 1<<63 - 1 }} {
		c := s
		lie(&c)
		if _, ok := journal.DecodeStub(c.Append(nil)); ok {
			t.Errorf("%+v passes", c)
		}
	}
}

// Long before a file is full the next one has its room. It is found by the next start, which needs no room to
// begin with.
func TestASpareFileIsThereForAFullDisk(t *testing.T) {
	d, r := one(t)
	d.reserves = true
	if f := recovered(t, d); len(f.Blank) != 0 {
		t.Fatalf("blank %v at the beginning", f.Blank)
	}
	r.sync()
	last := core.Index(1)
	for range 4 { // of seven that fit
		r.w.Append(1, hard(2, 1), []journal.Entry{inline(last+1, 2, 9000)}, last)
		r.sync()
		last++
	}
	f := recovered(t, d)
	if len(f.Blank) != 1 || slices.Contains(f.Files, f.Blank[0]) || f.Blank[0].Size == 0 {
		t.Fatalf("blank %v, files %v", f.Blank, f.Files)
	}
	if g := find(f, 1); g.Damaged != "" || g.Last() != last {
		t.Fatalf("%+v", g)
	}
	files := d.files.Len()
	next := newRig(t, d, journal.Config{Start: 2, Slot: 64 << 10, First: f.NextFile, Blank: f.Blank[0].Path})
	m := born(1)
	m.Index, m.Term = last, 2
	next.w.Checkpoint(1, m, nil)
	next.sync()
	if d.files.Len() != files {
		t.Errorf("the start made a file though there was a spare one: %v", d.List())
	}
	again := recovered(t, d)
	if g := find(again, 1); g.Mark.Index != last || g.Damaged != "" || len(again.Blank) != 0 {
		t.Errorf("%+v, blank %v", g, again.Blank)
	}
}

// A frame that was lost damages the groups that may have had records in it. Their records are numbered: whose
// next one follows, lost none.
func TestALostFrameDamagesOnlyWhoMayHaveBeenInIt(t *testing.T) {
	d, r := one(t)
	r.w.Checkpoint(2, born(2), nil)
	r.w.Checkpoint(3, born(3), nil)
	r.sync()
	before := len(d.files.At(journal.Path(0, 1)))
	r.w.Append(1, hard(2, 1), []journal.Entry{inline(2, 2, 100)}, 1)
	r.sync()
	r.w.Append(2, hard(2, 1), []journal.Entry{inline(2, 2, 100)}, 1)
	r.sync()
	r.w.Append(1, nil, []journal.Entry{inline(3, 2, 100)}, 2)
	r.w.Seal()
	r.sync()
	at := (before + 63) &^ 63
	d.files.At(journal.Path(0, 1))[at+30] ^= 1
	f := recovered(t, d)
	for id, damaged := range []bool{1: true, 2: false, 3: true} {
		if id == 0 {
			continue
		}
		if g := find(f, core.GroupID(id)); (g.Damaged != "") != damaged || g.Mendable {
			t.Errorf("group %d: damaged %q, mendable %v", id, g.Damaged, g.Mendable)
		}
	}
	if f.Lost == "" {
		t.Error("nobody hears of the frame")
	}
}
