package meta

import (
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
)

// Code says how a command ended. It is no wire code: core/api translates.
type Code uint8

const (
	Done                     Code = iota
	TopicExists                   // TOPIC_ALREADY_EXISTS
	UnknownTopic                  // UNKNOWN_TOPIC_OR_PARTITION
	UnknownTopicID                // UNKNOWN_TOPIC_ID
	InvalidTopic                  // INVALID_TOPIC_EXCEPTION
	InvalidPartitions             // INVALID_PARTITIONS
	InvalidReplicationFactor      // INVALID_REPLICATION_FACTOR
	InvalidAssignment             // INVALID_REPLICA_ASSIGNMENT
	InvalidConfig                 // INVALID_CONFIG
	InvalidRequest                // INVALID_REQUEST
	PolicyViolation               // POLICY_VIOLATION
	UnknownBroker                 // BROKER_ID_NOT_REGISTERED
	OldIncarnation                // of a RegisterBroker: a newer disk of this node is known
	Stale                         // the command is older than what is remembered of its origin: its outcome is unknown
	codes                         // how many there are
)

var codeNames = [...]string{"done", "topic exists", "unknown topic", "unknown topic id", "invalid topic",
	"invalid partitions",
	"invalid replication factor", "invalid assignment", "invalid config", "invalid request", "policy violation",
	"unknown broker", "old incarnation", "stale"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code " + strconv.Itoa(int(c))
}

// Result is the outcome of a command, the same on every node.
type Result struct {
	Code          Code
	Message       string       // why, in Kafka's words; "" when Done
	TopicID       [16]byte     // of CreateTopic, DeleteTopic, CreatePartitions
	Partitions    int32        // that the topic has now
	Replication   int16        // its replication factor
	FirstGroup    core.GroupID // the groups created are [FirstGroup, FirstGroup+Added)
	Added         int32
	FirstProducer int64 // of AllocateProducerIDs
}

// maxMessage bounds what a failure says: results are remembered, and names and values of clients are in
// them.
const maxMessage = 1000

func failed(c Code, message string) Result {
	if len(message) > maxMessage {
		message = message[:maxMessage] + "..."
	}
	return Result{Code: c, Message: strings.ToValidUTF8(message, "?")}
}
