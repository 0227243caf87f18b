package node

import (
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/karst-stream/karst/core"
)

// stepper is what a loop drives: core/shard, or a stand-in of the tests.
type stepper interface {
	Step(now core.Now, events []core.Event, fx *core.Effects) (wake core.Mono)
}

// loop is the event loop of one shard. Its inbox takes everything, in order, for ever: it is bounded
// by the budgets of those who post, and it neither drops nor reorders, not during a stop either.
//
// There is no goroutine that waits for the inbox while it is empty. Whoever posts to an idle loop
// runs the step itself, which saves the hand-off that a single request would pay for; when there is
// more to do after that step, the loop's own goroutine takes over, so that nobody who posts is kept.
type loop struct {
	n  *node
	id core.ShardID
	s  stepper

	mu     sync.Mutex
	ended  sync.Cond // busy fell
	inbox  []core.Event
	calls  []func()
	busy   bool // somebody runs steps, and alone touches what is below
	over   bool // no step follows
	work   chan struct{}
	fired  atomic.Bool  // the timer
	stamp  atomic.Int64 // when the running step began, in Mono; 0: none runs
	counts loopCounts

	taken []core.Event
	fx    core.Effects
	timer *time.Timer
	armed core.Mono
	mail  uint64 // shards that got mail in this run, as bits
}

type loopCounts struct{ steps, events, effects, busy atomic.Int64 }

const (
	// inlineSteps is how many steps one that posts runs before the loop's goroutine takes over.
	inlineSteps = 1
	// maxDepth bounds the steps of other shards that a step's mail may start on the same stack.
	maxDepth = 4
	// keepEvents is the largest inbox that is kept for reuse.
	keepEvents = 4096
	// maxShards is the width of loop.mail.
	maxShards = 64
)

func newLoop(n *node, id core.ShardID, s stepper) *loop {
	l := &loop{n: n, id: id, s: s, work: make(chan struct{}, 1), armed: core.Never}
	l.ended.L = &l.mu
	l.timer = time.AfterFunc(time.Hour, l.tick)
	l.timer.Stop()
	return l
}

// post delivers events and sees to it that a step takes them.
func (l *loop) post(events []core.Event) {
	if l.push(events) {
		l.run(inlineSteps, 0)
	}
}

// push delivers events and says whether the caller must run the loop.
func (l *loop) push(events []core.Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		for i := range events {
			events[i].Body.Release()
		}
		return false
	}
	l.inbox = append(l.inbox, events...)
	return l.claim()
}

// claim takes the loop for the caller when it is idle and there is something to do; mu is held.
func (l *loop) claim() bool {
	if l.busy || l.over || len(l.inbox) == 0 && len(l.calls) == 0 {
		return false
	}
	l.busy = true
	return true
}

// call runs f between two steps.
func (l *loop) call(f func()) {
	l.mu.Lock()
	l.calls = append(l.calls, f)
	mine := l.claim()
	l.mu.Unlock()
	if mine {
		l.run(inlineSteps, 0)
	}
}

func (l *loop) tick() {
	l.fired.Store(true)
	e := [1]core.Event{{Kind: core.Tick}}
	l.post(e[:])
}

// serve is the loop's own goroutine: it runs what others leave to it.
func (l *loop) serve() {
	for range l.work {
		l.run(-1, 0)
	}
}

// run makes steps while there are events: up to limit of them, if limit is not negative. The caller
// has claimed the loop, and run gives it up.
func (l *loop) run(limit, depth int) {
	defer l.catch()
	for n := 0; ; n++ {
		l.mu.Lock()
		if l.over || len(l.inbox) == 0 && len(l.calls) == 0 {
			mail := l.mail
			l.mail = 0
			l.release()
			l.deliver(mail, depth)
			return
		}
		if n == limit {
			mail := l.mail
			l.mail = 0
			l.mu.Unlock()
			l.work <- struct{}{} // never full: only who has the loop sends
			l.deliver(mail, depth)
			return
		}
		l.taken, l.inbox = l.inbox, l.taken
		calls := l.calls
		l.calls = nil
		l.mu.Unlock()
		for _, f := range calls {
			f()
		}
		if len(l.taken) > 0 {
			l.step()
		}
		if limit < 0 && l.mail != 0 {
			mail := l.mail
			l.mail = 0
			l.deliver(mail, maxDepth) // by their own goroutines: this one goes on here
		}
	}
}

