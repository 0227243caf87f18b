// Package replica is one copy of one partition: a raft group whose entries are stubs, the batches
// that those stubs name, and the segment files they rest in.
//
// It owns the group's log (window, segments, producer state), its election clock and its high
// watermark. It promises Kafka's order of offsets, that an acks=all answer means a fdatasync on a
// majority, and that equal logs are byte-equal segment files on every node. It refuses to block, to
// read a disk in a step (reads are effects), and to go on after its own disk failed: then it is
// offline, says why, and its neighbours in the shard live on.
//
// The way of a batch: Produce (propose.go) assigns offsets and proposes a stub; Ready (ready.go)
// hands it to the journal, the segment (store.go) and the peers (peers.go); completion on a majority
// moves the commit index, which moves the high watermark and answers the producer.
package replica

import (
	"fmt"
	"strconv"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/seg"
)

const (
	tickEvery     = 100 * core.Millisecond // a leader's raft clock, while the group is awake
	electionTicks = 10                     // CheckQuorum looks every electionTicks*tickEvery
	heartbeats    = 3                      // ticks between raft heartbeats
	inflightMsgs  = 256
)

// Settings are what the partition's topic and broker configuration say.
type Settings struct {
	MinInsync    int       // min.insync.replicas
	SegmentBytes int64     // segment.bytes
	Deletes      bool      // cleanup.policy holds delete: the log start may be moved
	DeleteDelay  core.Mono // file.delete.delay.ms

	RetentionMs    core.Wall // retention.ms; negative: for ever
	RetentionBytes int64     // retention.bytes; negative: without limit
	SegmentMs      core.Wall // segment.ms
	SegmentJitter  core.Wall // segment.jitter.ms
	IndexInterval  int64     // index.interval.bytes; -1: not known yet, so no index is begun
	IndexBytes     int64     // segment.index.bytes; 0: no limit

	Compacts   bool // cleanup.policy holds compact
	Compaction Compaction

	SlowIn  bool // follower.replication.throttled.replicas names this replica
	SlowOut bool // leader.replication.throttled.replicas does
}

// Config is given at birth or boot and does not change, but for Settings.
type Config struct {
	Node     core.NodeID
	ID       core.RaftID
	Group    core.GroupID
	Dir      string   // of its segments, "topic-0"
	TopicID  [16]byte // of the topic, for the journal
	Seed     uint64
	Settings Settings
	Observer Observer // nil in production
	Unzip    Unzip    // for compaction; nil: a log with compressed batches is not compacted

	// BootChecks is how many bytes of batches that were certainly durable Open reads again.
	BootChecks int64
}

type staged struct {
	term uint64
	base core.Offset
}

// appending is a MsgStorageAppend on its way to the disk.
type appending struct {
	seq  uint64 // journal frame; 0: nothing of it is in the journal
	ops  int    // other disk operations that are outstanding
	last uint64 // index of its last entry, 0 when it has none
	term uint64 // of that entry
	snap uint64 // index of the snapshot that it installed; 0: none
	resp []raftpb.Message
}

