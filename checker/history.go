// Package checker judges what a cluster did. It owns the judges: State hears replicas as they act and
// holds them to the invariants I1-I12; Log hears clients, and holds what they saw of partitions to the
// anomalies A1-A5, A7-A12, A18, A19, A23-A25 and A28; Groups, Topics, Clock and Producers hear of
// committed offsets and owners (A21, A22), of topics (A30), of time indexes (A29) and of producer ids
// (A31). Judge tells all of them a history that was written to a file, from any broker.
//
// The judges are exact: whatever they report happened, and whatever of their list happened among what
// they were told, they report. They refuse to guess: an outcome that a client does not know stays
// unknown until a reader shows it. A history in which nothing happened is a violation of its own, and
// a file that is not fully understood gets an error and no verdict.
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

// Promise is what a producer was promised with its batch. The zero Promise is the strongest: acks=all,
// idempotent, one batch.
type Promise struct {
	Weak    bool   // acks=1 or 0: it may be lost with its leader
	Loose   bool   // not idempotent: a retry may append it again, or late
	Pieces  bool   // not one batch: a part of it may be appended and another not
	Session uint16 // raised when the producer gives its id up: order is promised within one
}

// what is known of one record, as bits
const (
	isSent uint8 = 1 << iota
	isAcked
	isFailed
	isRead
	isWeak
	isLoose
	isWhole
	hasSum
)

// fate is what is known of one record.
type fate struct {
	at      core.Offset // -1: unknown
	first   uint32      // the counter that its send began with
	sum     uint32      // of its bytes, with hasSum
	session uint16
	is      uint8
}

func (f *fate) has(bits uint8) bool { return f.is&bits == bits }

// spot is what is known of one offset.
type spot struct {
	v     Value
	known bool
}

// shelf holds neighbouring offsets. Logs need not begin at 0, and liars name offsets anywhere.
const shelfSize = 256

type shelf [shelfSize]spot

type topicPart struct {
	shelves map[core.Offset]*shelf // looked up
	last    *shelf                 // the one used last, and its number
	lastNo  core.Offset
	high    core.Offset
	seqs    map[producerEpoch]int32
	epochs  map[int64]int16 // A18: by producer id, the newest in the log
	scan    core.Offset     // A19: how far the log was scanned
	scanned bool
	// where the scan began
	scanFrom core.Offset
	fates    map[uint16]*[]fate
	mine     *[]fate // the ones used last, and whose
	whose    uint16
}

type producerEpoch struct {
	id    int64
	epoch int16
}

// Log judges what clients saw.
type Log struct {
	Acks, Reads, Scans int64 // batches acknowledged, records read, batches scanned
	WeakLost           int64 // records acknowledged with acks=1 or 0 that nobody read

	// Late: operations are told when they end, so a record may be read before its send is known.
	Late bool
	// Sparse: a log may begin at any offset, not only at 0.
	Sparse bool

	report func(Violation)
	parts  []*topicPart
	name   func(part int32) string
	seen   map[latestKey]latest
	next   map[readerKey]*cursor
	held   int64 // bytes, roughly
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
	l := &Log{report: report, seen: map[latestKey]latest{}, next: map[readerKey]*cursor{}}
	l.name = func(part int32) string { return fmt.Sprintf("partition %d", part) }
	for range n {
		l.grow()
	}
	return l
}

// grow adds a partition.
func (l *Log) grow() {
	l.held += 512
	l.parts = append(l.parts, &topicPart{shelves: map[core.Offset]*shelf{}, lastNo: -1,
		seqs: map[producerEpoch]int32{}, epochs: map[int64]int16{}, fates: map[uint16]*[]fate{}})
}

func (l *Log) fail(id, format string, args ...any) {
	l.report(Violation{id, fmt.Sprintf(format, args...)})
}

// say names a value as people know it.
func (l *Log) say(v Value) string {
	return fmt.Sprintf("value %d of producer %d in %s", v.Counter, v.Producer, l.name(int32(v.Partition)))
}

const fateSize, shelfBytes = 24, 16*shelfSize + 64

