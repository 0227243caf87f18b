package config

import (
	"strconv"

	"github.com/karst-stream/karst/core/det"
)

// Layers are the places from which a value may come, strongest first. Each is sorted by key and holds
// parsed values (ValidateTopic, ValidateDynamic, ValidateStatic).
type Layers struct {
	Topic   []KV // the topic's own
	Broker  []KV // dynamic, of this broker
	Cluster []KV // dynamic, of all brokers
	Static  []KV // file, environment, flags
}

// Synonym is one place that has a value for a key, as DescribeConfigs lists them.
type Synonym struct {
	Name   string
	Value  string
	Source Source
}

// Effective is the value of a key under some layers.
type Effective struct {
	Key    *Key
	Value  string // "" when Null or when the key is sensitive
	Null   bool
	Source Source
	// Synonyms are all places with a value, the winner first: what a DELETE would fall back to.
	Synonyms []Synonym
}

// TopicValue resolves a topic key: the topic's own value, else that of its broker keys.
func (l *Layers) TopicValue(k *Key) Effective {
	det.That(k.Scope == Topic, "config: a topic key")
	e := Effective{Key: k, Source: FromDefault}
	if v, ok := Find(l.Topic, k.Name); ok {
		e.Synonyms = append(e.Synonyms, Synonym{k.Name, v, FromTopic})
	}
	l.brokerSynonyms(k.Kafka, &e)
	if len(e.Synonyms) == 0 {
		e.Value, e.Null = k.Default, k.Null
		return e.hide()
	}
	first := e.Synonyms[0]
	e.Source = first.Source
	e.Value = first.Value
	if first.Source != FromTopic {
		e.Value = scaled(first, k.Unit)
	}
	return e.hide()
}

// BrokerValue resolves a key of a node or of the cluster.
func (l *Layers) BrokerValue(k *Key) Effective {
	e := Effective{Key: k, Source: FromDefault}
	l.brokerSynonyms([]string{k.Name}, &e)
	if len(e.Synonyms) == 0 {
		e.Value, e.Null = k.Default, k.Null
		return e.hide()
	}
	e.Value, e.Source = e.Synonyms[0].Value, e.Synonyms[0].Source
	return e.hide()
}

// brokerSynonyms adds the places with a value for any of the names. Within a layer the order of
// names decides (log.retention.ms beats log.retention.hours); a stronger layer beats any name.
func (l *Layers) brokerSynonyms(names []string, e *Effective) {
	layers := [...]struct {
		kvs    []KV
		source Source
	}{{l.Broker, FromBroker}, {l.Cluster, FromCluster}, {l.Static, FromStatic}}
	for _, layer := range layers {
		for _, name := range names {
			if v, ok := Find(layer.kvs, name); ok {
				e.Synonyms = append(e.Synonyms, Synonym{name, v, layer.source})
			}
		}
	}
	for _, name := range names {
		if k, ok := LookupBroker(name); ok && !k.Null {
			e.Synonyms = append(e.Synonyms, Synonym{name, k.Default, FromDefault})
		}
	}
}

// hide removes what must not be shown.
func (e Effective) hide() Effective {
	if e.Key.Sensitive {
		e.Value, e.Null = "", true
		for i := range e.Synonyms {
			e.Synonyms[i].Value = ""
		}
	}
	return e
}

// scaled turns log.retention.hours and its like into the unit of the topic key.
func scaled(s Synonym, unit string) string {
	k, ok := LookupBroker(s.Name)
	if !ok || k.Unit == unit {
		return s.Value
	}
	factor := int64(1)
	switch k.Unit {
	case "minutes":
		factor = 60_000
	case "hours":
		factor = 3_600_000
	}
	n, err := strconv.ParseInt(s.Value, 10, 64)
	det.That(err == nil, "config: stored values were parsed")
	if n < 0 {
		return s.Value // -1 is "no limit" in every unit
	}
	return strconv.FormatInt(n*factor, 10)
}

func (l *Layers) textOf(x *index, name string) string {
	k := x.by[name]
	det.That(k != nil && k.Name == name, "config: asked for a key of the table")
	if k.Scope == Topic {
		return l.TopicValue(k).Value
	}
	return l.BrokerValue(k).Value
}

func (l *Layers) int64Of(x *index, name string) int64 {
	n, err := strconv.ParseInt(l.textOf(x, name), 10, 64)
	det.That(err == nil, "config: stored values were parsed")
	return n
}
