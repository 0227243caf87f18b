package seg

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// AbortedSize is the length of an entry of a transaction index (AbortedTxn.java): a version, which is 0, and the
// four numbers of an Aborted.
const AbortedSize = 34

// Aborted is a transaction that was aborted, an entry of the .txnindex beside the segment that holds its marker.
type Aborted struct {
	PID    int64
	First  core.Offset // of its first batch
	Last   core.Offset // of its marker
	Stable core.Offset // behind the marker, or where the first other transaction began that was open then
}

// Append writes the entry.
func (a Aborted) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, 0)
	for _, v := range [...]int64{a.PID, int64(a.First), int64(a.Last), int64(a.Stable)} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// DecodeAborted reads the transaction index of the segment at base. The error says what cannot be: Kafka holds
// nothing but the version and the base against such a file (TransactionIndex.sanityCheck), we also that entries are
// whole and in the order of their markers.
func DecodeAborted(b []byte, base core.Offset) (all []Aborted, err error) {
	if len(b)%AbortedSize != 0 {
		return nil, fmt.Errorf("txnindex has %d bytes, not a multiple of %d", len(b), AbortedSize)
	}
	for last := base - 1; len(b) > 0; b = b[AbortedSize:] {
		n := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
		a := Aborted{n(2), core.Offset(n(10)), core.Offset(n(18)), core.Offset(n(26))}
		switch version := binary.BigEndian.Uint16(b); {
		case version != 0:
			return nil, fmt.Errorf("txnindex has an entry of version %d, not 0", version)
		case a.PID < 0 || a.First < 0 || a.First > a.Last || a.Stable < 0 || a.Stable-1 > a.Last || a.Last <= last:
			return nil, fmt.Errorf("txnindex says that producer %d aborted offsets %d to %d, the log stable before %d: "+
				"that cannot be, or not behind %d", a.PID, a.First, a.Last, a.Stable, last)
		}
		last = a.Last
		all = append(all, a)
	}
	return all, nil
}

// Collect is LogSegment.collectAbortedTxns: of the entries of a segment those that may concern a reader of offsets
// from, up to but without upper. complete says that no later segment's index holds any more of them.
func Collect(all []Aborted, from, upper core.Offset) (found []Aborted, complete bool) {
	for i, a := range all {
		if a.Last >= from && a.First < upper {
			found = append(found, all[i])
		}
		if a.Stable >= upper {
			return found, true
		}
	}
	return found, false
}

// AbortedIn is what a reader of offsets from, up to but without upper, must know to skip what was aborted
// (LocalLog.collectAbortedTransactions). index gives the entries of the k-th segment, the one that holds from being
// the 0th; false: there is none.
func AbortedIn(from, upper core.Offset, index func(k int) ([]Aborted, bool)) (found []Aborted) {
	for k := 0; ; k++ {
		all, ok := index(k)
		if !ok {
			return found
		}
		some, complete := Collect(all, from, upper)
		if found = append(found, some...); complete {
			return found
		}
	}
}

// Ongoing is a transaction that has begun and not ended.
type Ongoing struct {
	PID   int64
	First core.Offset // of its first batch
}

// Transactions is the fold of a log's batches that ProducerStateManager keeps for its transactions: which are
// open. It begins empty with the first batch of the log. It goes over the bounds of segments, so who makes the
// transaction index of one segment alone begins with what was open at its base: Clone it there.
type Transactions struct {
	open []Ongoing // in the order of First
}

// Clone is a copy that goes on by itself.
func (t *Transactions) Clone() Transactions {
	return Transactions{append([]Ongoing(nil), t.open...)}
}

// Batch tells of the next batch: its header is enough, unless it is a control batch. ok says that it ended a
// transaction which has batches, and that in vain: a is the entry that its segment's index gets.
func (t *Transactions) Batch(b record.Batch) (a Aborted, ok bool) {
	pid := b.ProducerID()
	if pid < 0 || !b.Transactional() {
		return a, false
	}
	i := t.of(pid)
	if !b.Control() {
		if i < 0 {
			t.open = append(t.open, Ongoing{pid, b.BaseOffset()})
		}
		return a, false
	}
	abort, ends := b.Marker()
	if !ends || i < 0 { // an empty transaction changes nothing
		return a, false
	}
	a = Aborted{pid, t.open[i].First, b.BaseOffset(), b.BaseOffset() + 1}
	t.open = append(t.open[:i], t.open[i+1:]...)
	if len(t.open) > 0 {
		a.Stable = t.open[0].First
	}
	return a, abort
}

