package seg

import (
	"encoding/binary"
	"math"

	"github.com/karst-stream/karst/core"
)

// DefaultInterval is Kafka's default of index.interval.bytes.
const DefaultInterval = 4096

const (
	offsetEntry = 8  // last offset of a batch less the segment's base, position of the batch
	timeEntry   = 12 // largest timestamp so far, last offset of the first batch that has it less the base
)

// Tally says which batches of a segment Kafka's two indexes name, and how many that are. It is the rule of
// LogSegment.recover and append: a batch gets an offset entry when more than interval bytes lie between it and
// the last that has one (or the segment's begin); with each goes a time entry, when the largest timestamp has
// grown; one more time entry closes the segment. A Tally is a value: a copy goes on by itself.
type Tally struct {
	Base     core.Offset
	Interval int64       // index.interval.bytes when the segment's indexes were begun
	Next     int64       // the position behind the last batch
	After    core.Offset // the offset behind it
	Max      core.Wall   // the largest timestamp; -1: none
	MaxAt    core.Offset // the last offset of the first batch that has it; Base when there is none
	Offsets  int64       // entries
	Times    int64
	last     int64     // position of the last batch with an entry; 0: none has one
	timed    core.Wall // timestamp of the last time entry; -1: none
}

// NewTally is that of a segment without a batch.
func NewTally(base core.Offset, interval int64) Tally {
	return Tally{Base: base, Interval: interval, After: base, Max: -1, MaxAt: base, timed: -1}
}

// Add tells of the next batch and says which entries it brings.
func (t *Tally) Add(last core.Offset, size int32, maxTime core.Wall) (offset, time bool) {
	if maxTime > t.Max {
		t.Max, t.MaxAt = maxTime, last
	}
	if t.Next-t.last > t.Interval && t.Fits(last) && t.Next <= math.MaxInt32 {
		t.last = t.Next
		t.Offsets++
		offset, time = true, t.grown()
	}
	t.Next += int64(size)
	t.After = last + 1
	return offset, time
}

// grown counts a time entry when one is due.
func (t *Tally) grown() bool {
	if t.Max <= t.timed || !t.Fits(t.MaxAt) {
		return false
	}
	t.timed = t.Max
	t.Times++
	return true
}

// Fits says whether an index of the segment can name an offset (AbstractIndex.canAppendOffset).
func (t *Tally) Fits(o core.Offset) bool { return o >= t.Base && o-t.Base <= math.MaxInt32 }

// Full says whether an index has no room for the entry of one more batch in a file of so many bytes
// (segment.index.bytes; AbstractIndex.isFull, TimeIndex.isFull: one entry is kept for the end).
func (t *Tally) Full(bytes int64) bool {
	return t.Offsets >= max(1, bytes/offsetEntry) || t.Times >= max(1, bytes/timeEntry-1)
}

// Guess is the Tally of a segment of which only the length is known: never fewer entries than there are.
func Guess(base core.Offset, interval, pos int64, after core.Offset) Tally {
	t := NewTally(base, interval)
	n := pos / (interval + 1)
	t.Next, t.last, t.After, t.Offsets, t.Times = pos, pos, after, n, n
	return t
}

func (t *Tally) encode(b []byte) []byte {
	for _, v := range []int64{t.Interval, t.Next, t.last, int64(t.After - t.Base), int64(t.Max), int64(t.MaxAt - t.Base),
		int64(t.timed), t.Offsets, t.Times} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func (t *Tally) decode(b []byte) (rest []byte, ok bool) {
	var v [9]int64
	for i := range v {
		x, n := binary.Varint(b)
		if n <= 0 {
			return nil, false
		}
		v[i], b = x, b[n:]
	}
	if min(v[0], v[1], v[2], v[3], v[5], v[7], v[8]) < 0 || v[1] > 1<<40 || v[2] > v[1] || v[7] > v[1] || v[8] > v[7]+1 {
		return nil, false
	}
	*t = Tally{Base: t.Base, Interval: v[0], Next: v[1], last: v[2], After: t.Base + core.Offset(v[3]), Max: core.Wall(v[4]),
		MaxAt: t.Base + core.Offset(v[5]), timed: core.Wall(v[6]), Offsets: v[7], Times: v[8]}
	return b, true
}