func (l *Log) fate(v Value) *fate {
	fs := l.of(v)
	if n := int(v.Counter) + 1 - len(*fs); n > 0 {
		l.held += int64(n) * fateSize
		for range n {
			*fs = append(*fs, fate{at: -1})
		}
	}
	return &(*fs)[v.Counter]
}

// of gives what is known of the records of v's producer in v's partition.
func (l *Log) of(v Value) *[]fate {
	p := l.parts[v.Partition]
	if p.mine == nil || p.whose != v.Producer {
		fs := p.fates[v.Producer]
		if fs == nil {
			fs = new([]fate)
			p.fates[v.Producer] = fs
			l.held += 64
		}
		p.mine, p.whose = fs, v.Producer
	}
	return p.mine
}

// known says how many counters of v's producer in v's partition were ever named.
func (l *Log) known(v Value) int {
	return len(*l.of(v))
}

func (l *Log) spot(p *topicPart, at core.Offset) *spot {
	no := at / shelfSize
	if no != p.lastNo {
		s := p.shelves[no]
		if s == nil {
			s = new(shelf)
			p.shelves[no] = s
			l.held += shelfBytes
		}
		p.last, p.lastNo = s, no
	}
	return &p.last[at%shelfSize]
}

// Sent: a producer asked for n records from v on to be appended, in one batch and with the strongest
// promise. Its outcome is unknown until Acked or Failed.
func (l *Log) Sent(v Value, n int) { l.SentWith(v, n, Promise{}) }

// SentWith is Sent with another promise.
func (l *Log) SentWith(v Value, n int, p Promise) {
	bits := isSent
	if p.Weak {
		bits |= isWeak
	}
	if p.Loose {
		bits |= isLoose
	}
	if !p.Pieces {
		bits |= isWhole
	}
	for i := range n {
		w := Value{v.Producer, v.Partition, v.Counter + uint32(i)}
		f := l.fate(w)
		if f.has(isSent) {
			l.fail("history", "%s was sent twice: a value names one record", l.say(w))
			return
		}
		f.is |= bits
		f.first, f.session = v.Counter, p.Session
	}
}

// Sums: what a checksum of the n records from v on is, as they were sent (A28).
func (l *Log) Sums(v Value, sums []int64) {
	for i, s := range sums {
		f := l.fate(Value{v.Producer, v.Partition, v.Counter + uint32(i)})
		if f.has(hasSum) && f.sum != uint32(s) {
			l.fail("A28", "%s was read with checksum %08x and sent with %08x", l.say(Value{v.Producer, v.Partition, v.Counter + uint32(i)}), f.sum, uint32(s))
		}
		f.sum = uint32(s)
		f.is |= hasSum
	}
}

// Acked: the send of n records from v on was acknowledged at base.
func (l *Log) Acked(v Value, n int, base core.Offset) {
	l.Acks++
	for i := range n {
		w := Value{v.Producer, v.Partition, v.Counter + uint32(i)}
		f := l.fate(w)
		f.is |= isAcked
		if !f.has(isWeak) {
			l.place(w, base+core.Offset(i), "acknowledged")
		}
	}
}

// AckedSomewhere: acknowledged without an offset (DUPLICATE_SEQUENCE_NUMBER, acks=0).
func (l *Log) AckedSomewhere(v Value, n int) {
	l.Acks++
	for i := range n {
		l.fate(Value{v.Producer, v.Partition, v.Counter + uint32(i)}).is |= isAcked
	}
}

// Failed: a definite error answered the send of n records from v on. They are in no log, now and
// later (A5).
func (l *Log) Failed(v Value, n int) {
	for i := range n {
		w := Value{v.Producer, v.Partition, v.Counter + uint32(i)}
		f := l.fate(w)
		f.is |= isFailed
		if f.has(isRead) {
			l.aborted(w, f)
		}
	}
}

func (l *Log) aborted(v Value, f *fate) {
	l.fail("A5", "%s was refused for good, and was read at offset %d", l.say(v), f.at)
}