// Replica is one copy of one partition. Its shard calls it from one goroutine.
type Replica struct {
	cfg    Config
	h      Host
	rn     *raft.RawNode
	log    *window
	rng    *det.Rand
	ps     producers
	epochs epochs
	segs   []*segment // sorted by base; the last is where batches go
	spare  []*segment // empty files of segments that the log no longer has
	shed   shed       // files of segments below the log start

	// Health.
	offline string // why; "" while healthy
	opening int    // disk operations until the boot's repairs are durable
	healing bool   // a mend has written what was lost; it is said once the disk has it
	closed  bool   // deleted

	// Leadership, as of the last Ready.
	lead    core.RaftID
	term    core.Term
	leads   bool
	ready   bool      // leading, and the no-op of this term is committed
	noop    uint64    // index of this term's no-op, when leading
	match   []matched // by member, voters first; leader only
	changed uint64    // index of the newest membership change in the log
	confAt  uint64    // index of the newest applied one, or of what stands for it
	isr     []core.NodeID
	isrNext []core.NodeID // memory for the next one

	// The write path.
	next     core.Offset // leader: the next offset to assign
	props    []raftpb.Entry
	staging  map[staged]core.Ref //det:ok looked up, never ranged
	stagings []staged            // the same in order of arrival
	waits    []waiter            // acks=all, by index
	ones     []waiter            // acks=1, by index
	trims    []trim              // DeleteRecords that wait
	cutting  core.Offset         // leader: the highest log start that it proposed in this term
	appends  []*appending        // oldest first
	over     *appending          // one that is over, for the next
	logged   []journal.Entry     // memory of log_
	part     raftpb.Message      // ... and of send
	bodies   []core.Ref
	fill     []filling // batches that rode in the journal and are not yet in their segment
	spans    []*span   // writes of entries to segments that are under way
	fillSize int64
	cut      *cut
	high     core.Offset // high watermark
	commit   uint64
	applied  uint64
	complete uint64      // every entry up to here is durable on this node
	start    core.Offset // log start offset, as of the commit index
	floor    core.Offset // ... as of what is applied: the disk may forget what is below
	marked   uint64      // index of the last durable checkpoint
	sealed   uint64      // the highest index that a frame names as complete
	inlined  bool        // something since the last checkpoint lives in the journal only

	// Checkpoints: segments are synced (syncing operations outstanding), then the mark is written in
	// journal frame marking. It covers syncTo, where the producer state was syncState.
	syncing   int
	syncTo    uint64
	syncState []byte
	syncStart core.Offset
	syncConf  raftpb.ConfState
	marking   uint64
	markIndex uint64
	began     bool // the boot's checkpoint is durable

	// Indexes.
	tip      seg.Tally  // leader: of the last segment with all proposals
	fed      uint64     // entries up to here were shown to the indexes
	behind   bool       // an index may be behind
	walking  bool       // ... and is being made
	checking bool       // a tool has one compared with its files
	warm     []*segment // closed, with their index in memory; the oldest first

	gens  []uint64      // of the segments that the boot's checkpoint names: their generations
	bases []core.Offset // of the segments that the boot's checkpoint names
	sizes []int64       // ... and their lengths, of all but the last; -1: not known
	since []times       // ... and what is known of their timestamps
	marks []*seg.Index  // ... and their indexes; nil: not known
	mend  *mend         // the boot waits for what this disk has lost
	mends int           // writes that filled holes
	scrub scrub

	proposedSize int64 // bytes proposed in this step
	rolled       bool  // ... and they begin a new segment
	tail         tail  // the segment that the next proposal goes to
	jitter       jitter

	compacting compacting
	refit      refitting

	// Reading.
	reads   []*readIndex
	readSeq uint64
	watches []Watch
	machine *feed

	// Liveness.
	awake    bool
	idleAt   core.Mono     // since when nothing is pending
	slept    []core.RaftID // voters that confirmed Sleep in this round
	tick     det.Timer
	elect    det.Timer
	fillAt   det.Timer
	tell     det.Timer // pays the commit indexes that are owed
	heard    core.Mono // when the leader was last heard
	pull     *pull
	paced    paced
	ahead    *ahead    // what a catch-up wrote behind the end of the log; nil: nothing
	noted    *ahead    // ... as far as checkpoints may say
	prefer   bool      // campaign as soon as the birth is durable
	eager    int       // campaigns left that follow each other quickly
	handing  core.Mono // until when a leadership transfer is awaited
	stood    core.Mono // since when it leaves an election to voters that clients reach; 0: it does not
	resigned bool      // it did not campaign last time, see deserted
}

// matched is a leader's view of one member.
type matched struct {
	id     core.RaftID
	index  uint64    // known durable there, in this term
	caught core.Mono // when it last was at the high watermark; Never-like -1: not in this term
	heard  core.Mono // when it last answered
	pulls  core.Mono // when it last asked for bytes that it lacks; 0: never
	offers core.Mono // when it was last offered segments and has not answered; 0: never
	asked  Control   // the Pull that waits for the throttle, or what is left of it
	told   uint64    // the highest commit index sent there in this term
	owed   raftpb.Message
	owes   bool // owed is to be sent

	learner bool   // it has no vote
	leaving bool   // it has one in the configuration that is being left only
	bar     uint64 // of a learner: the commit index at the last tick
	kept    bool   // ... and it had reached the one before
}

// Info is what other nodes and clients may know of a replica.
type Info struct {
	Group  core.GroupID
	Term   core.Term
	Leader core.NodeID // NoNode: unknown
	Leads  bool        // this node leads, so ISR holds
	ISR    []core.NodeID
	Dead   string // offline, and why
}

