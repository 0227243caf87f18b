// Package journal owns the journal of a shard: the one stream of synced frames that makes votes,
// hard states, raft entries and small batches of all its groups durable with a single fdatasync.
//
// Files. "journal/SS-NNNNNN" holds a head (twice, in two sectors) and frames; a frame is everything
// that one Step recorded. A full file is recycled from its beginning, so what follows the last frame
// is rubbish from earlier use, full of frames that once were valid. Frame checksums are therefore
// seeded with a salt of the file's current use, and cover shard, generation (start counter and file
// ordinal), sequence and position. A client cannot smuggle a frame in as payload: it would need the
// salt.
//
//	file   head | zeroes to 4096 | head again | zeroes to 4608 | frame, aligned to 64 bytes | frame ...
//	frame  header of 64 bytes | meta: records of groups | payload: the inline batches in their order
//
// Groups. The first record of a group in a start of the node is a checkpoint: all that is needed of
// the group from there on. Appends follow. A file is free once every group that has records in it
// has a durable checkpoint in a later one, and once a frame that says so (its floor) is durable too:
// recovery never misses what it was not told to miss, and never raises the dead.
//
// A full disk. A file gets all its room before it is used, and half a file before its end the next one is
// made ("blank"), so that votes and hard states can be written when nothing else can. A blank file has
// zeroes for heads; the next start finds it, and writes its first frames there.
//
// Recovery. Within a start and shard frames are contiguous. Each carries the highest sequence that
// was durable when it was written; the maximum over all valid frames is the bound. A bad or absent
// frame above the bound is torn by a crash, and the log ends there; at or below it the disk has lost
// what it had promised, and every group that may have been in it is damaged until a later
// checkpoint, or until its next record (they are numbered) shows that none was lost: it must neither vote nor campaign (DESIGN.md section 11, rule 3).
//
// The package refuses to know raft, segments or time, and to delete anything that it did not write.
package journal

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
)

// Version is the format that this build writes, in each file's head and each frame. Heads of other
// versions are refused with a remedy: the first 64 bytes of a file keep their layout for ever.
const Version = 1

const dir = "journal/"

// Path names file number n of a shard.
func Path(s core.ShardID, n int) string { return fmt.Sprintf("%s%02d-%06d", dir, s, n) }

// parsePath is the running number in a name that Path made.
func parsePath(path string) (n int, ok bool) {
	rest, ok := strings.CutPrefix(path, dir)
	if !ok {
		return 0, false
	}
	shard, number, ok := strings.Cut(rest, "-")
	s, err := strconv.ParseUint(shard, 10, 16)
	if !ok || err != nil {
		return 0, false
	}
	u, err := strconv.ParseUint(number, 10, 31)
	if err != nil || Path(core.ShardID(s), int(u)) != path {
		return 0, false
	}
	return int(u), true
}

// Hard is raft's hard state as it goes to disk. Commit is at most what was complete here: raft's own
// runs ahead of the local disk (rule 3).
type Hard struct {
	Term   core.Term
	Vote   core.RaftID
	Commit core.Index
}

// Entry is a raft entry on its way to the disk.
type Entry struct {
	Index core.Index
	Term  core.Term
	Type  uint8 // a raftpb.EntryType
	Data  []byte
	Body  core.Ref // the batch that Data, a Stub, tells of, when it rides inline; else zero
}

// Mark is the state of a group at an index at or below its commit index, up to which its segments
// are synced: all that recovery needs to go on from there.
type Mark struct {
	Hard Hard

	// raft's ConfState, in plain fields.
	Voters, Learners, VotersOut, LearnersNext []uint64
	AutoLeave                                 bool

	Index    core.Index
	Term     core.Term   // of the entry at Index
	Offset   core.Offset // that the first record after Index gets
	Segment  core.Offset // base of the segment that the next batch goes to, unless it rolls
	Pos      int64       // bytes in that segment: where the next batch goes
	LogStart core.Offset
	Name     string // directory of the partition, "topic-0"
	TopicID  [16]byte
	State    []byte // of the producers; the journal does not look into it
}

// TailEntry is an entry after a group's Mark as recovery found it.
type TailEntry struct {
	Index   core.Index
	Term    core.Term
	Type    uint8
	Data    []byte
	IsBatch bool // Data is Stub; a batch that is not Inline went straight to its segment
	Stub    Stub
	Inline  bool
	Path    string // Inline: the file, and the position of its Stub.Len bytes, whose CRC was verified
	At      int64

	Rotten bool // certainly durable once, and its payload is not what the stub says
}

// Group is what recovery knows of a group.
type Group struct {
	ID   core.GroupID
	Mark Mark
	Hard Hard        // the newest; Commit is clamped to the last entry
	Tail []TailEntry // Mark.Index+1 and on, contiguous

	// Bound is certainly complete here, journal and segment: a tail whose segment bytes are bad at or
	// below it is damage, above it a torn write.
	Bound core.Index

	// Damaged says why the group must stay offline, not vote and not campaign; "" when it is well.
	Damaged string

	// Mendable says that nothing but batches is damaged: the Rotten ones of the tail. All records are there,
	// so what was promised is known; with these bytes again the group may take part.
	Mendable bool

	// Gone says that the group was deleted here. Mark.Name is the directory that may have remains of
	// it, unless another group has taken the name since.
	Gone bool
}

// Last is the index of the last entry.
func (g *Group) Last() core.Index { return g.Mark.Index + core.Index(len(g.Tail)) }

// Found is what the journal files of a node hold, whatever shards wrote them.
//
// What was found may rest in the page cache only, when the process died and the machine did not.
// So a group may tell nobody of it, not even by a raft answer, before its checkpoint in the new
// start is durable and the segment bytes that its tail relies on are synced.
type Found struct {
	Groups   []Group         // sorted by ID
	Files    []core.FileInfo // to be adopted once all groups have a durable checkpoint in the new start
	Blank    []core.FileInfo // were given their room and never written: free at once, also on a full disk
	NextFile int             // the first running number that is free
	Start    uint32          // the highest start counter seen; the new one must be higher

	// Lost, unless "", tells of frames that were durable and cannot be read. A group that should be
	// here and is not in Groups may have been in them: it is damaged, not new.
	Lost string
}

// Config is what a Writer is made of.
type Config struct {
	Shard   core.ShardID
	Start   uint32 // counter of starts of this node, synced elsewhere before the first frame
	Slot    int64  // bytes of a file; 0: 64 MiB
	Spare   int    // full files that may wait before groups are asked to checkpoint; 0: 1
	NewFile func() core.FileID
	NewOp   func() core.OpID
	First   int    // the first running number that is free: Found.NextFile
	Blank   string // a file of an earlier start that was never written, or ""
}
