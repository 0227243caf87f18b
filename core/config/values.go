package config

import (
	"slices"
	"strconv"
	"strings"
)

// TopicValues are the settings of a topic that the data path acts on.
type TopicValues struct {
	MaxMessageBytes int32 // of a batch
	MinInsync       int32
	SegmentBytes    int64
	LogAppendTime   bool // the leader stamps batches with its own clock
	Deletes         bool // cleanup.policy holds delete
	IndexInterval   int64
	IndexBytes      int64 // of an index file

	FileDeleteDelayMs int64
	RetentionMs       int64 // negative: for ever
	RetentionBytes    int64 // negative: without limit
	SegmentMs         int64
	SegmentJitterMs   int64

	Compacts           bool // cleanup.policy holds compact
	MinCompactionLagMs int64
	MaxCompactionLagMs int64
	MinDirty           int64 // min.cleanable.dirty.ratio in millionths
	DeleteRetentionMs  int64

	SlowLeaders   string // leader.replication.throttled.replicas, for Throttles
	SlowFollowers string // follower.replication.throttled.replicas
}

// TopicValues resolves what the data path needs of one topic.
func (l *Layers) TopicValues() TopicValues {
	return TopicValues{
		MaxMessageBytes: int32(l.int64Of(topics, "max.message.bytes")),
		MinInsync:       int32(l.int64Of(topics, "min.insync.replicas")),
		SegmentBytes:    l.int64Of(topics, "segment.bytes"),
		LogAppendTime:   l.textOf(topics, "message.timestamp.type") == "LogAppendTime",
		Deletes:         slices.Contains(strings.Split(l.textOf(topics, "cleanup.policy"), ","), "delete"),

		IndexInterval: l.int64Of(topics, "index.interval.bytes"),
		IndexBytes:    l.int64Of(topics, "segment.index.bytes"),

		FileDeleteDelayMs: min(l.int64Of(topics, "file.delete.delay.ms"), 1<<40),
		RetentionMs:       l.int64Of(topics, "retention.ms"),
		RetentionBytes:    l.int64Of(topics, "retention.bytes"),
		SegmentMs:         l.int64Of(topics, "segment.ms"),
		SegmentJitterMs:   l.int64Of(topics, "segment.jitter.ms"),

		Compacts:           slices.Contains(strings.Split(l.textOf(topics, "cleanup.policy"), ","), "compact"),
		MinCompactionLagMs: l.int64Of(topics, "min.compaction.lag.ms"),
		MaxCompactionLagMs: l.int64Of(topics, "max.compaction.lag.ms"),
		MinDirty:           scaledDecimal(l.textOf(topics, "min.cleanable.dirty.ratio"), 6),
		DeleteRetentionMs:  l.int64Of(topics, "delete.retention.ms"),

		SlowLeaders:   l.textOf(topics, "leader.replication.throttled.replicas"),
		SlowFollowers: l.textOf(topics, "follower.replication.throttled.replicas"),
	}
}

// BrokerValues are the settings of a broker that something acts on.
type BrokerValues struct {
	NumPartitions            int32
	DefaultReplicationFactor int16 // -1: min(3, brokers), see ReplicationFactor
	AutoCreateTopics         bool
	DeleteTopics             bool
	OffsetsPartitions        int32
	OffsetsReplicationFactor int16 // bounded by the brokers there are, see ReplicationFactor
	RebalanceDelayMs         int32
	MinSessionTimeoutMs      int32
	MaxSessionTimeoutMs      int32
	GroupMaxSize             int32
	OffsetMetadataMaxBytes   int32
	RequestMaxBytes          int32
	FetchMaxBytes            int32
	FetchSessionSlots        int32
	RetentionCheckMs         int64
	ScrubPeriodMs            int64
	Rack                     string // "": none

	CleanerOn        bool  // log.cleaner.enable
	CleanerBackoffMs int64 // log.cleaner.backoff.ms
	CleanerMemory    int64 // log.cleaner.dedupe.buffer.size
	CleanerRate      int64 // log.cleaner.io.max.bytes.per.second; 0: no limit
	CleanerPace      int64 // log.cleaner.pace.bytes.per.second; 0: no limit

	CatchUpRate      int64 // bytes a second that a node takes in of replicas that no list names
	FollowerThrottle int64 // ... and of those that follower.replication.throttled.replicas names
	LeaderThrottle   int64 // ... and that it gives of those that leader.replication.throttled.replicas names
}

