package seg_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/seg"
)

// kafka is Kafka's rule, told again as LogSegment.recover does it.
func kafka(all []truth, base core.Offset, interval int64, closed bool) (offsets, times []byte) {
	last, maxTime, at, timed := int64(0), core.Wall(-1), base, core.Wall(-1)
	time := func() {
		if maxTime > timed {
			times = binary.BigEndian.AppendUint64(times, uint64(maxTime))
			times = binary.BigEndian.AppendUint32(times, uint32(at-base))
			timed = maxTime
		}
	}
	for _, b := range all {
		if b.max > maxTime {
			maxTime, at = b.max, b.last
		}
		if b.pos-last > interval {
			offsets = binary.BigEndian.AppendUint32(offsets, uint32(b.last-base))
			offsets = binary.BigEndian.AppendUint32(offsets, uint32(b.pos))
			time()
			last = b.pos
		}
	}
	if closed {
		time()
	}
	return offsets, times
}

func size(b truth) int32 { return int32(b.end - b.pos) }

// files are what was taken of an index, as a disk holds it.
type files [seg.Kinds][]byte

func (f *files) take(x *seg.Index) {
	b, at := x.Take()
	for k := range seg.Kinds {
		f[k] = append(f[k][:at[k]], b[k]...)
	}
}

func grow(x *seg.Index, f *files, all []truth, rnd *det.Rand) {
	for _, b := range all {
		x.Add(b.base, b.last, size(b), b.max)
		if rnd.Chance(1, 20) {
			f.take(x)
		}
	}
}

func TestAnIndexHoldsWhatKafkaWrites(t *testing.T) {
	for seed := range uint64(8) {
		rnd := det.New(seed, "index")
		_, all := segment(rnd, 5000, 1500)
		interval := []int64{0, 100, 4096, 1 << 20}[seed%4]
		x, f := seg.NewIndex(5000, interval), files{}
		grow(x, &f, all, rnd)
		f.take(x)
		offsets, times := kafka(all, 5000, interval, false)
		if !bytes.Equal(f[seg.Offsets], offsets) || !bytes.Equal(f[seg.Times], times) {
			t.Fatalf("seed %d: open: %d and %d bytes, want %d and %d", seed, len(f[0]), len(f[1]), len(offsets), len(times))
		}
		x.Finish()
		f.take(x)
		offsets, times = kafka(all, 5000, interval, true)
		if !bytes.Equal(f[seg.Offsets], offsets) || !bytes.Equal(f[seg.Times], times) || len(times) == 0 {
			t.Fatalf("seed %d: closed: %d and %d bytes, want %d and %d", seed, len(f[0]), len(f[1]), len(offsets), len(times))
		}
		if x.Size(seg.Offsets) != int64(len(offsets)) || x.Given(seg.Times) != int64(len(times)) || x.Pending() != 0 {
			t.Fatalf("seed %d: sizes", seed)
		}
	}
}

// searches asks an index for everything and compares with a linear search.
func searches(t *testing.T, x *seg.Index, f *files, file []byte, all []truth, rnd *det.Rand) {
	t.Helper()
	for range 300 {
		o := core.Offset(rnd.Between(int64(all[0].base), int64(all[len(all)-1].last)))
		p := x.Offset(o)
		pos := p.Pos
		if p.Len > 0 {
			var ok bool
			if pos, ok = p.Offset(f[seg.Offsets][p.Off : p.Off+p.Len]); !ok {
				t.Fatalf("offset %d: a good page is refused", o)
			}
		}
		near(t, all, pos, o, x.Interval)
		if p.Exact && baseAt(all, p.Pos) != o {
			t.Fatalf("offset %d is said to begin at %d", o, p.Pos)
		}
		got, ok := walk(t, file, pos, x.Next, 1<<16, func(w *seg.Walk) (seg.Seen, bool) { return w.Offset(o) })
		if !ok || got.Head.BaseOffset() > o || got.Head.LastOffset() < o {
			t.Fatalf("offset %d from %d: %v", o, pos, ok)
		}
		searchTime(t, x, f, file, all, core.Wall(1_000_000-500+rnd.N(80_000)))
	}
}

// near fails when a walk for o from pos would be longer than an interval and the batches at its ends.
func near(t *testing.T, all []truth, pos int64, o core.Offset, interval int64) {
	t.Helper()
	for i, b := range all {
		if b.last >= o {
			longest := interval + b.end - b.pos
			if i > 0 {
				longest += all[i-1].end - all[i-1].pos
			}
			if pos > b.pos || b.pos-pos > longest+5000 {
				t.Fatalf("offset %d lies at %d, the walk begins at %d", o, b.pos, pos)
			}
			return
		}
	}
}

func baseAt(all []truth, pos int64) core.Offset {
	for _, b := range all {
		if b.pos == pos {
			return b.base
		}
	}
	return -1
}

