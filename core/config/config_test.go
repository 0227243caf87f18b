package config

import (
	"slices"
	"strings"
	"testing"
)

// kafkaTopicDefaults are the topic keys of Kafka 4.3 with their defaults (LogConfig), and the two of
// 4.4, written down apart from the table so that a slip there shows.
var kafkaTopicDefaults = map[string]string{
	"cleanup.policy": "delete", "compression.type": "producer", "compression.gzip.level": "-1",
	"compression.lz4.level": "9", "compression.zstd.level": "3", "delete.retention.ms": "86400000",
	"file.delete.delay.ms": "60000", "flush.messages": "9223372036854775807", "flush.ms": "9223372036854775807",
	"index.interval.bytes": "4096", "segment.index.bytes": "10485760",
	"leader.replication.throttled.replicas": "", "follower.replication.throttled.replicas": "",
	"local.retention.ms": "-2", "local.retention.bytes": "-2", "max.compaction.lag.ms": "9223372036854775807",
	"min.compaction.lag.ms": "0", "max.message.bytes": "1048588", "message.timestamp.type": "CreateTime",
	"message.timestamp.before.max.ms": "9223372036854775807", "message.timestamp.after.max.ms": "3600000",
	"min.cleanable.dirty.ratio": "0.5", "min.insync.replicas": "1", "preallocate": "false",
	"remote.storage.enable": "false", "remote.log.copy.disable": "false", "remote.log.delete.on.disable": "false",
	"remote.copy.lag.ms": "0", "remote.copy.lag.bytes": "0", "retention.ms": "604800000", "retention.bytes": "-1",
	"segment.bytes": "1073741824", "segment.ms": "604800000", "segment.jitter.ms": "0",
	"unclean.leader.election.enable": "false",
}

func TestEveryTopicKeyOfKafkaWithItsDefault(t *testing.T) {
	for name, want := range kafkaTopicDefaults {
		k, ok := LookupTopic(name)
		if !ok {
			t.Errorf("%s is not in the table", name)
		} else if k.Default != want || k.Null || k.Scope != Topic {
			t.Errorf("%s: default %q (null %v, scope %v), Kafka has %q", name, k.Default, k.Null, k.Scope, want)
		}
	}
	if len(TopicKeys()) != len(kafkaTopicDefaults) {
		t.Errorf("%d topic keys, Kafka has %d", len(TopicKeys()), len(kafkaTopicDefaults))
	}
	var empty Layers
	for _, k := range TopicKeys() { // the broker keys must not give another default than the topic key
		if e := empty.TopicValue(k); e.Value != k.Default || e.Source != FromDefault {
			t.Errorf("%s resolves to %q from %v without any setting, its default is %q", k.Name, e.Value, e.Source, k.Default)
		}
	}
}

func TestBrokerDefaults(t *testing.T) {
	for name, want := range map[string]string{
		"num.partitions": "1", "default.replication.factor": "-1", "auto.create.topics.enable": "true",
		"delete.topic.enable": "true", "min.insync.replicas": "1", "message.max.bytes": "1048588",
		"log.segment.bytes": "1073741824", "log.retention.hours": "168", "log.retention.bytes": "-1",
		"offsets.topic.num.partitions": "50", "offsets.topic.replication.factor": "3",
		"group.initial.rebalance.delay.ms": "3000", "group.min.session.timeout.ms": "6000",
		"group.max.session.timeout.ms": "1800000", "group.max.size": "2147483647",
		"socket.request.max.bytes": "104857600", "connections.max.idle.ms": "600000", "fetch.max.bytes": "57671680",
		"max.incremental.fetch.session.cache.slots": "1000", "offset.metadata.max.bytes": "4096",
		"log.cleanup.policy": "delete", "log.message.timestamp.type": "CreateTime", "compression.type": "producer",
		"transaction.max.timeout.ms": "900000", "producer.id.expiration.ms": "86400000",
		"offsets.retention.minutes": "10080", "log.index.size.max.bytes": "10485760",
	} {
		if k, ok := LookupBroker(name); !ok || k.Default != want {
			t.Errorf("%s: %v, want default %q", name, k, want)
		}
	}
	var l Layers
	v := l.BrokerValues()
	if v.NumPartitions != 1 || v.DefaultReplicationFactor != -1 || !v.AutoCreateTopics || v.OffsetsPartitions != 50 || v.Rack != "" {
		t.Errorf("values without settings: %+v", v)
	}
	for n, want := range map[int]int16{1: 1, 2: 2, 3: 3, 5: 3} {
		if got := ReplicationFactor(-1, n); got != want {
			t.Errorf("default replication factor on %d nodes is %d, want %d", n, got, want)
		}
	}
	if ReplicationFactor(5, 1) != 5 {
		t.Error("a configured replication factor is not lowered")
	}
}

