package meta

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
)

// Origin names a command, so that meeting it twice is harmless: a proposer that saw no outcome
// proposes the same bytes again, through whatever leader there is.
type Origin struct {
	Node core.NodeID // that made the command
	// Start grows with every start of that node: its incarnation in the upper half, its start counter
	// in the lower, because the counter begins anew on a new disk.
	Start  uint64
	Number uint64 // of the command, from 1, each used once a start
}

// NewStart joins what Origin.Start is made of.
func NewStart(incarnation, starts uint32) uint64 { return uint64(incarnation)<<32 | uint64(starts) }

// Command is one of the kinds below. Encode (codec.go) makes the bytes that the log carries.
type Command interface{ kind() kind }

type kind uint8

const (
	kindRegisterBroker kind = iota + 1
	kindCreateTopic
	kindDeleteTopic
	kindCreatePartitions
	kindAlterConfigs
	kindAllocateProducerIDs
	kindRejoin
)

// RegisterBroker makes a node known, or changes what is known of it. Each node proposes it at every
// start and when its listeners change.
type RegisterBroker struct{ Broker Broker }

// CreateTopic makes one topic. Partitions and Replication may be -1 for the cluster's defaults
// (num.partitions, default.replication.factor as set dynamically, else as in core/config); a proposer
// whose file says otherwise puts its own numbers in. Assignment, when not empty, gives the replicas of
// each partition by number, and the other two are -1.
type CreateTopic struct {
	Name string
	// ID is 16 bytes drawn by the proposer. The first half becomes that of the topic's id; the machine
	// makes the second half from its counter of groups, so that no id is ever used twice whatever the
	// proposers draw. The topic's id is in the Result.
	ID          [16]byte
	Partitions  int32
	Replication int16
	Assignment  [][]core.NodeID
	Configs     []config.KV   // in any order, as the client gave them
	Live        []core.NodeID // the nodes that the proposer believes alive
}

// DeleteTopic removes a topic, by name or, when Name is "", by id.
type DeleteTopic struct {
	Name string
	ID   [16]byte
}

// CreatePartitions adds partitions until the topic has Count. Assignment, when not empty, gives the
// replicas of the new ones.
type CreatePartitions struct {
	Topic      string
	Count      int32
	Assignment [][]core.NodeID
	Live       []core.NodeID
}

// Resource says whose settings AlterConfigs changes; the numbers are Kafka's (ConfigResource.Type).
type Resource uint8

const (
	TopicResource  Resource = 2
	BrokerResource Resource = 4
)

// OpKind is an operation of IncrementalAlterConfigs; the numbers are Kafka's.
type OpKind uint8

const (
	Set      OpKind = 0
	Delete   OpKind = 1
	Append   OpKind = 2
	Subtract OpKind = 3
)

// ConfigOp changes one setting.
type ConfigOp struct {
	Key   string
	Op    OpKind
	Value string // nothing for Delete
}

// AlterConfigs changes settings of one resource, all or none. Name is that of a topic, or a broker id
// in decimal, or "" for all brokers.
type AlterConfigs struct {
	Resource Resource
	Name     string
	Ops      []ConfigOp
}

// AllocateProducerIDs takes Count (at most 1,000,000) producer ids that nobody had before, for a node
// to hand out.
type AllocateProducerIDs struct{ Count int32 }

// Rejoin gives the next incarnation of a node whose disk is gone to the disk of the process with this mark.
// The same mark gets the same one. It takes effect on placement when the node registers.
type Rejoin struct {
	Node core.NodeID
	Mark uint64
}

func (*Rejoin) kind() kind              { return kindRejoin }
func (*RegisterBroker) kind() kind      { return kindRegisterBroker }
func (*CreateTopic) kind() kind         { return kindCreateTopic }
func (*DeleteTopic) kind() kind         { return kindDeleteTopic }
func (*CreatePartitions) kind() kind    { return kindCreatePartitions }
func (*AlterConfigs) kind() kind        { return kindAlterConfigs }
func (*AllocateProducerIDs) kind() kind { return kindAllocateProducerIDs }

// Bounds on commands. They bound what a hostile byte string can make Apply do, and what one command
// may do to everybody; a decoder refuses more.
const (
	maxPartitions = 10_000 // of one command; Kafka's bound too (ReplicationControlManager)
	maxReplicas   = 64
	maxNodes      = 4096
	maxConfigs    = 1024
	maxListeners  = 64
	maxText       = 1 << 20
	maxProducers  = 1_000_000
)
