// Package shard is the body of an event loop: a step function over the partitions, connections and
// peers of one core of a node.
//
// It owns routing: which partition a frame is for, which shard a partition lives in, which mail goes
// where, when it must be called again. It promises that equal (configuration, recovery, sequence of
// (now, events)) give equal effects, that a step costs O(events + due timers), and that a broken
// partition takes nobody with it. It refuses to block, to know a socket or a file descriptor, and to
// keep anything that a replica, a machine or a connection owns.
//
// Shard 0 has more to do than the others: it forms the cluster (birth.go), watches the other nodes
// (liveness.go), and holds the metadata replica, whose view it mails to all shards (admin.go).
package shard

import (
	"fmt"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
)

// Limits bound what a shard may use; the simulator shrinks them. Zero fields get the defaults.
type Limits struct {
	WindowBytes   int64 // batch bytes in memory, node-wide; default 64 MiB
	WindowEntries int   // raft entries in memory, node-wide; default 256 Ki
	GroupEntries  int   // ... of which a partition keeps so many in any case; default 64
	PeerBytes     int64 // queued to one peer, by one shard; default 32 MiB
	JournalSlot   int64 // bytes of a journal file; default 32 MiB
	PullBytes     int64 // that a catch-up asks for at once; default 4 MiB
	PullMemory    int64 // of all catch-ups of the node, on their way or not written yet; default 16 MiB
	PullSync      int64 // after so many bytes a catch-up is synced; default 32 MiB
}

func (l Limits) orDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.WindowBytes, 64<<20)
	def(&l.PeerBytes, 32<<20)
	def(&l.JournalSlot, 32<<20)
	def(&l.PullBytes, 4<<20)
	def(&l.PullMemory, 16<<20)
	def(&l.PullSync, 32<<20)
	if l.GroupEntries == 0 {
		l.GroupEntries = 64
	}
	if l.WindowEntries == 0 {
		l.WindowEntries = 256 << 10
	}
	return l
}

// Pace is how often a node does what it does though nothing happens. Only plans of the simulator change it: a
// year of a world in which little happens needs it slow. Zero fields get the defaults.
type Pace struct {
	Ping  core.Mono // between two signs of life to a peer; default 100 ms
	Doubt core.Mono // silence that makes a peer suspect, several times Ping; default 4 pings
	Scrub core.Mono // between two pieces of old segments that a shard reads again; default 1 s
}

// OrDefaults is p with the defaults in the place of zeros.
func (p Pace) OrDefaults() Pace {
	def := func(v *core.Mono, d core.Mono) {
		if *v == 0 {
			*v = d
		}
	}
	def(&p.Ping, pingEvery)
	def(&p.Doubt, suspectPings*p.Ping)
	def(&p.Scrub, scrubEvery)
	return p
}

// stall is for how long a shard may not be called until it thinks that it was itself that was silent.
func (p *Pace) stall() core.Mono { return p.Ping * 3 / 2 }

// Topic is one that must exist, with leaders, before clients are let in.
type Topic struct {
	Name       string
	Partitions int32
}

// Config is equal for all shards of a node but for Shard.
type Config struct {
	Node      core.NodeID
	Shard     core.ShardID
	Shards    int
	Seed      uint64
	Peers     []core.NodeID // all nodes that form the cluster, this one included, sorted
	Listeners []meta.Listener
	DataDir   string      // the first data directory, as clients are told of it: an absolute path
	Static    []config.KV // broker settings of the file and the command line, sorted
	Topics    []Topic
	Rejoin    bool // an empty disk takes the place of one that is gone; nothing to any other
	Limits    Limits
	Pace      Pace
	Unzip     replica.Unzip    // decompresses, for searches by time and for compression.type; nil: the batch is precise enough
	Zip       record.Zip       // compresses, for compression.type; nil, or Unzip nil: batches stay as they came
	Observer  replica.Observer // nil in production
}

// Mail between shards of a node runs on the shard that it is for.
type letter func(*Shard)

