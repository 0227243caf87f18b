package api

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// Batches that a worker must look into before they can be stored: their codec is not the one that the
// topic asks for (compression.type), or the records of a compressed batch must be judged one by one.
//
// The order of a connection is kept in the simplest way: one batch of it is with a worker at a time, and
// nothing that the connection sent later acts before the request of that batch has handed all its
// batches to their replicas. When the request is answered meanwhile (timeout.ms) or its connection
// ends, what was not handed over yet is not stored.

// pressBytes is how much memory recompression may use on a node: what workers read and make, and what
// they made that no replica has answered for. One batch is always let through.
const pressBytes = 64 << 20

var (
	markPressed   = det.NewMark("api: a batch was recompressed")
	markPressWait = det.NewMark("api: a batch waited for memory to be recompressed in")
	markPressLost = det.NewMark("api: a recompressed batch found its request gone")
)

// presses counts the memory of a shard's share, and holds who waits for some, in order.
type presses struct {
	used, most int64
	waiting    []*appending
}

// book sets what a may use to n bytes, and starts those who waited for what it gave back.
func (q *presses) book(a *appending, n int64) {
	if n == a.booked {
		return
	}
	q.used += n - a.booked
	a.booked = n
	det.That(q.used >= 0, "api: memory of presses is given back once")
	for len(q.waiting) > 0 && q.fits(q.waiting[0].need()) {
		next := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		next.press()
	}
}

func (q *presses) fits(n int64) bool { return q.used == 0 || q.used+n <= q.most }

// forget takes those of a request out of the queue.
func (q *presses) forget(p *producing) {
	q.waiting = slices.DeleteFunc(q.waiting, func(a *appending) bool { return a.p == p })
}

// needsPress says whether b cannot be stored, or not be judged, as it is.
func (a *appending) needsPress(b record.Batch) bool {
	recode := a.rules.recode && a.rules.codec != b.Codec()
	if !recode && (b.Codec() == record.None || !a.rules.inspect && a.terms.MetByHeader(b)) {
		return false
	}
	unzip, zip := a.p.r.h().Packers()
	return unzip != nil && zip != nil
}

// need is the most memory that pressing the batch takes.
func (a *appending) need() int64 {
	b := record.Batch(a.records.Bytes())
	n := int64(len(b))
	if b.Codec() != record.None {
		n += int64(record.PlainLimit(len(b)))
	}
	if a.rules.recode {
		n += min(n, int64(a.rules.MaxMessageBytes))
	}
	return n
}

// prepare has the batch pressed as soon as there is memory for it.
func (a *appending) prepare() {
	p := a.p
	q := &p.r.conn.desk.presses
	p.r.preparing = true
	p.r.undo = p.abandon
	if len(q.waiting) > 0 || !q.fits(a.need()) {
		markPressWait.Hit()
		q.waiting = append(q.waiting, a)
		return
	}
	a.press()
}

// abandon ends the preparing of a request whose answer is known, or that nobody waits for.
func (p *producing) abandon() {
	p.r.preparing = false
	p.r.conn.desk.presses.forget(p)
}

// press gives the batch to a worker.
func (a *appending) press() {
	p := a.p
	h, d := p.r.h(), p.r.conn.desk
	d.presses.book(a, a.need())
	b := record.Batch(a.records.Bytes())
	w := &record.Press{Codec: b.Codec(), Room: int(a.rules.MaxMessageBytes), Terms: a.terms}
	w.Unzip, w.Zip = h.Packers()
	if a.rules.recode {
		w.Codec, w.Level = a.rules.codec, a.rules.level
	}
	h.Run(&core.Job{Name: "press", In: []core.Ref{a.records.Retain()}, Do: func(in [][]byte) ([]byte, core.Errno) {
		return w.Do(record.Batch(in[0])), core.OK
	}}, func(body core.Ref, err core.Errno) {
		if !p.r.acting() {
			markPressLost.Hit()
			body.Release()
			d.presses.book(a, 0)
			return
		}
		p.r.preparing, p.r.undo = false, nil
		a.pressed(body, err)
		if p.r.acting() {
			p.run()
		}
		p.r.conn.advance()
	})
}

// pressed takes what the worker gave.
func (a *appending) pressed(body core.Ref, err core.Errno) {
	d := a.p.r.conn.desk
	if err != core.OK {
		body.Release()
		d.presses.book(a, 0)
		a.fail(refusal{wire.UnknownServerError, "The batch could not be recompressed"})
		return
	}
	res := record.ReadPressed(body.Bytes())
	if res.Verdict == record.Repacked {
		markPressed.Hit()
		d.presses.book(a, int64(body.Len))
		a.admit(body.Slice(record.PressedAt, body.Len-record.PressedAt), res.Last)
		return
	}
	d.presses.book(a, 0)
	switch res.Verdict {
	case record.Kept:
		a.admit(a.records.Retain(), res.Last)
	case record.Flawful:
		a.flawed(record.Batch(a.records.Bytes()), &res.Flawed)
	case record.TooLarge:
		a.fail(refusal{err: wire.MessageTooLarge})
	case record.Bomb:
		a.fail(refusal{wire.InvalidRecord, "The records of the batch are larger, when decompressed, than a batch of its size may hold"})
	default:
		a.fail(refusal{wire.InvalidRecord, "The records of the batch cannot be decompressed, or are not as its header says"})
	}
	body.Release()
}