func (t *Transactions) of(pid int64) int {
	for i := range t.open {
		if t.open[i].PID == pid {
			return i
		}
	}
	return -1
}

// Stable is the last stable offset of a log whose batches below high, its high watermark, were told and no
// others: what is committed is read up to there.
func (t *Transactions) Stable(high core.Offset) core.Offset {
	if len(t.open) > 0 {
		return min(high, t.open[0].First)
	}
	return high
}

// Open are the transactions that are open, in the order in which they began.
func (t *Transactions) Open() []Ongoing { return append([]Ongoing(nil), t.open...) }

// AppendOpen writes down what is open, for a checkpoint.
func (t *Transactions) AppendOpen(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.open)))
	for _, o := range t.open {
		b = binary.AppendUvarint(b, uint64(o.PID))
		b = binary.AppendUvarint(b, uint64(o.First))
	}
	return b
}

// DecodeOpen reads what AppendOpen wrote and gives the rest; false when it is something else.
func DecodeOpen(b []byte) (t Transactions, rest []byte, ok bool) {
	num := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<63-1 {
			b, ok = nil, false
			return 0
		}
		b = b[n:]
		return v
	}
	ok = true
	count := num()
	if count > uint64(len(b)) {
		return Transactions{}, nil, false
	}
	for range count {
		t.open = append(t.open, Ongoing{int64(num()), core.Offset(num())})
	}
	ok = ok && sort.SliceIsSorted(t.open, func(i, k int) bool { return t.open[i].First < t.open[k].First })
	return t, b, ok
}

// TxnCheck holds the transaction index of segments against their batches: those of a log from offset first on.
// What began before is not known, and compaction takes batches away whose transaction the index still names; there an
// entry is held against its marker only.
type TxnCheck struct {
	first core.Offset
	next  core.Offset // behind the last batch
	gaps  bool        // something was missing between two
	txns  Transactions
	all   []Aborted // what is left of the segment's index
	err   error
}

// NewTxnCheck begins with the first batch of a log that begins with offset first.
func NewTxnCheck(first core.Offset) *TxnCheck { return &TxnCheck{first: first, next: first} }

// Segment begins with the segment at base, whose index holds b.
func (c *TxnCheck) Segment(base core.Offset, b []byte) {
	c.all, c.err = DecodeAborted(b, base)
}

// Batch tells of the next one.
func (c *TxnCheck) Batch(s Seen) {
	c.gaps = c.gaps || s.Head.BaseOffset() != c.next
	c.next = s.Head.LastOffset() + 1
	b := s.Head
	if s.Marker != nil {
		b = s.Marker
	}
	want, due := c.txns.Batch(b)
	if c.err != nil {
		return
	}
	at := b.BaseOffset()
	named := len(c.all) > 0 && c.all[0].Last <= at
	if !named {
		if due && !c.gaps {
			c.err = fmt.Errorf("txnindex lacks the transaction of producer %d that was aborted at offset %d", want.PID, want.Last)
		}
		return
	}
	a := c.all[0]
	c.all = c.all[1:]
	abort, _ := b.Marker()
	switch {
	case a.Last != at || !abort || b.ProducerID() != a.PID:
		c.err = fmt.Errorf("txnindex names a transaction of producer %d that was aborted at offset %d, where no such marker is", a.PID, a.Last)
	case c.gaps || a.First < c.first || a.Stable < c.first:
	case !due || a != want:
		c.err = fmt.Errorf("txnindex names offsets %d to %d of producer %d, the log stable before %d, as aborted; the batches say %d to %d, %d",
			a.First, a.Last, a.PID, a.Stable, want.First, want.Last, want.Stable)
	}
}

// End says what is wrong with the segment's index, after its last batch.
func (c *TxnCheck) End() error {
	if c.err == nil && len(c.all) > 0 {
		c.err = fmt.Errorf("txnindex has %d entries behind the last batch", len(c.all))
	}
	return c.err
}
