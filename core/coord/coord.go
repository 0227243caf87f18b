// Package coord owns the coordinator of consumer groups and their offsets for one partition of
// `__consumer_offsets`: the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup with static
// members) and committed offsets. It is bytes in, bytes out: whoever owns the partition's log folds
// every committed batch into it with Apply, on leader and followers alike, and carries the records
// that it emits into the log.
//
//	requests -> Handle -> live groups, timers --Config.Append--> the log
//	            answers <- outcome of the append                  |
//	            reads   <- stored groups and offsets <-- Apply <--+  (every replica)
//
// It promises that what Apply builds depends on the log alone (Digest, I14), that no answer speaks of
// a record that is not committed, that each request is answered exactly once, and that everything is
// visited in sorted order. The rules are Apache Kafka's (GroupMetadataManager.java, ClassicGroup.java,
// OffsetMetadataManager.java); where Kafka leaves the choice to a hash map, the least name wins.
//
// An offset belongs to one incarnation of a topic, whose id is stored with it: it is never shown for
// another of the same name, and goes when its topic is gone (topics.go).
//
// It refuses to know replicas and connections: leadership comes by Lead and Resign, and which topics
// there are by Config.Topic. Offsets do not expire yet
// (offsets.retention.minutes), and there are no transactional commits and no KIP-848, share or
// streams groups; their records are passed over.
package coord

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Outcome is how an append ended.
type Outcome uint8

const (
	Committed   Outcome = iota + 1 // in the log for good, and Apply was called with it
	NotAppended                    // certainly not in the log, now or later
	Unknown                        // appended by a leader that was deposed before it was committed
)

// code is what a request that waited for the append is told. Both failures make a client look for
// the coordinator and try again; after Unknown the commit may be in force already, as it may after
// Kafka's own append timeout (GroupCoordinatorService.handleOperationException).
func (o Outcome) code() int16 {
	switch o {
	case Committed:
		return errNone
	case Unknown:
		return errNotAvailable
	}
	return errNotCoordinator
}

// KeyValue is one record for the log. A nil Value is a tombstone.
type KeyValue struct{ Key, Value []byte }

// Config is what an operator and the owner of the log decide. All of it must be set.
type Config struct {
	InitialRebalanceMillis int32 // group.initial.rebalance.delay.ms; 0: the first member does not wait
	MinSessionMillis       int32 // group.min.session.timeout.ms
	MaxSessionMillis       int32 // group.max.session.timeout.ms
	GroupMaxSize           int   // group.max.size, members
	OffsetMetadataMax      int   // offset.metadata.max.bytes; counts characters, as Kafka does

	// Topic is the id of the topic that has a name now, as far as the caller has heard; false: none.
	Topic func(name string) (TopicID, bool)

	// Append makes one batch of recs, which are its own from then on, and appends it. It calls settled
	// exactly once, at once or later: with Committed in the order of the calls of Append, and only
	// after Apply has seen the batch. settled may be called inside Append.
	Append func(recs []KeyValue, settled func(now core.Now, o Outcome))
}

// newMemberMillis is how long a member that joins for the first time may wait for the rebalance: it
// has no id to send heartbeats with (GroupCoordinatorConfig, not configurable in Kafka either).
const newMemberMillis = 5 * 60 * 1000

// waiter takes the answer to one request, once.
type waiter func(resp any)

// Coordinator is the machine for one partition.
type Coordinator struct {
	cfg  Config
	seed uint64

	// Replicated: changed by Apply alone.
	stored  det.Map[string, *stored]
	applied core.Offset
	skipped int64

	// The leader's own: made by Lead, gone with Resign.
	leading  bool
	rand     *det.Rand // of member ids
	now      core.Now  // of the call that is being served
	live     det.Map[string, *group]
	timers   det.Timers
	inflight det.Map[uint64, *write] // appends that are not settled, in their order
	writes   uint64                  // numbers appends; never reused: a late outcome meets nobody

	// Appends and answers leave when the machine is at rest: what they call may call back.
	out      []func()
	draining bool
}

// New makes a coordinator that has seen nothing of the log and leads nothing. seed makes the member
// ids that it hands out unguessable; the term is mixed in, so that no two leaders draw the same.
func New(cfg Config, seed uint64) *Coordinator {
	det.That(cfg.Append != nil && cfg.Topic != nil, "coord: no way to append, or to know topics")
	det.That(cfg.GroupMaxSize > 0, "coord: a group needs room for a member")
	det.That(cfg.MinSessionMillis <= cfg.MaxSessionMillis, "coord: session timeouts contradict")
	return &Coordinator{cfg: cfg, seed: seed}
}

// Lead begins a leadership. Everything that is committed below its term's first entry must have been
// applied. Every member has a whole session timeout from now on.
func (c *Coordinator) Lead(now core.Now, term core.Term) {
	det.That(!c.leading, "coord: leads already")
	c.enter(now)
	c.leading = true
	c.rand = det.New(uint64(det.Hash(0).U64(c.seed).U64(uint64(term))), "coord: member ids")
	c.stored.Each(func(name string, s *stored) { c.revive(name) })
	c.rest()
}

// Leading says whether requests are decided here.
func (c *Coordinator) Leading() bool { return c.leading }

// Resign ends the leadership: whoever waits is told NOT_COORDINATOR, and outcomes that still come are
// ignored. It does nothing when there is no leadership.
func (c *Coordinator) Resign() {
	c.resign()
	c.rest()
}

