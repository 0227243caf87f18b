package coord

import (
	"cmp"
	"errors"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

// stored is what the log says of one group. It exists while it has metadata or an offset, so that a
// log from which compaction took both an offset and its tombstone folds to the same state.
type stored struct {
	meta   *groupMeta // nil: only offsets, a "simple" group
	topics det.Map[string, *det.Map[int32, commit]]
}

func (s *stored) commit(topic string, partition int32) (commit, bool) {
	if offsets := s.topics.At(topic); offsets != nil {
		return offsets.Get(partition)
	}
	return commit{}, false
}

func (s *stored) put(topic string, partition int32, c commit) {
	offsets := s.topics.At(topic)
	if offsets == nil {
		offsets = &det.Map[int32, commit]{}
		s.topics.Set(topic, offsets)
	}
	offsets.Set(partition, c)
}

func (s *stored) drop(topic string, partition int32) {
	if offsets := s.topics.At(topic); offsets != nil {
		offsets.Delete(partition)
		if offsets.Len() == 0 {
			s.topics.Delete(topic)
		}
	}
}

// Apply folds one committed batch, or several behind each other, of the log: every one, in order, on
// leader and followers alike. base is the offset of the first. What it cannot read is passed over
// and counted, the same on every replica: a record kind of a later Kafka, or rubbish that somebody
// produced into the topic.
func (c *Coordinator) Apply(base core.Offset, batch []byte) {
	det.That(base >= c.applied, "coord: a batch is applied again or out of order")
	for len(batch) > 0 {
		b, rest, err := record.Next(batch)
		if err != nil {
			c.skipped++
			return
		}
		c.applied = b.LastOffset() + 1
		batch = rest
		if b.Control() {
			continue
		}
		if b.Transactional() { // would count only once its transaction commits, and none do yet
			c.skipped++
			continue
		}
		err = b.Records(func(r record.Record) bool {
			c.fold(r.Key, r.Value)
			return true
		})
		if err != nil {
			c.skipped++
		}
	}
}

// Applied is the offset behind the last batch that was folded.
func (c *Coordinator) Applied() core.Offset { return c.applied }

// Skipped counts what Apply could not read.
func (c *Coordinator) Skipped() int64 { return c.skipped }

func (c *Coordinator) fold(key, value []byte) {
	k, err := decodeKey(key)
	switch {
	case err != nil:
	case value == nil:
		c.foldTombstone(k)
	case k.isGroup:
		var meta *groupMeta
		if meta, err = decodeGroup(value); err == nil {
			meta.sort()
			c.storedFor(k.group).meta = meta
		}
	default:
		var off commit
		if off, err = decodeCommit(value); err == nil {
			c.storedFor(k.group).put(k.topic, k.partition, off)
		}
	}
	if err != nil {
		c.skipped++
		if errors.Is(err, errMalformed) {
			markMalformed.Hit()
		}
	}
}

var markMalformed = det.NewMark("coord: a record of the log did not parse")

func (c *Coordinator) storedFor(group string) *stored {
	s := c.stored.At(group)
	if s == nil {
		s = &stored{}
		c.stored.Set(group, s)
	}
	return s
}

func (c *Coordinator) foldTombstone(k recordKey) {
	s := c.stored.At(k.group)
	if s == nil {
		return
	}
	if k.isGroup {
		s.meta = nil
	} else {
		s.drop(k.topic, k.partition)
	}
	if s.meta == nil && s.topics.Len() == 0 {
		c.stored.Delete(k.group)
	}
}

// Digest hashes what the log folded to, and nothing that only a leader knows: at equal Applied it is
// equal on all replicas (I14).
func (c *Coordinator) Digest() det.Hash {
	h := det.Hash(0).I64(int64(c.stored.Len()))
	c.stored.Each(func(name string, s *stored) {
		h = s.meta.digest(h.Str(name))
		h = h.I64(int64(s.topics.Len()))
		s.topics.Each(func(topic string, offsets *det.Map[int32, commit]) {
			h = h.Str(topic).I64(int64(offsets.Len()))
			offsets.Each(func(p int32, o commit) {
				h = h.I64(int64(p)).I64(o.offset).I64(int64(o.epoch)).Str(o.meta)
				h = h.I64(o.at).I64(o.expires).Bytes(o.topicID[:])
			})
		})
	})
	return h
}

// sort orders the members by id, each once.
func (g *groupMeta) sort() {
	slices.SortStableFunc(g.members, func(a, b memberMeta) int { return cmp.Compare(a.id, b.id) })
	g.members = slices.CompactFunc(g.members, func(a, b memberMeta) bool { return a.id == b.id })
}

func (g *groupMeta) digest(h det.Hash) det.Hash {
	if g == nil {
		return h.U64(0)
	}
	h = h.U64(1).Str(g.protocolType).I64(int64(g.generation)).I64(g.since)
	h = digestNullable(digestNullable(h, g.protocol), g.leader).I64(int64(len(g.members)))
	for i := range g.members {
		m := &g.members[i]
		h = digestNullable(h.Str(m.id), m.instance).Str(m.clientID).Str(m.clientHost)
		h = h.I64(int64(m.rebalance)).I64(int64(m.session)).Bytes(m.meta).Bytes(m.assignment)
	}
	return h
}

func digestNullable(h det.Hash, s *string) det.Hash {
	if s == nil {
		return h.U64(0)
	}
	return h.U64(1).Str(*s)
}
