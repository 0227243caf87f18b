// Package workload is the clients of a simulated cluster: Kafka producers, consumers in groups,
// readers and an auditor, as state machines without sockets, on Karst's own codec. It owns what each
// client believes (metadata, sequences, positions) and promises a real client's manners: bounded
// requests in flight, retries of idempotent batches under their old sequence, backoff, timeouts,
// reconnection. Everything seen is told to a checker.Judge, operation by operation. It refuses to know the cluster's insides:
// all it has are connections.
package workload

import (
	"fmt"
	"slices"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/wire"
)

// Env is the world around the clients.
type Env interface {
	Now() core.Mono
	Dial(n core.NodeID) core.ConnID
	Send(c core.ConnID, frame []byte) // without its length
	Hang(c core.ConnID)               // closes; Closed is not called
	Deafen(c core.ConnID, on bool)    // stops reading, or reads on
	Alarm(at core.Mono, client int)   // Wake(client) at or after at
	Fail(id, what string)
	// Clocks are the wall clocks of the nodes: the one that is behind all others now, and the latest time that any
	// has ever shown.
	Clocks() (earliest, latest core.Wall)
}

// Config is the shape of the load.
type Config struct {
	Seed       uint64
	Nodes      int
	Topic      string
	Partitions int
	Factor     int
	Rate       int64  // batches a second, over all idempotent producers
	Core       uint64 // nodes that will be there in the end, as bits
	Steady     uint64 // nodes whose disks come to no harm
	Loads      []Load
	MaxRecord  int64
	Hot        int64             // of 100 batches so many go to partition 0, beside its share
	Large      int64             // one batch in Large is big; 0: none
	Packed     int64             // one record in Packed is in a batch that is compressed; 0: none
	Configs    map[string]string // of the topic; visited in sorted order
	Sparse     int64             // see slowly; 0: as in the standard world
}

// Counts is what the clients did.
type Counts struct {
	Offered, Acked, Retries, Timeouts, Closed  int64
	OutOfOrder, Resets, Duplicates             int64
	Polls, Records, Commits, Joins, Rebalances int64
	Errors                                     map[wire.Error]int64 // looked up and sorted when printed
	Undecodable, Asked, FirstTry, Damaged      int64
	Weak, WeakAcked, Drifts, Rude, Wards, Late int64 // what the other loads did
	Trims, Emptied, Skips                      int64
	Folds                                      int64 // passes of compactors
	Renewed                                    int64 // topics that renewers deleted
	Begins                                     int64 // answers to renewers about where their group begins
	LastAck                                    core.Mono
	Met                                        *Met
}

// Fleet is all clients of a run.
type Fleet struct {
	Counts Counts
	Judge  *checker.Judge

	env       Env
	cfg       Config
	rng       *det.Rand
	conns     map[core.ConnID]*session
	raw       map[core.ConnID]*vandal
	clients   []client
	alarms    []core.Mono
	corr      int32
	out       wire.Writer
	frame     []byte // being sent
	in        wire.Reader
	lent      core.Buf // shows in what it reads
	setup     *admin
	produce   []*producer
	weak      []*weak
	numbers   uint16
	burst     int64 // the load is so many times what it was
	answers   wire.Key
	final     *reader
	op        checker.Op           // see base.op
	ids       map[wire.UUID]string // see idText
	wards     []string             // topics that wardens made
	retainers []*retainer
	census    *census // nil: there are none
	stopped   bool
}

// client is one actor. poll does what can be done now and says when to look again.
type client interface {
	poll(now core.Mono) core.Mono
	core() *base
}

// New is a fleet that begins to set its topic up at the first Wake(0).
func New(cfg Config, env Env, judge *checker.Judge) *Fleet {
	f := &Fleet{cfg: cfg, env: env, Judge: judge, ids: map[wire.UUID]string{}, rng: det.New(cfg.Seed, "fleet"), conns: map[core.ConnID]*session{}, raw: map[core.ConnID]*vandal{}, burst: 1}
	f.Counts.Met = NewMet()
	f.Counts.Errors = map[wire.Error]int64{}
	f.setup = &admin{base: f.base()}
	f.add(f.setup)
	return f
}

func (f *Fleet) base() *base {
	id := len(f.clients)
	return &base{f: f, id: id, rng: det.New(f.cfg.Seed, fmt.Sprint("client ", id)), sessions: make([]*session, 2*f.cfg.Nodes)}
}

func (f *Fleet) add(c client) {
	f.clients = append(f.clients, c)
	f.alarms = append(f.alarms, core.Never)
	f.wakeAt(len(f.clients)-1, f.env.Now())
}

func (f *Fleet) wakeAt(i int, at core.Mono) {
	if at < f.alarms[i] {
		f.alarms[i] = at
		f.env.Alarm(at, i)
	}
}

