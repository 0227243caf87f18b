package core

import "encoding/binary"

// EventKind says what the world tells a shard.
type EventKind uint8

const (
	Tick       EventKind = iota + 1 // time passed; the wake-up that the shard asked for, or a nudge
	ConnOpen                        // Conn was accepted; Body: the name of its listener, the local address and the client's, with a NUL between
	ConnFrame                       // Conn sent the frame Body (without its length); Check is what Intake said of it
	ConnSent                        // N bytes of SendConn effects to Conn left the process (cumulative acknowledgement in parts)
	ConnClosed                      // Conn is gone; nothing sent to it after this arrives
	PeerUp                          // the outgoing link to Node is open: frames may be sent, the first must be a hello
	PeerDown                        // the outgoing link to Node is lost, or refused; the driver keeps dialling
	PeerHello                       // the first frame Body came on incoming Link; nothing more is read before AcceptPeer
	PeerFrame                       // Node (as accepted for Link) sent Body
	PeerClosed                      // incoming Link of Node is lost (Node is NoNode when it was never accepted)
	PeerSent                        // N bytes of SendPeer effects to Node left the process
	DiskDone                        // Op finished with Err; Body: what a Read found, N: how much
	JobDone                         // Op finished with Err; Body: its result
	MailIn                          // Mail from shard Shard of this node
	StopAsked                       // the operator wants the node to end; it answers with Stopped
)

var eventNames = [...]string{"?", "Tick", "ConnOpen", "ConnFrame", "ConnSent", "ConnClosed", "PeerUp", "PeerDown",
	"PeerHello", "PeerFrame", "PeerClosed", "PeerSent", "DiskDone", "JobDone", "MailIn", "StopAsked"}

func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "?"
}

// Event is what the world tells a shard. Unused fields are zero.
type Event struct {
	Kind  EventKind
	Err   Errno
	Shard ShardID
	Node  NodeID
	Conn  ConnID
	Link  LinkID
	Op    OpID
	N     int64
	Body  Ref
	Check any // ConnFrame: the verdict of api.Intake, computed by the driver before Step
	Mail  Mail
}

// Mail is a message between two shards of a node: FIFO per ordered pair, never lost. Its types
// belong to core/shard; drivers pass it on unopened.
type Mail any

// EffectKind says what a shard asks of the world.
type EffectKind uint8

const (
	SendConn   EffectKind = iota + 1 // Vec to Conn, in order; lost only with the connection
	CloseConn                        // Conn, after what was sent before has left
	CreditConn                       // the oldest N frames of Conn are done with: their budget is free, N more may be read
	OpenGate                         // Kafka listeners may accept now
	SendPeer                         // Vec to Node as one frame: in order, may be lost
	AcceptPeer                       // Link belongs to Node: read on
	ClosePeer                        // end incoming Link
	DropPeer                         // end the outgoing link to Node; it is dialled again
	Create                           // File is Path, below its data directory, made if absent; Sync: the directory entry is durable before DiskDone
	Write                            // Vec to File at Off; Sync: fdatasync before DiskDone
	SyncFile                         // fdatasync of File
	Truncate                         // File to Off bytes, zeros when that is more; Sync as for Write
	Read                             // N bytes of File at Off; DiskDone carries them
	Remove                           // File is unlinked and, when that empties it, its directory too; the parent is synced before DiskDone
	Run                              // Job on a worker; JobDone(Op)
	MailOut                          // Mail to shard Shard of this node
	Stopped                          // StopAsked was honoured: the process may end
	Fatal                            // the node must end at once; Text says why (an error that names the remedy)
	Note                             // a line for the log: N is its level as in log/slog, Text is logfmt ("msg=... key=value")
	Space                            // how large the volume of the data directory of File is: JobDone(Op) carries SpaceBytes, or an error
)

var effectNames = [...]string{"?", "SendConn", "CloseConn", "CreditConn", "OpenGate", "SendPeer", "AcceptPeer", "ClosePeer", "DropPeer",
	"Create", "Write", "SyncFile", "Truncate", "Read", "Remove", "Run", "MailOut", "Stopped", "Fatal", "Note", "Space"}

func (k EffectKind) String() string {
	if int(k) < len(effectNames) {
		return effectNames[k]
	}
	return "?"
}

