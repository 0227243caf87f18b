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

// TopicDeleted drops the offsets that groups committed for the named topics, but those of a topic that has
// the name by now. Only a leader does; the others learn it from the log.
func (c *Coordinator) TopicDeleted(now core.Now, names []string) {
	sorted := slices.Sorted(slices.Values(names))
	c.drop(now, func(k recordKey, id TopicID) bool {
		_, found := slices.BinarySearch(sorted, k.topic)
		return found && (id == TopicID{} || c.gone(k.topic, id))
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