// Shard is one event loop's state. Its driver calls Step from one goroutine at a time.
type Shard struct {
	cfg    Config
	limits Limits
	pace   Pace
	now    core.Now
	fx     *core.Effects
	rng    *det.Rand
	timers det.Timers
	window replica.Budget

	nextFile, nextOp uint64
	ops              map[core.OpID]func(*core.Event) //det:ok looked up, never ranged
	disk             disk
	room             room

	id      Identity // zero cluster: not a member yet
	started bool
	rec     *Recovery
	dirs    []dirState // data directories of the node, by number
	vols    []*volume  // those that were there at the start, by number; the first always is
	sealAt  det.Timer

	groups   det.Map[core.GroupID, *hosted]
	busy     *hosted // that was marked dirty last
	dirty    []*hosted
	settling []*hosted // those of the round before: memory for the next one
	changed  []*hosted
	births   []birth                       // groups that wait for their directory to be gone
	settled  bool                          // the view is no older than this start: groups may be born
	arriving bool                          // ... since this very moment: what it shows is no newer, either
	placed   det.Map[core.GroupID, int]    // directories that shard 0 has just named for groups that are being born
	owners   map[core.GroupID]core.ShardID //det:ok looked up, never ranged: a cache
	retire   det.Timer
	balance  det.Timer
	booted   core.Mono
	scrub    det.Timer
	scrubbed int // where in the groups the scrubber is

	scrubRest, scrubAgain core.Mono // its pause, and when that is worked out anew
	retain                retaining
	compact               det.Timer
	sweeps                sweeps

	view     *meta.View
	values   config.BrokerValues
	leaders  map[core.GroupID]api.Leadership //det:ok looked up, never ranged
	onLeader map[core.GroupID][]func()       //det:ok looked up, never ranged
	suspects det.Map[core.NodeID, bool]
	peers    det.Map[core.NodeID, *peer]

	desk    *api.Desk
	conns   det.Map[core.ConnID, *conn]
	stalled []stall // produced batches that wait for room in the window
	stop    stopping
	ids     producerIDs

	home *home // shard 0 only
}

// hosted is a replica and what the shard keeps beside it; and the replica's Host (volume.go).
type hosted struct {
	*Shard
	r        *replica.Replica
	vol      *volume
	needs    uint32 // directories whose old journals must stay until it has begun, as bits
	group    core.GroupID
	dir      string
	hash     uint32
	dirty    bool
	changed  bool
	unsealed bool         // in volume.unsealed
	coord    *coordinator // of a partition of __consumer_offsets
}

type await struct {
	seq uint64
	h   *hosted
}

// New makes a shard of a node from what Recover found on its disk.
func New(cfg Config, rec *Recovery) *Shard {
	det.That(cfg.Shards >= 1 && int(cfg.Shard) < cfg.Shards, "shard: its number is below their count")
	s := &Shard{cfg: cfg, limits: cfg.Limits.orDefaults(), pace: cfg.Pace.OrDefaults(), rec: rec,
		rng:    det.New(cfg.Seed, "shard "+strconv.Itoa(int(cfg.Shard))),
		ops:    map[core.OpID]func(*core.Event){},
		owners: map[core.GroupID]core.ShardID{}, desk: api.NewDesk(cfg.Shard, cfg.Shards), id: rec.Identity,
		leaders: map[core.GroupID]api.Leadership{}, onLeader: map[core.GroupID][]func(){}}
	s.disk.ops = map[core.OpID]*lane{}
	s.disk.again.Fire = func(int64) { s.disk.look(s) }
	s.room.at.Fire = s.onRoom
	s.room.shut = true
	s.window.MaxBytes = s.limits.WindowBytes / int64(cfg.Shards)
	s.window.MaxEntries = s.limits.WindowEntries / cfg.Shards
	s.window.Least = s.limits.GroupEntries
	s.view = meta.New("").View()
	s.resolve()
	s.volumes()
	s.sealAt.Fire = s.onSeal
	s.retire.Fire = s.onRetire
	s.balance.Fire = s.onBalance
	s.scrub.Fire = s.onScrub
	s.retain.at.Fire = s.onRetain
	s.compact.Fire = s.onCompact
	for _, n := range cfg.Peers {
		if n != cfg.Node {
			s.peers.Set(n, &peer{node: n})
		}
	}
	if cfg.Shard == 0 {
		s.home = newHome(s)
	}
	return s
}

