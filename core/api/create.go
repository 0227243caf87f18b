package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
)

// drawID draws the half of a topic id that the metadata machine does not make itself.
func drawID(h Host) (id [16]byte) {
	for i := 0; i < len(id); i += 8 {
		v := h.Rand().Uint64()
		for j := 0; j < 8; j++ {
			id[i+j] = byte(v >> (8 * j))
		}
	}
	return id
}

// newTopic is the command for a topic with the node's defaults.
func newTopic(h Host, name string) *meta.CreateTopic {
	return &meta.CreateTopic{Name: name, ID: drawID(h), Partitions: int32(intSetting(h, "num.partitions")),
		Replication: int16(intSetting(h, "default.replication.factor")), Live: live(h)}
}

// autoTopic is the command for a topic that a client asked for by using it.
func autoTopic(h Host, name string) *meta.CreateTopic {
	if name == meta.OffsetsTopic {
		return offsetsTopic(h)
	}
	return newTopic(h, name)
}

// offsetsTopic is the command for the topic of groups and offsets (AutoTopicCreationManager.scala,
// GroupCoordinator.groupMetadataTopicConfigs). Its replication is lowered to the nodes that there are.
func offsetsTopic(h Host) *meta.CreateTopic {
	c := newTopic(h, meta.OffsetsTopic)
	c.Partitions = int32(intSetting(h, "offsets.topic.num.partitions"))
	c.Replication = int16(min(intSetting(h, "offsets.topic.replication.factor"), int64(len(h.View().Brokers))))
	c.Configs = []config.KV{{Key: "cleanup.policy", Value: "compact"}, {Key: "compression.type", Value: "producer"},
		{Key: "segment.bytes", Value: h.Setting("offsets.topic.segment.bytes")}}
	return c
}

// admin has the metadata leader decide a command; done is not called when the request is gone.
func (r *request) admin(c meta.Command, timeout int32, done func(meta.Result, AdminErr)) {
	r.h().Admin(c, max(timeout, 0), func(res meta.Result, e AdminErr) {
		if r.acting() {
			done(res, e)
		}
	})
}

// groupsOf are the groups that a command made.
func groupsOf(res meta.Result) []core.GroupID {
	out := make([]core.GroupID, res.Added)
	for i := range out {
		out[i] = res.FirstGroup + core.GroupID(i)
	}
	return out
}
