package compact

import (
	"encoding/binary"
	"sort"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

// Aborted is a transaction that was aborted, an entry of Kafka's transaction index.
type Aborted struct {
	PID   int64
	First core.Offset // of its first record
	Last  core.Offset // of its marker
}

// open is an aborted transaction that a pass has met and whose marker it has not.
type open struct {
	Aborted
	seen bool // a batch of it was met
}

// txns follows the transactions that a pass over batches goes through (CleanedTransactionMetadata): it
// tells aborted records, and the markers of transactions of which no record is left.
type txns struct {
	coming    []Aborted // by First; those that begin at or below seen have been taken over
	seen      core.Offset
	aborted   det.Map[int64, open]
	committed det.Map[int64, bool] // producers with batches met since their last marker, and not aborted
}

func newTxns(all []Aborted) txns { return txns{coming: all, seen: -1} }

// after leaves out what ended before offset.
func after(all []Aborted, offset core.Offset) (left []Aborted) {
	for _, a := range all {
		if a.Last >= offset {
			left = append(left, a)
		}
	}
	return left
}

func (t *txns) upTo(offset core.Offset) {
	for len(t.coming) > 0 && t.coming[0].First <= offset {
		a := t.coming[0]
		t.coming = t.coming[1:]
		if was, ok := t.aborted.Get(a.PID); !ok || was.Last < a.First {
			t.aborted.Set(a.PID, open{Aborted: a})
		}
	}
	t.seen = max(t.seen, offset)
}

// data says whether a batch of records was aborted.
func (t *txns) data(b record.Batch) bool {
	t.upTo(b.LastOffset())
	if !b.Transactional() || b.ProducerID() < 0 {
		return false
	}
	// An index may still name a transaction whose marker went: it is over all the same.
	if a, ok := t.aborted.Get(b.ProducerID()); ok && b.LastOffset() < a.Last {
		if !a.seen {
			a.seen = true
			t.aborted.Set(b.ProducerID(), a)
		}
		return true
	}
	if _, ok := t.committed.Get(b.ProducerID()); !ok {
		t.committed.Set(b.ProducerID(), true)
	}
	return false
}

const (
	abortMarker  = 0
	commitMarker = 1
	otherControl = -1
)

// control says whether a control batch stands for nothing any more: the records of its transaction
// are gone, or it is empty. An abort marker that is needed gives its transaction, for the index of what is written.
func (t *txns) control(b record.Batch) (void bool, needed *Aborted) {
	t.upTo(b.LastOffset())
	if b.Count() == 0 {
		return true, nil
	}
	pid := b.ProducerID()
	switch controlType(b) {
	case abortMarker:
		a, ok := t.aborted.Get(pid)
		t.aborted.Delete(pid)
		if ok && a.seen && a.Last == b.LastOffset() {
			return false, &a.Aborted
		}
		return true, nil
	case commitMarker:
		_, ok := t.committed.Get(pid)
		t.committed.Delete(pid)
		return !ok, nil
	}
	return false, nil
}

// controlType reads the key of the first record: a version and a type (ControlRecordType.java). What is
// compressed or malformed is no marker of a transaction, and stays.
func controlType(b record.Batch) (kind int16) {
	kind = otherControl
	if b.Codec() != record.None {
		return kind
	}
	first := true
	err := b.RawsIn(b.Payload(), func(r *record.Raw) {
		if first && len(r.Key) >= 4 {
			kind = int16(binary.BigEndian.Uint16(r.Key[2:]))
		}
		first = false
	})
	if err != nil {
		return otherControl
	}
	return kind
}

// carry is the state of txns between two groups, as a Mark keeps it.
type carry struct {
	seen      core.Offset
	aborted   []open
	committed []int64
}

func (t *txns) carry() carry {
	c := carry{seen: t.seen, committed: append([]int64(nil), t.committed.Keys()...)}
	t.aborted.Each(func(_ int64, a open) { c.aborted = append(c.aborted, a) })
	return c
}

// resume is txns with the state that carry gave; all is the list that newTxns got.
func (c carry) resume(all []Aborted) txns {
	k := sort.Search(len(all), func(k int) bool { return all[k].First > c.seen })
	t := txns{coming: all[k:], seen: c.seen}
	for _, a := range c.aborted {
		t.aborted.Set(a.PID, a)
	}
	for _, pid := range c.committed {
		t.committed.Set(pid, true)
	}
	return t
}