// BrokerValues resolves what a broker needs.
func (l *Layers) BrokerValues() BrokerValues {
	i32 := func(name string) int32 { return int32(l.int64Of(brokers, name)) }
	return BrokerValues{
		NumPartitions:            i32("num.partitions"),
		DefaultReplicationFactor: int16(i32("default.replication.factor")),
		AutoCreateTopics:         l.textOf(brokers, "auto.create.topics.enable") == "true",
		DeleteTopics:             l.textOf(brokers, "delete.topic.enable") == "true",
		OffsetsPartitions:        i32("offsets.topic.num.partitions"),
		OffsetsReplicationFactor: int16(i32("offsets.topic.replication.factor")),
		RebalanceDelayMs:         i32("group.initial.rebalance.delay.ms"),
		MinSessionTimeoutMs:      i32("group.min.session.timeout.ms"),
		MaxSessionTimeoutMs:      i32("group.max.session.timeout.ms"),
		GroupMaxSize:             i32("group.max.size"),
		OffsetMetadataMaxBytes:   i32("offset.metadata.max.bytes"),
		RequestMaxBytes:          i32("socket.request.max.bytes"),
		FetchMaxBytes:            i32("fetch.max.bytes"),
		FetchSessionSlots:        i32("max.incremental.fetch.session.cache.slots"),
		RetentionCheckMs:         min(l.int64Of(brokers, "log.retention.check.interval.ms"), 1<<40),
		ScrubPeriodMs:            min(l.int64Of(brokers, "log.scrub.period.ms"), 1<<40),
		Rack:                     l.textOf(brokers, "broker.rack"),

		CleanerOn:        l.textOf(brokers, "log.cleaner.enable") == "true",
		CleanerBackoffMs: min(l.int64Of(brokers, "log.cleaner.backoff.ms"), 1<<40),
		CleanerMemory:    l.int64Of(brokers, "log.cleaner.dedupe.buffer.size"),
		CleanerRate:      cleanerRate(scaledDecimal(l.textOf(brokers, "log.cleaner.io.max.bytes.per.second"), 0)),
		CleanerPace:      cleanerRate(l.int64Of(brokers, "log.cleaner.pace.bytes.per.second")),

		CatchUpRate:      l.int64Of(brokers, "replica.catchup.max.bytes.per.second"),
		FollowerThrottle: l.int64Of(brokers, "follower.replication.throttled.rate"),
		LeaderThrottle:   l.int64Of(brokers, "leader.replication.throttled.rate"),
	}
}

// ReplicationFactor is a configured default for a cluster of n brokers: -1 means min(3, n).
func ReplicationFactor(configured int16, n int) int16 {
	if configured < 0 {
		return int16(max(1, min(3, n)))
	}
	return configured
}

// scaledDecimal is a decimal number, as Parse keeps it, times ten to the power of places, without what is left of a
// unit; the largest int64 when it is larger than that.
func scaledDecimal(v string, places int) int64 {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(v), "e")
	if exponent != "" {
		e, err := strconv.Atoi(exponent)
		if err != nil || e > 400 {
			return 1<<63 - 1
		}
		places = max(places+e, -400)
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "+"), ".")
	digits, point := whole+fraction, len(whole)+places
	n := int64(0)
	for i := range max(point, 0) {
		d := int64(0)
		if i < len(digits) {
			d = int64(digits[i] - '0')
		}
		if d < 0 || d > 9 || n > (1<<63-1-d)/10 {
			return 1<<63 - 1
		}
		n = n*10 + d
	}
	return n
}

// cleanerRate is 0 where the limit is so high that it is none.
func cleanerRate(n int64) int64 {
	if n >= 1<<40 {
		return 0
	}
	return max(n, 1)
}
