package api

import "github.com/karst-stream/karst/core/wire"

// handlerOf is what acts on a key; nil for keys that are not served, which ApiVersions does not list.
// Each handler answers its request exactly once, in this step or later.
func handlerOf(k wire.Key) func(r *request, body wire.Message) {
	switch k {
	case wire.KeyProduce:
		return produce
	case wire.KeyFetch:
		return fetch
	case wire.KeyListOffsets:
		return listOffsets
	case wire.KeyMetadata:
		return metadata
	case wire.KeyOffsetCommit:
		return offsetCommit
	case wire.KeyOffsetFetch:
		return offsetFetch
	case wire.KeyFindCoordinator:
		return findCoordinator
	case wire.KeyJoinGroup:
		return joinGroup
	case wire.KeyHeartbeat:
		return heartbeat
	case wire.KeyLeaveGroup:
		return leaveGroup
	case wire.KeySyncGroup:
		return syncGroup
	case wire.KeyDescribeGroups:
		return describeGroups
	case wire.KeyListGroups:
		return listGroups
	case wire.KeyApiVersions:
		return apiVersions
	case wire.KeyCreateTopics:
		return createTopics
	}
	return adminHandlerOf(k)
}

func adminHandlerOf(k wire.Key) func(r *request, body wire.Message) {
	switch k {
	case wire.KeyDeleteTopics:
		return deleteTopics
	case wire.KeyDeleteRecords:
		return deleteRecords
	case wire.KeyInitProducerId:
		return initProducerID
	case wire.KeyDescribeConfigs:
		return describeConfigs
	case wire.KeyDescribeLogDirs:
		return describeLogDirs
	case wire.KeyAlterConfigs:
		return alterConfigs
	case wire.KeyCreatePartitions:
		return createPartitions
	case wire.KeyDeleteGroups:
		return deleteGroups
	case wire.KeyIncrementalAlterConfigs:
		return incrementalAlterConfigs
	case wire.KeyOffsetDelete:
		return offsetDelete
	case wire.KeyOffsetForLeaderEpoch:
		return offsetForLeaderEpoch
	case wire.KeyDescribeCluster:
		return describeCluster
	case wire.KeyDescribeTopicPartitions:
		return describeTopicPartitions
	}
	return nil
}
