package api

import (
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// DescribeConfigs: v1-4
//
// Behaviour:
//   - Topics (2) and brokers (4), every key of the table with value, source, synonyms, type and
//     documentation; keys that nothing acts on yet say so in their documentation.
//   - A broker describes itself only, or "" for what is set dynamically for all brokers.
//   - Sensitive values are null.
//   - Shows what was changed through any node before the request came.
//
// Version notes:
//   - v1: sources and synonyms. v3: type and documentation. v2, v4 changed nothing but the encoding.
//
// Left out: loggers (8), client metrics (16), groups (32): INVALID_REQUEST.
func describeConfigs(r *request, body wire.Message) {
	r.fresh(func() { r.describeConfigs(body.(*wire.DescribeConfigsRequest)) })
}

func (r *request) describeConfigs(q *wire.DescribeConfigsRequest) {
	resp := &wire.DescribeConfigsResponse{Results: make([]wire.DescribeConfigsResponseResult, len(q.Resources))}
	for i := range q.Resources {
		res := &q.Resources[i]
		out := &resp.Results[i]
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		out.Configs = []wire.DescribeConfigsResponseConfig{}
		var values []config.Effective
		var err wire.Error
		var why string
		switch meta.Resource(res.ResourceType) {
		case meta.TopicResource:
			values, err, why = r.topicConfigs(res)
		case meta.BrokerResource:
			values, err, why = r.brokerConfigs(res)
		default:
			err, why = wire.InvalidRequest, "Unsupported resource type: "+strconv.Itoa(int(res.ResourceType))
		}
		if err != wire.None {
			out.ErrorCode, out.ErrorMessage = err, messageOr(why, err)
			continue
		}
		for j := range values {
			if name := asked(res.ConfigurationKeys, values[j].Key); name != "" {
				out.Configs = append(out.Configs, describedConfig(q, name, &values[j]))
			}
		}
	}
	r.answer(resp)
}

func (r *request) topicConfigs(res *wire.DescribeConfigsRequestResource) ([]config.Effective, wire.Error, string) {
	if why := meta.CheckName(res.ResourceName); why != "" {
		return nil, wire.InvalidTopicException, why
	}
	view := r.h().View()
	t := view.Topic(res.ResourceName)
	if t == nil {
		return nil, wire.UnknownTopicOrPartition, ""
	}
	l := view.Layers(t, r.node(), r.h().Static())
	out := make([]config.Effective, 0, len(config.TopicKeys()))
	for _, k := range config.TopicKeys() {
		out = append(out, l.TopicValue(k))
	}
	return out, wire.None, ""
}

func (r *request) brokerConfigs(res *wire.DescribeConfigsRequestResource) ([]config.Effective, wire.Error, string) {
	view := r.h().View()
	l := view.Layers(nil, r.node(), r.h().Static())
	if res.ResourceName == "" {
		l = config.Layers{Cluster: view.ClusterConfigs}
	} else if id, err := strconv.ParseInt(res.ResourceName, 10, 32); err != nil {
		return nil, wire.InvalidRequest, "Broker id must be an integer, but it is: " + res.ResourceName
	} else if id != int64(r.node()) {
		return nil, wire.InvalidRequest, "Unexpected broker id, expected " + strconv.Itoa(int(r.node())) +
			" or empty string, but received " + res.ResourceName
	}
	out := make([]config.Effective, 0, len(config.BrokerKeys()))
	for _, k := range config.BrokerKeys() {
		if v := l.BrokerValue(k); res.ResourceName != "" || v.Source == config.FromCluster {
			out = append(out, v)
		}
	}
	return out, wire.None, ""
}

func describedConfig(q *wire.DescribeConfigsRequest, name string,
	v *config.Effective) wire.DescribeConfigsResponseConfig {
	out := wire.DescribeConfigsResponseConfig{Name: name, Value: shown(v.Value, v.Null), ReadOnly: v.Key.ReadOnly,
		ConfigSource: int8(v.Source), IsSensitive: v.Key.Sensitive, ConfigType: int8(v.Key.Type)}
	if q.IncludeSynonyms {
		for _, s := range v.Synonyms {
			out.Synonyms = append(out.Synonyms, wire.DescribeConfigsResponseSynonym{Name: s.Name,
				Value: shown(s.Value, v.Key.Sensitive), Source: int8(s.Source)})
		}
	}
	if q.IncludeDocumentation {
		doc := v.Key.Documentation()
		out.Documentation = &doc
	}
	return out
}

// asked is the name by which a list of keys asks for k: its own or, for brokers, another of the same; ""
// when it does not. An empty list asks for all.
func asked(keys []string, k *config.Key) string {
	if len(keys) == 0 {
		return k.Name
	}
	i := slices.IndexFunc(keys, func(name string) bool {
		return name == k.Name || k.Scope != config.Topic && slices.Contains(k.Kafka, name)
	})
	if i < 0 {
		return ""
	}
	return keys[i]
}
