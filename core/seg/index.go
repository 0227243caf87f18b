package seg

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"sort"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Kind is one of the two index files of a segment.
type Kind int

const (
	Offsets Kind = iota // OffsetIndex.java: where a batch lies, by its last offset
	Times               // TimeIndex.java: by what offset the largest timestamp grew
	Kinds
)

var widths = [Kinds]int64{offsetEntry, timeEntry}

// pageEntries is how many entries of a file are read, and vouched for, together. In memory stay 16 bytes a
// page of each file: at Kafka's interval some 64 KiB for a segment of 1 GiB.
const pageEntries = 128

// Index is the offset index and the time index of one segment. It makes the bytes of both files from the
// batches, in order (Add, Finish), gives them away (Take), and keeps of each page of them its first entry and
// its sum: enough to find the page that a search needs (Offset, Time), to know it again when it was read
// (Page.Offset, Page.Time), and to go on without it. The bytes of a file are believed in no other way.
//
// An index that was begun by a process before this one is hollow: it can be added to, but not asked, until the
// bytes of both files have been shown to it (Fill).
type Index struct {
	Tally
	offs    column
	times   column
	offTop  []offsetTop
	timeTop []timeTop
	hollow  bool
	closed  bool // Finish was called
	saved   saved
}

// column is the bytes of one file.
type column struct {
	size   int64  // of the whole file
	given  int64  // of it, what was taken
	tail   []byte // its end: what was not taken, and while it grows the page that is not full
	sum    uint32 // CRC-32C of all
	filled int64  // hollow: what of the file was shown
	seen   uint32 // ... its sum
	part   []byte // ... and of it the page that is not full
}

// offsetTop is what is known of a page of the offset index: its first entry, and where its batch begins.
type offsetTop struct {
	last, pos uint32
	first     uint32 // the offset with which that batch begins, less the base; unknown: unknown
	sum       uint32
}

type timeTop struct {
	time core.Wall
	at   uint32
	sum  uint32
}

const unknown = math.MaxUint32

// saved is what the index was when its bytes were taken last.
type saved struct {
	tally  Tally
	sums   [Kinds]uint32
	closed bool
	any    bool
}

// NewIndex is the index of a segment that begins at base and holds nothing yet.
func NewIndex(base core.Offset, interval int64) *Index {
	return &Index{Tally: NewTally(base, interval)}
}

// Hollow says that the files must be shown before anything can be looked up.
func (x *Index) Hollow() bool { return x.hollow }

// Closed says that the index is whole: no batch follows.
func (x *Index) Closed() bool { return x.closed }

// Size is how long the file of a kind is, or will be when all of it was taken and written.
func (x *Index) Size(k Kind) int64 { return x.column(k).size }

// Given is how much of that was taken.
func (x *Index) Given(k Kind) int64 { return x.column(k).given }

func (x *Index) column(k Kind) *column {
	if k == Times {
		return &x.times
	}
	return &x.offs
}

// Add tells of the batch at Next.
func (x *Index) Add(first, last core.Offset, size int32, maxTime core.Wall) {
	det.That(!x.closed, "seg: a closed segment does not grow")
	pos := x.Next
	offset, time := x.Tally.Add(last, size, maxTime)
	if offset {
		var b [offsetEntry]byte
		binary.BigEndian.PutUint32(b[:], uint32(last-x.Base))
		binary.BigEndian.PutUint32(b[4:], uint32(pos))
		x.offs.push(b[:])
		if !x.hollow {
			x.topOffset(b[:], x.Tally.Offsets-1, uint32(first-x.Base))
		}
	}
	if time {
		x.pushTime()
	}
}

func (x *Index) pushTime() {
	var b [timeEntry]byte
	binary.BigEndian.PutUint64(b[:], uint64(x.Max))
	binary.BigEndian.PutUint32(b[8:], uint32(x.MaxAt-x.Base))
	x.times.push(b[:])
	if !x.hollow {
		x.topTime(b[:], x.Tally.Times-1)
	}
}

