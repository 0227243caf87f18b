package coord

import (
	"cmp"
	"slices"

	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
)

var markStaleCommit = det.NewMark("coord: a commit of an older generation was refused")

// commitOffsets serves OffsetCommit (OffsetMetadataManager.commitOffset).
func (c *Coordinator) commitOffsets(r *OffsetCommitRequest, done waiter) {
	if len(r.Group) > maxString {
		c.answer(done, refuseCommit(r, errInvalidGroupID))
		return
	}
	g := c.live.At(r.Group)
	if g == nil && r.Generation >= 0 {
		code := errIllegalGeneration
		if r.NameUnknownGroup {
			code = errGroupNotFound
		}
		c.answer(done, refuseCommit(r, code))
		return
	}
	if g == nil {
		g = c.newGroup(r.Group) // a "simple" group: offsets without members
	}
	if code := g.checkCommit(r); code != errNone {
		c.answer(done, refuseCommit(r, code))
		return
	}
	if m := g.members.At(r.Member); m != nil && (g.state == stable || g.state == preparing) {
		g.beat(m, m.session) // a commit is a sign of life
	}
	resp, w := c.commits(r)
	if len(w.recs) == 0 {
		c.answer(done, resp)
		c.forget(g)
		return
	}
	w.then = []func(Outcome){func(o Outcome) {
		if o != Committed {
			markUncommitted.Hit()
			resp = refuseCommit(r, o.code())
		}
		c.answer(done, resp)
		c.forget(g)
	}}
	c.append(w)
}

// checkCommit is ClassicGroup.validateOffsetCommit. Without members anybody may commit who claims no
// generation; with members only they may, and only in the generation that is.
func (g *group) checkCommit(r *OffsetCommitRequest) int16 {
	if r.Generation < 0 && g.state == empty {
		return errNone
	}
	if r.Generation < 0 && r.Member == "" && r.Instance == nil {
		return errUnknownMember
	}
	if code := g.check(r.Member, r.Instance); code != errNone {
		return code
	}
	if r.Generation != g.generation && !mut.On("M16") {
		markStaleCommit.Hit()
		return errIllegalGeneration
	}
	if g.state == completing {
		markCommitAmid.Hit()
		return errRebalanceInProgress
	}
	return errNone
}

// commits makes the records of what may be stored, and the answer for when they are.
func (c *Coordinator) commits(r *OffsetCommitRequest) (*OffsetCommitResponse, *write) {
	resp, w := refuseCommit(r, errNone), &write{group: r.Group}
	wall, expires := int64(c.now.Wall), int64(-1)
	if r.RetentionMillis > 0 {
		expires = wall + r.RetentionMillis
	}
	for i, t := range r.Topics {
		id, refused := c.incarnation(&t)
		for j, p := range t.Partitions {
			if refused != errNone {
				resp.Topics[i].Partitions[j].Err = refused
				continue
			}
			if c.tooLong(p.Metadata) {
				resp.Topics[i].Partitions[j].Err = errOffsetMetadataTooLarge
				continue
			}
			if len(t.Topic) > maxString {
				resp.Topics[i].Partitions[j].Err = errInvalidRequest
				continue
			}
			w.puts = append(w.puts, put{recordKey{group: r.Group, topic: t.Topic, partition: p.Partition}, id})
			w.recs = append(w.recs, KeyValue{
				Key: encodeOffsetKey(r.Group, t.Topic, p.Partition),
				Value: encodeCommit(commit{
					offset: p.Offset, epoch: p.LeaderEpoch, meta: p.Metadata,
					at: wall, expires: expires, topicID: id,
				}),
			})
		}
	}
	return resp, w
}

// tooLong counts as Java does: in UTF-16 units. What a record cannot hold is too long as well.
func (c *Coordinator) tooLong(meta string) bool {
	units := 0
	for _, r := range meta {
		units++
		if r > 0xffff {
			units++
		}
	}
	return units > c.cfg.OffsetMetadataMax || len(meta) > maxString
}

// fetchOffsets serves OffsetFetch from what is committed. An unknown group has no offsets, which is
// no error. Transactional commits, which would make an offset unstable, do not exist yet; a client
// that insists on stable ones waits for the commits that are under way.
func (c *Coordinator) fetchOffsets(r *OffsetFetchRequest, done waiter) {
	if r.RequireStable {
		if w := c.lastWrite(r.Group); w != nil {
			w.then = append(w.then, func(Outcome) {
				if c.leading {
					c.answer(done, c.committed(r))
				} else {
					c.answer(done, Refuse(r, errNotCoordinator))
				}
			})
			return
		}
	}
	c.answer(done, c.committed(r))
}