// Open builds a replica from what a boot recovered; files are those of its directory, sorted. Its repairs (segments cut and refilled from the
// journal) are effects of this step; the replica speaks to nobody before they are durable.
func Open(cfg Config, h Host, rec *journal.Group, files []core.FileInfo, boot core.Boot) *Replica {
	r := newReplica(cfg, h)
	r.log.conf = raftpb.ConfState{Voters: rec.Mark.Voters, Learners: rec.Mark.Learners,
		VotersOutgoing: rec.Mark.VotersOut, LearnersNext: rec.Mark.LearnersNext, AutoLeave: rec.Mark.AutoLeave}
	r.log.first, r.log.term0 = uint64(rec.Mark.Index)+1, uint64(rec.Mark.Term)
	r.log.end0, r.log.at0 = rec.Mark.Offset, place{rec.Mark.Segment, rec.Mark.Pos}
	r.start, r.floor = rec.Mark.LogStart, rec.Mark.LogStart
	r.applied, r.marked = uint64(rec.Mark.Index), uint64(rec.Mark.Index)
	r.fed, r.confAt = r.applied, r.applied
	r.high = rec.Mark.Offset
	if rec.Damaged != "" && !rec.Mendable {
		r.fail(rec.Damaged)
		return r
	}
	state, ok := r.decodeState(rec.Mark.State, h.Now().Wall)
	if !ok || !r.ps.decode(state) {
		r.fail("its checkpoint's state cannot be read")
		return r
	}
	if len(r.compacting.decided) > 0 {
		markAgain.Hit()
	}
	r.epochs.cut(rec.Mark.Offset) // what lay beyond comes with the tail
	if r.recover(rec, files, boot) && r.mend == nil {
		r.begin(rec.Hard)
	}
	return r
}

// Birth builds a replica of a new group: log empty, (index 1, term 1), voters given.
func Birth(cfg Config, h Host, voters []core.RaftID) *Replica {
	r := newReplica(cfg, h)
	for _, v := range voters {
		r.log.conf.Voters = append(r.log.conf.Voters, uint64(v))
	}
	r.log.first, r.log.term0 = 2, 1
	r.applied, r.marked, r.confAt = 1, 1, 1
	r.newSegment(0)
	r.begin(journal.Hard{Term: 1, Commit: 1})
	return r
}

// Broken is a replica whose disk lost what it held: offline from the start, its files untouched.
func Broken(cfg Config, h Host, why string) *Replica {
	r := newReplica(cfg, h)
	r.log.first = 1
	r.fail(why)
	return r
}

func newReplica(cfg Config, h Host) *Replica {
	r := &Replica{cfg: cfg, h: h, staging: map[staged]core.Ref{}, log: &window{},
		rng: det.New(cfg.Seed, "replica "+strconv.FormatUint(uint64(cfg.Group), 10))}
	r.log.time0 = noTimes
	r.compacting.clean = -1
	r.refit.ask.Fire = r.onAskShape
	r.compacting.at.Fire = func(int64) { r.h.Dirty(r) }
	r.jitter.rng = det.New(cfg.Seed, "jitter "+strconv.FormatUint(uint64(cfg.Group), 10))
	r.log.snap = r.snapshot
	r.tick.Fire = r.onTick
	r.elect.Fire = r.onElect
	r.tell.Fire = r.onTell
	r.fillAt.Fire = func(int64) { r.flushFill() }
	r.shed.at.Fire = func(int64) { r.removeShed() }
	r.scrub.heal.Fire = func(int64) { r.healLater() }
	return r
}

// begin starts raft over the window.
func (r *Replica) begin(hard journal.Hard) {
	r.log.hard = raftpb.HardState{Term: uint64(hard.Term), Vote: uint64(hard.Vote),
		Commit: min(max(uint64(hard.Commit), r.log.first-1, r.surely()), r.log.last())}
	r.complete = r.log.last()
	r.commit = r.log.hard.Commit
	r.high = r.log.end(r.commit)
	r.moveStart(r.log.first, r.commit)
	rn, err := raft.NewRawNode(&raft.Config{
		ID: uint64(r.cfg.ID), ElectionTick: electionTicks, HeartbeatTick: heartbeats, Storage: r.log, Applied: r.applied,
		MaxSizePerMsg: 32 << 10, MaxCommittedSizePerReady: 1 << 20, MaxInflightMsgs: inflightMsgs, AsyncStorageWrites: true,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: quiet{},
	})
	det.That(err == nil, "replica: raft refuses its configuration")
	r.rn = rn
	r.term = core.Term(hard.Term)
	if o := r.cfg.Observer; o != nil {
		o.Restarted(r.cfg.Node, r.cfg.Group, core.Index(r.log.first), core.Index(r.log.last()), r.hard())
		for i := range r.log.ents {
			r.observeAppend(&r.log.ents[i])
		}
		o.Completed(r.cfg.Node, r.cfg.Group, core.Index(r.complete))
	}
	r.configured()
	r.aim()
	if r.opening == 0 {
		r.checkpoint()
	}
	r.h.Dirty(r)
}

