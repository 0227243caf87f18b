package checker

import (
	"fmt"
	"slices"
)

// Topics judges what brokers say of topics (A30): an id names one topic for ever, a topic that is gone
// stays gone, one whose creation was acknowledged does not vanish, its partitions never become fewer,
// and an epoch of a partition has one leader and never falls. Metadata of Kafka may be old, so a
// broker's answers are held against its own earlier ones, and the last answer of all against the
// whole history.
type Topics struct {
	report func(Violation)
	names  map[string]string // by topic id
	made   map[string]bool   // ids that a creation answered with
	topics map[string]*topicStory
	order  []string
	chief  map[leaderKey]int64
	held   int64
}

type topicStory struct {
	created  Span  // of the last acknowledged creation
	exists   bool  // a creation was acknowledged
	deleted  bool  // a deletion was asked for
	since    int64 // when the first was
	suspects []suspect
	last     Span // the answer asked for last
	absent   bool // what it said
	asked    bool
	shown    map[shownKey]*shown
	there    map[int64][]*shown // by node: what is not gone
}

type shownKey struct {
	node int64
	id   string
}

// suspect is an answer without a topic that its broker had shown before.
type suspect struct {
	node int64
	Span
}

// shown is what one node showed of one incarnation of a topic.
type shown struct {
	node   int64
	id     string
	until  int64 // the end of the latest answer with it
	gone   bool
	goneAt int64 // the end of the first answer without it
	count  highest
	epochs map[int64]highest // by partition
}

// highest is a number that never falls, and when the answer that showed it ended.
type highest struct{ value, end int64 }

// fell takes the next answer, and says whether it must not follow the ones before.
func (h *highest) fell(value int64, s Span) bool {
	if value < h.value {
		return s.Call > h.end
	}
	if value > h.value {
		*h = highest{value, s.Ret}
	}
	return false
}

type leaderKey struct {
	topic, id        string
	partition, epoch int64
}

// NewTopics has seen nothing yet.
func NewTopics(report func(Violation)) *Topics {
	return &Topics{report: report, names: map[string]string{}, made: map[string]bool{}, topics: map[string]*topicStory{},
		chief: map[leaderKey]int64{}}
}

func (t *Topics) fail(format string, args ...any) {
	t.report(Violation{"A30", fmt.Sprintf(format, args...)})
}

func (t *Topics) story(topic string) *topicStory {
	s := t.topics[topic]
	if s == nil {
		s = &topicStory{shown: map[shownKey]*shown{}, there: map[int64][]*shown{}}
		t.topics[topic] = s
		t.order = append(t.order, topic)
		t.held += 384 + int64(len(topic))
	}
	return s
}

func (t *Topics) identify(topic, id string) {
	if id == "" {
		return
	}
	if was, ok := t.names[id]; ok && was != topic {
		t.fail("topic id %s is that of %s and of %s", id, was, topic)
	} else if !ok {
		t.names[id] = topic
		t.held += 64 + int64(len(id))
	}
}

// Created: an acknowledged creation. The id may be unknown, "".
func (t *Topics) Created(topic, id string, s Span) {
	st := t.story(topic)
	st.exists, st.created = true, s
	t.identify(topic, id)
	if id != "" && t.made[id] {
		t.fail("two creations of %s answered with the same topic id %s", topic, id)
	}
	t.made[id] = true
	t.held += 64
}

// Deleted: a deletion was asked for, and not certainly refused.
func (t *Topics) Deleted(topic string, s Span) {
	st := t.story(topic)
	if !st.deleted || s.Call < st.since {
		st.deleted, st.since = true, s.Call
	}
}

// Owed says that a topic must be there in the end, as far as was told: its creation was acknowledged, and
// nobody asked for its deletion.
func (t *Topics) Owed(topic string) bool {
	st := t.topics[topic]
	return st != nil && st.exists && !st.deleted
}

// Shown: a broker answered that a topic exists or not. Leaders may be nil.
func (t *Topics) Shown(node int64, topic, id string, exists bool, count int64, leaders []Leader, s Span) {
	st := t.story(topic)
	if !st.asked || s.Call >= st.last.Call {
		st.asked, st.last, st.absent = true, s, !exists
	}
	if exists {
		t.identify(topic, id)
	}
	there := st.there[node]
	for _, v := range there {
		if (!exists || v.id != id) && s.Call > v.until {
			v.gone, v.goneAt = true, s.Ret
			st.suspects = append(st.suspects, suspect{node, s})
			t.held += 32
		}
	}
	st.there[node] = slices.DeleteFunc(there, func(v *shown) bool { return v.gone })
	if exists {
		t.present(topic, st.by(t, node, id), count, leaders, s)
	}
}

func (st *topicStory) by(t *Topics, node int64, id string) *shown {
	k := shownKey{node, id}
	v := st.shown[k]
	if v == nil {
		v = &shown{node: node, id: id, epochs: map[int64]highest{}}
		st.shown[k] = v
		st.there[node] = append(st.there[node], v)
		t.held += 384 + int64(len(id))
	}
	return v
}

func (t *Topics) present(topic string, v *shown, count int64, leaders []Leader, s Span) {
	if v.gone && s.Call > v.goneAt {
		if v.id != "" {
			t.fail("node %d shows %s (id %s) again after it was gone", v.node, topic, v.id)
		}
		*v = shown{node: v.node, id: v.id, epochs: map[int64]highest{}}
		st := t.topics[topic]
		st.there[v.node] = append(st.there[v.node], v)
	}
	if count > 0 && v.count.fell(count, s) {
		t.fail("node %d shows %s with %d partitions, and had shown %d", v.node, topic, count, v.count.value)
	}
	v.until = max(v.until, s.Ret)
	for _, l := range leaders {
		t.leader(topic, v, l, s)
	}
}

func (t *Topics) leader(topic string, v *shown, l Leader, s Span) {
	part, node, epoch := l[0], l[1], l[2]
	if epoch < 0 || v.id == "" && t.topics[topic].deleted {
		return
	}
	h, ok := v.epochs[part]
	if !ok {
		t.held += 64
	}
	if h.fell(epoch, s) {
		t.fail("node %d shows %s/%d in leader epoch %d, and had shown %d", v.node, topic, part, epoch, h.value)
	}
	v.epochs[part] = h
	if node < 0 {
		return
	}
	key := leaderKey{topic, v.id, part, epoch}
	was, ok := t.chief[key]
	if !ok {
		t.held += 128
		t.chief[key] = node
	} else if was != node {
		t.fail("%s/%d has the leaders %d and %d in epoch %d", topic, part, was, node, epoch)
	}
}

// Finish judges what needs to know of every deletion.
func (t *Topics) Finish() {
	for _, name := range t.order {
		st := t.topics[name]
		for _, s := range st.suspects {
			if !st.deletedBy(s.Ret) {
				t.fail("node %d no longer shows %s, and nobody deleted it", s.node, name)
			}
		}
		if st.exists && st.asked && st.absent && st.last.Call > st.created.Ret && !st.deletedBy(st.last.Ret) {
			t.fail("the creation of %s was acknowledged, and the last answer does not know it", name)
		}
	}
}

func (st *topicStory) deletedBy(at int64) bool { return st.deleted && st.since <= at }