// Finish adds the entry that ends the time index: the largest timestamp of the segment
// (LogSegment.onBecomeInactiveSegment).
func (x *Index) Finish() {
	if x.closed {
		return
	}
	if x.grown() {
		x.pushTime()
	}
	x.closed = true
}

func (c *column) push(b []byte) {
	c.tail = append(c.tail, b...)
	c.size += int64(len(b))
	c.sum = crc32.Update(c.sum, castagnoli, b)
}

// topOffset notes entry n of the offset index.
func (x *Index) topOffset(b []byte, n int64, first uint32) {
	if n%pageEntries == 0 {
		x.offTop = append(x.offTop, offsetTop{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), first, 0})
	}
	t := &x.offTop[len(x.offTop)-1]
	t.sum = crc32.Update(t.sum, castagnoli, b)
}

func (x *Index) topTime(b []byte, n int64) {
	if n%pageEntries == 0 {
		x.timeTop = append(x.timeTop, timeTop{core.Wall(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:]), 0})
	}
	t := &x.timeTop[len(x.timeTop)-1]
	t.sum = crc32.Update(t.sum, castagnoli, b)
}

// Pending is how many bytes of both files were not taken.
func (x *Index) Pending() int64 { return x.offs.size - x.offs.given + x.times.size - x.times.given }

// Take gives what of both files is new since the last Take, in memory of its own, and where it goes. Append
// tells of the state at this moment until the next.
func (x *Index) Take() (bytes [Kinds][]byte, at [Kinds]int64) {
	for k := range Kinds {
		c := x.column(k)
		from := c.size - int64(len(c.tail))
		at[k] = c.given
		bytes[k] = append([]byte(nil), c.tail[c.given-from:]...)
		c.given = c.size
		keep := c.size
		if !x.hollow && !x.closed {
			keep -= c.size % (pageEntries * widths[k])
		}
		c.tail = append([]byte(nil), c.tail[keep-from:]...)
	}
	x.saved = saved{x.Tally, [Kinds]uint32{x.offs.sum, x.times.sum}, x.closed, true}
	return bytes, at
}

// Append writes down what Decode needs to know the files again: some 30 bytes.
func (x *Index) Append(b []byte) []byte {
	s := &x.saved
	if !s.any {
		return append(b, 0)
	}
	if s.closed {
		b = append(b, 2)
	} else {
		b = append(b, 1)
	}
	b = s.tally.encode(b)
	for k := range Kinds {
		b = binary.BigEndian.AppendUint32(b, s.sums[k])
	}
	return b
}

// Decode reads what Append wrote of the segment at base: a hollow index, or nil when nothing was known.
func Decode(b []byte, base core.Offset) (x *Index, rest []byte, ok bool) {
	if len(b) == 0 || b[0] > 2 {
		return nil, nil, false
	}
	kind := b[0]
	if b = b[1:]; kind == 0 {
		return nil, b, true
	}
	t := Tally{Base: base}
	if b, ok = t.decode(b); !ok || len(b) < 4*int(Kinds) {
		return nil, nil, false
	}
	x = &Index{Tally: t, hollow: true, closed: kind == 2}
	for k := range Kinds {
		c := x.column(k)
		c.sum = binary.BigEndian.Uint32(b)
		c.size = [Kinds]int64{t.Offsets, t.Times}[k] * widths[k]
		c.given = c.size
		b = b[4:]
	}
	x.saved = saved{t, [Kinds]uint32{x.offs.sum, x.times.sum}, x.closed, true}
	return x, b, true
}

// FillBytes is how much of a file to show at once: whole entries of both kinds.
const FillBytes = 24 << 14

// Want is the piece of a file that Fill must be shown next; n is 0 once it has seen all.
func (x *Index) Want(k Kind) (at, n int64) {
	c := x.column(k)
	return c.filled, min(FillBytes, c.given-c.filled)
}

