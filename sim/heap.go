package sim

import (
	"math/bits"

	"github.com/karst-stream/karst/core"
)

// what is due at a moment
type what uint8

const (
	dueStep    what = iota + 1 // a shard takes what is in its inbox
	dueWake                    // a shard asked to be woken
	dueDisk                    // arg: the file whose oldest operation is done
	dueNet                     // arg: the network's token
	dueMail                    // arg: from<<16 | to: the oldest letter of that pair
	dueJob                     // arg: the job
	dueClient                  // arg: the client
	dueFault                   // arg: index in the plan
	dueRestart                 // arg: the node: a process that ended itself begins again
	dueCheck                   // the world looks whether it is time to go on
)

// moment is one thing that will happen. It holds no pointer, so that the heap costs the collector
// nothing.
type moment struct {
	at   core.Mono
	seq  uint64 // ties are broken by the order of scheduling, never by the heap
	arg  uint64
	life uint32 // of the node: a process that died hears nothing
	what what
	node int8
	s    uint8
}

func (a *moment) before(b *moment) bool { return a.sooner(b) != 0 }

// sooner is 1 when a comes before b, else 0. It has no branch, because nobody could foretell it.
func (a *moment) sooner(b *moment) uint64 {
	_, less := bits.Sub64(a.seq, b.seq, 0)
	_, less = bits.Sub64(uint64(a.at), uint64(b.at), less)
	return less
}

// queue keeps what is due soon apart from the many that wait for long, so that few are ever looked at.
type queue struct{ soon, later moments }

func (q *queue) len() int { return len(q.soon) + len(q.later) }

func (q *queue) push(now core.Mono, m moment) {
	if m.at-now > core.Millisecond {
		q.later.push(m)
	} else {
		q.soon.push(m)
	}
}

// pop takes the first of all.
func (q *queue) pop() moment {
	if len(q.soon) == 0 || len(q.later) > 0 && q.later[0].before(&q.soon[0]) {
		return q.later.pop()
	}
	return q.soon.pop()
}

// moments is a heap in which each moment has four below it: half as deep as one with two, and the four
// lie side by side.
type moments []moment

func (q *moments) push(m moment) {
	*q = append(*q, m)
	h := *q
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 4
		if !m.before(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = m
}

func (q *moments) pop() moment {
	h := *q
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	i := 0
	for {
		c := 4*i + 1
		if c >= len(h) {
			break
		}
		if four := h[c:]; len(four) >= 4 {
			a := four[1].sooner(&four[0])
			b := 2 + four[3].sooner(&four[2])
			c += int(a + (b-a)*four[b&3].sooner(&four[a&3]))
		} else {
			for k := c + 1; k < len(h); k++ {
				if h[k].before(&h[c]) {
					c = k
				}
			}
		}
		if !h[c].before(&last) {
			break
		}
		h[i] = h[c]
		i = c
	}
	if len(h) > 0 {
		h[i] = last
	}
	return top
}
