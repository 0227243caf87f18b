package sim

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/karst-stream/karst/core"
	diskfake "github.com/karst-stream/karst/diskio/fake"
)

// stepEvents is how many events one step takes at most.
const stepEvents = 128

// lostTries is how often a node is started on a lost disk that the others refuse.
const lostTries = 5

// node is one simulated machine: its disk stays, its process comes and goes.
type node struct {
	id     core.NodeID
	disk   *diskfake.Disk
	life   uint32 // of the process
	alive  bool
	paused bool
	gate   bool // its Kafka listeners were opened in this life
	shards []*looper
	mail   [][]core.Mail // from*shards + to
	jobs   []job
	fatal  string // why the last process ended itself
	ended  bool   // the process said Stopped
	fuse   int64  // so many effects until the process dies; 0: it does not
	clock  clock

	lost     bool            // its disk does not hold what it acknowledged: it must not serve again
	gone     bool            // ... and is not started again
	told     int             // so often a process on it was refused
	rejoin   bool            // it is started with --rejoin
	joining  bool            // its disk was emptied, and some group has not taken it in again
	replaced bool            // it has the disk that was replaced
	before   *diskfake.Image // of the disk that is being replaced, to be put back
	emptied  uint32          // the last life before that
	joinedAt core.Mono       // since when all have; 0: not all
	spare    *diskfake.Disk  // its own, while foreign
	away     bool            // its last data directory is not there
	foreign  bool            // it has another node's disk
	old      *diskfake.Image // of its disk, to be put back
	start    uint32          // the counter of its present start, as its disk has it
	metAs    uint32          // the first counter that tells the old disk from the new
}

// own is the disk that the node has its data on.
func (n *node) own() *diskfake.Disk {
	if n.foreign {
		return n.spare
	}
	return n.disk
}

// looper is the loop around one shard.
type looper struct {
	m      machine
	inbox  []core.Event
	taken  []core.Event
	due    bool      // a step is scheduled
	wake   core.Mono // when the shard wants to be called
	wakeAt core.Mono // the pending wake-up; Never: none
}

type job struct {
	op    core.OpID
	shard core.ShardID
	body  core.Ref
	err   core.Errno
}

// start begins a process on n's disk.
func (w *World) start(n *node) {
	if n.gone {
		return
	}
	n.life++
	n.alive, n.paused, n.gate, n.ended, n.fatal = true, false, false, false, ""
	n.disk.Start()
	w.line("start", n.id, 0, uint64(n.life), 0, nil)
	ms, err := w.drv.boot(w, n)
	if err != nil {
		w.refused(n, err)
		return
	}
	n.mail = make([][]core.Mail, len(ms)*len(ms))
	n.shards = n.shards[:0]
	for i, m := range ms {
		n.shards = append(n.shards, &looper{m: m, wakeAt: core.Never})
		w.give(n, core.ShardID(i), core.Event{Kind: core.Tick})
	}
	w.net.Up(w.now, n.id)
}

// refused is a process that does not begin on its disk. No honest disk gives it a reason.
func (w *World) refused(n *node, err error) {
	w.note("node %d does not start: %v", n.id, err)
	if w.plan.Liars == 0 && !n.foreign && !w.lossy(n) {
		w.failAt("start", "node %d: %v", n.id, err)
	}
	n.alive = false
	n.gone = n.lost
}

// stop ends a process at once. power: with the machine.
func (w *World) stop(n *node, power bool) {
	if !n.alive {
		return
	}
	n.alive = false
	w.line("stop", n.id, 0, uint64(n.life), b2u(power), nil)
	w.lastLetters(n)
	for _, l := range n.shards {
		for i := range l.inbox {
			l.inbox[i].Body.Release()
		}
		if w.drv.abandon != nil {
			w.drv.abandon(l.m)
		}
	}
	for i := range n.jobs {
		n.jobs[i].body.Release()
	}
	n.jobs = n.jobs[:0]
	n.shards = n.shards[:0]
	w.net.Down(w.now, n.id, power)
	if power {
		n.disk.PowerLoss()
	} else {
		n.disk.Kill()
	}
}

