// Package compact owns what log compaction makes of the sealed, committed segments of a partition. A Run
// reads them piece by piece and gives the bytes of the segments that take their place. It is a function:
// the same Plan over the same segments gives the same bytes, however they are fed, and from whatever Mark
// the run was taken up again; so every replica can do it for itself.
//
// It promises what Kafka's log cleaner does (Cleaner.java, MemoryRecords.filterTo, KIP-534):
//
//   - what a reader folds from the log, key to last value, is the same before and after;
//   - a record keeps its offset, and records their order;
//   - a delete marker (a record with a key and no value) stays until it is the only record of its key and
//     was seen so by a compaction at least delete.retention.ms earlier;
//   - a transaction's marker stays until its records are gone, and as long again as a delete marker;
//     records of aborted transactions go at once;
//   - the last batch of a producer stays, if only as a header, and every batch that stays keeps its first and
//     last offset and sequence;
//   - nothing at To or above is looked at.
//
// A run goes over the segments twice:
//
//	map    [From, To)     the last offset of every key, until the memory is full: that is Upto
//	clean  [first, Upto)  group by group; a group of segments becomes one segment
//
// Below From, earlier compactions have left one record a key; above Upto, everything stays. The package refuses to
// read, write, decompress (Plan.Unzip does) or know when it is time; Choose says that.
package compact

