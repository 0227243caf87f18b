package det

// Timers is a deterministic queue of deadlines: a binary heap ordered by (deadline, order of arming).
// The cost of a step is O(due timers), never O(all timers).
type Timers struct {
	h   []*Timer
	seq uint64
}

// Timer calls Fire once when its deadline has come. The zero value with Fire set is ready to arm.
type Timer struct {
	Fire func(now int64)
	at   int64
	seq  uint64
	pos  int // in the heap, from 1; 0: not armed
}

// Armed says whether the timer waits.
func (t *Timer) Armed() bool { return t.pos > 0 }

// At is the deadline of an armed timer.
func (t *Timer) At() int64 { return t.at }

// Next is the earliest deadline, or none.
func (q *Timers) Next(none int64) int64 {
	if len(q.h) == 0 {
		return none
	}
	return q.h[0].at
}

// Arm sets t's deadline, whether it was armed or not.
func (q *Timers) Arm(t *Timer, at int64) {
	q.seq++
	t.seq = q.seq
	t.at = at
	if t.pos == 0 {
		q.h = append(q.h, t)
		t.pos = len(q.h)
	}
	q.up(q.down(t.pos - 1))
}

// Stop forgets t.
func (q *Timers) Stop(t *Timer) {
	if t.pos == 0 {
		return
	}
	i, last := t.pos-1, len(q.h)-1
	if i != last {
		q.h[i] = q.h[last]
		q.h[i].pos = i + 1
	}
	q.h[last] = nil
	q.h = q.h[:last]
	if i < last {
		q.up(q.down(i))
	}
	t.pos = 0
}

// Run fires what is due, earliest first, until nothing is due at now. A Fire may arm and stop timers.
func (q *Timers) Run(now int64) {
	for len(q.h) > 0 && q.h[0].at <= now {
		t := q.h[0]
		q.Stop(t)
		t.Fire(now)
	}
}

func (q *Timers) less(i, j int) bool {
	a, b := q.h[i], q.h[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (q *Timers) swap(i, j int) {
	q.h[i], q.h[j] = q.h[j], q.h[i]
	q.h[i].pos, q.h[j].pos = i+1, j+1
}

func (q *Timers) up(i int) {
	for i > 0 && q.less(i, (i-1)/2) {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q *Timers) down(i int) int {
	for {
		c := 2*i + 1
		if c >= len(q.h) {
			return i
		}
		if c+1 < len(q.h) && q.less(c+1, c) {
			c++
		}
		if !q.less(c, i) {
			return i
		}
		q.swap(i, c)
		i = c
	}
}
