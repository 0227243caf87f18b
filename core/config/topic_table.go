package config

// maxLong is Kafka's way to say never, or without limit.
const maxLong = "9223372036854775807"

// topicTable holds the topic keys of Kafka (LogConfig), and the two that Kafka 4.4 adds.
var topicTable = []Key{
	{Name: "cleanup.policy", Kafka: []string{"log.cleanup.policy"}, Type: List, Default: "delete", Scope: Topic,
		Valid: oneOf("compact", "delete"),
		Doc:   "What happens to old segments: delete removes them by age and size, compact keeps the last record of every key; empty keeps everything."},
	{Name: "compression.gzip.level", Kafka: []string{"compression.gzip.level"}, Type: Int, Default: "-1", Scope: Topic,
		Valid: between(1, 9).or(-1),
		Doc:   "The gzip level of batches that compression.type has recompressed; -1 is the codec's own default."},
	{Name: "compression.lz4.level", Kafka: []string{"compression.lz4.level"}, Type: Int, Default: "9", Scope: Topic,
		Valid: between(1, 17),
		Doc:   "The lz4 level of batches that compression.type has recompressed. As in Kafka, 9 is the fast compressor and every other level is a slower one that packs better; 10 to 17 are the same."},
	{Name: "compression.type", Kafka: []string{"compression.type"}, Type: String, Default: "producer", Scope: Topic,
		Valid: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		Doc:   "The codec that batches are stored with; producer stores them as they came. The leader recompresses a batch that comes in another codec, whatever its level; one in this codec passes untouched."},
	{Name: "compression.zstd.level", Kafka: []string{"compression.zstd.level"}, Type: Int, Default: "3", Scope: Topic,
		Valid: between(-131072, 22),
		Doc:   "The zstd level of batches that compression.type has recompressed. There are four steps: below 3, 3 to 5, 6 to 9, and 10 and above."},
	{Name: "delete.retention.ms", Kafka: []string{"log.cleaner.delete.retention.ms"}, Type: Long, Unit: "ms",
		Default: "86400000", Scope: Topic, Valid: atLeast(0),
		Doc: "How long compaction keeps a delete marker, so that readers that started earlier still see it."},
	{Name: "file.delete.delay.ms", Kafka: []string{"log.segment.delete.delay.ms"}, Type: Long, Unit: "ms",
		Default: "60000", Scope: Topic, Valid: atLeast(0),
		Doc: "How long a segment that left the log stays on the disk."},
	{Name: "flush.messages", Kafka: []string{"log.flush.interval.messages"}, Type: Long, Default: maxLong, Scope: Topic,
		Valid: atLeast(1),
		Doc:   "After how many records a sync is forced. Every batch is synced before it is acknowledged, so any value is kept to."},
	{Name: "flush.ms", Kafka: []string{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"}, Type: Long, Unit: "ms",
		Default: maxLong, Scope: Topic, Valid: atLeast(0),
		Doc: "After what time a sync is forced. Every batch is synced before it is acknowledged, so any value is kept to."},
	{Name: "follower.replication.throttled.replicas", Type: List, Scope: Topic,
		Valid: Valid{form: throttleReplicas},
		Doc:   "Replicas whose catching up by segments follower.replication.throttled.rate of the receiving broker bounds: partition:broker pairs, or * for all."},
	{Name: "index.interval.bytes", Kafka: []string{"log.index.interval.bytes"}, Type: Int, Unit: "bytes", Default: "4096",
		Scope: Topic, Valid: atLeast(0),
		Doc: "How many bytes of log lie between two entries of the offset index, in segments that begin from now on."},
	{Name: "leader.replication.throttled.replicas", Type: List, Scope: Topic,
		Valid: Valid{form: throttleReplicas},
		Doc:   "Replicas whose catching up by segments leader.replication.throttled.rate of the sending broker bounds, while it leads: partition:broker pairs, or * for all."},
	{Name: "local.retention.bytes", Kafka: []string{"log.local.retention.bytes"}, Type: Long, Unit: "bytes", Default: "-2",
		Scope: Topic, State: NotYet, Valid: atLeast(-2),
		Doc: "How much of a tiered partition stays on local disks; -2 takes retention.bytes."},
	{Name: "local.retention.ms", Kafka: []string{"log.local.retention.ms"}, Type: Long, Unit: "ms", Default: "-2",
		Scope: Topic, State: NotYet, Valid: atLeast(-2),
		Doc: "How long segments of a tiered topic stay on local disks; -2 takes retention.ms."},
	{Name: "max.compaction.lag.ms", Kafka: []string{"log.cleaner.max.compaction.lag.ms"}, Type: Long, Unit: "ms",
		Default: maxLong, Scope: Topic, Valid: atLeast(1),
		Doc: "The longest that a record stays out of reach of compaction."},
	{Name: "max.message.bytes", Kafka: []string{"message.max.bytes"}, Type: Int, Unit: "bytes", Default: "1048588",
		Scope: Topic, Valid: atLeast(0),
		Doc: "The largest batch, with its header, as it comes and, when compression.type recompresses it, as it is stored; a larger one is refused with MESSAGE_TOO_LARGE."},
	{Name: "message.timestamp.after.max.ms", Kafka: []string{"log.message.timestamp.after.max.ms"}, Type: Long, Unit: "ms",
		Default: "3600000", Scope: Topic, Valid: atLeast(0),
		Doc: "How far a record's timestamp may lie ahead of the leader's clock; a batch with one beyond is refused with INVALID_TIMESTAMP. With LogAppendTime it does not count. At its default, compressed batches are judged by the latest time that their header tells."},
	{Name: "message.timestamp.before.max.ms", Kafka: []string{"log.message.timestamp.before.max.ms"}, Type: Long, Unit: "ms",
		Default: maxLong, Scope: Topic, Valid: atLeast(0),
		Doc: "How far a record's timestamp may lie behind the leader's clock; a batch with one beyond is refused with INVALID_TIMESTAMP. With LogAppendTime it does not count."},
	{Name: "message.timestamp.type", Kafka: []string{"log.message.timestamp.type"}, Type: String, Default: "CreateTime",
		Scope: Topic, Valid: oneOf("CreateTime", "LogAppendTime"),
		Doc: "Whose time a record carries: the producer's (CreateTime) or that of the leader's clock at the append (LogAppendTime)."},
	{Name: "min.cleanable.dirty.ratio", Kafka: []string{"log.cleaner.min.cleanable.ratio"}, Type: Double, Default: "0.5",
		Scope: Topic, Valid: Valid{form: unitInterval},
		Doc: "The share of a log that must be uncompacted before compaction looks at it."},
	{Name: "min.compaction.lag.ms", Kafka: []string{"log.cleaner.min.compaction.lag.ms"}, Type: Long, Unit: "ms",
		Default: "0", Scope: Topic, Valid: atLeast(0),
		Doc: "The shortest time that a record stays out of reach of compaction."},
	{Name: "min.insync.replicas", Kafka: []string{"min.insync.replicas"}, Type: Int, Default: "1", Scope: Topic,
		Valid: atLeast(1),
		Doc:   "How many replicas must be in sync for an acks=all batch to be taken, and must have synced it before the answer; the majority of the replicas is the floor whatever the value."},
	{Name: "preallocate", Kafka: []string{"log.preallocate"}, Type: Boolean, Default: "false", Scope: Topic, State: Moot,
		Doc: "Whether a new segment takes its full size on the disk at once. Segments grow as they are written, whatever the value: the journal, which is what is synced, is allocated ahead."},
	{Name: "remote.copy.lag.bytes", Type: Long, Unit: "bytes", Default: "0", Scope: Topic, State: NotYet, Valid: atLeast(-1),
		Doc: "How many bytes a tiered segment must lie behind the end of the log before it is copied (Kafka 4.4, KIP-1241)."},
	{Name: "remote.copy.lag.ms", Type: Long, Unit: "ms", Default: "0", Scope: Topic, State: NotYet, Valid: atLeast(-1),
		Doc: "How old a tiered segment must be before it is copied (Kafka 4.4, KIP-1241)."},
	{Name: "remote.log.copy.disable", Type: Boolean, Default: "false", Scope: Topic, State: NotYet,
		Doc: "Whether a tiered topic stops copying segments and only reads those that were copied."},
	{Name: "remote.log.delete.on.disable", Type: Boolean, Default: "false", Scope: Topic, State: NotYet,
		Doc: "Whether turning remote.storage.enable off removes what was copied."},
	{Name: "remote.storage.enable", Type: Boolean, Default: "false", Scope: Topic, State: NotYet,
		Doc: "Whether segments are also kept in remote storage; true is refused while there is no tiering."},
	{Name: "retention.bytes", Kafka: []string{"log.retention.bytes"}, Type: Long, Unit: "bytes", Default: "-1",
		Scope: Topic,
		Doc:   "The size of a partition above which its oldest segments are deleted; -1 is no limit."},
	{Name: "retention.ms", Kafka: []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"}, Type: Long,
		Unit: "ms", Default: "604800000", Scope: Topic, Valid: atLeast(-1),
		Doc: "The age of a segment's newest record above which the segment is deleted; -1 is no limit."},
	{Name: "segment.bytes", Kafka: []string{"log.segment.bytes"}, Type: Int, Unit: "bytes", Default: "1073741824",
		Scope: Topic, Valid: atLeast(1 << 20),
		Doc: "The size at which a segment is closed and the next one begins."},
	{Name: "segment.index.bytes", Kafka: []string{"log.index.size.max.bytes"}, Type: Int, Unit: "bytes",
		Default: "10485760", Scope: Topic, Valid: atLeast(4),
		Doc: "The size of an index file at which its segment is closed."},
	{Name: "segment.jitter.ms", Kafka: []string{"log.roll.jitter.ms", "log.roll.jitter.hours"}, Type: Long, Unit: "ms",
		Default: "0", Scope: Topic, Valid: atLeast(0),
		Doc: "The most that is taken at random off segment.ms, so that partitions do not all begin segments at once."},
	{Name: "segment.ms", Kafka: []string{"log.roll.ms", "log.roll.hours"}, Type: Long, Unit: "ms", Default: "604800000",
		Scope: Topic, Valid: atLeast(1),
		Doc: "The age at which a segment is closed even if it is not full."},
	{Name: "unclean.leader.election.enable", Kafka: []string{"unclean.leader.election.enable"}, Type: Boolean,
		Default: "false", Scope: Topic, State: Moot,
		Doc: "Whether a replica that may lack acknowledged records can lead. With raft it never can, whatever the value."},
}

// synonymTable makes a broker key of every name that gives a topic key its default and is not in
// brokerTable with a unit or a default of its own.
func synonymTable() []Key {
	own := map[string]bool{} //det:ok looked up, never ranged
	for i := range brokerTable {
		own[brokerTable[i].Name] = true
	}
	var out []Key
	for i := range topicTable {
		t := &topicTable[i]
		for _, name := range t.Kafka {
			if own[name] {
				continue
			}
			own[name] = true
			out = append(out, Key{Name: name, Type: t.Type, Unit: t.Unit, Default: t.Default, Scope: Cluster,
				State: t.State, Valid: t.Valid, Doc: "The default of the topic key " + t.Name + ". " + t.Doc})
		}
	}
	return out
}