// place says that v was seen at an offset: A1 when another was, A2 when v was elsewhere.
func (l *Log) place(v Value, at core.Offset, how string) {
	p := l.parts[v.Partition]
	if at < 0 {
		l.fail("A1", "%s was %s at offset %d", l.say(v), how, at)
		return
	}
	s := l.spot(p, at)
	if s.known && s.v != v && l.fate(s.v).has(isAcked) {
		l.fail("A1", "%s was acknowledged at offset %d and is lost: %s was %s there", l.say(s.v), at, l.say(v), how)
		return
	}
	if s.known && s.v != v {
		l.fail("A1", "offset %d holds %s and was %s with %s", at, l.say(s.v), how, l.say(v))
		return
	}
	s.v, s.known = v, true
	f := l.fate(v)
	if !f.has(isSent) && !l.Late {
		l.fail("A1", "%s was %s at offset %d, and nobody sent it", l.say(v), how, at)
		return
	}
	if f.at >= 0 && f.at != at {
		if !f.has(isLoose) {
			l.fail("A2", "%s is at offset %d and was %s at %d", l.say(v), f.at, how, at)
		}
		return
	}
	f.at = at
}

// Assigned: a reader begins, or begins again, at an offset of a partition.
func (l *Log) Assigned(reader int, part int32, at core.Offset) {
	*l.begin(reader, part, at) = cursor{at, -1}
}

// begin is where a reader is in a partition: at, when this is the first that is heard of it.
func (l *Log) begin(reader int, part int32, at core.Offset) *cursor {
	k := readerKey{reader, part}
	c := l.next[k]
	if c == nil {
		c = &cursor{at, -1}
		l.next[k] = c
		l.held += 80
	}
	return c
}

// Read: a reader's poll op gave it a record. A7 and A8 compare with the poll before, A9 and A10 with
// the record before in the same poll.
func (l *Log) Read(reader int, part int32, op int64, at core.Offset, v Value) {
	l.Reads++
	first := core.Offset(0)
	if l.Sparse {
		first = at
	}
	l.follow(reader, part, l.begin(reader, part, first), op, at, 1)
	l.read(part, at, v)
}

// follow holds n records from at on, that a poll gave a reader, against what must come next.
func (l *Log) follow(reader int, part int32, c *cursor, op int64, at, n core.Offset) {
	ids := [2]string{"A7", "A8"}
	if c.op == op {
		ids = [2]string{"A9", "A10"}
	}
	switch {
	case at > c.at:
		l.fail(ids[0], "reader %d of %s was given offset %d, %d must come next", reader, l.name(part), at, c.at)
	case at < c.at:
		l.fail(ids[1], "reader %d of %s was given offset %d again, %d must come next", reader, l.name(part), at, c.at)
	}
	*c = cursor{at + n, op}
}

func (l *Log) read(part int32, at core.Offset, v Value) {
	if int32(v.Partition) != part {
		l.fail("A1", "%v was read in partition %d", v, part)
		return
	}
	l.place(v, at, "read")
	f := l.fate(v)
	if f.has(isFailed) && !f.has(isRead) {
		l.aborted(v, f)
	}
	f.is |= isRead
	p := l.parts[part]
	p.high = max(p.high, at+1)
}

// ReadSum: the record v was read with this checksum (A28).
func (l *Log) ReadSum(v Value, at core.Offset, sum uint32) {
	f := l.fate(v)
	if f.has(hasSum) && f.sum != sum {
		l.fail("A28", "%s was read at offset %d with checksum %08x, it was %08x before", l.say(v), at, sum, f.sum)
	}
	if !f.has(hasSum) {
		f.sum = sum
		f.is |= hasSum
	}
}

// Corrupt: a reader was given bytes that are no value, or not the value that was sent.
func (l *Log) Corrupt(part int32, at core.Offset, what string) {
	l.fail("A28", "offset %d of %s: %s", at, l.name(part), what)
}

// Fetched: a fetch at a known leader epoch gave records up to end (exclusive) and this high watermark.
func (l *Log) Fetched(client int, part int32, e core.Epoch, hw, end core.Offset) {
	if end > hw {
		l.fail("A24", "client %d was given offsets up to %d of %s above the high watermark %d", client, end-1, l.name(part), hw)
	}
	l.Latest(client, part, e, hw)
}

