package api

import (
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// noTransactions comes with UNSUPPORTED_VERSION, which no client tries again: Java's producer and franz-go's
// end at once, where COORDINATOR_NOT_AVAILABLE would have them ask for ever, and an authorisation error
// would send their owner looking at ACLs.
const noTransactions = "Transactions are not supported yet."

// outcomeError is Kafka's code for how a call on a replica ended.
func outcomeError(o replica.Outcome) wire.Error {
	switch o {
	case replica.OK, replica.Duplicate:
		return wire.None
	case replica.NotLeader:
		return wire.NotLeaderOrFollower
	case replica.UnknownPartition:
		return wire.UnknownTopicOrPartition
	case replica.StorageError:
		return wire.KafkaStorageError
	case replica.NotEnoughReplicas:
		return wire.NotEnoughReplicas
	case replica.TimedOut:
		return wire.RequestTimedOut
	case replica.OutOfOrder:
		return wire.OutOfOrderSequenceNumber
	case replica.Fenced:
		return wire.InvalidProducerEpoch
	case replica.OutOfRange:
		return wire.OffsetOutOfRange
	case replica.Policy:
		return wire.PolicyViolation
	case replica.NotAvailable:
		return wire.OffsetNotAvailable
	case replica.FencedEpoch:
		return wire.FencedLeaderEpoch
	case replica.UnknownEpoch:
		return wire.UnknownLeaderEpoch
	case replica.Loading:
		return wire.CoordinatorLoadInProgress
	}
	return wire.UnknownServerError
}

// coordinatorError is Kafka's code for why a coordinator could not be asked. Whatever may pass makes the
// client look for the coordinator again.
func coordinatorError(o replica.Outcome) wire.Error {
	switch o {
	case replica.OK:
		return wire.None
	case replica.NotLeader:
		return wire.NotCoordinator
	case replica.Loading:
		return wire.CoordinatorLoadInProgress
	}
	return wire.CoordinatorNotAvailable
}

// codeError is Kafka's code for the outcome of a metadata command.
func codeError(c meta.Code) wire.Error {
	switch c {
	case meta.Done:
		return wire.None
	case meta.TopicExists:
		return wire.TopicAlreadyExists
	case meta.UnknownTopic:
		return wire.UnknownTopicOrPartition
	case meta.UnknownTopicID:
		return wire.UnknownTopicId
	case meta.InvalidTopic:
		return wire.InvalidTopicException
	case meta.InvalidPartitions:
		return wire.InvalidPartitions
	case meta.InvalidReplicationFactor:
		return wire.InvalidReplicationFactor
	case meta.InvalidAssignment:
		return wire.InvalidReplicaAssignment
	case meta.InvalidConfig:
		return wire.InvalidConfig
	case meta.InvalidRequest:
		return wire.InvalidRequest
	case meta.PolicyViolation:
		return wire.PolicyViolation
	case meta.UnknownBroker:
		return wire.BrokerIdNotRegistered
	case meta.Stale:
		return wire.RequestTimedOut
	}
	return wire.UnknownServerError
}

// adminError joins how a command failed before and when it was decided. The message is null on success.
func adminError(res meta.Result, e AdminErr) (wire.Error, *string) {
	switch e {
	case AdminTimedOut:
		return wire.RequestTimedOut, nil
	case AdminNoLeader:
		return wire.NotController, nil
	}
	code := codeError(res.Code)
	if code == wire.None {
		return code, nil
	}
	return code, messageOr(res.Message, code)
}

func messageOr(m string, code wire.Error) *string {
	if m == "" {
		m = code.Message()
	}
	return &m
}
