package record

import (
	"math"

	"github.com/karst-stream/karst/core"
)

// NoTime is the timestamp of a record that has none (RecordBatch.NO_TIMESTAMP).
const NoTime core.Wall = -1

// Facts are what one pass over the records of a batch tells of them.
type Facts struct {
	First, Last core.Wall // the earliest and the latest time of a record; NoTime when none has one
	Keyless     bool      // some record has a null key
	timed       bool
}

func noFacts() Facts { return Facts{First: NoTime, Last: NoTime} }

func (f *Facts) add(time core.Wall, keyless bool) {
	f.Keyless = f.Keyless || keyless
	if time == NoTime {
		return
	}
	if !f.timed {
		f.First, f.timed = time, true
	}
	f.First = min(f.First, time)
	f.Last = max(f.Last, time)
}

// Terms are what a topic asks of each record (LogValidator.validateRecord, Kafka 4).
type Terms struct {
	Keyed         bool // the topic is compacted
	AppendTime    bool // message.timestamp.type is LogAppendTime: the producer's times do not count
	Now           core.Wall
	Before, After int64 // ms that a record's time may lie behind Now and ahead of it
}

// TimeFits says whether a record may have this time.
func (t *Terms) TimeFits(time core.Wall) bool {
	switch {
	case t.AppendTime || time == NoTime:
		return true
	case time > t.Now:
		return uint64(time)-uint64(t.Now) <= uint64(t.After)
	}
	return uint64(t.Now)-uint64(time) <= uint64(t.Before)
}

// claimed says whether a producer claimed the broker's right to set the time.
func (t *Terms) claimed(b Batch) bool { return t.AppendTime && b.LogAppendTime() }

// Met says whether all records of b meet the terms; f is what Inspect said of them.
func (t *Terms) Met(b Batch, f *Facts) bool {
	switch {
	case t.Keyed && f.Keyless, t.claimed(b):
		return false
	case b.LogAppendTime(): // all records have the header's time, whatever they say
		return t.TimeFits(b.MaxTimestamp())
	}
	return !f.timed || t.TimeFits(f.First) && t.TimeFits(f.Last)
}

// MetByHeader is what can be said of a batch whose records are compressed without unpacking them: its
// header tells the latest time. What it says of an honest producer's batch is true when Before is
// without limit and Keyed is false.
func (t *Terms) MetByHeader(b Batch) bool { return !t.claimed(b) && t.TimeFits(b.MaxTimestamp()) }

// FlawKind is why a record does not meet the terms of its topic.
type FlawKind uint8

const (
	NoKey      FlawKind = iota + 1 // INVALID_RECORD
	BadTime                        // INVALID_TIMESTAMP: out of bounds
	NotItsTime                     // INVALID_TIMESTAMP: only brokers set the type LogAppendTime
)

// Flaw is one record that does not meet the terms.
type Flaw struct {
	Kind  FlawKind
	Index int32     // in its batch
	Time  core.Wall // of the record
}

// MaxFlaws is how many flaws of one batch are listed. Kafka lists all: its answer to a batch of 150,000
// empty records is twenty times the size of the batch.
const MaxFlaws = 1000

// Flawed is what is wrong with the records of one batch.
type Flawed struct {
	List  []Flaw // the first MaxFlaws, in order
	Total int
	Timed bool // one of all is an INVALID_TIMESTAMP, and so is the batch
}

// Flaws goes over plain, the uncompressed records of b, and lists those that do not meet the terms. facts
// are those of plain; where the header has the time of all records, that is in them. ErrRecords says that
// plain is not what the header tells.
func (b Batch) Flaws(plain []byte, t *Terms) (bad Flawed, facts Facts, err error) {
	if b.Count() < 0 {
		return bad, noFacts(), ErrRecords
	}
	ok := wellFormed(plain, b.Count(), b.BaseTimestamp(), &facts, func(i int32, time core.Wall, keyless bool) {
		f := Flaw{Index: i, Time: time}
		if b.LogAppendTime() {
			f.Time = b.MaxTimestamp()
		}
		switch {
		case t.Keyed && keyless:
			f.Kind = NoKey
		case t.claimed(b):
			f.Kind = NotItsTime
		case !t.TimeFits(f.Time):
			f.Kind = BadTime
		default:
			return
		}
		bad.Timed = bad.Timed || f.Kind != NoKey
		if bad.Total++; bad.Total <= MaxFlaws {
			bad.List = append(bad.List, f)
		}
	})
	if !ok {
		return Flawed{}, noFacts(), ErrRecords
	}
	if b.LogAppendTime() {
		facts.First, facts.Last = b.MaxTimestamp(), b.MaxTimestamp()
	}
	return bad, facts, nil
}

// Bounds of the times that Terms allow, for messages; they stop at the ends of int64.
func (t *Terms) Bounds() (from, to int64) {
	from, to = int64(t.Now)-t.Before, math.MaxInt64
	if t.After <= math.MaxInt64-max(int64(t.Now), 0) {
		to = int64(t.Now) + t.After
	}
	return from, to
}