// Wake is the alarm of a client.
func (f *Fleet) Wake(i int) {
	if f.alarms[i] > f.env.Now() {
		return
	}
	f.alarms[i] = core.Never
	f.poll(i)
}

func (f *Fleet) poll(i int) {
	now := f.env.Now()
	c := f.clients[i]
	next := min(c.poll(now), c.core().nextDeadline())
	if next < core.Never {
		f.wakeAt(i, max(next, now+100*core.Microsecond))
	}
}

// Ready says that the topic exists and every partition has a leader.
func (f *Fleet) Ready() bool { return f.setup.done }

// Start begins the load.
func (f *Fleet) Start() {
	for _, l := range f.cfg.Loads {
		kindOf(l.Kind).start(f, l.N)
	}
	f.add(&auditor{base: f.base()})
}

// number names the next producer.
func (f *Fleet) number() uint16 {
	f.numbers++
	return f.numbers - 1
}

// Burst makes the load so many times what it was, until Burst(1).
func (f *Fleet) Burst(times int64) { f.burst = max(times, 1) }

// Await names the nodes that must be in sync for the fleet to be settled, as bits.
func (f *Fleet) Await(set uint64) { f.cfg.Core = set }

// Stop ends the offering of new batches; what is unacknowledged is retried on.
func (f *Fleet) Stop() {
	f.stopped = true
	if f.cfg.Sparse > 1 {
		f.wakeAll()
	}
}

// Drained says that every batch has its answer.
func (f *Fleet) Drained() bool {
	for _, p := range f.produce {
		if p.waiting() > 0 {
			return false
		}
	}
	for _, p := range f.weak {
		if p.busy {
			return false
		}
	}
	return true
}

// ReadBack begins to read every partition from its first offset to its end.
func (f *Fleet) ReadBack() {
	f.final = newReader(f.base(), true)
	f.add(f.final)
	if f.cfg.Sparse > 1 {
		f.wakeAll()
	}
	for _, x := range f.retainers {
		f.wakeAt(x.id, f.env.Now())
	}
	if len(f.wards) > 0 {
		f.census = &census{base: f.base()}
		f.add(f.census)
	}
}

// ReadAll says that ReadBack is through.
func (f *Fleet) ReadAll() bool {
	return f.final != nil && f.final.sealed && (f.census == nil || f.census.done) &&
		!slices.ContainsFunc(f.retainers, func(x *retainer) bool { return !x.over })
}

// Settled says that the cluster shows every partition with a leader and all its replicas in sync,
// as the auditor saw it last, since the given instant.
func (f *Fleet) Settled(since core.Mono) bool {
	for _, c := range f.clients {
		if a, ok := c.(*auditor); ok {
			return a.wholeAt >= since
		}
	}
	return false
}

// Stuck describes who still waits, for a report.
func (f *Fleet) Stuck() string {
	s := ""
	for _, p := range f.produce {
		if n := p.waiting(); n > 0 {
			s += fmt.Sprintf("producer %d waits for %d batches (%s); ", p.number, n, p.why())
		}
	}
	for _, c := range f.clients {
		if a, ok := c.(*auditor); ok {
			s += a.why()
		}
	}
	for _, x := range f.retainers {
		if f.final != nil && !x.over {
			s += fmt.Sprintf("%s begins at %d; ", x.topic, x.begins)
		}
	}
	if f.final != nil && !f.final.sealed {
		s += f.final.why()
	}
	return s
}

// Opened is a connection's.
func (f *Fleet) Opened(c core.ConnID) {
	if s := f.conns[c]; s != nil {
		s.opened()
		f.poll(s.b.id)
	} else if v := f.raw[c]; v != nil {
		v.open = true
	}
}

// Bytes is what arrived on a connection.
func (f *Fleet) Bytes(c core.ConnID, b []byte) {
	if s := f.conns[c]; s != nil {
		s.bytes(b)
		f.poll(s.b.id)
	}
}

// Closed is the end of a connection.
func (f *Fleet) Closed(c core.ConnID) {
	if s := f.conns[c]; s != nil {
		f.Counts.Closed++
		s.gone(false)
		f.poll(s.b.id)
	} else if v := f.raw[c]; v != nil {
		v.closed()
	}
}

// Awaits says whether a response frame on a connection, which begins with head, may acknowledge batches.
func (f *Fleet) Awaits(c core.ConnID, head []byte) bool {
	s := f.conns[c]
	return s != nil && (len(head) < 8 || s.asked(head) != nil)
}

// Answers visits the batches that a response frame (with its length) on a connection acknowledges,
// before the client has seen it: the moment at which they must be durable.
func (f *Fleet) Answers(c core.ConnID, frame []byte, visit func(v Value)) {
	s := f.conns[c]
	if s == nil {
		return
	}
	s.answers(frame, visit)
}