import (
	"errors"
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

var (
	markFull    = det.NewMark("compact: the map of keys was full")
	markHorizon = det.NewMark("compact: a delete horizon was set")
	markExpired = det.NewMark("compact: a delete marker went")
	markEmptied = det.NewMark("compact: a batch was kept as a header")
	markAborted = det.NewMark("compact: a batch of an aborted transaction went")
	markMarker  = det.NewMark("compact: a marker of a transaction went")
)

// Segment is one of those that a run reads. Where it ends in offsets, the next one begins.
type Segment struct {
	Base  core.Offset
	Size  int64 // bytes
	Index int64 // bytes of the larger of its index files
}

// Producer is where a producer stood when the compaction was decided (LastRecord.java).
type Producer struct {
	PID   int64
	Last  core.Offset // of its newest batch with records; -1: it has none
	Epoch int16
}

// Unzip decompresses the payload of a batch: a pure function with a bound of its own.
type Unzip func(codec record.Codec, payload []byte) ([]byte, error)

// Decision is what replicas agree on: an entry of the log carries it. Whoever carries it out on the same
// log gets the same bytes.
type Decision struct {
	From      core.Offset // keys below were compacted before
	To        core.Offset // where the first segment begins that is not to be read
	At        core.Wall   // the time of the decision
	Retention int64       // delete.retention.ms
	// A new segment is not larger than these, unless the one it replaces was: segment.bytes, segment.index.bytes.
	SegmentBytes, IndexBytes int64
	// Memory is what the map of keys may take, log.cleaner.dedupe.buffer.size; KeyBytes for each key.
	Memory int64
}

// Plan is a decision and the log that it is about.
type Plan struct {
	Decision
	Segments  []Segment  // below To, in order, none of them empty
	Aborted   []Aborted  // all that began below To and were aborted, wherever their markers are; by First
	Producers []Producer // by PID, as they stood at the decision
	Unzip     Unzip
}

// Stats counts what a run has done so far; what a Resume does not do again is not in it.
type Stats struct {
	Read, Written    int64 // bytes of segments, in the second pass
	Records, Kept    int64
	Keyless, Expired int64 // records without a key, and delete markers, that went
	Keys             int64 // in the map
}

// Failed says which batch a run could not get over. With ErrBatch the bytes are bad: once the segment is
// mended, the run can be taken up at its last Mark. Else the log cannot be compacted, as in Kafka.
type Failed struct {
	Base core.Offset // of the segment
	Pos  int64       // of the batch
	Why  error
}

func (e *Failed) Error() string {
	return fmt.Sprintf("compact: segment %d at %d: %v", e.Base, e.Pos, e.Why)
}

func (e *Failed) Unwrap() error { return e.Why }

var (
	// ErrBatch says that there is no batch which belongs there, or that its checksum is wrong.
	ErrBatch = errors.New("not a batch of this place in the log, or a rotten one")
	// ErrUnzip says that the records of a batch cannot be decompressed.
	ErrUnzip = errors.New("records cannot be decompressed")
)

// No frame that a node takes is larger, so no batch is.
const maxBatch = 128 << 20

type phase uint8

const (
	mapping phase = iota
	cleaning
	finished
)

// Run is a compaction under way.
type Run struct {
	p     Plan
	phase phase
	upto  core.Offset
	from  core.Offset // where the map begins: Plan.From, or behind what a Mark left behind
	mark  *Mark       // that the run was taken up at, or nil
	keys  keys
	full  bool // keys has no room for the record at upto
	txns  txns
	err   error

	seg  int // of p.Segments, that is read
	pos  int64
	want int         // bytes of the batch at pos, when its header was seen and not its end
	next core.Offset // no batch below it comes any more

	group Group // under way
	first int   // segments of the group
	last  int

	keep  []uint64 // a bit for each record of a batch
	out   []byte
	write record.Rewriter
	lz4   lz4Encoder
	stats Stats
}

// Group is one new segment and what it replaces.
type Group struct {
	Base     core.Offset // of the new segment, and of the first that it replaces
	Segments int         // how many it replaces
	Size     int64       // of the new segment in bytes; 0: no batch is left
	Same     bool        // it is byte-equal to the one segment that it replaces, which may stay
	Aborted  []Aborted   // whose markers are in it: its transaction index
	Mark     Mark        // where to take the run up once this group has been put in place
}

// New begins a run. The error says that the plan contradicts itself.
func New(p Plan) (*Run, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	r := &Run{p: p, from: p.From, upto: p.To}
	r.startMapping()
	return r, nil
}

// Resume takes a run up behind the groups that were put in place. p is the plan that New got, but for
// its segments, of which those that were replaced are missing. The error says that plan and mark do not fit.
func Resume(p Plan, m Mark) (*Run, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if m.upto < p.From || m.upto > p.To {
		return nil, errors.New("compact: the mark is of another plan")
	}
	if m.next < m.upto && (len(p.Segments) == 0 || p.Segments[0].Base != m.next) {
		return nil, errors.New("compact: the segments do not begin where the mark says")
	}
	r := &Run{p: p, mark: &m, from: max(p.From, m.next), upto: m.upto}
	if m.next >= m.upto {
		r.phase = finished
		return r, nil
	}
	r.startMapping()
	return r, nil
}

func (d *Decision) sound() bool {
	return d.From >= 0 && d.From <= d.To && d.At >= 0 && d.Retention >= 0 && d.SegmentBytes >= 0 && d.IndexBytes >= 0 && d.Memory >= KeyBytes
}

func (p *Plan) check() error {
	if !p.sound() {
		return errors.New("compact: a number of the decision is out of range")
	}
	for i, s := range p.Segments {
		if i > 0 && s.Base <= p.Segments[i-1].Base || s.Size < record.HeaderSize || s.Index < 0 || s.Base < 0 || s.Base >= p.To {
			return errors.New("compact: a segment is empty or out of order")
		}
	}
	for i, a := range p.Aborted {
		if i > 0 && a.First < p.Aborted[i-1].First || a.PID < 0 || a.First < 0 || a.Last < a.First {
			return errors.New("compact: aborted transactions are out of order")
		}
	}
	for i := range p.Producers {
		if i > 0 && p.Producers[i].PID <= p.Producers[i-1].PID {
			return errors.New("compact: producers are out of order")
		}
	}
	return nil
}

// Want is what the run needs next: n bytes or more of the segment at base, from pos on. What lies behind
// the end of the segment is not looked at. n is 0 when the run is finished, or has failed.
func (r *Run) Want() (base core.Offset, pos int64, n int) {
	if r.phase == finished || r.err != nil {
		return 0, 0, 0
	}
	return r.p.Segments[r.seg].Base, r.pos, max(r.want, record.HeaderSize)
}

// Upto is where the log is dirty from, once the run is finished: To, or less when the map was full.
func (r *Run) Upto() core.Offset { return r.upto }

// Stats is what was done so far.
func (r *Run) Stats() Stats { return r.stats }

// Memory is what the map of keys takes, in bytes.
func (r *Run) Memory() int64 { return r.keys.bytes() }

// Feed takes what Want asked for. out are the next bytes of the new segment, valid until the next call; done
// comes with its last ones. The first error is final, and a *Failed.
func (r *Run) Feed(b []byte) (out []byte, done *Group, err error) {
	det.That(r.phase != finished && r.err == nil, "compact: a run that wants nothing is not fed")
	det.That(len(b) >= max(r.want, record.HeaderSize), "compact: a run is fed what it wants")
	s := &r.p.Segments[r.seg]
	b = b[:min(int64(len(b)), s.Size-r.pos)]
	r.out, r.want = r.out[:0], 0
	for len(b) > 0 && !r.full {
		n, err := r.cut(s, b)
		if err == nil && r.want == 0 && n > 0 {
			err = r.take(record.Batch(b[:n:n]))
		}
		if err != nil {
			r.err = &Failed{s.Base, r.pos, err}
			return nil, nil, r.err
		}
		if n == 0 || r.want > 0 {
			break
		}
		b, r.pos = b[n:], r.pos+int64(n)
		if r.phase == cleaning {
			r.stats.Read += int64(n)
		}
	}
	r.group.Size += int64(len(r.out))
	r.stats.Written += int64(len(r.out))
	if r.phase == mapping && r.full {
		r.startCleaning()
	} else if r.pos == s.Size {
		done = r.endSegment()
	}
	return r.out, done, nil
}

// cut is the size of the batch that b begins with; 0 when b is too short to tell. want says that the
// batch ends behind b.
func (r *Run) cut(s *Segment, b []byte) (n int, err error) {
	if s.Size-r.pos < record.HeaderSize {
		return 0, ErrBatch
	}
	if len(b) < record.HeaderSize {
		return 0, nil
	}
	n, ok := record.SizeAt(b)
	h := record.Batch(b[:record.HeaderSize])
	if !ok || n > maxBatch || int64(n) > s.Size-r.pos || h.Magic() != 2 || h.LastOffsetDelta() < 0 ||
		h.BaseOffset() < r.next || h.LastOffset() < h.BaseOffset() || h.LastOffset() >= r.end(r.seg) {
		return 0, ErrBatch
	}
	if n > len(b) {
		r.want = n
	}
	return n, nil
}

// end is the offset behind segment i.
func (r *Run) end(i int) core.Offset {
	if i+1 < len(r.p.Segments) {
		return r.p.Segments[i+1].Base
	}
	return r.p.To
}

func (r *Run) take(b record.Batch) error {
	r.next = b.LastOffset() + 1
	if r.phase == mapping && r.next <= r.from {
		return nil // the second pass looks at it
	}
	if !b.CRCValid() || b.Count() < 0 {
		return ErrBatch
	}
	if r.phase == mapping {
		return r.mapBatch(b)
	}
	return r.cleanBatch(b)
}

// plain are the records of a batch.
func (r *Run) plain(b record.Batch) ([]byte, error) {
	if b.Codec() == record.None || b.Count() == 0 {
		return b.Payload(), nil
	}
	if r.p.Unzip == nil || b.Codec() > record.Zstd {
		return nil, ErrUnzip
	}
	plain, err := r.p.Unzip(b.Codec(), b.Payload())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnzip, err)
	}
	return plain, nil
}
