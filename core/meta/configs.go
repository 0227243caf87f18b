package meta

import (
	"slices"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
)

func (s *State) alterConfigs(c *AlterConfigs, dry bool) Result {
	switch c.Resource {
	case TopicResource:
		return s.alterTopic(c, dry)
	case BrokerResource:
		return s.alterBroker(c, dry)
	}
	return failed(InvalidRequest, "Unknown resource type "+strconv.Itoa(int(c.Resource)))
}

func (s *State) alterTopic(c *AlterConfigs, dry bool) Result {
	if c.Name == "" {
		return failed(InvalidRequest, "Default topic resources are not allowed.")
	}
	if why := CheckName(c.Name); why != "" {
		return failed(InvalidTopic, why)
	}
	i, ok := s.v.topicAt(c.Name)
	if !ok {
		return failed(UnknownTopic, "The topic '"+c.Name+"' does not exist.")
	}
	t := *s.v.Topics[i]
	kvs, bad := alter(t.Configs, c.Ops, config.LookupTopic)
	if bad.Code != Done {
		return bad
	}
	kvs, err := config.ValidateTopic(kvs)
	if err != nil {
		return failed(InvalidConfig, err.Error())
	}
	if !dry {
		t.Configs = kvs
		s.own(topicIndex)
		s.v.Topics[i] = t.seal()
	}
	return Result{}
}

func (s *State) alterBroker(c *AlterConfigs, dry bool) Result {
	have, id := s.v.ClusterConfigs, core.NoNode
	if c.Name != "" {
		n, err := strconv.ParseInt(c.Name, 10, 32)
		switch {
		case err != nil:
			return failed(InvalidRequest, "Unable to parse broker name as a base 10 number.")
		case n < 0:
			return failed(InvalidRequest, "Invalid negative broker ID.")
		}
		id = core.NodeID(n)
		if s.v.Broker(id) == nil {
			return failed(UnknownBroker, "No broker with id "+c.Name+" found.")
		}
		have = s.v.BrokerConfigs(id)
	}
	kvs, bad := alter(have, c.Ops, config.LookupBroker)
	if bad.Code != Done {
		return bad
	}
	kvs, err := config.ValidateDynamic(kvs)
	if err != nil {
		return failed(InvalidConfig, err.Error())
	}
	if dry {
		return Result{}
	}
	if id == core.NoNode {
		s.v.ClusterConfigs = kvs
		return Result{}
	}
	s.own(brokerIndex)
	i, ok := s.v.brokerConfigsAt(id)
	if !ok {
		s.v.brokerConfigs = slices.Insert(s.v.brokerConfigs, i, brokerConfigs{id: id})
	}
	s.v.brokerConfigs[i].kvs = kvs
	return Result{}
}

// alter is have after ops, in a fresh slice; values are not checked yet. Operations act together, as
// in ConfigurationControlManager: the same key twice is refused.
func alter(have []config.KV, ops []ConfigOp, lookup func(string) (*config.Key, bool)) ([]config.KV, Result) {
	out := slices.Clone(have)
	seen := make([]string, 0, len(ops))
	for _, op := range ops {
		key := op.Key
		k, known := lookup(op.Key)
		if known {
			key = k.Name // aliases are one key
		}
		seen = append(seen, key)
		i, set := slices.BinarySearchFunc(out, key, func(kv config.KV, key string) int {
			return strings.Compare(kv.Key, key)
		})
		value := op.Value
		switch op.Op {
		case Delete:
			if set {
				out = slices.Delete(out, i, i+1)
			}
			continue
		case Set:
		case Append, Subtract:
			if !known || k.Type != config.List {
				name := "APPEND"
				if op.Op == Subtract {
					name = "SUBTRACT"
				}
				return nil, failed(InvalidConfig, "Can't "+name+" to key "+op.Key+" because its type is not LIST.")
			}
			old := k.Default
			if set {
				old = out[i].Value
			}
			value = combine(old, op.Value, op.Op)
		default:
			return nil, failed(InvalidRequest, "Unknown operation "+strconv.Itoa(int(op.Op))+" for key "+op.Key+".")
		}
		if set {
			out[i].Value = value
		} else {
			out = slices.Insert(out, i, config.KV{Key: key, Value: value})
		}
	}
	slices.Sort(seen)
	for i := 1; i < len(seen); i++ {
		if seen[i] == seen[i-1] {
			return nil, failed(InvalidRequest, "Error due to duplicate config keys: "+seen[i])
		}
	}
	return out, Result{}
}

// combine adds the elements of more to the list old, or takes them from it.
func combine(old, more string, op OpKind) string {
	list := elements(old)
	for _, e := range elements(more) {
		i := slices.Index(list, e)
		switch {
		case op == Append && i < 0:
			list = append(list, e)
		case op == Subtract && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	return strings.Join(list, ",")
}

func elements(list string) []string {
	var out []string
	for _, e := range strings.Split(list, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}