// opened counts down what the boot asked of the disk; the checkpoint follows the last.
func (r *Replica) opened() {
	r.opening--
	if r.opening > 0 {
		return
	}
	if r.healing {
		r.healing = false
		r.h.Note(4, "msg=\"partition is whole again\" partition="+r.cfg.Dir)
	}
	switch {
	case r.began:
		r.resume()
	default:
		r.checkpoint()
	}
}

// live lets a replica whose boot is durable take part.
func (r *Replica) live() {
	det.That(r.opening == 0, "replica: live before its boot is durable")
	r.awake = true
	r.heard = r.h.Now().Mono
	r.deadline()
	if r.alone() {
		r.prefer = false
		r.campaign() // there is no leader to wait for
	}
	r.runPreferred()
	r.h.Dirty(r)
}

// alone says that nobody else votes.
func (r *Replica) alone() bool {
	v := r.voters()
	return len(v) == 1 && v[0] == r.cfg.ID
}

func (r *Replica) hard() journal.Hard {
	return journal.Hard{Term: core.Term(r.log.hard.Term), Vote: core.RaftID(r.log.hard.Vote),
		Commit: core.Index(min(r.log.hard.Commit, r.complete))}
}

// fail takes the replica offline: no vote, no answer, no write from here on.
func (r *Replica) fail(why string) {
	if r.offline != "" {
		return
	}
	wasLeading, term := r.leads, r.term
	markOffline.Hit()
	r.dropPull()
	r.offline = why
	r.h.Note(8, "msg=\"partition offline\" partition="+r.cfg.Dir+" err="+strconv.Quote(why)+
		" try=\"stop the node and run karst log verify on its directory; when the disk is well, a start tries again\"")
	r.drain(Result{Err: StorageError}, Result{Err: StorageError})
	r.leads, r.ready = false, false
	if wasLeading {
		for _, id := range r.voters() {
			if id != r.cfg.ID {
				r.h.Tell(id.Node(), r.cfg.Group, Control{Kind: Distrust, Term: term})
			}
		}
	}
	r.quiet()
	r.h.Changed(r)
}

// Fail is called when the shard caught a panic of this replica, or its journal broke.
func (r *Replica) Fail(why string) { r.fail(why) }

// quiet stops every timer and forgets memory.
func (r *Replica) quiet() {
	t := r.h.Timers()
	t.Stop(&r.tick)
	t.Stop(&r.elect)
	t.Stop(&r.fillAt)
	t.Stop(&r.tell)
	t.Stop(&r.shed.at)
	t.Stop(&r.compacting.at)
	t.Stop(&r.refit.ask)
	r.dropFetch()
	r.compacting.sweep = nil
	t.Stop(&r.scrub.heal)
	if r.mend != nil {
		t.Stop(&r.mend.again)
		r.mend.drop()
		r.mend = nil
	}
	for _, k := range r.stagings {
		if b, ok := r.staging[k]; ok {
			b.Release()
			delete(r.staging, k)
		}
	}
	r.stagings = r.stagings[:0]
	r.dropFill(0)
	for i := range r.log.notes {
		r.release(&r.log.notes[i])
	}
	r.h.Window().Entries -= len(r.log.ents)
	r.log.ents, r.log.notes = nil, nil
	r.appends = nil
	if r.pull != nil {
		t.Stop(&r.pull.retry)
		r.pull = nil
	}
	r.wakeReaders()
}

// Close forgets a replica whose topic was deleted and has its files removed.
func (r *Replica) Close(remove func(id core.FileID, path string)) {
	if r.closed {
		return
	}
	r.closed = true
	r.dropPull()
	r.dropSweep(remove)
	for _, f := range r.refit.side {
		remove(f.s.file, f.s.path)
	}
	r.refit.side = nil
	r.segs = append(append(r.segs, r.spare...), r.shed.files...)
	r.shed.files = nil
	r.drain(Result{Err: UnknownPartition}, Result{Err: UnknownPartition})
	if r.offline == "" {
		r.offline = "deleted"
		r.quiet()
	}
	r.h.Journal().Gone(r.cfg.Group)
	for _, s := range r.segs {
		remove(s.file, s.path)
		r.removeIndex(s, remove)
	}
	if r.cut != nil {
		for _, s := range r.cut.remove {
			remove(s.file, s.path)
		}
	}
	r.segs = nil
}

// Closed says that the topic was deleted.
func (r *Replica) Closed() bool { return r.closed }

