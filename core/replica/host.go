package replica

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// Host is the shard, as a replica sees it. Everything that it hands out belongs to the current step.
type Host interface {
	Now() core.Now
	FX() *core.Effects
	Journal() *journal.Writer
	Timers() *det.Timers
	Window() *Budget

	NewFile() core.FileID
	// Remove deletes a file of directory dir: no other group begins there before that is done.
	Remove(dir string, id core.FileID, path string)
	// NewOp names a disk operation; done is called with its DiskDone, in a later step.
	NewOp(done func(ev *core.Event)) core.OpID
	// SendRaft hands a message to a peer. It takes the bodies, and says no when the peer's queue is full
	// or no link is up: then it has released them. Message and slice stay the caller's, who uses them again.
	SendRaft(to core.NodeID, g core.GroupID, m *raftpb.Message, bodies []core.Ref) bool
	// Suspect says whether the failure detector gave node up.
	Suspect(n core.NodeID) bool
	// Leader is who leads g as far as this node has heard, and in which term; NoNode when nobody is known.
	Leader(g core.GroupID) (core.NodeID, core.Term)
	// Toll asks for the right to move bytes of catch-ups. done is called when it is r's turn, in this step or in a later
	// one, with how many bytes that is good for. In a lane of intake these are bytes of memory as well, which
	// Landed gives back. It is not called when r is gone by then.
	Toll(r *Replica, lane Lane, done func(bytes int64))
	Landed(bytes int64)
	// PullSync is after how many bytes a catch-up is synced and noted.
	PullSync() int64
	// Swept is told how many bytes a compaction has read and written, and says from when on it may go on.
	Swept(bytes int64) core.Mono
	// Full says whether node n, which may be this one, has no room on its disk for more batches.
	Full(n core.NodeID) bool
	// Shut says whether clients cannot reach node n, which may be this one, as far as is known here.
	Shut(n core.NodeID) bool
	// Newest is the newest incarnation of node n that is known to have joined the cluster; 0: none is known.
	Newest(n core.NodeID) uint32
	// Dirty asks for Ready before the step ends.
	Dirty(r *Replica)
	// Awaits says that the frame being built holds something of r: JournalDurable must be called.
	Awaits(r *Replica)
	// Changed says that leader, term, in-sync set or health of r changed.
	Changed(r *Replica)
	// Tell sends a control message of this group to the replica on node n (may be lost).
	Tell(n core.NodeID, g core.GroupID, c Control)
	Note(level int64, text string)
}

// Lane is a throttle for catch-ups.
type Lane uint8

const (
	LaneIn     Lane = iota // bytes that come, of replicas that no list names
	LaneNamed              // ... that follower.replication.throttled.replicas names (KIP-73)
	LaneOut                // bytes that go, of replicas that leader.replication.throttled.replicas names
	LaneFree               // ... that come without a throttle, for as much memory as in other lanes
	LanesCount = iota
)

// inLane is the throttle for what this replica takes in.
func (r *Replica) inLane() Lane {
	switch {
	case r.cfg.Settings.SlowIn:
		return LaneNamed
	case r.pull != nil && r.pull.freely:
		return LaneFree
	}
	return LaneIn
}

// Observer hears what a replica does, for checkers; nil in production. Entry hashes cover (index,
// term, data).
type Observer interface {
	BecameLeader(n core.NodeID, g core.GroupID, id core.RaftID, t core.Term, last core.Index)
	Appended(n core.NodeID, g core.GroupID, i core.Index, t core.Term, hash det.Hash)
	Truncated(n core.NodeID, g core.GroupID, from core.Index)
	Committed(n core.NodeID, g core.GroupID, i core.Index)
	Applied(n core.NodeID, g core.GroupID, i core.Index, t core.Term, hash det.Hash, base core.Offset, count int32)
	Completed(n core.NodeID, g core.GroupID, i core.Index)
	HighWatermark(n core.NodeID, g core.GroupID, e core.Epoch, start, hw, end core.Offset)
	AckedAll(n core.NodeID, g core.GroupID, base, last core.Offset, i core.Index)
	Sent(n core.NodeID, g core.GroupID, m *raftpb.Message)
	Served(n core.NodeID, g core.GroupID, from, to, hw core.Offset)
	Producers(n core.NodeID, g core.GroupID, applied core.Index, hash det.Hash)
	// Pulled: a piece of a catch-up was given to the disk of n, up to offset to of the leader's log.
	Pulled(n core.NodeID, g core.GroupID, leader core.NodeID, to core.Offset)
	// Noted: a checkpoint will say that a catch-up has brought the first size bytes of path, and what lies before it.
	Noted(n core.NodeID, g core.GroupID, path string, size int64)
	Installed(n core.NodeID, g core.GroupID, i core.Index, t core.Term, end core.Offset)
	Restarted(n core.NodeID, g core.GroupID, first, last core.Index, hard journal.Hard)
	// Configured: the replica, which is id, votes by conf from index i on. Said at its start, too.
	Configured(n core.NodeID, g core.GroupID, id core.RaftID, i core.Index, conf raftpb.ConfState)
}

