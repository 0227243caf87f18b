// Package checker judges what a cluster did. It owns two judges: State hears replicas as they act and
// holds them to the invariants I1-I12; Log hears clients and holds what they saw to the anomalies
// A1-A4, A7-A12, A19, A23, A24, A25, A28. Both are exact: whatever they report happened, and whatever of
// their list happened among what they were told, they report. They refuse to guess: an outcome that a
// client does not know stays unknown until a reader shows it. A history in which nothing happened is
// a violation of its own.
package checker

import (
	"fmt"
	"slices"

	"github.com/karst-stream/karst/core"
)

// Value names a record: no two records of a history carry the same one. Counters of one producer in
// one partition begin at 0 and have no gaps.
type Value struct {
	Producer  uint16
	Partition uint16
	Counter   uint32
}

func (v Value) String() string {
	return fmt.Sprintf("value %d of producer %d in partition %d", v.Counter, v.Producer, v.Partition)
}

// Violation is one thing that must never happen, and did.
type Violation struct {
	ID   string // "A3", "I7"
	What string
}

func (v Violation) String() string { return v.ID + ": " + v.What }

// fate is what is known of one record.
type fate struct {
	first uint32      // the counter that its send began with
	at    core.Offset // -1: unknown
	sent  bool
	acked bool
	read  bool
}

// spot is what is known of one offset.
type spot struct {
	v     Value
	known bool
	read  bool
}

type topicPart struct {
	log   []spot // by offset
	high  core.Offset
	seqs  map[producerEpoch]int32
	scan  core.Offset // A19: how far the log was scanned
	fates map[uint16]*[]fate
}

type producerEpoch struct {
	id    int64
	epoch int16
}

// Log judges what clients saw.
type Log struct {
	Acks, Reads, Scans int64 // batches acknowledged, records read, batches scanned

	report func(Violation)
	parts  []*topicPart
	seen   map[latestKey]latest
	next   map[readerKey]cursor
}

type readerKey struct {
	reader int
	part   int32
}

type cursor struct {
	at core.Offset // the offset that must come next
	op int64       // the poll that read the one before
}

type latestKey struct {
	client int
	part   int32
}

type latest struct {
	epoch core.Epoch
	end   core.Offset
}

// NewLog judges partitions 0 to n-1 of one topic. report is called for each violation, at once.
func NewLog(n int, report func(Violation)) *Log {
	l := &Log{report: report, seen: map[latestKey]latest{}, next: map[readerKey]cursor{}}
	for range n {
		l.parts = append(l.parts, &topicPart{seqs: map[producerEpoch]int32{}, fates: map[uint16]*[]fate{}})
	}
	return l
}

func (l *Log) fail(id, format string, args ...any) {
	l.report(Violation{id, fmt.Sprintf(format, args...)})
}

func (l *Log) fate(v Value) *fate {
	p := l.parts[v.Partition]
	fs := p.fates[v.Producer]
	if fs == nil {
		fs = new([]fate)
		p.fates[v.Producer] = fs
	}
	for len(*fs) <= int(v.Counter) {
		*fs = append(*fs, fate{at: -1})
	}
	return &(*fs)[v.Counter]
}

// Sent: a producer asked for n records from v on to be appended, in one batch. Its outcome is unknown
// until Acked.
func (l *Log) Sent(v Value, n int) {
	for i := range n {
		f := l.fate(Value{v.Producer, v.Partition, v.Counter + uint32(i)})
		f.sent, f.first = true, v.Counter
	}
}

// Acked: the send of n records from v on was acknowledged at base.
func (l *Log) Acked(v Value, n int, base core.Offset) {
	l.Acks++
	for i := range n {
		w := Value{v.Producer, v.Partition, v.Counter + uint32(i)}
		l.fate(w).acked = true
		l.place(w, base+core.Offset(i), "acknowledged")
	}
}

// AckedSomewhere: acknowledged without an offset (DUPLICATE_SEQUENCE_NUMBER).
func (l *Log) AckedSomewhere(v Value, n int) {
	l.Acks++
	for i := range n {
		l.fate(Value{v.Producer, v.Partition, v.Counter + uint32(i)}).acked = true
	}
}

// place says that v was seen at an offset: A1 when another was, A2 when v was elsewhere.
func (l *Log) place(v Value, at core.Offset, how string) {
	p := l.parts[v.Partition]
	if at < 0 {
		l.fail("A1", "%v was %s at offset %d", v, how, at)
		return
	}
	for core.Offset(len(p.log)) <= at {
		p.log = append(p.log, spot{})
	}
	s := &p.log[at]
	if s.known && s.v != v && l.fate(s.v).acked {
		l.fail("A1", "%v was acknowledged at offset %d and is lost: %v was %s there", s.v, at, v, how)
		return
	}
	if s.known && s.v != v {
		l.fail("A1", "offset %d of partition %d holds %v and was %s with %v", at, v.Partition, s.v, how, v)
		return
	}
	s.v, s.known = v, true
	f := l.fate(v)
	if !f.sent {
		l.fail("A1", "%v was %s at offset %d of partition %d, and nobody sent it", v, how, at, v.Partition)
		return
	}
	if f.at >= 0 && f.at != at {
		l.fail("A2", "%v is at offset %d and was %s at %d", v, f.at, how, at)
		return
	}
	f.at = at
}

