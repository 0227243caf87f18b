package api

import (
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// ask gives req to the coordinator of a group. What cannot be asked is answered by coord.Refuse, so that
// each key has one way to write an error. done is not called when the request is gone.
func ask[T any](r *request, group string, req any, done func(resp T)) {
	r.h().Coordinate(group, req, func(resp any, err replica.Outcome) {
		if !r.acting() {
			return
		}
		if err != replica.OK {
			resp = coord.Refuse(req, int16(coordinatorError(err)))
		}
		t, ok := resp.(T)
		det.That(ok, "api: a coordinator answers in kind")
		done(t)
	})
}

// known says what is wrong with a partition that a group names by its topic's name.
func (r *request) known(topic string, index int32) wire.Error {
	t := r.h().View().Topic(topic)
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return wire.UnknownTopicOrPartition
	}
	return wire.None
}

// nameOf is the name of the topic that a request names, by id where the version has ids; "" when unknown.
func (r *request) nameOf(name string, id wire.UUID, byID bool) string {
	if !byID {
		return name
	}
	if t := r.h().View().TopicByID(id); t != nil {
		return t.Name
	}
	return ""
}
