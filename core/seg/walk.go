package seg

import (
	"errors"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// ErrHeader says that bytes where a batch should begin are not the header of one.
var ErrHeader = errors.New("seg: not the header of a batch, or of one that ends behind the region")

// Seen is a batch that a walk or scan came by.
type Seen struct {
	Pos  int64        // in the segment
	Head record.Batch // its first 61 bytes, valid until the next call

	Marker record.Batch // of a scan, a small control batch: all of it, valid as long; else nil
}

// End is the position behind the batch.
func (s Seen) End() int64 { return s.Pos + int64(s.Head.Size()) }

// Walk goes over the batch headers of a region of a segment, which comes in chunks: Next until it
// answers false, then Feed what Want asks for. It looks at no CRC: the region is one that a scan, or
// the writing of it, has vouched for.
//
//	w := NewWalk(pos, index.End())
//	for {
//		if seen, ok := w.Offset(offset); ok { ... }   // found
//		pos, n := w.Want()
//		if n == 0 { ... }                             // not there; w.Err says whether the file is sound
//		w.Feed(pos, read(pos, n))                     // n or more bytes
//	}
type Walk struct {
	pos, end int64
	at       int64 // position of chunk
	chunk    []byte
	err      error
}

// NewWalk begins at the batch at pos; end is where the last batch ends.
func NewWalk(pos, end int64) *Walk { return &Walk{pos: pos, end: end, at: pos} }

// Want is the least that must be fed to go on; n is 0 at the end of the region or after an error.
func (w *Walk) Want() (pos int64, n int) {
	if w.err != nil {
		return w.pos, 0
	}
	return w.pos, int(min(record.HeaderSize, w.end-w.pos))
}

// Err is ErrHeader when the walk met one.
func (w *Walk) Err() error { return w.err }

// Feed gives the bytes that begin at pos, in place of those fed before. They stay the caller's.
func (w *Walk) Feed(pos int64, chunk []byte) { w.at, w.chunk = pos, chunk }

// Next is the next batch whose header lies in the chunk.
func (w *Walk) Next() (Seen, bool) {
	s, ok := w.peek()
	if ok {
		w.pos = s.End()
	}
	return s, ok
}

func (w *Walk) peek() (Seen, bool) {
	skip := w.pos - w.at
	if w.err != nil || w.pos >= w.end || skip < 0 || skip > int64(len(w.chunk)) {
		return Seen{}, false
	}
	left := w.chunk[skip:]
	if w.end-w.pos < record.HeaderSize {
		w.err = ErrHeader
		return Seen{}, false
	}
	if len(left) < record.HeaderSize {
		return Seen{}, false
	}
	s := Seen{Pos: w.pos, Head: record.Batch(left[:record.HeaderSize:record.HeaderSize])}
	size, ok := record.SizeAt(left)
	if !ok || s.Head.Magic() != 2 || s.Head.LastOffsetDelta() < 0 || int64(size) > w.end-w.pos {
		w.err = ErrHeader
		return Seen{}, false
	}
	return s, true
}

// Offset goes on to the batch that holds offset, or the first after it where offsets have a gap.
func (w *Walk) Offset(offset core.Offset) (Seen, bool) {
	return w.until(func(s Seen) bool { return s.Head.LastOffset() >= offset })
}

// Time goes on to the first batch with a record of ts or later; RecordSince finds the record.
func (w *Walk) Time(ts core.Wall) (Seen, bool) {
	return w.until(func(s Seen) bool { return s.Head.MaxTimestamp() >= ts })
}

func (w *Walk) until(found func(Seen) bool) (Seen, bool) {
	for {
		s, ok := w.Next()
		if !ok || found(s) {
			return s, ok
		}
	}
}

// Take goes on over whole batches that end at or before limit and hold no offset of high or above.
// more says that it ran out of bytes: feed it what it Wants and call it again. Else Pos is the end of
// what may be taken.
func (w *Walk) Take(limit int64, high core.Offset) (more bool) {
	for {
		s, ok := w.peek()
		if !ok {
			_, n := w.Want()
			return n > 0
		}
		if s.End() > limit || s.Head.LastOffset() >= high {
			return false
		}
		w.pos = s.End()
	}
}

// Pos is where the walk is: the end of the batch that was seen last.
func (w *Walk) Pos() int64 { return w.pos }

// RecordSince is the first record of a whole batch with a timestamp of ts or later. A compressed batch
// gives record.ErrCompressed: a Job decompresses it and goes on with RecordSinceIn, as Kafka does.
func RecordSince(b record.Batch, ts core.Wall) (offset core.Offset, at core.Wall, ok bool, err error) {
	if b.Codec() != record.None {
		return 0, 0, false, record.ErrCompressed
	}
	return RecordSinceIn(b, b.Payload(), ts)
}

// RecordSinceIn is RecordSince over plain, the decompressed payload of b, of which only the header is
// looked at.
func RecordSinceIn(b record.Batch, plain []byte, ts core.Wall) (offset core.Offset, at core.Wall, ok bool, err error) {
	err = b.RecordsIn(plain, func(r record.Record) bool {
		if r.Timestamp >= ts {
			offset, at, ok = r.Offset, r.Timestamp, true
		}
		return !ok
	})
	return offset, at, ok, err
}