// Assigned: a reader begins, or begins again, at an offset of a partition.
func (l *Log) Assigned(reader int, part int32, at core.Offset) {
	l.next[readerKey{reader, part}] = cursor{at, -1}
}

// Read: a reader's poll op gave it a record. A7 and A8 compare with the poll before, A9 and A10 with
// the record before in the same poll.
func (l *Log) Read(reader int, part int32, op int64, at core.Offset, v Value) {
	l.Reads++
	k := readerKey{reader, part}
	c := l.next[k]
	ids := [2]string{"A7", "A8"}
	if c.op == op {
		ids = [2]string{"A9", "A10"}
	}
	switch {
	case at > c.at:
		l.fail(ids[0], "reader %d of partition %d was given offset %d, %d must come next", reader, part, at, c.at)
	case at < c.at:
		l.fail(ids[1], "reader %d of partition %d was given offset %d again, %d must come next", reader, part, at, c.at)
	}
	l.next[k] = cursor{at + 1, op}
	if int32(v.Partition) != part {
		l.fail("A1", "%v was read in partition %d", v, part)
		return
	}
	l.place(v, at, "read")
	l.fate(v).read = true
	p := l.parts[part]
	p.log[at].read = true
	p.high = max(p.high, at+1)
}

// Corrupt: a reader was given bytes that are no value, or not the value that was sent.
func (l *Log) Corrupt(part int32, at core.Offset, what string) {
	l.fail("A28", "offset %d of partition %d: %s", at, part, what)
}

// Fetched: a fetch at a known leader epoch gave records up to end (exclusive) and this high watermark.
func (l *Log) Fetched(client int, part int32, e core.Epoch, hw, end core.Offset) {
	if end > hw {
		l.fail("A24", "client %d was given offsets up to %d of partition %d above the high watermark %d", client, end-1, part, hw)
	}
	l.Latest(client, part, e, hw)
}

// Latest: a client was told the end of a partition, at a known leader epoch.
func (l *Log) Latest(client int, part int32, e core.Epoch, end core.Offset) {
	k := latestKey{client, part}
	was, ok := l.seen[k]
	if ok && e >= was.epoch && end < was.end {
		l.fail("A23", "client %d saw partition %d end at %d in epoch %d, and later at %d in epoch %d",
			client, part, was.end, was.epoch, end, e)
	}
	if !ok || e > was.epoch || e == was.epoch && end > was.end {
		l.seen[k] = latest{e, max(end, was.end)}
	}
}

// OutOfRange: a reader was told OFFSET_OUT_OF_RANGE at an offset that it had come to by reading.
func (l *Log) OutOfRange(reader int, part int32, at core.Offset) {
	l.fail("A25", "reader %d was told that offset %d of partition %d is out of range", reader, at, part)
}

// Scanned: the final reader met a batch of the log, in order of offsets. A19: the sequences of each
// producer epoch have no gap and no repeat.
func (l *Log) Scanned(part int32, base core.Offset, count int32, pid int64, epoch int16, seq int32) {
	l.Scans++
	p := l.parts[part]
	if base != p.scan {
		l.fail("A7", "the log of partition %d goes on at offset %d after %d", part, base, p.scan-1)
	}
	p.scan = base + core.Offset(count)
	if pid < 0 {
		return
	}
	k := producerEpoch{pid, epoch}
	if want, ok := p.seqs[k]; ok && seq != want {
		l.fail("A19", "partition %d, offset %d: producer %d epoch %d goes on with sequence %d, %d must come next",
			part, base, pid, epoch, seq, want)
	}
	p.seqs[k] = int32((int64(seq) + int64(count)) & (1<<31 - 1))
}

// Finish judges the whole history, after every partition was read to its end.
func (l *Log) Finish() {
	if l.Acks == 0 || l.Reads == 0 || l.Scans == 0 {
		l.fail("empty", "%d batches acknowledged, %d records read, %d batches scanned: a run in which nothing happened proves nothing",
			l.Acks, l.Reads, l.Scans)
	}
	for i, p := range l.parts {
		l.finish(i, p)
	}
}

func (l *Log) finish(part int, p *topicPart) {
	var producers []uint16
	for id := range p.fates {
		producers = append(producers, id)
	}
	slices.Sort(producers)
	for _, id := range producers {
		last := fate{at: -1}
		lastCounter := 0
		for c, f := range *p.fates[id] {
			v := Value{id, uint16(part), uint32(c)}
			if f.acked && !f.read {
				if f.at >= 0 && f.at < p.high {
					l.fail("A3", "%v was acknowledged at offset %d, below %d that was read, and nobody read it", v, f.at, p.high-1)
				} else {
					l.fail("A4", "%v was acknowledged at offset %d, and the readers end at %d", v, f.at, p.high)
				}
			}
			if f.at < 0 {
				continue
			}
			if last.at >= f.at {
				name := "A11"
				if last.first == f.first {
					name = "A12"
				}
				l.fail(name, "producer %d sent %d before %d to partition %d; they are at offsets %d and %d",
					id, lastCounter, c, part, last.at, f.at)
			}
			last, lastCounter = f, c
		}
	}
}
