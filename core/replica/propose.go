package replica

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
)

// Outcome is how a call on a replica ended; core/api turns it into Kafka's error code.
type Outcome uint8

const (
	OK Outcome = iota
	NotLeader
	UnknownPartition
	StorageError
	NotEnoughReplicas
	TimedOut     // appended, but the leader was deposed: nobody knows (REQUEST_TIMED_OUT)
	OutOfOrder   // OUT_OF_ORDER_SEQUENCE_NUMBER
	Fenced       // INVALID_PRODUCER_EPOCH
	Duplicate    // stored before, at Base
	OutOfRange   // OFFSET_OUT_OF_RANGE
	NotAvailable // OFFSET_NOT_AVAILABLE: a new leader whose high watermark is not known yet
	FencedEpoch  // FENCED_LEADER_EPOCH
	UnknownEpoch // UNKNOWN_LEADER_EPOCH
	Loading      // the coordinator's log is being read
	Policy       // POLICY_VIOLATION: the topic's settings forbid it
)

// Result answers Produce.
type Result struct {
	Err   Outcome
	Base  core.Offset // of the batch's first record
	Start core.Offset // log start
	Time  core.Wall   // LogAppendTime, or -1
}

// Acks is who must have synced a batch before its producer hears of it.
type Acks int8

const (
	AcksNone   Acks = 0
	AcksLeader Acks = 1
	AcksAll    Acks = -1
)

type waiter struct {
	index uint64 // 0 until the entry is in the log
	base  core.Offset
	n     int32
	need  int // durable copies wanted
	done  func(Result)
}

var markDuplicate = det.NewMark("replica: a batch came twice")
var markJoined = det.NewMark("replica: a duplicate joined the waiters of an uncommitted batch")

// Produce appends one batch, in memory of its own, whose CRC has been checked. It takes the Ref and
// patches base offset and epoch in place. done is called once: in this step when the answer is known.
func (r *Replica) Produce(batch core.Ref, acks Acks, done func(Result)) {
	b := record.Batch(batch.Bytes())
	if out, ok := r.mayAppend(acks); !ok {
		batch.Release()
		done(Result{Err: out, Base: -1, Start: r.start, Time: -1})
		return
	}
	s := journal.StubOf(b)
	if s.PID >= 0 {
		v, base := r.ps.judge(&s)
		if v != fresh {
			batch.Release()
			r.answerKnown(v, base, &s, acks, done)
			return
		}
	}
	r.propose(batch, s, acks, done)
}

func (r *Replica) mayAppend(acks Acks) (Outcome, bool) {
	switch {
	case r.offline != "":
		return StorageError, false
	case !r.leads || r.noop == 0 || r.handing > 0:
		return NotLeader, false
	case acks == AcksAll && len(r.isr) < r.cfg.Settings.MinInsync:
		return NotEnoughReplicas, false
	}
	out := r.crowded()
	return out, out == OK
}

// answerKnown answers a batch that must not be stored (again).
func (r *Replica) answerKnown(v verdict, base core.Offset, s *journal.Stub, acks Acks, done func(Result)) {
	res := Result{Base: -1, Start: r.start, Time: -1}
	switch v {
	case duplicate:
		markDuplicate.Hit()
		res.Base, res.Err = base, Duplicate
		if base >= r.high && acks == AcksAll {
			// It is in the log but not committed: its fate is the first copy's, never told early.
			for i := range r.waits {
				if r.waits[i].base == base {
					markJoined.Hit()
					first := r.waits[i].done
					r.waits[i].done = func(x Result) {
						first(x)
						if x.Err == OK {
							x.Err = Duplicate
						}
						done(x)
					}
					return
				}
			}
			r.waits = append(r.waits, waiter{index: r.indexOf(base), base: base, n: s.Count, need: r.need(), done: done})
			r.sortWaits()
			return
		}
	case outOfOrder:
		markDisorder.Hit()
		res.Err = OutOfOrder
	case fenced:
		res.Err = Fenced
	}
	done(res)
}

// indexOf finds the entry of an uncommitted batch; 0 while it is only proposed.
func (r *Replica) indexOf(base core.Offset) uint64 {
	for i := len(r.log.notes) - 1; i >= 0; i-- {
		if n := &r.log.notes[i]; n.batch && n.stub.Base == base {
			return r.log.first + uint64(i)
		}
	}
	return 0
}

