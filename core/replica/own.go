package replica

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/seg"
)

// Own finds up to limit bytes of this copy from offset on, whoever leads: for tools that compare copies. What
// it names lies in segment files, committed and durable here; High says where that ends, which may be a moment
// behind the high watermark. Bytes in memory are never given for bytes on the disk. done is called once.
func (r *Replica) Own(offset core.Offset, limit int64, done func(Region)) {
	i, res := uint64(0), Region{High: -1, Start: -1}
	switch {
	case r.closed:
		res.Err = UnknownPartition
	case r.offline != "":
		res.Err = StorageError
	case r.opening > 0 || !r.began || r.lame():
		res.Err = NotAvailable
	default:
		i = r.soundIndex()
		res.High, res.Start, res.Gen = r.log.end(i), r.start, r.compacting.done
		if offset < r.start || offset > r.high {
			res.Err = OutOfRange
		}
	}
	if res.Err != OK || offset >= res.High {
		done(res)
		return
	}
	s, end := r.segmentOf(offset), r.log.after(i)
	det.That(s != nil && s.base <= end.seg, "replica: an offset at or above the log start has a segment")
	r.ownIn(s, end, offset, limit, res, done)
}

// ownIn is Own from segment s on, in front of end. Where compaction left nothing of what follows in s, the next one will do.
func (r *Replica) ownIn(s *segment, end place, offset core.Offset, limit int64, res Region, done func(Region)) {
	stop := s.size
	if s.base == end.seg {
		stop = end.pos
	}
	r.find(s, offset, func(pos int64, _ bool) {
		r.walkTo(s, pos, stop, func(h seg.Seen) bool { return h.Head.LastOffset() >= offset }, func(h seg.Seen, found bool, err core.Errno) {
			switch {
			case r.closed || r.offline != "" || err != core.OK:
				res.Err = StorageError
			case r.segment(s.base) != s || offset < r.start:
				res.Err = OutOfRange
			case !found:
				if next := r.after(s); res.Gen > 0 && next != nil && next.base <= end.seg {
					r.ownIn(next, end, offset, limit, res, done)
					return
				}
				if res.Gen == 0 || s.base != end.seg {
					res.Err = StorageError
				}
			default:
				res.Size = min(stop-h.Pos, max(limit, int64(h.Head.Size())))
				res.Bytes = []core.Ref{{File: s.file, Off: h.Pos, Len: int32(res.Size)}}
			}
			done(res)
		})
	})
}