// lastLetters lets the shards of a dying process read the mail that is on its way, in steps whose
// effects never leave. Letters hold memory that only their readers can give back.
func (w *World) lastLetters(n *node) {
	w.deaf = true
	w.judge.Mute(true)
	defer func() {
		w.deaf = false
		w.judge.Mute(false)
	}()
	var fx core.Effects
	for again := true; again && !w.failed; {
		again = false
		for s, l := range n.shards {
			var letters []core.Event
			for i := range l.inbox {
				if ev := &l.inbox[i]; ev.Kind == core.MailIn {
					letters = append(letters, *ev)
					*ev = core.Event{Kind: core.Tick}
				}
			}
			for from := range n.shards {
				pair := from*len(n.shards) + s
				for _, m := range n.mail[pair] {
					letters = append(letters, core.Event{Kind: core.MailIn, Shard: core.ShardID(from), Mail: m})
				}
				n.mail[pair] = nil
			}
			if len(letters) == 0 {
				continue
			}
			again = true
			fx.Reset()
			w.run(n, core.ShardID(s), l.m, letters, &fx)
			for i := range fx.List {
				e := &fx.List[i]
				fx.Release(e)
				if e.Kind == core.MailOut {
					pair := s*len(n.shards) + int(e.Shard)
					n.mail[pair] = append(n.mail[pair], e.Mail)
				}
			}
		}
	}
}

// give puts an event into a shard's inbox and makes sure that a step will take it.
func (w *World) give(n *node, s core.ShardID, ev core.Event) {
	if !n.alive || int(s) >= len(n.shards) {
		ev.Body.Release()
		return
	}
	l := n.shards[s]
	if ev.Kind == core.ConnFrame && w.drv.intake != nil {
		ev.Check = w.drv.intake(ev.Body)
	}
	l.inbox = append(l.inbox, ev)
	if !l.due && !n.paused {
		l.due = true
		w.after(w.now+core.Mono(w.steps.Between(500, 20e3)), dueStep, n, s, 0)
	}
}

// resume lets a stopped process run again.
func (w *World) resume(n *node) {
	if !n.paused || !n.alive {
		return
	}
	n.paused = false
	for s, l := range n.shards {
		if !l.due {
			l.due = true
			w.after(w.now+1, dueStep, n, core.ShardID(s), 0)
		}
	}
}

// step runs one step of a shard over the oldest events of its inbox.
func (w *World) step(n *node, s core.ShardID) {
	l := n.shards[s]
	l.due = false
	if n.paused {
		return // resume schedules another
	}
	if k := len(l.inbox); k <= stepEvents {
		l.taken, l.inbox = l.inbox, l.taken[:0]
	} else {
		l.taken = append(l.taken[:0], l.inbox[:stepEvents]...)
		l.inbox = slices.Delete(l.inbox, 0, stepEvents)
	}
	for i := range l.taken {
		w.traceEvent(n, s, &l.taken[i])
		if l.taken[i].Kind == core.PeerUp {
			w.net.Seen(n.id, l.taken[i].Node)
		}
	}
	w.fx.Reset()
	l.wake = w.run(n, s, l.m, l.taken, &w.fx)
	w.result.Steps++
	life := n.life
	for i := range w.fx.List {
		if n.life != life || !n.alive {
			w.fx.Release(&w.fx.List[i])
			continue
		}
		if n.fuse > 0 && w.burn(n, s, w.fx.List[i:]) {
			w.fx.Release(&w.fx.List[i])
			continue
		}
		w.effect(n, s, &w.fx.List[i])
	}
	clear(l.taken)
	if !n.alive || n.life != life {
		return
	}
	if len(l.inbox) > 0 && !l.due {
		l.due = true
		w.after(w.now+core.Microsecond, dueStep, n, s, 0)
	}
	w.arm(n, s, l)
}

