package api

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// AlterConfigs: v0-2
//
// Behaviour:
//   - Replaces all own settings of a topic (2), of a broker, or of all brokers (4, name ""): what is not
//     named is deleted. The list of what to delete is that of this node's view; a change that is decided
//     between is not undone.
//   - validate_only runs the same code on this node's view and changes nothing.
//   - A resource that is in the request twice is INVALID_REQUEST; so is a null value.
//
// Version notes: v1 and v2 changed nothing but the encoding.
//
// Left out: loggers and groups: INVALID_REQUEST. Prefer IncrementalAlterConfigs.
func alterConfigs(r *request, body wire.Message) {
	q := body.(*wire.AlterConfigsRequest)
	resp := &wire.AlterConfigsResponse{Responses: make([]wire.AlterConfigsResponseResource, len(q.Resources))}
	a := &altering{r: r, validate: q.ValidateOnly, seen: map[partKey]int{}}
	for i := range q.Resources {
		a.count(q.Resources[i].ResourceType, q.Resources[i].ResourceName)
	}
	inTurn(len(q.Resources), func(i int, one func()) {
		res, out := &q.Resources[i], &resp.Responses[i]
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		cmd := &meta.AlterConfigs{Resource: meta.Resource(res.ResourceType), Name: res.ResourceName}
		null := ""
		for _, c := range res.Configs {
			if c.Value == nil {
				null = c.Name
			}
			cmd.Ops = append(cmd.Ops, meta.ConfigOp{Key: c.Name, Op: meta.Set, Value: text(c.Value)})
		}
		for _, kv := range a.own(cmd) {
			if !named(cmd.Ops, kv.Key) {
				cmd.Ops = append(cmd.Ops, meta.ConfigOp{Key: kv.Key, Op: meta.Delete})
			}
		}
		a.alter(cmd, null, func(code wire.Error, why *string) {
			out.ErrorCode, out.ErrorMessage = code, why
			one()
		})
	}, func() { r.answer(resp) })
}

// named says whether ops name key, by its name or another name of the same.
func named(ops []meta.ConfigOp, key string) bool {
	for _, op := range ops {
		if op.Key == key {
			return true
		}
		if k, ok := config.LookupBroker(op.Key); ok && k.Name == key {
			return true
		}
	}
	return false
}

// alterTimeout is how long, in ms, a change of settings may take: the requests have no timeout.
const alterTimeout = 30_000

// altering is what AlterConfigs and IncrementalAlterConfigs have in common.
type altering struct {
	r        *request
	validate bool
	seen     map[partKey]int //det:ok looked up, never ranged
}

func (a *altering) count(kind int8, name string) { a.seen[partKey{name: name, index: int32(kind)}]++ }

// own are the settings that a resource has now.
func (a *altering) own(cmd *meta.AlterConfigs) []config.KV {
	view := a.r.h().View()
	switch {
	case cmd.Resource == meta.TopicResource:
		if t := view.Topic(cmd.Name); t != nil {
			return t.Configs
		}
	case cmd.Resource == meta.BrokerResource && cmd.Name == "":
		return view.ClusterConfigs
	case cmd.Resource == meta.BrokerResource:
		if id, err := strconv.ParseInt(cmd.Name, 10, 32); err == nil {
			return view.BrokerConfigs(core.NodeID(id))
		}
	}
	return nil
}

// alter has one change decided; null is a key without a value where one is needed, or "".
func (a *altering) alter(cmd *meta.AlterConfigs, null string, done func(wire.Error, *string)) {
	refuse := func(why string) { done(wire.InvalidRequest, &why) }
	switch {
	case a.seen[partKey{name: cmd.Name, index: int32(int8(cmd.Resource))}] > 1:
		refuse("Each resource must appear at most once.")
	case cmd.Resource != meta.TopicResource && cmd.Resource != meta.BrokerResource:
		refuse("Unsupported resource type " + strconv.Itoa(int(int8(cmd.Resource))))
	case null != "":
		refuse("Null value not supported for : " + null)
	case a.validate:
		done(adminError(a.r.h().View().Check(cmd), AdminOK))
	default:
		a.r.admin(cmd, alterTimeout, func(res meta.Result, e AdminErr) { done(adminError(res, e)) })
	}
}
