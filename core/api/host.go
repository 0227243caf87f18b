// Package api answers Kafka's requests: one file per key, NN_name.go, each decoding, acting through
// Host, and answering with Kafka's error codes.
//
// It owns the connections' sessions: the order of answers, what may overlap, fetch sessions. It
// promises that a request gets exactly one answer (none for acks=0), in the order of the requests of
// its connection, and that hostile bytes end at most their own connection. It refuses to know where a
// partition or a coordinator lives: Host routes to the shard or the node that knows.
package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
)

// Part names one partition of the current view.
type Part struct {
	Topic *meta.Topic
	Index int32
}

// Group is the raft group of the partition.
func (p Part) Group() core.GroupID { return p.Topic.Partitions[p.Index].Group }

// Leadership is what this node believes of a partition: the newest broadcast of a leader.
type Leadership struct {
	Leader core.NodeID   // NoNode: none known
	Term   core.Term     // of the leader; 0: none known
	ISR    []core.NodeID // in sync, as of the leader's last word
	Dead   bool          // Leader is on a node that the failure detector gave up
}

// ReadOp asks for records.
type ReadOp struct {
	Offset core.Offset
	Max    int64      // bytes; at least one batch is returned whatever its size
	Epoch  core.Epoch // current_leader_epoch of the client; -1: not checked
	Own    bool       // from the files of this node's copy, whoever leads; Epoch and Notify do not matter
	// Key and Notify ask for one call when the partition has more than the returned high watermark,
	// or a reader must look again (leadership, health). A later ReadOp with the same Key on the same
	// partition takes the place of an earlier one. Notify nil: nobody waits.
	Key    core.ConnID
	Notify func()
}

// ListOp asks for an offset by time, by one of Kafka's special timestamps, or by leader epoch.
type ListOp struct {
	Timestamp int64 // -1 latest, -2 earliest, -3 max timestamp, -4 earliest local, -5 latest tiered; else ms
	Epoch     core.Epoch
	EndOf     core.Epoch  // Timestamp is EpochEnd: where the newest epoch up to this one ends
	At        core.Offset // Timestamp is IndexesAt: an offset in the segment whose indexes are compared with it
}

// IndexesAt is the Timestamp of a ListOp that has this node's own copy compare the index files of a segment with it. The
// answer's Timestamp is the base of the segment, Offset the next one's or -1, Epoch the kinds that are wrong, as bits.
const IndexesAt = -1 << 41

// EpochEnd is the Timestamp of a ListOp that asks where an epoch ends; no client can send it.
const EpochEnd = -1 << 40

// ListResult answers ListOp; Offset and Timestamp are -1 when there is none.
type ListResult struct {
	Err       replica.Outcome
	Offset    core.Offset
	Timestamp core.Wall
	Epoch     core.Epoch // leader epoch of the batch, or of the leader; -1 unknown
}

// LogDir is a data directory of a node and what is in it. Bytes are -1 where they are not known.
type LogDir struct {
	Path   string // absolute
	Total  int64  // bytes of its volume
	Usable int64  // of them: that may still be used
	Held   []Held
	Failed bool // no partition is born in it, and of those that live there only Held still work
}

// Held is one partition of which this node has a copy.
type Held struct {
	Part
	Bytes int64       // of its batches, up to the end of the log
	Lag   core.Offset // how far the end of the log is behind the high watermark, which is not at all
}

// AdminErr is how a metadata command failed before it was decided.
type AdminErr uint8

const (
	AdminOK       AdminErr = iota
	AdminTimedOut          // nobody knows whether it was decided: REQUEST_TIMED_OUT
	AdminNoLeader          // certainly not decided: NOT_CONTROLLER
)

// Host is the shard that runs a handler. Every done function is called exactly once, in this step or
// a later one, on this shard; none is called after the node stopped.
type Host interface {
	Now() core.Now
	Node() core.NodeID
	Rand() *det.Rand
	View() *meta.View
	// Setting is the effective value of a broker configuration key, in Kafka's name.
	Setting(key string) string
	Leadership(g core.GroupID) Leadership
	// OnLeadership calls f once when the leadership of g changes.
	OnLeadership(g core.GroupID, f func())
	Suspect(n core.NodeID) bool
	Controller() core.NodeID // leader of the metadata group, or NoNode
	// Static are the settings of this node's file, environment and flags: sorted, parsed.
	Static() []config.KV

	// Produce appends one checked batch. It takes the Ref, which lies in memory that no other Ref's
	// holder reads before the answer: base offset and epoch are patched in place.
	Produce(p Part, batch core.Ref, acks replica.Acks, done func(replica.Result, Leadership))
	Read(p Part, op ReadOp, done func(replica.Region, Leadership))
	// Unwatch forgets the Notify of key on the partition.
	Unwatch(p Part, key core.ConnID)
	List(p Part, op ListOp, done func(ListResult, Leadership))

	// Trim raises the log start of a partition to an offset, -1 for its high watermark. done is called when
	// that is committed, with the log start as it is then.
	Trim(p Part, to core.Offset, done func(replica.Trimmed))

	// LogDirs says what each data directory of this node holds: the copies that work, in order of topic and
	// partition, without the metadata log.
	LogDirs(done func([]LogDir))

	// Coordinate gives req (a request of package coord) to the coordinator of the group. ok is false when
	// this node does not lead the group's partition of __consumer_offsets (NOT_COORDINATOR), or loads it.
	Coordinate(group string, req any, done func(resp any, err replica.Outcome))
	// CoordinateAll gives req to every coordinator on this node, answers in order of partition.
	CoordinateAll(req any, done func(resps []any, err replica.Outcome))
	// CoordinatorOf is the partition of __consumer_offsets that a group belongs to; false while the topic
	// does not exist.
	CoordinatorOf(group string) (Part, bool)

	// Admin has the metadata leader decide cmd, wherever that is. done is called once the result is in
	// this shard's View (or timeout, in ms, has passed).
	Admin(cmd meta.Command, timeout int32, done func(meta.Result, AdminErr))
	// Fresh calls done(true) once this shard's View holds all that was decided before the call, by whatever
	// node; done(false) when no leader could prove that in time.
	Fresh(done func(ok bool))
	// ProducerID allocates a producer id.
	ProducerID(done func(id int64, ok bool))

	// OnDesk runs do with the desk of a shard of this node and the Host there, then done on this shard. What
	// the two share is theirs alone in turn. On this shard both run at once.
	OnDesk(shard core.ShardID, do func(h Host, d *Desk), done func())

	// Run has a job done on a worker, ahead of those that nobody waits for. It takes the Refs of the job;
	// the body is done's.
	Run(job *core.Job, done func(body core.Ref, err core.Errno))
	// Packers are what the driver compresses with; the core knows no codec.
	Packers() (record.Unzip, record.Zip)

	// After calls f once, d from now; the function it returns forgets it.
	After(d core.Mono, f func()) (cancel func())

	Send(c core.ConnID, vec []core.Ref) // takes the Refs: one whole answer, with its length
	Close(c core.ConnID)
	Credit(c core.ConnID, frames int64)
}
