package api

import (
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// DeleteTopics: v1-6
//
// Behaviour:
//   - Each topic is a command of its own to the metadata leader. The answer leaves when this node's view
//     has them no more.
//   - delete.topic.enable=false: TOPIC_DELETION_DISABLED (before v3 INVALID_REQUEST).
//   - A topic that is named twice is INVALID_REQUEST.
//
// Version notes:
//   - v5: error message. v6: by name or by id, not both; an unknown id is UNKNOWN_TOPIC_ID.
//
// Left out: nothing.
func deleteTopics(r *request, body wire.Message) {
	q := body.(*wire.DeleteTopicsRequest)
	asks := q.Topics
	if r.version() < 6 {
		asks = make([]wire.DeleteTopicsRequestTopic, len(q.TopicNames))
		for i := range q.TopicNames {
			asks[i].Name = &q.TopicNames[i]
		}
	}
	resp := &wire.DeleteTopicsResponse{Responses: make([]wire.DeleteTopicsResponseTopic, len(asks))}
	seen := map[partKey]bool{} //det:ok looked up, never ranged
	cmds, whys := make([]*meta.DeleteTopic, len(asks)), make([]string, len(asks))
	for i := range asks {
		out := &resp.Responses[i]
		out.Name, out.TopicId = asks[i].Name, asks[i].TopicId
		cmds[i], whys[i] = r.deletion(out)
		key := partKey{name: text(out.Name), id: out.TopicId}
		if whys[i] == "" && seen[key] {
			whys[i] = "Duplicate topic name."
		}
		seen[key] = true
	}
	inTurn(len(asks), func(i int, one func()) {
		out, why := &resp.Responses[i], whys[i]
		switch {
		case r.h().Setting("delete.topic.enable") != "true":
			out.ErrorCode = wire.TopicDeletionDisabled
			if r.version() < 3 {
				out.ErrorCode = wire.InvalidRequest
			}
			out.ErrorMessage = messageOr("Topic deletion is disabled.", 0)
			one()
		case why != "":
			out.ErrorCode, out.ErrorMessage = wire.InvalidRequest, &why
			one()
		default:
			r.admin(cmds[i], q.TimeoutMs, func(res meta.Result, e AdminErr) {
				out.ErrorCode, out.ErrorMessage = adminError(res, e)
				one()
			})
		}
	}, func() { r.answer(resp) })
}

// deletion is the command for one topic. It fills in the name or the id that the request left out, so
// that two ways to name a topic are one.
func (r *request) deletion(out *wire.DeleteTopicsResponseTopic) (*meta.DeleteTopic, string) {
	none := wire.UUID{}
	view := r.h().View()
	switch {
	case out.Name != nil && out.TopicId != none:
		return nil, "You may not specify both topic name and topic id."
	case out.Name == nil && out.TopicId == none:
		return nil, "Neither topic name nor id were specified."
	case out.Name != nil:
		cmd := &meta.DeleteTopic{Name: *out.Name}
		if cmd.Name == "" { // to the command that would mean "by id"
			return nil, meta.CheckName("")
		}
		if t := view.Topic(*out.Name); t != nil {
			out.TopicId = t.ID
		}
		return cmd, ""
	}
	if t := view.TopicByID(out.TopicId); t != nil {
		out.Name = &t.Name
	}
	return &meta.DeleteTopic{ID: out.TopicId}, ""
}