func searchTime(t *testing.T, x *seg.Index, f *files, file []byte, all []truth, ts core.Wall) {
	t.Helper()
	var want *truth
	for i := range all {
		if all[i].max >= ts {
			want = &all[i]
			break
		}
	}
	p, at, grew := x.Time(ts)
	if p.Len > 0 {
		var ok bool
		if at, grew, ok = p.Time(f[seg.Times][p.Off:p.Off+p.Len], ts); !ok {
			t.Fatalf("time %d: a good page is refused", ts)
		}
		if want != nil && want.last <= p.At {
			t.Fatalf("time %d: %d is said to be older, it is at %d", ts, p.At, want.last)
		}
	}
	pos := x.Last()
	if grew {
		q := x.Before(at)
		if pos = q.Pos; q.Len > 0 {
			pos, _ = q.Offset(f[seg.Offsets][q.Off : q.Off+q.Len])
		}
	}
	got, ok := walk(t, file, pos, x.Next, 1<<16, func(w *seg.Walk) (seg.Seen, bool) { return w.Time(ts) })
	if ok != (want != nil) || ok && got.Pos != want.pos {
		t.Fatalf("time %d from %d (grew %v): found %v at %d, want %+v", ts, pos, grew, ok, got.Pos, want)
	}
	if ok && got.Pos-pos > x.Interval+20_000 {
		t.Fatalf("time %d at %d is looked for from %d", ts, got.Pos, pos)
	}
}

func TestAnIndexFindsWhatALinearSearchFinds(t *testing.T) {
	for seed := range uint64(6) {
		rnd := det.New(seed, "search")
		file, all := segment(rnd, 1000, 1200)
		interval := []int64{0, 200, 4096}[seed%3]
		x, f := seg.NewIndex(1000, interval), files{}
		grow(x, &f, all[:900], rnd)
		searches(t, x, &f, file, all[:900], rnd)

		f.take(x)
		mark := x.Append(nil)
		y, rest, ok := seg.Decode(append(mark, 7), 1000)
		if !ok || len(rest) != 1 || !y.Hollow() || y.Tally != x.Tally {
			t.Fatalf("seed %d: the mark is read as %+v, want %+v", seed, y, x.Tally)
		}
		grow(y, &f, all[900:1000], rnd) // it grows before it is filled
		fill(y, &f)
		if !y.Filled() || y.Hollow() {
			t.Fatalf("seed %d: its own files are refused", seed)
		}
		searches(t, y, &f, file, all[:1000], rnd)
		grow(y, &f, all[1000:], rnd)
		searches(t, y, &f, file, all, rnd)
		y.Finish()
		f.take(y)
		searches(t, y, &f, file, all, rnd)
		offsets, times := kafka(all, 1000, interval, true)
		if !bytes.Equal(f[seg.Offsets], offsets) || !bytes.Equal(f[seg.Times], times) {
			t.Fatalf("seed %d: files of two processes differ from those of one", seed)
		}
		y.Empty()
		fill(y, &f)
		if !y.Filled() {
			t.Fatalf("seed %d: a closed index is refused", seed)
		}
		searches(t, y, &f, file, all, rnd)
	}
}

func fill(x *seg.Index, f *files) {
	for k := range seg.Kinds {
		for {
			at, n := x.Want(k)
			if n == 0 {
				break
			}
			x.Fill(k, f[k][at:at+n])
		}
	}
}

func TestRottenIndexFilesAreRefused(t *testing.T) {
	rnd := det.New(3, "rot")
	_, all := segment(rnd, 0, 1200)
	x, f := seg.NewIndex(0, 100), files{}
	grow(x, &f, all, rnd)
	x.Finish()
	f.take(x)
	mark := x.Append(nil)
	for range 200 {
		k := seg.Kind(rnd.N(2))
		bad := files{bytes.Clone(f[0]), bytes.Clone(f[1])}
		bad[k][rnd.N(int64(len(bad[k])))] ^= 1 << rnd.N(8)
		y, _, _ := seg.Decode(mark, 0)
		fill(y, &bad)
		if y.Filled() {
			t.Fatal("a flipped bit is believed when it is loaded")
		}
	}
	pages := 0
	for range 500 {
		o := core.Offset(rnd.N(int64(all[len(all)-1].last)))
		p := x.Offset(o)
		ts := 1_000_000 + core.Wall(rnd.N(60_000))
		q, _, _ := x.Time(ts)
		for k, p := range [seg.Kinds]seg.Page{p, q} {
			if p.Len == 0 {
				continue
			}
			pages++
			b := bytes.Clone(f[k][p.Off : p.Off+p.Len])
			b[rnd.N(p.Len)] ^= 1 << rnd.N(8)
			_, ok := p.Offset(b)
			if seg.Kind(k) == seg.Times {
				_, _, ok = p.Time(b, ts)
			}
			if ok {
				t.Fatal("a flipped bit of a page is believed")
			}
			if _, ok := p.Offset(b[:len(b)-8]); ok {
				t.Fatal("a short page is believed")
			}
		}
	}
	if pages < 500 {
		t.Errorf("only %d pages were read", pages)
	}
	for n := range mark {
		if _, _, ok := seg.Decode(mark[:n], 0); ok {
			t.Errorf("a mark of %d bytes is believed", n)
		}
	}
}

