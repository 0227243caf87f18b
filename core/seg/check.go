package seg

import (
	"encoding/binary"
	"fmt"

	"github.com/karst-stream/karst/core"
)

// Check holds the bytes of a segment's index files against its batches: every entry must be true. It does not
// know at which interval they were made, so it cannot tell a sparse index from one that lacks entries.
type Check struct {
	base   core.Offset
	offs   []byte // what is left of each file
	times  []byte
	tally  Tally
	latest core.Wall // of the last time entry
	err    error
}

// NewCheck begins with the first batch of the segment at base.
func NewCheck(base core.Offset, offsets, times []byte) *Check {
	c := &Check{base: base, offs: offsets, times: times, tally: NewTally(base, 0), latest: -1}
	for k, n := range [Kinds]int{len(offsets), len(times)} {
		if int64(n)%widths[k] != 0 {
			c.fail("%s has %d bytes, not a multiple of %d", suffixes[k][1:], n, widths[k])
		}
	}
	return c
}

func (c *Check) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// Batch tells of the next one.
func (c *Check) Batch(s Seen) {
	last := s.Head.LastOffset()
	c.tally.Add(last, s.Head.Size(), s.Head.MaxTimestamp())
	if c.err == nil && len(c.offs) > 0 {
		at, pos := c.base+core.Offset(int32(binary.BigEndian.Uint32(c.offs))), int64(int32(binary.BigEndian.Uint32(c.offs[4:])))
		switch {
		case pos > s.Pos: // of a later one
		case pos != s.Pos || at != last:
			c.fail("index names offset %d at %d, where no batch ends with it", at, pos)
		default:
			c.offs = c.offs[offsetEntry:]
		}
	}
	if c.err == nil && len(c.times) > 0 {
		ts, at := core.Wall(binary.BigEndian.Uint64(c.times)), c.base+core.Offset(int32(binary.BigEndian.Uint32(c.times[8:])))
		switch {
		case at > last: // of a later one
		case at != last || ts != c.tally.Max || c.tally.MaxAt != last || ts <= c.latest:
			c.fail("timeindex says that the time grew to %d at offset %d", ts, at)
		default:
			c.latest, c.times = ts, c.times[timeEntry:]
		}
	}
}

// End says what is wrong, after the last batch. Of a closed segment, one that another follows, the time index
// ends with its largest timestamp.
func (c *Check) End(closed bool) error {
	switch {
	case c.err != nil:
	case len(c.offs) > 0:
		c.fail("index has %d entries behind the last batch, or out of order", len(c.offs)/offsetEntry)
	case len(c.times) > 0:
		c.fail("timeindex has %d entries behind the last batch, or out of order", len(c.times)/timeEntry)
	case closed && c.latest != c.tally.Max:
		c.fail("timeindex ends with time %d, the segment with %d", c.latest, c.tally.Max)
	}
	return c.err
}

// Entries shows what an index file says: the offset entries as offset and position, the time entries as
// timestamp and offset. Bytes behind the last whole entry are passed over.
func Entries(k Kind, base core.Offset, b []byte, show func(a, b int64)) {
	for w := widths[k]; int64(len(b)) >= w; b = b[w:] {
		if k == Offsets {
			show(int64(base)+int64(int32(binary.BigEndian.Uint32(b))), int64(int32(binary.BigEndian.Uint32(b[4:]))))
		} else {
			show(int64(binary.BigEndian.Uint64(b)), int64(base)+int64(int32(binary.BigEndian.Uint32(b[8:]))))
		}
	}
}
