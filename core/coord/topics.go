package coord

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
)

// A name may be that of one topic today and of another tomorrow. An offset of the first says nothing about
// the second: a group that took it would begin behind the end, or in the middle. So each offset is stored
// with the id of the topic that had its name when it was committed (Kafka stores only an id that the
// client gave, since OffsetCommit v10), and three things follow:
//
//   - a commit for a topic that the caller does not know, or that knows another id than the client, is
//     refused;
//   - an offset of another id than the topic has now is not shown;
//   - it is removed by a tombstone when the caller tells of the deletion, or finds out on becoming leader.
//
// Offsets without an id are those of older logs and those that bring their own retention, whose format has
// no room for one; they go only with TopicDeleted, and while their name is unknown.

var (
	markNamesake  = det.NewMark("coord: an offset of an earlier topic of the same name was not shown")
	markOldCommit = det.NewMark("coord: a commit for a topic that is gone was refused")
)

// put is an offset that a write sets, and the topic id that it sets with it.
type put struct {
	recordKey
	id TopicID
}

// other says whether two ids are known and differ (OffsetMetadataManager.isMismatchedTopicId).
func other(a, b TopicID) bool {
	none := TopicID{}
	return a != none && b != none && a != b
}

// gone says whether an offset that was committed under id is of no topic that there is.
func (c *Coordinator) gone(topic string, id TopicID) bool {
	now, ok := c.cfg.Topic(topic)
	if mut.On("M31") { // an offset belongs to a name, whatever topic has it
		return false
	}
	if ok && other(id, now) {
		markNamesake.Hit()
	}
	return !ok || other(id, now)
}

// incarnation is the id that a commit for a topic is stored with, or why it is refused.
func (c *Coordinator) incarnation(t *CommitTopic) (TopicID, int16) {
	id, ok := c.cfg.Topic(t.Topic)
	switch {
	case t.TopicID != TopicID{} && (!ok || other(id, t.TopicID)):
		markOldCommit.Hit()
		return id, errUnknownTopicID
	case !ok:
		markOldCommit.Hit()
		return id, errUnknownTopic
	}
	return id, errNone
}

// Doubts says whether what the caller knows of topics may be too old to serve req: a client that asks where its group
// begins must not be told what a namesake has, and a commit that speaks of another topic than the caller knows, or
// comes after one that did, may be of a newer one. A commit by name of which nothing shows that is taken for the topic
// that the caller knows, as Kafka does.
func (c *Coordinator) Doubts(req any) bool {
	switch r := req.(type) {
	case *OffsetFetchRequest:
		return true
	case *OffsetCommitRequest:
		s := c.stored.At(r.Group)
		for _, t := range r.Topics {
			id, ok := c.cfg.Topic(t.Topic)
			if !ok || other(id, t.TopicID) {
				return true
			}
			if s == nil || s.topics.At(t.Topic) == nil {
				continue
			}
			doubt := false
			s.topics.At(t.Topic).Each(func(_ int32, o commit) { doubt = doubt || other(id, o.topicID) })
			if doubt {
				return true
			}
		}
	}
	return false
}

// sweepRecords bounds the batch that a deleted topic causes.
const sweepRecords = 1000

// Stale says whether Sweep would find anything among what is committed.
func (c *Coordinator) Stale() bool {
	stale := false
	c.stored.Each(func(_ string, s *stored) {
		s.topics.Each(func(topic string, offsets *det.Map[int32, commit]) {
			offsets.Each(func(_ int32, o commit) { stale = stale || c.gone(topic, o.topicID) })
		})
	})
	return stale
}

// TopicDeleted drops the offsets that groups committed for a topic. Only a leader does; the others learn it from the
// log. The caller may be behind, and hear of the deletion when offsets of the next topic of that name are here already:
// so id says which one is gone.
func (c *Coordinator) TopicDeleted(now core.Now, name string, id TopicID) {
	none := TopicID{}
	c.drop(now, func(k recordKey, of TopicID) bool {
		return k.topic == name && (of == none || of == id) && !mut.On("M31")
	})
}

// Sweep drops the offsets of all topics that are gone: a new leader calls it, because a topic may have been
// deleted, and made again, while nobody led. What the caller knows of topics must not be older than the
// leadership: a topic that it has not heard of yet looks the same.
func (c *Coordinator) Sweep(now core.Now) {
	c.drop(now, func(k recordKey, id TopicID) bool { return c.gone(k.topic, id) })
}

func (c *Coordinator) drop(now core.Now, gone func(k recordKey, id TopicID) bool) {
	if !c.leading {
		return
	}
	c.enter(now)
	keys := c.offsetKeys(c.stored.Keys(), gone)
	for part := range slices.Chunk(keys, sweepRecords) {
		c.append(&write{recs: tombstones(part), then: []func(Outcome){func(Outcome) {
			for _, k := range part {
				if g := c.live.At(k.group); g != nil {
					c.forget(g)
				}
			}
		}}})
	}
	c.rest()
}