// Rest writes what waits for its segment: the process is about to end in peace.
func (r *Replica) Rest() {
	if r.offline == "" && r.opening == 0 {
		r.flushFill()
	}
}

// Abandon releases memory without touching the disk: the process ends.
func (r *Replica) Abandon() {
	if r.offline == "" {
		r.offline = "closed"
		r.quiet()
	}
}

func (r *Replica) Group() core.GroupID { return r.cfg.Group }
func (r *Replica) ID() core.RaftID     { return r.cfg.ID }
func (r *Replica) Dir() string         { return r.cfg.Dir }
func (r *Replica) Offline() string     { return r.offline }
func (r *Replica) Leads() bool         { return r.leads }
func (r *Replica) Began() bool         { return r.began }

// Handing says that leadership is on its way to another voter.
func (r *Replica) Handing() bool       { return r.handing > 0 }
func (r *Replica) Term() core.Term     { return r.term }
func (r *Replica) High() core.Offset   { return r.high }
func (r *Replica) Start() core.Offset  { return r.start }
func (r *Replica) End() core.Offset    { return r.log.end(r.log.last()) }
func (r *Replica) Awake() bool         { return r.awake }
func (r *Replica) Opening() bool       { return r.opening > 0 }
func (r *Replica) Applied() core.Index { return core.Index(r.applied) }
func (r *Replica) Digest() det.Hash    { return r.ps.digest() }

// Set takes new settings.
func (r *Replica) Set(s Settings) {
	r.cfg.Settings = s
	if r.offline == "" {
		r.removeShed() // after another delay
	}
}

// voters are the raft ids that count, joint configurations included.
func (r *Replica) voters() []core.RaftID {
	ids := make([]core.RaftID, 0, len(r.log.conf.Voters))
	for _, v := range r.log.conf.Voters {
		ids = append(ids, core.RaftID(v))
	}
	for _, v := range r.log.conf.VotersOutgoing {
		id := core.RaftID(v)
		known := false
		for _, o := range ids {
			known = known || o == id
		}
		if !known {
			ids = append(ids, id)
		}
	}
	return ids
}

// Voters are the nodes that count.
func (r *Replica) Voters() []core.NodeID {
	var ns []core.NodeID
	for _, v := range r.voters() {
		ns = append(ns, v.Node())
	}
	return ns
}

// Info is what others may know.
func (r *Replica) Info() Info {
	i := Info{Group: r.cfg.Group, Term: r.term, Leader: core.NoNode, Leads: r.leads, Dead: r.offline}
	if r.lead != 0 && r.offline == "" {
		i.Leader = r.lead.Node()
	}
	if r.leads {
		i.ISR = append(i.ISR, r.isr...)
	}
	return i
}

func (r *Replica) path(base core.Offset) string { return seg.Path(r.cfg.Dir, base) }

// Describe says in words what this replica is at: for a failure's report.
func (r *Replica) Describe() string {
	s := fmt.Sprintf("term %d lead %d/%v leads %v ready %v isr %v first %d last %d commit %d applied %d complete %d high %d end %d appends %d fill %d",
		r.term, r.lead.Node(), r.lead != 0, r.leads, r.ready, r.isr, r.log.first, r.log.last(), r.commit, r.applied, r.complete, r.high, r.End(), len(r.appends), len(r.fill))
	for i := range r.match {
		s += fmt.Sprintf(" match %x %d", uint64(r.match[i].id), r.match[i].index)
	}
	if r.leads {
		r.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			s += fmt.Sprintf(" [n%d %v match %d next %d paused %v pending %d]", core.RaftID(id).Node(), pr.State, pr.Match, pr.Next, pr.MsgAppFlowPaused, pr.PendingSnapshot)
		})
	}
	s += fmt.Sprintf(" id %x conf %v at %d", uint64(r.cfg.ID), r.log.conf, r.confAt)
	if p := r.pull; p != nil {
		s += fmt.Sprintf(" pull from n%d begun %v at %d:%d next %d of %d proving %v dead %d buried %v want %d held %d in write %d tolled %v fresh %d asked at %d synced %v handed %v",
			p.from, p.begun, p.seg, p.pos, p.next, p.to.end, p.proving, p.dead, p.buried, p.want, p.held, p.inWrite, p.tolled, p.fresh, p.askedAt, p.synced, p.handed)
	}
	return s + fmt.Sprintf(" awake %v cut %v syncing %d marking %d pull %v began %v waits %d off %q", r.awake, r.cut != nil, r.syncing, r.marking, r.pull != nil, r.began, len(r.waits), r.offline)
}