// Control is what replicas of a group tell each other beside raft.
type Control struct {
	Kind  ControlKind
	Term  core.Term
	Index core.Index  // Pull: of the entry whose batch was lost, or 0; its answers: the term of the leader's entry there, or 0
	Seg   core.Offset // Pull, Chunk: the segment
	Pos   int64       // Pull, Chunk: where in it
	Next  core.Offset // Pull: how many bytes are wanted, 0: one chunk; Chunk: the segment that follows Seg, when Last; Refuse: the oldest segment; Report: the offset
	// Last says, in a Chunk, that nothing of Seg follows below the high watermark, and there is a next one; in a Pull, that a
	// file of a generation is asked for, whoever offered what; in a Refuse, that compaction has replaced it here.
	Last bool
	Body core.Ref // Chunk
	// Gen names what is asked for: of a Pull for files (Last), the generation of Seg, and else the last compaction
	// that was carried out on the log that is offered; 0: none. Its answers repeat it.
	Gen uint64
}

type ControlKind uint8

const (
	Sleep    ControlKind = iota + 1 // leader: last = commit = Index in Term, nothing is pending: sleep
	Slept                           // follower: so I do
	Distrust                        // leader: I stop leading Term without a successor
	Pull                            // follower: give me the bytes at (Seg, Pos)
	Chunk                           // leader: here they are
	Refuse                          // leader: there is nothing at (Seg, Pos), begin again
	Report                          // follower: your bytes at offset Next are not what they were
)

// Budget bounds the memory of windows in one shard, in batch bytes and in entries. Memory is given up
// oldest first, whatever its group.
type Budget struct {
	MaxBytes   int64
	MaxEntries int
	Least      int // entries that each group keeps when there are too many; 0: 64
	Bytes      int64
	Entries    int
	queue      []held
	head       int
}

type held struct {
	r     *Replica
	index core.Index
	term  core.Term
}

// Full says that intake must wait.
func (b *Budget) Full() bool { return b.Bytes > b.MaxBytes }

func (b *Budget) push(r *Replica, i core.Index, t core.Term) {
	if b.head > 1024 && b.head*2 > len(b.queue) {
		b.shift(func(held) bool { return true })
	}
	if len(b.queue) > 2*b.Entries+1024 {
		// Where batches are small, entries leave the window by their number, long before the bytes ask.
		b.shift(func(h held) bool { return h.r.holds(h.index, h.term) })
	}
	b.queue = append(b.queue, held{r, i, t})
}

// shift moves what is to be kept to the front of the queue.
func (b *Budget) shift(keep func(held) bool) {
	n := 0
	for _, h := range b.queue[b.head:] {
		if keep(h) {
			b.queue[n] = h
			n++
		}
	}
	clear(b.queue[n:])
	b.queue, b.head = b.queue[:n], 0
}

// Trim forgets the oldest bodies until three quarters of the budget are in use. What cannot be
// forgotten yet goes to the end of the queue: one group that waits for its commit must not keep the
// memory of the others.
func (b *Budget) Trim() {
	for tries := 256; b.Bytes > b.MaxBytes*3/4 && b.head < len(b.queue) && tries > 0; tries-- {
		h := b.queue[b.head]
		b.queue[b.head] = held{}
		b.head++
		if !h.r.forget(h.index, h.term) {
			b.push(h.r, h.index, h.term)
		}
	}
}