// run calls Step; a panic of the core is a finding, not the end of the simulator.
func (w *World) run(n *node, s core.ShardID, m machine, events []core.Event, fx *core.Effects) (wake core.Mono) {
	defer func() {
		if p := recover(); p != nil {
			wake = core.Never
			w.failAt("panic", "node %d shard %d: %v\n%s", n.id, s, p, debug.Stack())
		}
	}()
	w.judge.At(w.now)
	now := w.clock(n)
	w.latest = max(w.latest, now.Wall)
	return m.Step(now, events, fx)
}

// clock is what a node believes the time to be.
func (w *World) clock(n *node) core.Now {
	return core.Now{Mono: w.now, Wall: n.clock.wall(w.now)}
}

// wallStart is a moment in 2026, for records.
const wallStart core.Wall = 1_790_000_000_000

// arm makes sure that the shard is called at its wake.
func (w *World) arm(n *node, s core.ShardID, l *looper) {
	at := max(l.wake, w.now+1)
	if at >= core.Never || l.wakeAt <= at {
		return
	}
	l.wakeAt = at
	w.after(at, dueWake, n, s, uint64(at))
}

// woken is a wake-up: the shard may have wished for a later one meanwhile.
func (w *World) woken(n *node, s core.ShardID, at core.Mono) {
	l := n.shards[s]
	if l.wakeAt != at {
		return
	}
	l.wakeAt = core.Never
	if l.wake > w.now {
		w.arm(n, s, l)
		return
	}
	if len(l.inbox) == 0 {
		w.give(n, s, core.Event{Kind: core.Tick})
	}
}

// effect carries one effect out.
func (w *World) effect(n *node, s core.ShardID, e *core.Effect) {
	vec := w.fx.Vec(e)
	w.traceEffect(n, s, e, vec)
	switch e.Kind {
	case core.SendPeer:
		w.net.SendPeer(w.now, n.id, s, e.Node, vec)
	case core.SendConn:
		w.copies.answer(e.Conn, vec)
		w.net.SendConn(w.now, e.Conn, vec)
	case core.CloseConn:
		w.net.CloseConn(w.now, e.Conn)
	case core.CreditConn:
		w.net.Credit(e.Conn, e.N)
	case core.AcceptPeer:
		w.net.AcceptPeer(n.id, e.Link, e.Node)
	case core.ClosePeer:
		w.net.ClosePeer(w.now, n.id, e.Link)
	case core.DropPeer:
		w.net.DropPeer(w.now, n.id, e.Node)
	case core.OpenGate:
		if n.replaced {
			w.failAt("I18", "node %d serves on a disk that another has taken the place of", n.id)
		}
		n.gate = true
		w.net.OpenGate(n.id)
	case core.Create, core.Write, core.SyncFile, core.Truncate, core.Read, core.Remove:
		w.countFiles(n, e)
		if e.Kind == core.Write {
			w.copies.write(n, e, vec)
		}
		w.after(n.disk.Submit(w.now, e, vec), dueDisk, n, s, uint64(e.File))
	case core.Run:
		w.runJob(n, s, e)
	case core.Space: // a simulated disk is as large as it needs to be
		n.jobs = append(n.jobs, job{op: e.Op, shard: s, err: core.ErrRefuse})
		w.after(w.now+core.Millisecond, dueJob, n, s, uint64(e.Op))
	case core.MailOut:
		w.post(n, s, e)
	case core.Stopped:
		n.ended = true
		w.stop(n, false)
	case core.Fatal:
		w.fatal(n, e.Text)
	case core.Note:
		w.heard(n, s, e)
	default:
		w.fail("node %d asked for %v, which nobody knows", n.id, e.Kind)
	}
}

