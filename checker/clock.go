package checker

import (
	"fmt"
	"slices"
)

// Clock judges the time index of a partition (A29): a lookup by time gives the first offset whose
// record is as late or later.
type Clock struct {
	start   int64   // the offset of the first time
	highest []int64 // the highest time up to each offset
	times   []int64
	asked   []lookup
}

type lookup struct {
	at, offset int64
	Span
}

// Record is the next record of the final read of the log.
func (c *Clock) Record(offset, time int64) error {
	if len(c.times) == 0 {
		c.start = offset
	}
	if offset != c.start+int64(len(c.times)) {
		return fmt.Errorf("the times of the log go on at offset %d after %d", offset, c.start+int64(len(c.times))-1)
	}
	c.times = append(c.times, time)
	if n := len(c.highest); n > 0 {
		time = max(time, c.highest[n-1])
	}
	c.highest = append(c.highest, time)
	return nil
}

// Asked: a lookup was answered; -1: no such record.
func (c *Clock) Asked(at, offset int64, s Span) { c.asked = append(c.asked, lookup{at, offset, s}) }

// Finish reports each answer that is not the first record as late as was asked for. ended says how far
// the log certainly reached at an instant.
func (c *Clock) Finish(ended func(at int64) int64, fail func(what string)) {
	if len(c.times) == 0 {
		return
	}
	for _, a := range c.asked {
		i, _ := slices.BinarySearch(c.highest, a.at) // the first record as late
		first, none := c.start+int64(i), i == len(c.highest)
		switch {
		case none && a.offset < 0, !none && a.offset == first:
		case a.offset < 0 && first >= ended(a.Call):
		case none:
			fail(fmt.Sprintf("offset %d was found for time %d, and no record is as late", a.offset, a.at))
		case a.offset < 0:
			fail(fmt.Sprintf("no record at or after time %d was found, and offset %d is, acknowledged before", a.at, first))
		default:
			fail(fmt.Sprintf("offset %d was found for time %d, and the first as late is %d", a.offset, a.at, first))
		}
	}
}