// Step applies events in order, lets every dirty partition act once (group commit falls out of
// batching), and says what the world must do next. It takes the Refs in events and gives away those
// in fx. wake is the latest time at which it must be called again.
func (s *Shard) Step(now core.Now, events []core.Event, fx *core.Effects) (wake core.Mono) {
	det.That(now.Mono >= s.now.Mono, "shard: time never goes back")
	gap := now.Mono - s.now.Mono
	s.now, s.fx = now, fx
	if !s.started {
		det.That(!mut.On("C0") || s.cfg.Seed%500 != 0, "C0: the canary, which proves that a broken promise is heard")
		s.started, s.booted = true, now.Mono
		s.boot()
	} else if s.home != nil {
		s.home.stalled(gap)
	}
	for i := range events {
		s.event(&events[i])
	}
	s.timers.Run(int64(now.Mono))
	s.retryStalled()
	s.settle()
	s.bootProgress()
	s.window.Trim()
	s.disk.collect(s)
	s.fx = nil
	return core.Mono(s.timers.Next(int64(core.Never)))
}

// settle runs Ready of the dirty replicas until none is left, then closes the step's journal frame.
func (s *Shard) settle() {
	for round := 0; len(s.dirty) > 0 || len(s.changed) > 0; round++ {
		det.That(round < 10000, "shard: replicas settle")
		dirty := s.dirty
		s.dirty, s.settling = s.settling[:0], nil
		for _, h := range dirty {
			h.dirty = false
			s.guard(h, h.r.Ready)
		}
		clear(dirty)
		s.settling = dirty
		s.spread()
	}
	for _, v := range s.vols {
		if seq := v.jrn.Flush(s.fx); seq > 0 && !s.sealAt.Armed() {
			s.timers.Arm(&s.sealAt, int64(s.now.Mono+core.Second))
		}
	}
}

// guard runs f for a replica; a panic in it takes that replica offline and nothing else.
func (s *Shard) guard(h *hosted, f func()) {
	defer func() {
		if x := recover(); x != nil {
			if h.r.Offline() != "" {
				panic(x) // even being offline failed: the shard cannot go on
			}
			h.r.Fail(fmt.Sprint(x))
		}
	}()
	f()
}

func (s *Shard) event(ev *core.Event) {
	switch ev.Kind {
	case core.Tick:
	case core.ConnOpen:
		s.connOpen(ev)
	case core.ConnFrame:
		s.connFrame(ev)
	case core.ConnSent:
		s.connSent(ev)
	case core.ConnClosed:
		s.connClosed(ev)
	case core.PeerFrame:
		s.peerFrame(ev)
	case core.PeerSent:
		if p := s.peers.At(ev.Node); p != nil {
			p.queued = max(0, p.queued-ev.N)
		}
	case core.PeerUp, core.PeerDown, core.PeerHello, core.PeerClosed:
		det.That(s.home != nil, "shard: links belong to shard 0")
		s.home.link(ev)
	case core.DiskDone:
		s.diskDone(ev)
	case core.JobDone:
		s.jobDone(ev)
	case core.MailIn:
		ev.Mail.(letter)(s)
	case core.StopAsked:
		s.beginStop()
	default:
		det.That(false, "shard: unknown event")
	}
}

func (s *Shard) diskDone(ev *core.Event) {
	if mut.On("M24") { // a failed sync counts as one
		ev.Err = core.OK
	}
	if s.disk.ended(s, ev) {
		s.diskOver(ev)
	}
}