// Fill shows a hollow index the piece that it wants.
func (x *Index) Fill(k Kind, b []byte) {
	c := x.column(k)
	c.seen = crc32.Update(c.seen, castagnoli, b)
	x.top(k, b, c.filled)
	c.filled += int64(len(b))
	c.part = append(c.part, b...)
	c.part = append([]byte(nil), c.part[int64(len(c.part))-c.filled%(pageEntries*widths[k]):]...)
}

func (x *Index) top(k Kind, b []byte, at int64) {
	w := widths[k]
	for ; int64(len(b)) >= w; b, at = b[w:], at+w {
		if k == Offsets {
			x.topOffset(b[:w], at/w, unknown)
		} else {
			x.topTime(b[:w], at/w)
		}
	}
}

// Filled ends the filling. False: the files do not hold what was written to them; then the index must be made
// again.
func (x *Index) Filled() bool {
	for k := range Kinds {
		c := x.column(k)
		if c.filled != c.given {
			return false
		}
		x.top(k, c.tail, c.given)
		if crc32.Update(c.seen, castagnoli, c.tail) != c.sum {
			return false
		}
	}
	for k := range Kinds {
		if c := x.column(k); !x.closed {
			c.tail = append(c.part, c.tail...)
		}
		x.column(k).part = nil
	}
	x.hollow = false
	return true
}

// Sum is the CRC-32C of a file, as far as it was taken.
func (x *Index) Sum(k Kind) uint32 { return x.saved.sums[k] }

// Same says that two closed indexes, of which all was taken, have equal files.
func (x *Index) Same(y *Index) bool { return x.saved == y.saved }

// Empty makes the index hollow again, to give its memory back.
func (x *Index) Empty() {
	x.offTop, x.timeTop, x.hollow = nil, nil, true
	for k := range Kinds {
		c := x.column(k)
		det.That(c.given == c.size, "seg: only an index that was written whole can be emptied")
		c.tail, c.part, c.filled, c.seen = nil, nil, 0, 0
	}
}

// Page is a part of an index file that a search needs, and what is known without it.
type Page struct {
	Pos   int64       // by offset: a batch at or before the one that is looked for
	Exact bool        // it is the one, and begins with the offset that is looked for
	At    core.Offset // by time: no batch that ends at or before it is as new
	Off   int64       // the part of the file
	Len   int64       // 0: Pos is the best that the index knows
	sum   uint32
	rel   int64       // by offset: what is looked for, less the base
	base  core.Offset // by time: of the segment
	next  int64       // by time: the answer when the page holds none; -1: there is none
}

// Offset is where a walk for the batch with offset o begins, or the page of the offset index that says so.
func (x *Index) Offset(o core.Offset) Page {
	det.That(!x.hollow, "seg: a hollow index knows nothing")
	rel := int64(o - x.Base)
	if o >= x.After {
		return Page{Pos: x.Next}
	}
	i := sort.Search(len(x.offTop), func(i int) bool { return int64(x.offTop[i].last) > rel })
	for k := max(i-1, 0); k <= i && k < len(x.offTop); k++ {
		if t := &x.offTop[k]; t.first != unknown && int64(t.first) == rel {
			return Page{Pos: int64(t.pos), Exact: true}
		}
	}
	return x.Before(o + 1)
}

// Before is where the last batch begins that the offset index names and that ends before o, the segment's
// begin when there is none; or the page that says so.
func (x *Index) Before(o core.Offset) Page {
	det.That(!x.hollow, "seg: a hollow index knows nothing")
	rel := int64(max(o-1-x.Base, -1))
	p := Page{rel: rel}
	i := sort.Search(len(x.offTop), func(i int) bool { return int64(x.offTop[i].last) > rel })
	if i == 0 {
		return p
	}
	p.Pos = int64(x.offTop[i-1].pos)
	if b := x.page(Offsets, int64(i-1), &p); b != nil {
		p.Pos = searchOffset(b, p.Pos, rel)
		return p
	}
	p.sum = x.offTop[i-1].sum
	return p
}