// release gives the loop up; it unlocks mu.
func (l *loop) release() {
	l.busy = false
	l.ended.Broadcast()
	l.mu.Unlock()
}

// deliver runs the loops that got mail, or has their goroutines do it.
func (l *loop) deliver(mail uint64, depth int) {
	for ; mail != 0; mail &= mail - 1 {
		to := l.n.loops[bits.TrailingZeros64(mail)]
		to.mu.Lock()
		mine := to.claim()
		to.mu.Unlock()
		switch {
		case !mine:
		case depth < maxDepth:
			to.run(inlineSteps, depth+1)
		default:
			to.work <- struct{}{}
		}
	}
}

// catch turns a panic of a step into the end of the node: its state cannot be trusted any more.
func (l *loop) catch() {
	if p := recover(); p != nil {
		l.n.log.Error("a shard panicked", "shard", int(l.id), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		l.n.fail(fmt.Errorf("shard %d panicked: %v: this is a bug, please report it with the log", l.id, p))
		l.mu.Lock()
		l.over = true
		l.release()
	}
}

// step lets the shard see what was taken and carries out what it asks for.
func (l *loop) step() {
	if l.fired.Swap(false) {
		l.armed = core.Never
	}
	now := l.n.now()
	l.stamp.Store(int64(now.Mono) | 1)
	l.n.net.Begin(l.id, l.taken)
	l.fx.Reset()
	wake := l.s.Step(now, l.taken, &l.fx)
	l.counts.steps.Add(1)
	l.counts.events.Add(int64(len(l.taken)))
	clear(l.taken)
	l.taken = l.taken[:0]
	if cap(l.taken) > keepEvents {
		l.taken = nil
	}
	l.dispatch()
	if wake < l.armed {
		l.armed = wake
		l.timer.Reset(time.Duration(max(0, wake-now.Mono)))
	}
	l.counts.busy.Add(int64(l.n.now().Mono - now.Mono))
	l.stamp.Store(0)
}

// dispatch carries out the effects of one step: disks first, they take longest.
func (l *loop) dispatch() {
	l.counts.effects.Add(int64(len(l.fx.List)))
	for i := range l.fx.List {
		e := &l.fx.List[i]
		switch vec := l.fx.Vec(e); e.Kind {
		case core.SendConn, core.CloseConn, core.CreditConn, core.SendPeer, core.AcceptPeer, core.ClosePeer, core.DropPeer:
			l.n.net.Do(l.id, e, vec)
		case core.OpenGate:
			l.n.net.Do(l.id, e, vec)
			l.n.gateOpened()
		case core.Create, core.Write, core.SyncFile, core.Truncate, core.Read, core.Remove:
			l.n.disks.do(e, vec)
		case core.Run:
			if e.Job.Soon {
				l.n.soon.add(l, e, vec)
			} else {
				l.n.jobs.add(l, e, vec)
			}
		case core.Space:
			l.n.jobs.space(l, e.Op, e.File)
		case core.MailOut:
			m := [1]core.Event{{Kind: core.MailIn, Shard: l.id, Mail: e.Mail}}
			l.n.loops[e.Shard].leave(m[:])
			l.mail |= 1 << e.Shard
		case core.Stopped:
			l.n.shardStopped(l.id)
		case core.Fatal:
			l.n.fail(fmt.Errorf("%s", e.Text))
		case core.Note:
			l.n.note(l.id, e)
		default:
			panic(fmt.Sprintf("node: unknown effect %v", e.Kind))
		}
	}
	l.n.disks.flush(l.id)
	l.n.net.Flush(l.id)
}

// leave delivers events to a loop that deliver will run: FIFO per pair of shards, because only who
// has the sender's loop does this.
func (l *loop) leave(events []core.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.inbox = append(l.inbox, events...)
	}
}

// halt lets no step follow; with wait, it returns when none runs any more.
func (l *loop) halt(wait bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.timer.Stop()
	for i := range l.inbox {
		l.inbox[i].Body.Release()
	}
	l.inbox = nil
	for wait && l.busy {
		l.ended.Wait()
	}
}