// countFiles counts the segments that come and go.
func (w *World) countFiles(n *node, e *core.Effect) {
	switch {
	case e.Kind != core.Create && e.Kind != core.Remove || !isSegment(e.Path):
	case e.Kind == core.Remove:
		w.result.Removals++
	case e.Sync && !n.disk.Full: // else it was there, and is opened, or there is no room for it
		w.result.Rolls++
	}
}

func (w *World) runJob(n *node, s core.ShardID, e *core.Effect) {
	var in [][]byte
	ok := true
	for _, r := range w.fx.Vec(e) {
		b, whole := n.disk.Gather(nil, []core.Ref{r})
		ok = ok && whole
		in = append(in, b)
		r.Release()
	}
	for _, r := range e.Job.In {
		b, whole := n.disk.Gather(nil, []core.Ref{r})
		ok = ok && whole
		in = append(in, b)
		r.Release()
	}
	j := job{op: e.Op, shard: s, err: core.ErrShort}
	if ok {
		var out []byte
		out, j.err = e.Job.Do(in)
		j.body = core.RefOf(out)
	}
	n.jobs = append(n.jobs, j)
	w.after(w.now+core.Mono(w.steps.Between(1e5, 5e6)), dueJob, n, s, uint64(e.Op))
}

func (w *World) jobDone(n *node, op core.OpID) {
	i := slices.IndexFunc(n.jobs, func(j job) bool { return j.op == op })
	j := n.jobs[i]
	n.jobs = slices.Delete(n.jobs, i, i+1)
	w.give(n, j.shard, core.Event{Kind: core.JobDone, Op: op, Err: j.err, Body: j.body, N: int64(j.body.Len)})
}

// post sends mail to another shard of the node: FIFO per pair, late by a drawn time.
func (w *World) post(n *node, from core.ShardID, e *core.Effect) {
	pair := int(from)*len(n.shards) + int(e.Shard)
	n.mail[pair] = append(n.mail[pair], e.Mail)
	d := w.steps.Between(1e3, 60e3)
	if w.steps.Chance(1, 50) {
		d *= 50
	}
	w.after(w.now+core.Mono(d), dueMail, n, e.Shard, uint64(pair))
}

func (w *World) mailed(n *node, pair int) {
	q := n.mail[pair]
	ev := core.Event{Kind: core.MailIn, Shard: core.ShardID(pair / len(n.shards)), Mail: q[0]}
	n.mail[pair] = slices.Delete(q, 0, 1)
	w.give(n, core.ShardID(pair%len(n.shards)), ev)
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// fatal is a process that ends itself: whoever watches it starts another.
func (w *World) fatal(n *node, text string) {
	n.fatal = text
	w.result.Fatals++
	w.note("node %d ended itself: %s", n.id, text)
	if w.result.Fatals > 50 && w.plan.Liars == 0 {
		w.failAt("fatal", "node %d ends itself again and again: %s", n.id, text)
	}
	w.stop(n, false)
	if n.lost {
		if n.told++; n.told == lostTries {
			n.gone = true // whoever looks after it has read why
			return
		}
	}
	w.after(w.now+500*core.Millisecond, dueRestart, nil, 0, uint64(n.id))
}

// heard is a line of a node's log. A partition that goes offline on a healthy disk is a panic that
// the shard caught, or damage that nobody did.
func (w *World) heard(n *node, s core.ShardID, e *core.Effect) {
	if w.opts.Trace != nil {
		fmt.Fprintf(w.opts.Trace, "%13.6f n%d.%d note %s\n", seconds(w.now), n.id, s, e.Text)
	}
	if e.N >= 8 && strings.Contains(e.Text, "partition offline") && !n.disk.Broken() && !n.away && !w.lossy(n) && w.plan.Liars == 0 {
		w.failAt("offline", "node %d, whose disk is well: %s", n.id, e.Text)
	}
}