// page is page i of a file when it is in memory; else p names the part of the file.
func (x *Index) page(k Kind, i int64, p *Page) []byte {
	c, n := x.column(k), pageEntries*widths[k]
	from, to := i*n, min((i+1)*n, c.size)
	if start := c.size - int64(len(c.tail)); from >= start {
		return c.tail[from-start : to-start]
	}
	p.Off, p.Len = from, to-from
	return nil
}

func searchOffset(b []byte, pos, rel int64) int64 {
	n := sort.Search(len(b)/offsetEntry, func(i int) bool { return int64(binary.BigEndian.Uint32(b[i*offsetEntry:])) > rel })
	if n == 0 {
		return pos
	}
	return int64(binary.BigEndian.Uint32(b[(n-1)*offsetEntry+4:]))
}

// Offset searches the page. False: these bytes are not what was written.
func (p *Page) Offset(b []byte) (pos int64, ok bool) {
	if !p.holds(b) {
		return p.Pos, false
	}
	return searchOffset(b, p.Pos, p.rel), true
}

func (p *Page) holds(b []byte) bool {
	return int64(len(b)) == p.Len && crc32.Checksum(b, castagnoli) == p.sum
}

// Time finds the first entry with a timestamp of ts or later, or the page of the time index that may hold it.
// The batches up to the one that Before says of its offset are older than ts. grew is false when no entry is that
// new: what is may follow the last batch that an entry names.
func (x *Index) Time(ts core.Wall) (p Page, at core.Offset, grew bool) {
	det.That(!x.hollow, "seg: a hollow index knows nothing")
	p = Page{base: x.Base, next: -1, At: x.Base - 1}
	i := sort.Search(len(x.timeTop), func(i int) bool { return x.timeTop[i].time >= ts })
	if i < len(x.timeTop) {
		p.next = int64(x.timeTop[i].at)
	}
	if i > 0 {
		p.At = x.Base + core.Offset(x.timeTop[i-1].at)
		b := x.page(Times, int64(i-1), &p)
		if b == nil {
			p.sum = x.timeTop[i-1].sum
			return p, 0, false
		}
		p.next = searchTime(b, ts, p.next)
	}
	return p, x.Base + core.Offset(p.next), p.next >= 0
}

func searchTime(b []byte, ts core.Wall, next int64) int64 {
	n := sort.Search(len(b)/timeEntry, func(i int) bool { return core.Wall(binary.BigEndian.Uint64(b[i*timeEntry:])) >= ts })
	if n == len(b)/timeEntry {
		return next
	}
	return int64(binary.BigEndian.Uint32(b[n*timeEntry+8:]))
}

// Time searches the page. ok is false when these bytes are not what was written.
func (p *Page) Time(b []byte, ts core.Wall) (at core.Offset, grew, ok bool) {
	if !p.holds(b) {
		return 0, false, false
	}
	n := searchTime(b, ts, p.next)
	return p.base + core.Offset(n), n >= 0, true
}

// Last is the position of the last batch that the offset index names: none before it brought a timestamp
// which no time entry tells of.
func (x *Index) Last() int64 { return x.last }

// Edge is the last position at or before pos that is known to be the begin of a batch.
func (x *Index) Edge(pos int64) int64 {
	i := sort.Search(len(x.offTop), func(i int) bool { return int64(x.offTop[i].pos) > pos })
	if i == 0 {
		return 0
	}
	return int64(x.offTop[i-1].pos)
}

// Learn tells with which offset the batch at pos begins, which the files do not say: a reader that comes to a
// page's first batch in order is then served without a look at them.
func (x *Index) Learn(pos int64, first core.Offset) {
	i := sort.Search(len(x.offTop), func(i int) bool { return int64(x.offTop[i].pos) >= pos })
	if i < len(x.offTop) && int64(x.offTop[i].pos) == pos {
		x.offTop[i].first = uint32(first - x.Base)
	}
}
