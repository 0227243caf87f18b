// Package config owns the one table of configuration keys. Everything that names a setting reads it:
// the file, the flags, KARST_* names, IncrementalAlterConfigs, the answers of DescribeConfigs and the
// reference page. It promises that a value which passed Parse is in the form that Kafka shows and
// that resolving a key over the same layers gives the same answer on every node. It refuses to hold
// any value itself, to guess at unknown names, and to say that a setting works when nothing acts on it.
//
// Defaults, ranges and synonyms are those of Apache Kafka 4.3 (LogConfig, ServerLogConfigs,
// GroupCoordinatorConfig, ServerTopicConfigSynonyms) unless a key's Doc says otherwise.
package config

import (
	"slices"
	"strings"
)

// Type is the type of a value; the numbers are those of DescribeConfigs (KIP-569).
type Type int8

const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

func (t Type) String() string {
	names := [...]string{"?", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}
	if t > 0 && int(t) < len(names) {
		return names[t]
	}
	return "?"
}

// Scope says where a key is set and whom it binds.
type Scope uint8

const (
	Node    Scope = iota + 1 // in the file, by flag or environment; fixed while the node runs
	Cluster                  // a broker key that IncrementalAlterConfigs may change, for all brokers or one
	Topic                    // a topic's own
)

func (s Scope) String() string {
	names := [...]string{"?", "node", "cluster", "topic"}
	if int(s) < len(names) {
		return names[s]
	}
	return "?"
}

// State says whether anything acts on a key.
type State uint8

const (
	Honoured State = iota
	NotYet         // known to Kafka and accepted; nothing acts on it yet
	Moot           // known to Kafka and accepted; nothing ever acts on it, and Doc says why
)

// NotYetMark ends the documentation of every key that nothing acts on yet.
const NotYetMark = "(Karst accepts this setting but does not act on it yet.)"

// Source says where a value came from; the numbers are those of DescribeConfigs.
type Source int8

const (
	FromTopic   Source = 1 // DYNAMIC_TOPIC_CONFIG
	FromBroker  Source = 2 // DYNAMIC_BROKER_CONFIG: of this broker alone
	FromCluster Source = 3 // DYNAMIC_DEFAULT_BROKER_CONFIG: of all brokers
	FromStatic  Source = 4 // STATIC_BROKER_CONFIG: file, environment, flag
	FromDefault Source = 5 // DEFAULT_CONFIG: this table
)

func (s Source) String() string {
	names := [...]string{"?", "DYNAMIC_TOPIC_CONFIG", "DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG",
		"STATIC_BROKER_CONFIG", "DEFAULT_CONFIG"}
	if s > 0 && int(s) < len(names) {
		return names[s]
	}
	return "?"
}

// Key is one setting. The table owns it; nobody changes one.
type Key struct {
	Name string // Kafka's where Kafka has it, else the file's
	// Kafka holds other names, strongest first. Of a topic key: the broker keys that give its default
	// (ServerTopicConfigSynonyms). Of a broker or node key: names that mean the same.
	Kafka     []string
	Type      Type
	Unit      string // "ms", "minutes", "hours", "bytes", or ""
	Default   string
	Null      bool // there is no value by default, and Default is ""
	Scope     Scope
	State     State
	Valid     Valid
	Doc       string
	Restart   bool // a change needs a restart of the node
	Sensitive bool // never shown
	ReadOnly  bool // IncrementalAlterConfigs refuses it
	Flag      string
	Since     string // the version of Karst that first knew it
}

// Documentation is Doc as DescribeConfigs gives it, with the mark where nothing acts on the key.
func (k *Key) Documentation() string {
	if k.State == NotYet {
		return k.Doc + " " + NotYetMark
	}
	return k.Doc
}

// Env is the environment variable of the key: KARST_ and the name in capitals.
func (k *Key) Env() string {
	return "KARST_" + strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToUpper(k.Name))
}

// WireName is the name under which DescribeConfigs lists the key: Kafka's own, where it differs from the
// one of our file ("node.id" for "node-id").
func (k *Key) WireName() string {
	if k.Scope == Node && len(k.Kafka) > 0 {
		return k.Kafka[0]
	}
	return k.Name
}

// Warning is what to tell who sets the key to v: nothing acts on it. It is empty for honoured keys
// and for values that ask for what happens anyway.
func (k *Key) Warning(v string) string {
	switch {
	case k.State == Honoured || !k.Null && v == k.Default:
		return ""
	case k.State == Moot:
		return k.Name + " is accepted but has no effect"
	}
	return k.Name + " is accepted but has no effect yet"
}

// KV is a setting as it is stored. Slices of KV are sorted by Key and hold each key once.
type KV struct{ Key, Value string }

// Find looks a key up in sorted settings.
func Find(kvs []KV, key string) (string, bool) {
	i, ok := slices.BinarySearchFunc(kvs, key, func(kv KV, key string) int { return strings.Compare(kv.Key, key) })
	if !ok {
		return "", false
	}
	return kvs[i].Value, true
}

// Sort orders settings by key. Of equal keys the last one given stays.
func Sort(kvs []KV) []KV {
	slices.SortStableFunc(kvs, func(a, b KV) int { return strings.Compare(a.Key, b.Key) })
	out := kvs[:0]
	for i := range kvs {
		if i+1 == len(kvs) || kvs[i+1].Key != kvs[i].Key {
			out = append(out, kvs[i])
		}
	}
	return out
}

// index finds keys by name and by alias. It is built once, while the package initialises.
type index struct {
	keys []*Key
	by   map[string]*Key //det:ok looked up, never ranged
}

func newIndex(tables ...[]Key) *index {
	x := &index{by: map[string]*Key{}}
	for _, table := range tables {
		for i := range table {
			k := &table[i]
			if k.Since == "" {
				k.Since = "0.1"
			}
			k.ReadOnly = k.ReadOnly || k.Scope == Node
			k.Restart = k.Restart || k.Scope == Node
			x.keys = append(x.keys, k)
			x.by[k.Name] = k
		}
	}
	slices.SortFunc(x.keys, func(a, b *Key) int { return strings.Compare(a.Name, b.Name) })
	for _, k := range x.keys {
		if k.Scope == Topic {
			continue // a topic key's other names are broker keys: not names of this index
		}
		for _, alias := range k.Kafka {
			if x.by[alias] == nil {
				x.by[alias] = k
			}
		}
	}
	return x
}

var (
	topics  = newIndex(topicTable)
	brokers = newIndex(nodeTable, brokerTable, synonymTable())
)

// TopicKeys are the keys of topics, sorted by name; do not change the slice.
func TopicKeys() []*Key { return topics.keys }

// BrokerKeys are the keys of nodes and clusters, sorted by name; do not change the slice.
func BrokerKeys() []*Key { return brokers.keys }

// LookupTopic finds a topic key.
func LookupTopic(name string) (*Key, bool) { k := topics.by[name]; return k, k != nil }

// LookupBroker finds a key of a node or of the cluster, also by an alias ("node.id" for "node-id").
func LookupBroker(name string) (*Key, bool) { k := brokers.by[name]; return k, k != nil }
