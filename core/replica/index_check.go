package replica

import (
	"hash/crc32"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/seg"
)

// Indexes is what CheckIndexes has found of one segment.
type Indexes struct {
	Err  Outcome
	Base core.Offset     // of the segment
	Next core.Offset     // the segment that follows; -1: this is the last one
	Bad  [seg.Kinds]bool // files that are not what the segment says
}

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	markChecked = det.NewMark("index: a tool had the files of a segment compared with it")
)

// CheckIndexes makes the indexes of the segment that holds offset again, in memory, from its file, and compares them
// with what their files hold, byte by byte as far as CRC-32C goes: whoever leads, for tools that compare copies. The
// indexes of a segment that is not closed, or that are being made again, are left out. A file that is wrong is made
// again afterwards. done is called once; there is one check of a replica at a time, others are NotAvailable.
func (r *Replica) CheckIndexes(offset core.Offset, done func(Indexes)) {
	res := Indexes{Base: -1, Next: -1}
	switch {
	case r.closed:
		res.Err = UnknownPartition
	case r.offline != "":
		res.Err = StorageError
	case r.opening > 0 || !r.began || r.checking:
		res.Err = NotAvailable
	case offset < 0 || offset > r.high:
		res.Err = OutOfRange
	}
	if res.Err != OK {
		done(res)
		return
	}
	s := r.segmentOf(max(offset, r.segs[0].base))
	if res.Base = s.base; r.after(s) != nil {
		res.Next = r.after(s).base
	}
	if res.Next < 0 || !s.done || s.again != nil || s.closing > 0 || s.spoilt >= spoiltMost {
		done(res)
		return
	}
	markChecked.Hit()
	r.checking = true
	c := &indexCheck{r: r, s: s, res: res, scan: s.scanner(s.base, 0), made: seg.NewIndex(s.base, s.x.Interval),
		done: func(x Indexes) {
			r.checking = false
			done(x)
		}}
	c.segment(0)
}

// indexCheck is a check of one segment's indexes.
type indexCheck struct {
	r    *Replica
	s    *segment
	res  Indexes
	scan *seg.Scanner
	made *seg.Index
	done func(Indexes)
}

// lost ends the check when the segment has left the log, or the replica is gone.
func (c *indexCheck) lost() bool {
	r := c.r
	if !r.closed && r.offline == "" && r.opening == 0 && r.segment(c.s.base) == c.s && c.s.done && c.s.again == nil {
		return false
	}
	c.res.Err = NotAvailable
	c.done(c.res)
	return true
}

// segment reads on at pos.
func (c *indexCheck) segment(pos int64) {
	r, s := c.r, c.s
	if pos >= s.size {
		c.made.Finish()
		c.made.Take()
		c.file(0, 0, 0)
		return
	}
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		switch {
		case c.lost():
		case ev.Err != core.OK || !c.scan.Feed(ev.Body.Bytes(), c.add) || pos+int64(ev.Body.Len) >= s.size && c.scan.Open():
			c.res.Err = StorageError // the segment itself is not whole, and the scrubber's
			c.done(c.res)
		default:
			c.segment(pos + int64(ev.Body.Len))
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: s.file, Off: pos, N: min(s.size-pos, indexPiece), Op: op})
}

func (c *indexCheck) add(b seg.Seen) {
	c.made.Add(b.Head.BaseOffset(), b.Head.LastOffset(), b.Head.Size(), b.Head.MaxTimestamp())
	c.made.Take()
}

// file reads the file of kind k on at pos; sum is of what is before it.
func (c *indexCheck) file(k seg.Kind, pos int64, sum uint32) {
	r, s := c.r, c.s
	next := func(bad bool) {
		c.res.Bad[k] = bad
		if k+1 < seg.Kinds {
			c.file(k+1, 0, 0)
			return
		}
		if c.res.Bad != [seg.Kinds]bool{} {
			r.spoil(s, s.x)
		}
		c.done(c.res)
	}
	if !s.files[k].there {
		next(c.made.Size(k) > 0)
		return
	}
	n := min(c.made.Size(k)+1-pos, indexPiece)
	op := r.h.NewOp(func(ev *core.Event) {
		defer ev.Body.Release()
		got := int64(ev.Body.Len)
		sum = crc32.Update(sum, castagnoli, ev.Body.Bytes())
		switch pos += got; {
		case c.lost():
		case ev.Err == core.OK && got == n && pos <= c.made.Size(k):
			c.file(k, pos, sum)
		case ev.Err != core.OK && ev.Err != core.ErrShort:
			next(true)
		default:
			next(pos != c.made.Size(k) || sum != c.made.Sum(k))
		}
	})
	r.h.FX().Add(core.Effect{Kind: core.Read, File: r.openIndex(s, k), Off: pos, N: n, Op: op})
}