// sortWaits restores the order by offset after a duplicate joined late; nearly sorted, so insertion.
func (r *Replica) sortWaits() {
	for i := len(r.waits) - 1; i > 0 && r.waits[i].base < r.waits[i-1].base; i-- {
		r.waits[i], r.waits[i-1] = r.waits[i-1], r.waits[i]
	}
}

// need is how many synced copies an acks=all answer waits for.
func (r *Replica) need() int {
	return max(len(r.log.conf.Voters)/2+1, r.cfg.Settings.MinInsync)
}

// propose assigns the offset and parks the batch until raft wants it appended.
func (r *Replica) propose(batch core.Ref, s journal.Stub, acks Acks, done func(Result)) {
	s.Base = r.next
	if r.beginsSegment(&s) {
		markRolled.Hit()
		s.Flags |= journal.Roll
		r.beginTail(s.Base, s.MaxTime)
	}
	r.proposedSize += int64(s.Len)
	r.tallyBatch(&s)
	record.Batch(batch.Bytes()).Patch(s.Base, r.term.Epoch())
	r.next += core.Offset(s.Count)
	r.props = append(r.props, raftpb.Entry{Data: s.Append(make([]byte, 0, 48))})
	r.stage(staged{uint64(r.term), s.Base}, batch)
	r.ps.extend(&s)
	w := waiter{base: s.Base, n: s.Count, need: r.need(), done: done}
	switch acks {
	case AcksAll:
		r.waits = append(r.waits, w)
	case AcksLeader:
		r.ones = append(r.ones, w)
	default:
		done(Result{Base: s.Base, Start: r.start, Time: -1})
	}
	r.wake()
	r.h.Dirty(r)
}

// Propose appends records that a coordinator or the metadata leader made, acks=all.
func (r *Replica) Propose(batch []byte, done func(Result)) {
	r.Produce(core.RefOf(batch), AcksAll, done)
}

func (r *Replica) stage(k staged, b core.Ref) {
	if old, ok := r.staging[k]; ok {
		old.Release()
	} else {
		r.stagings = append(r.stagings, k)
	}
	r.staging[k] = b
}

// flushProposals gives raft everything that arrived in this step as one MsgProp.
func (r *Replica) flushProposals() {
	if len(r.props) == 0 {
		return
	}
	props := r.props
	r.props, r.proposedSize, r.rolled = nil, 0, false
	err := r.rn.Step(raftpb.Message{Type: raftpb.MsgProp, From: uint64(r.cfg.ID), Entries: props})
	if err != nil {
		// Leadership went within this very step: raft took nothing, so the answer is definite.
		r.drainUnlogged(Result{Err: NotLeader, Base: -1, Start: r.start, Time: -1})
	}
}

// drainUnlogged answers the waiters whose entries never reached the log.
func (r *Replica) drainUnlogged(res Result) {
	r.waits = answerUnlogged(r.waits, res)
	r.ones = answerUnlogged(r.ones, res)
	r.dropTrims(res.Err)
	r.rebuildTip()
}

func answerUnlogged(ws []waiter, res Result) []waiter {
	kept := ws[:0]
	for _, w := range ws {
		if w.index == 0 {
			w.done(res)
		} else {
			kept = append(kept, w)
		}
	}
	clear(ws[len(kept):])
	return kept
}

// drain answers every waiter: logged ones with in, the others with out.
func (r *Replica) drain(in, out Result) {
	for _, ws := range [][]waiter{r.waits, r.ones} {
		for _, w := range ws {
			res := in
			if w.index == 0 {
				res = out
			}
			res.Base, res.Start, res.Time = -1, r.start, -1
			w.done(res)
		}
	}
	r.waits, r.ones, r.props = nil, nil, nil
	r.dropTrims(out.Err)
	r.proposedSize, r.rolled = 0, false
}

// rebuildTip folds the uncommitted tail anew over the applied state.
func (r *Replica) rebuildTip() {
	r.ps.tip = nil
	for i := r.applied + 1; i <= r.log.last(); i++ {
		if n := r.log.note(i); n.batch {
			r.ps.extend(&n.stub)
		}
	}
	r.next = r.log.end(r.log.last())
	r.tallyTip()
}