func TestAReaderInOrderNeedsNoPages(t *testing.T) {
	rnd := det.New(4, "order")
	_, all := segment(rnd, 0, 1500)
	x, f := seg.NewIndex(0, 0), files{}
	grow(x, &f, all, rnd)
	x.Finish()
	f.take(x)
	exact := 0
	for _, b := range all {
		if x.Edge(b.pos) == b.pos && x.Offset(b.base).Exact {
			exact++
		}
	}
	if exact < 10 {
		t.Errorf("%d batches are known by heart", exact)
	}
	x.Empty()
	fill(x, &f)
	x.Filled()
	b := all[1]
	if x.Offset(b.base).Exact {
		t.Error("the files do not say where a batch begins")
	}
	x.Learn(b.pos, b.base)
	if p := x.Offset(b.base); !p.Exact || p.Pos != b.pos {
		t.Error("what was learned is not used")
	}
}

func TestARollIsDueWhenAnIndexIsFull(t *testing.T) {
	x := seg.NewTally(10, 0)
	for i := range 100 {
		full := x.Full(400) // 50 offset entries; 33 time entries, of which one is kept for the end
		if want := i > 32; full != want {
			t.Fatalf("after %d batches: full %v", i, full)
		}
		x.Add(core.Offset(10+i), 100, core.Wall(i))
	}
	y := seg.NewTally(10, 0)
	for i := range 60 {
		y.Add(core.Offset(10+i), 100, 7)
		if full, want := y.Full(400), i >= 50; full != want {
			t.Fatalf("one time, %d batches: full %v", i+1, full)
		}
	}
	if !x.Fits(10+1<<31-1) || x.Fits(10+1<<31) || x.Fits(9) {
		t.Error("relative offsets have 31 bits")
	}
	g := seg.Guess(0, 99, 10_000, 77)
	if g.Offsets < 99 || g.Times < g.Offsets || g.Next != 10_000 {
		t.Errorf("%+v", g)
	}
}

func TestAnIndexOfAGiBStaysSmall(t *testing.T) {
	x, bytes := seg.NewIndex(0, 4096), int64(0)
	const batch = 1000
	for pos := int64(0); pos < 1<<30; pos += batch {
		n := core.Offset(pos / batch)
		x.Add(n, n, batch, core.Wall(n))
		if x.Pending() >= 4<<10 {
			b, _ := x.Take()
			bytes += int64(len(b[0]) + len(b[1]))
		}
	}
	if n := seg.Memory(x); n > 96<<10 || bytes < 3<<20 {
		t.Errorf("%d bytes in memory, %d in files", n, bytes)
	}
}

func TestCheckKnowsTrueEntries(t *testing.T) {
	for seed := range uint64(4) {
		rnd := det.New(seed, "check")
		file, all := segment(rnd, 300, 400)
		x, f := seg.NewIndex(300, []int64{0, 1000}[seed%2]), files{}
		grow(x, &f, all, rnd)
		x.Finish()
		f.take(x)
		check := func(offsets, times []byte, closed bool) error {
			c := seg.NewCheck(300, offsets, times)
			seg.Scan(file, 300, 0, c.Batch)
			return c.End(closed)
		}
		if err := check(f[0], f[1], true); err != nil {
			t.Fatal(err)
		}
		if err := check(nil, nil, false); err != nil {
			t.Fatal(err)
		}
		if check(f[0], f[1][:len(f[1])-12], true) == nil {
			t.Error("the last time entry is not missed")
		}
		for range 300 {
			k := rnd.N(2)
			bad := files{bytes.Clone(f[0]), bytes.Clone(f[1])}
			bad[k][rnd.N(int64(len(bad[k])))] ^= 1 << rnd.N(8)
			if check(bad[0], bad[1], true) == nil {
				t.Fatal("a flipped bit passes")
			}
			if check(f[0][:len(f[0])-int(1+rnd.N(7))], f[1], true) == nil {
				t.Fatal("half an entry passes")
			}
		}
	}
}

func FuzzFill(f *testing.F) {
	rnd := det.New(9, "fuzz index")
	_, all := segment(rnd, 0, 300)
	x, disk := seg.NewIndex(0, 50), files{}
	grow(x, &disk, all, rnd)
	disk.take(x)
	mark := x.Append(nil)
	f.Add(mark, disk[0], disk[1])
	f.Add(mark[:20], disk[1], disk[0])
	f.Fuzz(func(t *testing.T, mark, offsets, times []byte) {
		y, _, ok := seg.Decode(mark, 0)
		if !ok || y == nil {
			return
		}
		b := files{offsets, times}
		for k := range seg.Kinds {
			for {
				at, n := y.Want(k)
				if n == 0 || at+n > int64(len(b[k])) {
					break
				}
				y.Fill(k, b[k][at:at+n])
			}
		}
		if !y.Filled() {
			return
		}
		for _, o := range []core.Offset{-1, 0, 5, 1 << 20, 1 << 62} {
			y.Offset(o)
			y.Time(core.Wall(o))
			y.Edge(int64(o))
		}
	})
}