// Latest: a client was told the end of a partition, at a known leader epoch.
func (l *Log) Latest(client int, part int32, e core.Epoch, end core.Offset) {
	k := latestKey{client, part}
	was, ok := l.seen[k]
	if ok && e >= was.epoch && end < was.end {
		l.fail("A23", "client %d saw %s end at %d in epoch %d, and later at %d in epoch %d",
			client, l.name(part), was.end, was.epoch, end, e)
	}
	if !ok {
		l.held += 64
	}
	if !ok || e > was.epoch || e == was.epoch && end > was.end {
		l.seen[k] = latest{e, max(end, was.end)}
	}
}

// OutOfRange: a reader was told OFFSET_OUT_OF_RANGE at an offset that it had come to by reading.
func (l *Log) OutOfRange(reader int, part int32, at core.Offset) {
	l.fail("A25", "reader %d was told that offset %d of %s is out of range", reader, at, l.name(part))
}

// Scanned: the final reader met a batch of the log, in order of offsets. A19: the sequences of each
// producer epoch have no gap and no repeat. A18: an epoch of a producer id never follows a newer one.
func (l *Log) Scanned(part int32, base core.Offset, count int32, pid int64, epoch int16, seq int32) {
	l.Scans++
	p := l.parts[part]
	if base != p.scan && (p.scanned || !l.Sparse) {
		l.fail("A7", "the log of %s goes on at offset %d after %d", l.name(part), base, p.scan-1)
	}
	if !p.scanned {
		p.scanned, p.scanFrom = true, base
	}
	p.scan = base + core.Offset(count)
	if pid < 0 {
		return
	}
	if newest, ok := p.epochs[pid]; ok && epoch < newest {
		l.fail("A18", "%s, offset %d: producer %d writes in epoch %d after a record of its epoch %d",
			l.name(part), base, pid, epoch, newest)
	}
	p.epochs[pid] = max(p.epochs[pid], epoch)
	k := producerEpoch{pid, epoch}
	want, ok := p.seqs[k]
	if !ok {
		l.held += 96 // in both maps
	}
	if ok && seq != want {
		l.fail("A19", "%s, offset %d: producer %d epoch %d goes on with sequence %d, %d must come next",
			l.name(part), base, pid, epoch, seq, want)
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
		l.order(uint16(part), id, *p.fates[id])
		l.lost(p, uint16(part), id, *p.fates[id])
	}
}

// lost: A3, A4, and with late histories the A1 of a value that nobody sent. A batch of which one
// record was read was appended whole, whatever its producer knows.
func (l *Log) lost(p *topicPart, part, producer uint16, fates []fate) {
	landed, first := false, -1
	for c := range fates {
		f := &fates[c]
		v := Value{producer, part, uint32(c)}
		if int(f.first) != first {
			first, landed = int(f.first), false
			for i := c; i < len(fates) && fates[i].first == f.first; i++ {
				landed = landed || fates[i].has(isWhole|isRead)
			}
		}
		switch {
		case !f.has(isSent):
			if f.has(isRead) && l.Late {
				l.fail("A1", "%s was read at offset %d, and nobody sent it", l.say(v), f.at)
			}
		case f.has(isRead) || !f.has(isAcked) && !landed:
		case f.has(isWeak):
			l.WeakLost++
		case !f.has(isAcked):
			l.fail("A3", "%s is missing: another record of its batch was read", l.say(v))
		case f.at >= 0 && f.at < p.high:
			l.fail("A3", "%s was acknowledged at offset %d, below %d that was read, and nobody read it", l.say(v), f.at, p.high-1)
		default:
			l.fail("A4", "%s was acknowledged at offset %d, and the readers end at %d", l.say(v), f.at, p.high)
		}
	}
}

// order: A11 and A12.
func (l *Log) order(part, producer uint16, fates []fate) {
	last, lastCounter := fate{at: -1}, 0
	for c, f := range fates {
		if f.at < 0 || f.has(isLoose) {
			continue
		}
		if last.at >= f.at && last.session == f.session {
			name := "A11"
			if last.first == f.first {
				name = "A12"
			}
			l.fail(name, "producer %d sent %d before %d to %s; they are at offsets %d and %d",
				producer, lastCounter, c, l.name(int32(part)), last.at, f.at)
		}
		last, lastCounter = f, c
	}
}
