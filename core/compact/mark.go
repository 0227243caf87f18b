package compact

import (
	"encoding/binary"
	"errors"

	"github.com/karst-stream/karst/core"
)

// Mark is how far a run got: up to a group that was put in place. Together with the plan it is all that a
// run needs to go on as if it had never ended.
type Mark struct {
	next core.Offset // base of the next segment to be cleaned
	upto core.Offset // what the map of keys covers
	txns carry
}

// Next is the base of the first segment that is still to be cleaned; Upto when there is none.
func (m *Mark) Next() core.Offset { return m.next }

// Upto is where the run will end.
func (m *Mark) Upto() core.Offset { return m.upto }

// ErrMark says that bytes are not those of a Mark.
var ErrMark = errors.New("compact: not a mark")

const markVersion = 1

// Append adds the mark to dst, for a checkpoint.
func (m *Mark) Append(dst []byte) []byte {
	dst = append(dst, markVersion)
	dst = binary.AppendUvarint(dst, uint64(m.next))
	dst = binary.AppendUvarint(dst, uint64(m.upto))
	dst = binary.AppendVarint(dst, int64(m.txns.seen))
	dst = binary.AppendUvarint(dst, uint64(len(m.txns.aborted)))
	for _, a := range m.txns.aborted {
		seen := byte(0)
		if a.seen {
			seen = 1
		}
		dst = binary.AppendUvarint(dst, uint64(a.PID))
		dst = binary.AppendUvarint(dst, uint64(a.First))
		dst = binary.AppendUvarint(dst, uint64(a.Last))
		dst = append(dst, seen)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.txns.committed)))
	for _, pid := range m.txns.committed {
		dst = binary.AppendUvarint(dst, uint64(pid))
	}
	return dst
}

// DecodeMark is the inverse of Append. The error is ErrMark.
func DecodeMark(b []byte) (m Mark, err error) {
	d := decoder{b: b}
	if d.byte() != markVersion {
		return m, ErrMark
	}
	m.next, m.upto = core.Offset(d.number()), core.Offset(d.number())
	m.txns.seen = core.Offset(d.signed())
	for n := d.count(4); n > 0 && !d.bad; n-- {
		a := open{Aborted: Aborted{d.number(), core.Offset(d.number()), core.Offset(d.number())}}
		seen := d.byte()
		a.seen = seen == 1
		k := len(m.txns.aborted)
		d.bad = d.bad || seen > 1 || k > 0 && m.txns.aborted[k-1].PID >= a.PID
		m.txns.aborted = append(m.txns.aborted, a)
	}
	for n := d.count(1); n > 0 && !d.bad; n-- {
		pid, k := d.number(), len(m.txns.committed)
		d.bad = d.bad || k > 0 && m.txns.committed[k-1] >= pid
		m.txns.committed = append(m.txns.committed, pid)
	}
	if d.bad || len(d.b) != 0 || m.next > m.upto || m.txns.seen < -1 {
		return Mark{}, ErrMark
	}
	return m, nil
}

// ErrDecision says that bytes are not those of a Decision, or of one that contradicts itself.
var ErrDecision = errors.New("compact: not a decision")

// The version also stands for the rules and the encoder (lz4.go) that the decision is carried out with.
const decisionVersion = 1

func (d *Decision) numbers() [7]*int64 {
	return [...]*int64{(*int64)(&d.From), (*int64)(&d.To), (*int64)(&d.At), &d.Retention, &d.SegmentBytes, &d.IndexBytes, &d.Memory}
}

// Append adds the decision to dst, for an entry of the log.
func (d *Decision) Append(dst []byte) []byte {
	dst = append(dst, decisionVersion)
	for _, n := range d.numbers() {
		dst = binary.AppendUvarint(dst, uint64(*n))
	}
	return dst
}

// DecodeDecision is the inverse of Append. The error is ErrDecision.
func DecodeDecision(b []byte) (d Decision, err error) {
	r := decoder{b: b}
	if r.byte() != decisionVersion {
		return d, ErrDecision
	}
	for _, n := range d.numbers() {
		*n = r.number()
	}
	if r.bad || len(r.b) != 0 || !d.sound() {
		return Decision{}, ErrDecision
	}
	return d, nil
}

// decoder reads and remembers that something was wrong.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

// number is one of 63 bits.
func (d *decoder) number() int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > 1<<63-1 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is how many things of at least size bytes follow.
func (d *decoder) count(size int64) int64 {
	n := d.number()
	if n > int64(len(d.b))/size {
		d.bad = true
	}
	return n
}