// lastWrite is the append of the group's that settles last.
func (c *Coordinator) lastWrite(group string) *write {
	for _, seq := range slices.Backward(c.inflight.Keys()) {
		if w := c.inflight.At(seq); w.group == group {
			return w
		}
	}
	return nil
}

func (c *Coordinator) committed(r *OffsetFetchRequest) *OffsetFetchResponse {
	s := c.stored.At(r.Group)
	if s == nil {
		s = &stored{}
	}
	resp := &OffsetFetchResponse{}
	if r.Topics == nil {
		s.topics.Each(func(topic string, offsets *det.Map[int32, commit]) {
			t := FetchedTopic{Topic: topic}
			offsets.Each(func(p int32, o commit) {
				if !c.gone(topic, o.topicID) {
					t.TopicID = o.topicID
					t.Partitions = append(t.Partitions, fetched(p, o))
				}
			})
			if len(t.Partitions) > 0 {
				resp.Topics = append(resp.Topics, t)
			}
		})
		return resp
	}
	for _, want := range r.Topics {
		t := FetchedTopic{Topic: want.Topic, TopicID: want.TopicID}
		for _, p := range want.Partitions {
			o, ok := s.commit(want.Topic, p)
			if !ok || other(o.topicID, want.TopicID) || c.gone(want.Topic, o.topicID) {
				o = commit{offset: -1, epoch: -1}
			}
			t.Partitions = append(t.Partitions, fetched(p, o))
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func fetched(p int32, o commit) FetchedPartition {
	return FetchedPartition{Partition: p, Offset: o.offset, LeaderEpoch: o.epoch, Metadata: o.meta}
}

// offsetKeys lists, in order, which of the offsets that the named groups have or are about to get
// pass keep, which sees the topic id that each had last. A tombstone for an offset that is still on its
// way follows it in the log.
func (c *Coordinator) offsetKeys(groups []string, keep func(k recordKey, id TopicID) bool) []recordKey {
	var puts []put
	for _, name := range groups {
		s := c.stored.At(name)
		if s == nil {
			continue
		}
		s.topics.Each(func(topic string, offsets *det.Map[int32, commit]) {
			offsets.Each(func(p int32, o commit) {
				puts = append(puts, put{recordKey{group: name, topic: topic, partition: p}, o.topicID})
			})
		})
	}
	c.inflight.Each(func(_ uint64, w *write) { puts = append(puts, w.puts...) })
	slices.SortStableFunc(puts, func(a, b put) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic),
			cmp.Compare(a.partition, b.partition))
	})
	var keys []recordKey
	for i, p := range puts {
		last := i+1 == len(puts) || puts[i+1].recordKey != p.recordKey
		if last && keep(p.recordKey, p.id) {
			keys = append(keys, p.recordKey)
		}
	}
	return keys
}

func tombstones(keys []recordKey) []KeyValue {
	recs := make([]KeyValue, 0, len(keys)+1)
	for _, k := range keys {
		recs = append(recs, KeyValue{Key: encodeOffsetKey(k.group, k.topic, k.partition)})
	}
	return recs
}

// deleteOffsets serves OffsetDelete. Of a consumer group with members, offsets of topics that nobody
// subscribes to may go.
func (c *Coordinator) deleteOffsets(r *OffsetDeleteRequest, done waiter) {
	g := c.live.At(r.Group)
	code := errNone
	switch {
	case r.Group == "":
		code = errInvalidGroupID
	case g == nil:
		code = errGroupNotFound
	case g.state != empty && (g.protocolType == nil || *g.protocolType != consumerType):
		code = errNonEmptyGroup
	}
	if code != errNone {
		c.answer(done, &OffsetDeleteResponse{Err: code})
		return
	}
	resp, gone := &OffsetDeleteResponse{}, map[recordKey]bool{} //det:ok looked up, never ranged
	for _, t := range r.Topics {
		result := TopicResult{Topic: t.Topic, TopicID: t.TopicID}
		used := g.subscribes(t.Topic)
		for _, p := range t.Partitions {
			pr := PartitionResult{Partition: p}
			if used {
				pr.Err = errSubscribedToTopic
			} else {
				gone[recordKey{group: r.Group, topic: t.Topic, partition: p}] = true
			}
			result.Partitions = append(result.Partitions, pr)
		}
		resp.Topics = append(resp.Topics, result)
	}
	keys := c.offsetKeys([]string{r.Group}, func(k recordKey, _ TopicID) bool { return gone[k] })
	if len(keys) == 0 {
		c.answer(done, resp)
		return
	}
	c.append(&write{group: r.Group, recs: tombstones(keys), then: []func(Outcome){func(o Outcome) {
		if o != Committed {
			resp = &OffsetDeleteResponse{Err: o.code()}
		}
		c.answer(done, resp)
		c.forget(g)
	}}})
}
