// Package core is the vocabulary of everything that decides: identities, time, bytes, and the two
// alphabets that a shard speaks. A shard reads Events and writes Effects; nothing else crosses its
// edge. The package owns no state and refuses to know a socket, a file descriptor or a clock: a
// driver (node on a machine, sim under virtual time) turns Effects into deeds and deeds into Events.
package core

import "strconv"

// Names. Each is a type of its own, so that an offset cannot be handed where an index is meant.
type (
	NodeID  int32  // a broker process, Kafka's node.id; 0 is allowed, NoNode is nobody
	ShardID uint16 // an event loop inside a node
	GroupID uint64 // a raft group: one partition of one topic, never reused; MetaGroup is the first
	RaftID  uint64 // a voter of a group: incarnation and node together, never reused for a new disk
	Offset  int64  // of a record, Kafka's
	Index   uint64 // of a raft log entry
	Term    uint64 // of raft; Kafka's clients see it as Epoch
	Epoch   int32  // Kafka's leader epoch: a Term, counted from the first that has a leader
	FileID  uint64 // a file that a shard named by a Create or Open effect
	ConnID  uint64 // a client connection, named by the driver
	LinkID  uint64 // an incoming peer link, named by the driver
	OpID    uint64 // a disk operation or job of which the shard will hear again
	Mono    int64  // nanoseconds since the driver began; never goes back
	Wall    int64  // milliseconds since 1970, for records only; may jump
)

const (
	NoNode    NodeID  = -1
	MetaGroup GroupID = 1       // the metadata log
	Never     Mono    = 1 << 62 // a deadline that does not come
)

// NewRaftID joins an incarnation (>= 1) and a node. The result is never 0, which raft reserves.
func NewRaftID(incarnation uint32, n NodeID) RaftID {
	if incarnation == 0 || n < 0 {
		panic("core: a raft id needs an incarnation >= 1 and a node id >= 0")
	}
	return RaftID(uint64(incarnation)<<32 | uint64(uint32(n)))
}

func (r RaftID) Node() NodeID        { return NodeID(uint32(r)) }
func (r RaftID) Incarnation() uint32 { return uint32(r >> 32) }

// FirstTerm is the first term that can have a leader: a group is born in the one before, without a
// leader, and each election begins a new term.
const FirstTerm Term = 2

// MaxTerm is the last that Kafka's 32 bits can name; a peer that speaks of a later one is not believed.
const MaxTerm = FirstTerm + 1<<31 - 1

// Epoch is the term as Kafka counts: the first leader of a partition has epoch 0, as clients expect of
// a new topic, and no two terms with a leader have one epoch. A term that never has one is -1
// (RecordBatch.NO_PARTITION_LEADER_EPOCH). Terms grow by one an election: 2^31 is out of reach.
func (t Term) Epoch() Epoch {
	switch {
	case t < FirstTerm:
		return -1
	case t > MaxTerm:
		panic("core: term " + strconv.FormatUint(uint64(t), 10) + " does not fit Kafka's epoch")
	}
	return Epoch(t - FirstTerm)
}

const (
	Microsecond Mono = 1e3
	Millisecond Mono = 1e6
	Second      Mono = 1e9
)

// Now is the only way in which time enters the core.
type Now struct {
	Mono Mono
	Wall Wall
}

// Errno is how an operation of the world ended. The zero value is success.
type Errno uint8

const (
	OK        Errno = iota
	ErrIO           // the device failed: EIO, or anything not named here
	ErrNoSpac       // ENOSPC, EDQUOT
	ErrShort        // a read met the end of the file
	ErrGone         // the file, connection or peer is no more
	ErrLimit        // EMFILE, ENFILE, ENOMEM
	ErrRefuse       // EROFS, EACCES, EPERM
)

func (e Errno) String() string {
	names := [...]string{"ok", "input/output error", "no space left", "short read", "gone", "limit reached", "refused"}
	if int(e) < len(names) {
		return names[e]
	}
	return "errno " + strconv.Itoa(int(e))
}