func TestTableIsWellFormed(t *testing.T) {
	envs, flags := map[string]string{}, map[string]string{}
	for _, keys := range [][]*Key{TopicKeys(), BrokerKeys()} {
		for i, k := range keys {
			if i > 0 && keys[i-1].Name >= k.Name {
				t.Errorf("%s and %s are out of order, or twice", keys[i-1].Name, k.Name)
			}
			if !strings.HasSuffix(k.Doc, ".") || len(k.Doc) < 15 {
				t.Errorf("%s: documentation %q", k.Name, k.Doc)
			}
			if strings.Contains(k.Documentation(), NotYetMark) != (k.State == NotYet) {
				t.Errorf("%s: the mark of its documentation and its state differ", k.Name)
			}
			if strings.Contains(k.Doc, "whatever the value") != (k.State == Moot) && k.Name != "min.insync.replicas" {
				t.Errorf("%s: its documentation does not say that it has no effect, or says it without need", k.Name)
			}
			if k.Null {
				if k.Default != "" {
					t.Errorf("%s has a default and none", k.Name)
				}
			} else if v, err := k.Parse(k.Default); err != nil || v != k.Default {
				t.Errorf("%s: its default parses to %q, %v", k.Name, v, err)
			}
			if k.Type.String() == "?" || k.Scope.String() == "?" || k.Since == "" {
				t.Errorf("%s lacks type, scope or version", k.Name)
			}
			if k.Scope == Topic {
				for _, name := range k.Kafka {
					if _, ok := LookupBroker(name); !ok {
						t.Errorf("%s: no broker key %s", k.Name, name)
					}
				}
				continue
			}
			if k.ReadOnly != (k.Scope == Node) {
				t.Errorf("%s: read-only %v in scope %v", k.Name, k.ReadOnly, k.Scope)
			}
			if other := envs[k.Env()]; other != "" {
				t.Errorf("%s and %s share %s", k.Name, other, k.Env())
			}
			envs[k.Env()] = k.Name
			if k.Flag != "" && flags[k.Flag] != "" {
				t.Errorf("%s and %s share --%s", k.Name, flags[k.Flag], k.Flag)
			}
			flags[k.Flag] = k.Name
		}
	}
	for env, name := range map[string]string{"KARST_NODE_ID": "node-id", "KARST_LOG_RETENTION_MS": "log.retention.ms",
		"KARST_PEER_LISTEN": "peer-listen"} {
		if envs[env] != name {
			t.Errorf("%s is of %q, want %s", env, envs[env], name)
		}
	}
	for _, f := range []string{"node-id", "data", "listen", "advertise", "peer-listen", "peers", "shards", "admin"} {
		if flags[f] != f {
			t.Errorf("no key for --%s", f)
		}
	}
	if k, ok := LookupBroker("node.id"); !ok || k.Name != "node-id" {
		t.Error("node.id is no alias of node-id")
	} else if k.WireName() != "node.id" {
		t.Errorf("node-id is listed as %s", k.WireName())
	}
	if k, _ := LookupTopic("retention.ms"); k.WireName() != "retention.ms" {
		t.Errorf("retention.ms is listed as %s", k.WireName())
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ key, value, want, err string }{
		{"retention.ms", " 0123 ", "123", ""},
		{"retention.ms", "-1", "-1", ""},
		{"retention.ms", "-2", "", "Invalid value -2 for configuration retention.ms: Value must be at least -1"},
		{"retention.ms", "soon", "", "Invalid value soon for configuration retention.ms: Not a number of type LONG"},
		{"retention.ms", "", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"},
		{"segment.bytes", "1048575", "", "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576"},
		{"segment.bytes", "2147483648", "", "Invalid value 2147483648 for configuration segment.bytes: Not a number of type INT"},
		{"min.insync.replicas", "0", "", "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1"},
		{"cleanup.policy", "compact, delete", "compact,delete", ""},
		{"cleanup.policy", "", "", ""},
		{"cleanup.policy", "shred", "", "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete"},
		{"cleanup.policy", "delete,delete", "", "Invalid value delete,delete for configuration cleanup.policy: Configuration 'cleanup.policy' values must not be duplicated."},
		{"preallocate", "TRUE", "true", ""},
		{"preallocate", "yes", "", "Invalid value yes for configuration preallocate: Expected value to be either true or false"},
		{"message.timestamp.type", "LogAppendTime", "LogAppendTime", ""},
		{"message.timestamp.type", "logappendtime", "", "Invalid value logappendtime for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"},
		{"compression.gzip.level", "-1", "-1", ""},
		{"compression.gzip.level", "0", "", "Invalid value 0 for configuration compression.gzip.level: Value must be at least 1"},
		{"compression.gzip.level", "10", "", "Invalid value 10 for configuration compression.gzip.level: Value must be no more than 9"},
		{"min.cleanable.dirty.ratio", "0.50", "0.5", ""},
		{"min.cleanable.dirty.ratio", ".25", "0.25", ""},
		{"min.cleanable.dirty.ratio", "1", "1.0", ""},
		{"min.cleanable.dirty.ratio", "-0", "0.0", ""},
		{"min.cleanable.dirty.ratio", "1.01", "", "Invalid value 1.01 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"},
		{"min.cleanable.dirty.ratio", "-0.1", "", "Invalid value -0.1 for configuration min.cleanable.dirty.ratio: Value must be at least 0"},
		{"min.cleanable.dirty.ratio", "1.2.3", "", "Invalid value 1.2.3 for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE"},
		{"leader.replication.throttled.replicas", "*", "*", ""},
		{"leader.replication.throttled.replicas", "0:1, 1:2", "0:1,1:2", ""},
		{"leader.replication.throttled.replicas", "0-1", "", "Invalid value 0-1 for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."},
	} {
		k, _ := LookupTopic(c.key)
		got, err := k.Parse(c.value)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != c.want || text != c.err {
			t.Errorf("%s=%q: got %q, %q; want %q, %q", c.key, c.value, got, text, c.want, c.err)
		}
		if (Validate(k, c.value) == nil) != (c.err == "") {
			t.Errorf("%s=%q: Validate and Parse differ", c.key, c.value)
		}
	}
}

func TestValidateTogether(t *testing.T) {
	in := []KV{{"segment.bytes", " 1048576"}, {"cleanup.policy", "delete"}, {"cleanup.policy", "compact"}}
	out, err := ValidateTopic(in)
	if want := []KV{{"cleanup.policy", "compact"}, {"segment.bytes", "1048576"}}; err != nil || !slices.Equal(out, want) {
		t.Errorf("got %v, %v; want %v", out, err, want)
	}
	if in[0].Value != " 1048576" || in[1].Value != "delete" {
		t.Error("the input was changed")
	}
	for _, c := range []struct {
		check func([]KV) ([]KV, error)
		kv    KV
		want  string
	}{
		{ValidateTopic, KV{"retention.sm", "1"}, "Unknown topic config name: retention.sm (did you mean retention.ms?)"},
		{ValidateTopic, KV{"log.retention.ms", "1"}, "Unknown topic config name: log.retention.ms (did you mean retention.ms?)"},
		{ValidateTopic, KV{"zzzzzzzzzz", "1"}, "Unknown topic config name: zzzzzzzzzz"},
		{ValidateTopic, KV{"remote.storage.enable", "true"}, "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."},
		{ValidateTopic, KV{"max.compaction.lag.ms", "0"}, "Invalid value 0 for configuration max.compaction.lag.ms: Value must be at least 1"},
		{ValidateDynamic, KV{"num.partition", "1"}, "Unknown config name: num.partition (did you mean num.partitions?)"},
		{ValidateDynamic, KV{"node.id", "1"}, "Cannot update these configs dynamically: [node-id]"},
		{ValidateDynamic, KV{"num.partitions", "0"}, "Invalid value 0 for configuration num.partitions: Value must be at least 1"},
		{ValidateStatic, KV{"node-id", "-1"}, "Invalid value -1 for configuration node-id: Value must be at least 0"},
	} {
		if _, err := c.check([]KV{c.kv}); err == nil || err.Error() != c.want {
			t.Errorf("%v: got %v, want %q", c.kv, err, c.want)
		}
	}
	_, err = ValidateTopic([]KV{{"min.compaction.lag.ms", "10"}, {"max.compaction.lag.ms", "9"}})
	if err == nil || err.Error() != "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (9)" {
		t.Errorf("compaction lags: %v", err)
	}
	out, err = ValidateStatic([]KV{{"log.dirs", "/d"}, {"broker.id", "7"}})
	if want := []KV{{"data", "/d"}, {"node-id", "7"}}; err != nil || !slices.Equal(out, want) {
		t.Errorf("aliases: %v, %v", out, err)
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		name  string
		scope Scope
		want  string
	}{
		{"retention_ms", Topic, "retention.ms"}, {"Retention.MS", Topic, "retention.ms"},
		{"cleanup.polcy", Topic, "cleanup.policy"}, {"max.mesage.byte", Topic, "max.message.bytes"},
		{"log.retention.hours", Topic, "retention.ms"}, {"message.max.bytes", Topic, "max.message.bytes"},
		{"nodeid", Node, "node-id"}, {"peer_listen", Cluster, "peer-listen"},
		{"default.replicaton.factor", Cluster, "default.replication.factor"},
		{"x", Topic, ""}, {strings.Repeat("retention.ms", 1000), Topic, ""}, {"", Topic, ""},
	} {
		if got := Nearest(c.name, c.scope); got != c.want {
			t.Errorf("nearest to %.40q is %q, want %q", c.name, got, c.want)
		}
	}
}

func TestResolution(t *testing.T) {
	key := func(name string) *Key { k, _ := LookupTopic(name); return k }
	layers := Layers{
		Topic:   []KV{{"max.message.bytes", "5"}},
		Broker:  []KV{{"log.segment.bytes", "3145728"}},
		Cluster: []KV{{"log.retention.minutes", "2"}, {"log.segment.bytes", "2097152"}, {"message.max.bytes", "6"}},
		Static:  []KV{{"log.message.timestamp.type", "LogAppendTime"}, {"log.retention.hours", "-1"}, {"log.retention.ms", "77"}, {"log.roll.hours", "1"}},
	}
	for _, c := range []struct {
		key, value string
		source     Source
		synonyms   []Synonym
	}{
		{"max.message.bytes", "5", FromTopic, []Synonym{{"max.message.bytes", "5", FromTopic},
			{"message.max.bytes", "6", FromCluster}, {"message.max.bytes", "1048588", FromDefault}}},
		{"segment.bytes", "3145728", FromBroker, []Synonym{{"log.segment.bytes", "3145728", FromBroker},
			{"log.segment.bytes", "2097152", FromCluster}, {"log.segment.bytes", "1073741824", FromDefault}}},
		{"retention.ms", "120000", FromCluster, []Synonym{{"log.retention.minutes", "2", FromCluster},
			{"log.retention.ms", "77", FromStatic}, {"log.retention.hours", "-1", FromStatic}, {"log.retention.hours", "168", FromDefault}}},
		{"segment.ms", "3600000", FromStatic, []Synonym{{"log.roll.hours", "1", FromStatic}, {"log.roll.hours", "168", FromDefault}}},
		{"min.insync.replicas", "1", FromDefault, []Synonym{{"min.insync.replicas", "1", FromDefault}}},
		{"preallocate", "false", FromDefault, []Synonym{{"log.preallocate", "false", FromDefault}}},
		{"remote.storage.enable", "false", FromDefault, nil},
	} {
		e := layers.TopicValue(key(c.key))
		if e.Value != c.value || e.Source != c.source || e.Null || !slices.Equal(e.Synonyms, c.synonyms) {
			t.Errorf("%s: %+v, want %+v", c.key, e, c)
		}
	}
	if v := layers.TopicValues(); v != (TopicValues{MaxMessageBytes: 5, MinInsync: 1, SegmentBytes: 3145728, LogAppendTime: true, Deletes: true, FileDeleteDelayMs: 60000,
		RetentionMs: 120000, RetentionBytes: -1, SegmentMs: 3600000, IndexInterval: 4096, IndexBytes: 10 << 20,
		MaxCompactionLagMs: 1<<63 - 1, MinDirty: 500_000, DeleteRetentionMs: 86400000}) {
		t.Errorf("typed values: %+v", v)
	}
	unlimited := Layers{Static: []KV{{"log.retention.hours", "-1"}}}
	if e := unlimited.TopicValue(key("retention.ms")); e.Value != "-1" || e.Source != FromStatic {
		t.Errorf("log.retention.hours=-1 gives retention.ms %+v", e)
	}
}

func TestBrokerResolution(t *testing.T) {
	l := Layers{Broker: []KV{{"num.partitions", "4"}}, Static: []KV{{"broker.rack", "r1"}, {"num.partitions", "2"}, {"ssl.keystore.password", "secret"}}}
	k, _ := LookupBroker("num.partitions")
	e := l.BrokerValue(k)
	want := []Synonym{{"num.partitions", "4", FromBroker}, {"num.partitions", "2", FromStatic}, {"num.partitions", "1", FromDefault}}
	if e.Value != "4" || e.Source != FromBroker || !slices.Equal(e.Synonyms, want) {
		t.Errorf("num.partitions: %+v", e)
	}
	k, _ = LookupBroker("replica.selector.class")
	if e := l.BrokerValue(k); !e.Null || e.Source != FromDefault || len(e.Synonyms) != 0 {
		t.Errorf("a key without a value: %+v", e)
	}
	k, _ = LookupBroker("ssl.keystore.password")
	if e := l.BrokerValue(k); !e.Null || e.Value != "" || e.Source != FromStatic || e.Synonyms[0].Value != "" {
		t.Errorf("a secret shows: %+v", e)
	}
	if v := l.BrokerValues(); v.NumPartitions != 4 || v.Rack != "r1" {
		t.Errorf("typed values: %+v", v)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		key, value string
		warns      bool
	}{{"retention.ms", "5", false}, {"max.message.bytes", "5", false}, {"compression.type", "producer", false},
		{"cleanup.policy", "compact", false}, {"cleanup.policy", "delete,compact", false}, {"cleanup.policy", "", false},
		{"compression.type", "zstd", false}, {"flush.ms", "1", false}, {"unclean.leader.election.enable", "true", true},
		{"unclean.leader.election.enable", "false", false}, {"preallocate", "true", true}} {
		k, _ := LookupTopic(c.key)
		if got := k.Warning(c.value); (got != "") != c.warns {
			t.Errorf("%s=%s warns %q", c.key, c.value, got)
		}
	}
}

func TestMarkdownNamesEveryKeyOnceInOrder(t *testing.T) {
	page := Markdown()
	for _, part := range strings.Split(page, "\n## ")[1:] {
		var names []string
		for _, line := range strings.Split(part, "\n") {
			if name, ok := strings.CutPrefix(line, "### "); ok {
				names = append(names, strings.Trim(name, "`"))
			}
		}
		if len(names) == 0 || !slices.IsSorted(names) {
			t.Errorf("section %.10q: %v", part, names)
		}
	}
	if got, want := strings.Count(page, "\n### "), len(TopicKeys())+len(BrokerKeys()); got != want {
		t.Errorf("%d keys on the page, %d in the table", got, want)
	}
	for _, line := range []string{"### `segment.bytes`", "- type: int bytes", "- values: at least 1048576",
		"- default comes from: log.retention.ms, log.retention.minutes, log.retention.hours", "- also called: node.id, broker.id",
		"- environment: `KARST_NODE_ID`", "- flag: `--node-id`", "- state: *not yet*", "- state: *no effect*", "- values: [1, 9] or -1"} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the page lacks %q", line)
		}
	}
}

func TestThrottledReplicas(t *testing.T) {
	for _, c := range []struct {
		list string
		want bool
	}{{"", false}, {"*", true}, {"3:2", true}, {"1:2,3:2", true}, {"3:1", false}, {"2:3", false}, {"1:2,33:2", false}, {"99999999999:2", false}} {
		if got := Throttles(c.list, 3, 2); got != c.want {
			t.Errorf("%q names the replica of partition 3 on node 2: %v", c.list, got)
		}
	}
}
