package api

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/mut"
	"github.com/karst-stream/karst/core/wire"
)

// CreateTopics: v2-7
//
// Behaviour:
//   - Each topic is a command of its own to the metadata leader, wherever that is. The answer leaves when
//     every partition made has a leader, or at timeout_ms; a topic that was made is a success either way.
//   - validate_only runs the same code on this node's view and changes nothing.
//   - A name that is in the request twice is INVALID_REQUEST, once for both, as in Kafka.
//
// Version notes:
//   - v5: partitions, replication factor and the settings in force are in the answer (KIP-525). They are
//     never null: Java's admin client fails on that. v7: topic id.
//
// Left out: quotas on topics made (v6, KIP-599).
func createTopics(r *request, body wire.Message) {
	q := body.(*wire.CreateTopicsRequest)
	c := &creating{r: r, q: q}
	times := map[string]int{} //det:ok looked up, never ranged
	for i := range q.Topics {
		times[q.Topics[i].Name]++
	}
	c.resp.Topics = make([]wire.CreateTopicsResponseTopic, 0, len(q.Topics))
	for i := range q.Topics {
		name := q.Topics[i].Name
		if times[name] == 0 {
			continue // its error is in the answer
		}
		out := wire.NewCreateTopicsResponseTopic()
		out.Name, out.Configs = name, []wire.CreateTopicsResponseConfig{}
		if times[name] > 1 {
			times[name] = 0
			out.ErrorCode, out.ErrorMessage = wire.InvalidRequest, messageOr("Duplicate topic name.", 0)
		}
		c.resp.Topics = append(c.resp.Topics, out)
		c.asks = append(c.asks, &q.Topics[i])
	}
	inTurn(len(c.asks), c.create, c.lead)
}

// creating is a CreateTopics on its way.
type creating struct {
	r     *request
	q     *wire.CreateTopicsRequest
	asks  []*wire.CreateTopicsRequestTopic // beside resp.Topics
	resp  wire.CreateTopicsResponse
	fresh []core.GroupID
}

func (c *creating) create(i int, one func()) {
	ask, out := c.asks[i], &c.resp.Topics[i]
	if out.ErrorCode != wire.None {
		one()
		return
	}
	cmd, code, why := c.command(ask)
	if code != wire.None {
		out.ErrorCode, out.ErrorMessage = code, &why
		one()
		return
	}
	if c.q.ValidateOnly {
		res := c.r.h().View().Check(cmd)
		res.TopicID = [16]byte{}
		c.made(out, cmd, res, AdminOK)
		one()
		return
	}
	if mut.On("M30") { // the answer does not wait for the metadata log
		c.r.h().Admin(cmd, c.q.TimeoutMs, func(meta.Result, AdminErr) {})
		c.made(out, cmd, c.r.h().View().Check(cmd), AdminOK)
		one()
		return
	}
	c.r.admin(cmd, c.q.TimeoutMs, func(res meta.Result, e AdminErr) {
		c.made(out, cmd, res, e)
		if e == AdminOK && res.Code == meta.Done {
			c.fresh = append(c.fresh, groupsOf(res)...)
		}
		one()
	})
}

// command makes what the metadata leader decides; what it cannot express is refused here.
func (c *creating) command(ask *wire.CreateTopicsRequestTopic) (*meta.CreateTopic, wire.Error, string) {
	cmd := newTopic(c.r.h(), ask.Name)
	assigned, why := assignments(ask.Assignments)
	if why != "" {
		return nil, wire.InvalidReplicaAssignment, why
	}
	if cmd.Assignment = assigned; len(assigned) > 0 {
		cmd.Partitions, cmd.Replication = -1, -1
	}
	if ask.NumPartitions != -1 {
		cmd.Partitions = ask.NumPartitions
	}
	if ask.ReplicationFactor != -1 {
		cmd.Replication = ask.ReplicationFactor
	}
	for _, kv := range ask.Configs {
		if kv.Value == nil {
			return nil, wire.InvalidConfig, "Null value not supported for topic configs: " + kv.Name
		}
		cmd.Configs = append(cmd.Configs, config.KV{Key: kv.Name, Value: *kv.Value})
	}
	return cmd, wire.None, ""
}

// assignments sorts replicas by partition: the numbers must be 0, 1, 2 and so on, in any order.
func assignments(given []wire.CreateTopicsRequestAssignment) ([][]core.NodeID, string) {
	out := make([][]core.NodeID, len(given))
	for i := range given {
		p := given[i].PartitionIndex
		if p < 0 || int(p) >= len(given) {
			return nil, "partitions should be a consecutive 0-based integer sequence"
		}
		if out[p] != nil {
			return nil, "Found multiple manual partition assignments for partition " + strconv.Itoa(int(p))
		}
		out[p] = coreNodes(given[i].BrokerIds)
	}
	return out, ""
}

func coreNodes(ids []int32) []core.NodeID {
	out := make([]core.NodeID, len(ids))
	for i, id := range ids {
		out[i] = core.NodeID(id)
	}
	return out
}

// made fills in how it went.
func (c *creating) made(out *wire.CreateTopicsResponseTopic, cmd *meta.CreateTopic, res meta.Result, e AdminErr) {
	if out.ErrorCode, out.ErrorMessage = adminError(res, e); out.ErrorCode != wire.None {
		return
	}
	out.TopicId, out.NumPartitions, out.ReplicationFactor = res.TopicID, res.Partitions, res.Replication
	own, err := config.ValidateTopic(cmd.Configs)
	if err != nil {
		return // Check, or the metadata leader, found nothing wrong: it runs a newer release
	}
	l := c.r.h().View().Layers(nil, c.r.node(), c.r.h().Static())
	l.Topic = own
	for _, k := range config.TopicKeys() {
		v := l.TopicValue(k)
		out.Configs = append(out.Configs, wire.CreateTopicsResponseConfig{Name: k.Name, Value: shown(v.Value, v.Null),
			ConfigSource: int8(v.Source), IsSensitive: k.Sensitive})
	}
}

// shown is a value as messages carry it.
func shown(v string, null bool) *string {
	if null {
		return nil
	}
	return &v
}

func (c *creating) lead() {
	c.r.awaitLeaders(c.fresh, core.Mono(c.q.TimeoutMs)*core.Millisecond, func() { c.r.answer(&c.resp) })
}