// diskOver tells whoever asked for an operation how it ended.
func (s *Shard) diskOver(ev *core.Event) {
	for _, v := range s.vols {
		if !v.jrn.Owns(ev.Op) {
			continue
		}
		durable, ok := v.jrn.Done(ev.Op, ev.Err)
		if !ok {
			s.journalBroke(v, ev.Err)
			return
		}
		s.durable(v, durable)
		return
	}
	s.jobDone(ev)
}

// jobDone calls whoever asked for the operation.
func (s *Shard) jobDone(ev *core.Event) {
	done, ok := s.ops[ev.Op]
	det.That(ok, "shard: an operation ends once")
	delete(s.ops, ev.Op)
	if done != nil {
		done(ev)
	}
}

// durable tells the replicas that have something in frames up to seq.
func (s *Shard) durable(v *volume, seq uint64) {
	k := 0
	for ; k < len(v.awaits) && v.awaits[k].seq <= seq; k++ {
		h := v.awaits[k].h
		s.guard(h, func() { h.r.JournalDurable(seq) })
	}
	v.awaits = v.awaits[:copy(v.awaits, v.awaits[k:])]
	if len(v.jrn.Needy()) > 0 && !s.retire.Armed() {
		s.timers.Arm(&s.retire, int64(s.now.Mono))
	}
}

// onRetire asks the groups that hold back the oldest journal file for a checkpoint, a few at a time,
// and looks again soon: some cannot at once.
func (s *Shard) onRetire(int64) {
	again := false
	for _, v := range s.vols {
		needy := v.jrn.Needy()
		for i, g := range needy {
			if i == 64 {
				break
			}
			if h := s.groups.At(g); h != nil {
				s.guard(h, h.r.Needed)
			}
		}
		again = again || len(needy) > 0
	}
	if again {
		s.timers.Arm(&s.retire, int64(s.now.Mono+20*core.Millisecond))
	}
}

// onSeal tells a later recovery what was durable: groups that became complete since their last record say
// so, and a journal that went idle writes a frame in any case.
func (s *Shard) onSeal(int64) {
	again := false
	for _, v := range s.vols {
		if v.jrn.Broken() {
			continue
		}
		again = s.sealGroups(v) || v.jrn.Durable() < v.jrn.Seq() || again
		if v.jrn.Seq() > v.sealed && v.jrn.Durable() == v.jrn.Seq() {
			v.jrn.Seal()
			v.sealed = v.jrn.Seq() + 1
		}
	}
	if again {
		s.timers.Arm(&s.sealAt, int64(s.now.Mono+core.Second))
	}
}

// sealGroups has the groups that wrote say what is complete; true when some are not yet.
func (s *Shard) sealGroups(v *volume) bool {
	kept := v.unsealed[:0]
	for _, h := range v.unsealed {
		s.guard(h, func() { h.unsealed = !h.r.Seal() })
		if h.unsealed {
			kept = append(kept, h)
		}
	}
	clear(v.unsealed[len(kept):])
	v.unsealed = kept
	return len(kept) > 0
}

// on runs f on shard k of this node: in this step when it is this one, else as mail.
func (s *Shard) on(k core.ShardID, f func(*Shard)) {
	if k == s.cfg.Shard {
		f(s)
		return
	}
	s.fx.Add(core.Effect{Kind: core.MailOut, Shard: k, Mail: letter(f)})
}

// onOthers mails f to all other shards.
func (s *Shard) onOthers(f func(*Shard)) {
	for k := range s.cfg.Shards {
		if core.ShardID(k) != s.cfg.Shard {
			s.on(core.ShardID(k), f)
		}
	}
}

func (s *Shard) note(level int64, text string) {
	s.fx.Add(core.Effect{Kind: core.Note, N: level, Text: text})
}

// resolve reads the broker's settings anew.
func (s *Shard) resolve() {
	l := s.view.Layers(nil, s.cfg.Node, s.cfg.Static)
	old := s.values
	s.values = l.BrokerValues()
	if old.CleanerPace != s.values.CleanerPace || old.CleanerRate != s.values.CleanerRate {
		s.sweeps.renew(s)
	}
	if s.home != nil {
		s.home.tolls.setRates(s)
	}
}
