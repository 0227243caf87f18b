package seg

import (
	"hash/crc32"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// markerMost is how long a control batch may be that a Scanner shows whole: Kafka's markers have 78 bytes.
const markerMost = 256

// Scanner verifies the bytes of a segment as they come, in pieces of any size: whole batches of v2
// whose CRC is right, whose offsets follow each other without a gap and whose epochs never fall. It
// stops for good at the first byte that is not of such a batch. It keeps one header, of a small control
// batch all, and nothing else, whatever sizes the headers claim.
type Scanner struct {
	next  core.Offset
	epoch core.Epoch
	valid int64 // position behind the last batch that was verified

	head [record.HeaderSize]byte
	have int    // bytes of head
	body []byte // all of the batch under way, when it is a small control batch
	left int64  // bytes of the batch under way that are still to come; 0: the header is not whole
	crc  uint32
	bad  bool
	gaps bool // offsets may be missing: compaction was here
}

// NewScanner begins at the batch at pos, which must have the base offset next.
func NewScanner(next core.Offset, pos int64) *Scanner {
	return &Scanner{next: next, valid: pos}
}

// NewSparseScanner is NewScanner for a segment that compaction wrote: offsets grow, but some are missing, before the
// first batch too.
func NewSparseScanner(next core.Offset, pos int64) *Scanner {
	return &Scanner{next: next, valid: pos, gaps: true}
}

// ScannerOf is the scanner for a segment of a generation, from its beginning.
func ScannerOf(base core.Offset, gen uint64) *Scanner {
	if gen > 0 {
		return NewSparseScanner(base, 0)
	}
	return NewScanner(base, 0)
}

// End is the end of what was verified: the offset that comes next and its position.
func (s *Scanner) End() (next core.Offset, pos int64) { return s.next, s.valid }

// Bad says that the bytes at End are not those of a batch that belongs there.
func (s *Scanner) Bad() bool { return s.bad }

// Open says that a batch has begun and is not whole: if the file ends here, it is torn.
func (s *Scanner) Open() bool { return !s.bad && s.have > 0 }

// Feed takes the next bytes of the segment. visit, which may be nil, sees each batch once it is
// verified. It answers false once the scan is at its end.
func (s *Scanner) Feed(b []byte, visit func(Seen)) bool {
	for len(b) > 0 && !s.bad {
		if s.have < record.HeaderSize {
			n := copy(s.head[s.have:], b)
			s.have += n
			b = b[n:]
			if s.have == record.HeaderSize {
				s.begin()
			}
		} else {
			n := min(int64(len(b)), s.left)
			s.crc = crc32.Update(s.crc, castagnoli, b[:n])
			if len(s.body) > 0 {
				s.body = append(s.body, b[:n]...)
			}
			s.left -= n
			b = b[n:]
		}
		if s.have == record.HeaderSize && s.left == 0 && !s.bad {
			s.finish(visit)
		}
	}
	return !s.bad
}

func (s *Scanner) begin() {
	h := record.Batch(s.head[:])
	size, ok := record.SizeAt(h)
	last := int64(h.LastOffsetDelta())
	if !ok || h.Magic() != 2 || h.BaseOffset() < s.next || h.BaseOffset() > s.next && !s.gaps || h.LeaderEpoch() < s.epoch || last < 0 ||
		h.Count() < 0 || int64(h.Count()) > last+1 || h.LastOffset() < s.next || h.LastOffset()+1 < 0 {
		s.bad = true
		return
	}
	s.left = int64(size - record.HeaderSize)
	if s.body = s.body[:0]; h.Control() && size <= markerMost {
		s.body = append(s.body, h...)
	}
	s.crc = crc32.Checksum(h[record.Unchecked:], castagnoli)
}

func (s *Scanner) finish(visit func(Seen)) {
	h := record.Batch(s.head[:])
	if s.crc != h.CRC() {
		s.bad = true
		return
	}
	seen := Seen{Pos: s.valid, Head: h}
	if len(s.body) > 0 {
		seen.Marker = s.body
	}
	s.next, s.epoch, s.valid, s.have = h.LastOffset()+1, h.LeaderEpoch(), seen.End(), 0
	if visit != nil {
		visit(seen)
	}
}

// Scan is a Scanner over bytes that are all there: it answers the end of what is valid in b, which
// begins at pos with the base offset next.
func Scan(b []byte, next core.Offset, pos int64, visit func(Seen)) (end core.Offset, endPos int64) {
	s := NewScanner(next, pos)
	s.Feed(b, visit)
	return s.End()
}