func (c *Coordinator) resign() {
	if !c.leading {
		return
	}
	c.leading = false
	groups, inflight := c.live, c.inflight
	c.live, c.inflight, c.timers = det.Map[string, *group]{}, det.Map[uint64, *write]{}, det.Timers{}
	groups.Each(func(_ string, g *group) {
		g.state = dead
		g.members.Each(func(_ string, m *member) {
			if m.join != nil || m.sync != nil {
				markLeftAlone.Hit()
			}
			g.answerJoin(m, &JoinResponse{Err: errNotCoordinator, Generation: -1, Member: m.id})
			g.answerSync(m, &SyncResponse{Err: errNotCoordinator})
		})
	})
	inflight.Each(func(_ uint64, w *write) { w.settle(c, NotAppended) })
}

// Wake is when Tick must be called next; core.Never when nothing waits for time.
func (c *Coordinator) Wake() core.Mono { return core.Mono(c.timers.Next(int64(core.Never))) }

// Tick fires what is due.
func (c *Coordinator) Tick(now core.Now) {
	c.enter(now)
	c.timers.Run(int64(c.now.Mono))
	c.rest()
}

// Handle serves one request: a pointer to one of the request types of this package. done is called
// exactly once, with a pointer to the response of the same name: now, or when a rebalance or an
// append is over; it may call Handle. A coordinator that does not lead answers NOT_COORDINATOR. One
// that leads believes it: for reads that must be linearizable the caller confirms it (ReadIndex).
func (c *Coordinator) Handle(now core.Now, req any, done func(resp any)) {
	c.enter(now)
	if !c.leading {
		resp := Refuse(req, errNotCoordinator)
		det.That(resp != nil, "coord: not a request")
		c.answer(done, resp)
		c.rest()
		return
	}
	switch r := req.(type) {
	case *JoinRequest:
		c.join(r, done)
	case *SyncRequest:
		c.sync(r, done)
	case *HeartbeatRequest:
		c.answer(done, &HeartbeatResponse{Err: c.heartbeat(r)})
	case *LeaveRequest:
		c.leave(r, done)
	case *OffsetCommitRequest:
		c.commitOffsets(r, done)
	case *OffsetFetchRequest:
		c.fetchOffsets(r, done)
	case *DescribeRequest:
		c.answer(done, c.describe(r))
	case *ListRequest:
		c.answer(done, c.list(r))
	case *DeleteGroupRequest:
		c.deleteGroup(r, done)
	case *OffsetDeleteRequest:
		c.deleteOffsets(r, done)
	default:
		det.That(false, "coord: not a request")
	}
	c.rest()
}

func (c *Coordinator) enter(now core.Now) {
	c.now.Mono = max(c.now.Mono, now.Mono)
	c.now.Wall = now.Wall
}

// rest lets appends and answers go, in the order in which they arose. Only the outermost call does:
// one that comes from inside finds the machine at rest too, and adds to the list.
func (c *Coordinator) rest() {
	if c.draining {
		return
	}
	c.draining = true
	for i := 0; i < len(c.out); i++ {
		c.out[i]()
		c.out[i] = nil
	}
	c.out, c.draining = c.out[:0], false
}

func (c *Coordinator) answer(done waiter, resp any) {
	c.out = append(c.out, func() { done(resp) })
}

// write is one append that is not settled.
type write struct {
	recs  []KeyValue
	group string            // that the records are about; of several groups: ""
	puts  []put             // the offsets that it sets
	then  []func(o Outcome) // who waits
}

func (w *write) settle(c *Coordinator, o Outcome) {
	for _, f := range w.then {
		f(o)
	}
}

// append sends records on their way. Each of then hears the outcome, with the machine in the state
// of that moment: it may have another leadership by then, or none.
func (c *Coordinator) append(w *write) *write {
	det.That(c.leading, "coord: writes without leading")
	det.That(len(w.recs) > 0, "coord: writes nothing")
	c.writes++
	seq := c.writes
	c.inflight.Set(seq, w)
	c.out = append(c.out, func() {
		if _, ok := c.inflight.Get(seq); ok {
			c.cfg.Append(w.recs, func(now core.Now, o Outcome) { c.settled(seq, now, o) })
		}
	})
	return w
}

func (c *Coordinator) settled(seq uint64, now core.Now, o Outcome) {
	w, ok := c.inflight.Get(seq)
	if !ok {
		return // resigned meanwhile: the waiters know
	}
	c.enter(now)
	c.inflight.Delete(seq)
	w.settle(c, o)
	if o == Unknown {
		// No decision may stand on a record of which nobody knows: the next leadership will.
		markUnknown.Hit()
		c.resign()
	}
	c.rest()
}

var markUnknown = det.NewMark("coord: an append ended unknown")

// newMemberID is a name as Kafka makes it: prefix, dash, random UUID (version 4).
func (c *Coordinator) newMemberID(prefix string) string {
	hi := c.rand.Uint64()&^0xf000 | 0x4000
	lo := c.rand.Uint64()&^(3<<62) | 1<<63
	a, b := fmt.Sprintf("%016x", hi), fmt.Sprintf("%016x", lo)
	return prefix + "-" + a[:8] + "-" + a[8:12] + "-" + a[12:] + "-" + b[:4] + "-" + b[4:]
}