// SpaceBytes is the answer to a Space: the bytes of the volume, and those of them that this process may
// still use.
func SpaceBytes(total, usable int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(total))
	return binary.BigEndian.AppendUint64(b, uint64(usable))
}

// SpaceOf reads the answer to a Space; -1 and -1 when the driver could not tell.
func SpaceOf(ev *Event) (total, usable int64) {
	if ev.Err != OK || ev.Body.Len != 16 {
		return -1, -1
	}
	b := ev.Body.Bytes()
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
}

// A connection may have Credits frames unanswered at the start; each frame read uses one up.
const Credits = 64

// A file and an operation belong to one shard of the node: the upper 16 bits say which.
func NewFileID(s ShardID, n uint64) FileID { return FileID(uint64(s)<<48 | n) }
func NewOpID(s ShardID, n uint64) OpID     { return OpID(uint64(s)<<48 | n) }
func (f FileID) Shard() ShardID            { return ShardID(f >> 48) }
func (o OpID) Shard() ShardID              { return ShardID(o >> 48) }

// A file lies in one data directory of its node, and bits 40 to 47 of its number say in which: Paths are
// relative to that one.
func (f FileID) In(dir int) FileID { return f&^(0xff<<40) | FileID(dir)<<40 }
func (f FileID) Dir() int          { return int(f >> 40 & 0xff) }

// MaxDirs is how many data directories a node may have.
const MaxDirs = 16

// Effect is what a shard asks of the world. Unused fields are zero. Disk effects on one File happen
// in the order in which they were asked, whatever their kind; on different files in any order. Each
// with an Op other than 0 is answered by one DiskDone, in order per file. After a failed sync of a
// file every later operation on it fails too: a failed fdatasync is never tried again (the page cache
// marks the lost pages clean).
type Effect struct {
	Kind  EffectKind
	Sync  bool
	Bare  bool // Read: nothing is read ahead, because what follows is not wanted soon
	Shard ShardID
	Node  NodeID
	Conn  ConnID
	Link  LinkID
	File  FileID
	Off   int64
	N     int64
	Op    OpID
	Path  string // Create: slash-separated, relative
	Text  string // Fatal, Note
	Job   *Job
	Mail  Mail
	lo    int32 // its Refs are [lo, hi) of Effects.refs
	hi    int32
}

// Job is work too long for a step: a pure function of its inputs.
type Job struct {
	Name string
	In   []Ref
	Soon bool // a request waits for it: it does not queue behind those that nobody waits for
	Do   func(in [][]byte) ([]byte, Errno)
}

// Effects collects what one Step asks for. The driver owns it, resets it and reuses it. Refs in it
// are given away: the driver releases each when the effect is done.
type Effects struct {
	List []Effect
	refs []Ref
}

func (fx *Effects) Reset() {
	clear(fx.refs)
	clear(fx.List)
	fx.List, fx.refs = fx.List[:0], fx.refs[:0]
}

// Add moves the refs in vec to the effect e.
func (fx *Effects) Add(e Effect, vec ...Ref) {
	e.lo = int32(len(fx.refs))
	fx.refs = append(fx.refs, vec...)
	e.hi = int32(len(fx.refs))
	fx.List = append(fx.List, e)
}

// Vec is the Refs of one effect of the list.
func (fx *Effects) Vec(e *Effect) []Ref { return fx.refs[e.lo:e.hi] }

// Release gives back the memory of one effect of the list, which nobody carries out. Mail keeps its own: only who
// reads it knows what it holds.
func (fx *Effects) Release(e *Effect) {
	for _, r := range fx.Vec(e) {
		r.Release()
	}
	if e.Job != nil {
		for _, r := range e.Job.In {
			r.Release()
		}
	}
}

// Size is how many bytes a vector names.
func Size(vec []Ref) (n int64) {
	for i := range vec {
		n += int64(vec[i].Len)
	}
	return n
}

// FileInfo is one file below a data directory, as a boot finds it.
type FileInfo struct {
	Path string // slash-separated, relative
	Size int64
}

// Boot is a data directory as a driver shows it before the first step: the only synchronous reads there are.
type Boot interface {
	List() []FileInfo                                     // sorted by Path
	ReadAt(path string, off int64, b []byte) (int, Errno) // fewer than len(b) only with ErrShort or an error
}
