package replica

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
)

// Retention, as Kafka's UnifiedLog.deleteOldSegments has it. The leader looks now and then which segments at the
// beginning of the log its settings no longer want, and moves the log start past them, as DeleteRecords would
// (start.go). What does not lie below the high watermark whole stays. When nothing is left, a new segment begins.

var (
	markExpired   = det.NewMark("retain: a segment was too old")
	markOversized = det.NewMark("retain: a log was too large")
	markEmptied   = det.NewMark("retain: all of a log was removed")
	markFuture    = det.NewMark("retain: a segment stays because its timestamps lie ahead of the clock")
)

// Retain asks for the log start that retention.bytes and retention.ms want, when this node leads and
// cleanup.policy holds delete.
func (r *Replica) Retain() {
	r.shedSoon()
	set := &r.cfg.Settings
	if !set.Deletes || set.RetentionMs < 0 && set.RetentionBytes < 0 || r.offline != "" || r.closed || !r.leads || !r.ready ||
		r.handing > 0 || r.cut != nil || r.pull != nil || r.ahead != nil {
		return
	}
	began := max(r.start, r.cutting)
	first := 0
	for first+1 < len(r.segs) && r.segs[first+1].base <= began {
		first++ // it is going already
	}
	k := r.expired(r.oversized(first))
	if k == first {
		return
	}
	to := r.upper(k - 1)
	if to <= began {
		return
	}
	if to == r.next {
		markEmptied.Hit()
	}
	r.h.Note(0, "msg=\"retention moves the log start\" partition="+r.cfg.Dir+" from="+strconv.FormatInt(int64(r.start), 10)+
		" to="+strconv.FormatInt(int64(to), 10))
	r.proposeStart(to)
	r.wake()
}

// upper is where segment k ends.
func (r *Replica) upper(k int) core.Offset {
	if k+1 < len(r.segs) {
		return r.segs[k+1].base
	}
	return r.next
}

// sizeOf is how long segment k is.
func (r *Replica) sizeOf(k int) int64 {
	if k+1 < len(r.segs) {
		return r.segs[k].size
	}
	return r.log.after(r.log.last()).pos
}

// removable says of segment k that all of it is committed, and that there is anything.
func (r *Replica) removable(k int) bool {
	if mut.On("M20c") && k+1 >= len(r.segs) { // the last segment stays, however old it is
		return false
	}
	return k < len(r.segs) && (r.high >= r.upper(k) || mut.On("M20")) && (r.sizeOf(k) > 0 || r.segs[k].gen > 0)
}

// oversized goes on from segment k over those that the log can lose and still hold retention.bytes.
func (r *Replica) oversized(k int) int {
	limit := r.cfg.Settings.RetentionBytes
	if limit < 0 {
		return k
	}
	over := -limit
	for i := k; i < len(r.segs); i++ {
		over += r.sizeOf(i)
	}
	for r.removable(k) && over >= r.sizeOf(k) {
		markOversized.Hit()
		over -= r.sizeOf(k)
		k++
	}
	return k
}

// expired goes on from segment k over those whose newest record is older than retention.ms.
func (r *Replica) expired(k int) int {
	keep, now := r.cfg.Settings.RetentionMs, r.h.Now().Wall
	for keep >= 0 && r.removable(k) {
		s := r.segs[k]
		newest := s.newest()
		if mut.On("M20b") { // a segment is as old as its oldest batch
			newest = max(s.times.first, 0)
		}
		if now < newest {
			markFuture.Hit()
		}
		if now-newest <= keep {
			break
		}
		markExpired.Hit()
		k++
	}
	return k
}
