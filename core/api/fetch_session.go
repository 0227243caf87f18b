package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// Bounds on what fetch sessions of one shard remember.
const (
	maxSessionPartitions = 50_000  // of one session; a larger fetch gets none, and stays a full one
	maxCachedPartitions  = 500_000 // of all sessions together
	// evictAfter is how long a session is safe from being pushed out by a larger one, and after what
	// silence any may take its place (FetchSession.scala, MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS).
	evictAfter = 120 * core.Second
)

// Epochs of a fetch that is not incremental.
const (
	initialEpoch = 0
	finalEpoch   = -1
)

// sessions are the incremental fetch sessions (KIP-227) that one shard made. An id carries the shard: a
// session belongs to the node, and a fetch that comes through a connection of another shard asks the one
// that made it, twice: what is to be read, and whether the answer still counts (Host.OnDesk).
type sessions struct {
	shard  core.ShardID
	shards int
	by     map[int32]*session //det:ok looked up, never ranged
	all    []*session         // in the order of their making
	cached int                // partitions of all of them
}

// session is what a broker remembers of a client's fetches.
type session struct {
	id    int32
	epoch int32 // that the next fetch must carry
	byID  bool  // fetches v13+, by topic ids
	parts []*cachedPart
	at    map[partKey]*cachedPart //det:ok looked up, never ranged
	made  core.Mono
	used  core.Mono
}

type partKey struct {
	name  string // "" when byID
	id    wire.UUID
	index int32
}

// cachedPart is one partition of a session: what the client asked, and what it was told last.
type cachedPart struct {
	key   partKey
	name  string // of the topic, also byID; "" while the id is unknown
	ask   wire.FetchRequestPartition
	high  int64 // -1: answer in any case
	start int64
	fed   bool // the last answer had records of it
}

// shardBits is how many bits of a session id name the shard; the others are drawn.
const shardBits = 10

func (s *sessions) init(shard core.ShardID, shards int) {
	s.shard, s.shards, s.by = shard, max(shards, 1), map[int32]*session{}
}

func newCachedPart(key partKey, ask *wire.FetchRequestPartition) cachedPart {
	return cachedPart{key: key, name: key.name, ask: *ask, high: -1, start: -1}
}

// resolve finds the name of a topic id, once: like Kafka's, a session remembers what its ids were called
// and goes by the name when the topic is deleted, or made again (FetchSession.scala, CachedPartition).
func (p *cachedPart) resolve(v *meta.View) {
	if p.name != "" {
		return
	}
	if t := v.TopicByID(p.key.id); t != nil {
		p.name = t.Name
	}
}

// find is the partition, or Kafka's word for why there is none: UNKNOWN_TOPIC_ID only for an id that this
// session never knew (KafkaApis.handleFetchRequest, ReplicaManager.readFromLog).
func (p *cachedPart) find(v *meta.View, byID bool) (Part, wire.Error) {
	if p.name == "" && byID {
		return Part{}, wire.UnknownTopicId
	}
	t := v.Topic(p.name)
	switch {
	case t == nil || p.key.index < 0 || int(p.key.index) >= len(t.Partitions):
		return Part{}, wire.UnknownTopicOrPartition
	case byID && t.ID != p.key.id:
		return Part{}, wire.InconsistentTopicId
	}
	return Part{t, p.key.index}, wire.None
}

// shardOf is the shard that made the session with this id; any for an id that none made.
func (s *sessions) shardOf(id int32) core.ShardID {
	if k := core.ShardID(id & (1<<shardBits - 1)); int(k) < s.shards {
		return k
	}
	return s.shard
}

func (s *sessions) newID(rand *det.Rand) int32 {
	for {
		id := int32(rand.N(1<<(31-shardBits)))<<shardBits | int32(s.shard)&(1<<shardBits-1)
		if id != 0 && s.by[id] == nil {
			return id
		}
	}
}

// open makes a session, or answers nil when there is no room. slots is the node's setting; each shard
// has its part.
func (s *sessions) open(h Host, byID bool, parts []cachedPart, slots int64) *session {
	now := h.Now().Mono
	slots = (slots + int64(s.shards) - 1) / int64(s.shards)
	if slots <= 0 || len(parts) == 0 || len(parts) > maxSessionPartitions {
		return nil
	}
	for int64(len(s.all)) >= slots || s.cached+len(parts) > maxCachedPartitions {
		if !s.evict(now, len(parts)) {
			return nil
		}
	}
	x := &session{id: s.newID(h.Rand()), epoch: 1, byID: byID, made: now, used: now, at: map[partKey]*cachedPart{}}
	for i := range parts {
		if p := &parts[i]; x.at[p.key] == nil {
			x.at[p.key] = p
			x.parts = append(x.parts, p)
		}
	}
	s.by[x.id] = x
	s.all = append(s.all, x)
	s.cached += len(x.parts)
	return x
}

// evict makes room for a session of size partitions: first by the one that was silent longest, if it was
// long enough, else by the smallest of the old ones, if it is smaller.
func (s *sessions) evict(now core.Mono, size int) bool {
	var silent, small *session
	for _, x := range s.all {
		if now-x.used > evictAfter && (silent == nil || x.used < silent.used) {
			silent = x
		}
		if now-x.made > evictAfter && len(x.parts) < size && (small == nil || len(x.parts) < len(small.parts)) {
			small = x
		}
	}
	if silent == nil {
		silent = small
	}
	if silent == nil {
		return false
	}
	s.close(silent)
	return true
}

func (s *sessions) close(x *session) {
	delete(s.by, x.id)
	for i := range s.all {
		if s.all[i] == x {
			s.all = append(s.all[:i], s.all[i+1:]...)
			break
		}
	}
	s.cached -= len(x.parts)
}

func (s *sessions) closeID(id int32) {
	if x := s.by[id]; x != nil {
		s.close(x)
	}
}

// next takes an incremental fetch: it finds the session, checks the epoch, applies what changed and lists
// what is to be read. With nothing left to read the session ends.
func (s *sessions) next(h Host, q *wire.FetchRequest, byID bool) ([]cachedPart, wire.Error) {
	x := s.by[q.SessionId]
	switch {
	case x == nil:
		markNoSession.Hit()
		return nil, wire.FetchSessionIdNotFound
	case x.epoch != q.SessionEpoch:
		return nil, wire.InvalidFetchSessionEpoch
	case x.byID != byID:
		return nil, wire.FetchSessionTopicIdError
	}
	s.cached -= len(x.parts)
	x.forget(q.ForgottenTopicsData)
	eachFetched(q, func(key partKey, ask *wire.FetchRequestPartition) {
		if p := x.at[key]; p != nil {
			p.ask = *ask
			return
		}
		p := newCachedPart(key, ask)
		x.at[key] = &p
		x.parts = append(x.parts, &p)
	})
	s.cached += len(x.parts)
	if len(x.parts) > maxSessionPartitions || s.cached > maxCachedPartitions {
		s.close(x)
		return nil, wire.FetchSessionIdNotFound
	}
	x.epoch = nextEpoch(x.epoch)
	x.used = h.Now().Mono
	view := h.View()
	parts := make([]cachedPart, len(x.parts))
	for i, p := range x.parts {
		p.resolve(view)
		parts[i] = *p
	}
	if len(parts) == 0 {
		s.close(x)
	}
	return parts, wire.None
}

// settle notes what the client of a session is about to be told in answer to the fetch of epoch. False: a
// later fetch of the session, or a new one in its place, came before this one was answered.
func (s *sessions) settle(id, epoch int32, told []cachedPart) bool {
	x := s.by[id]
	if x == nil || x.epoch != nextEpoch(epoch) {
		return false
	}
	for i := range told {
		if p := x.at[told[i].key]; p != nil {
			p.high, p.start, p.fed = told[i].high, told[i].start, told[i].fed
		}
	}
	x.rotate()
	return true
}

func nextEpoch(e int32) int32 {
	if e == 1<<31-1 {
		return 1
	}
	return e + 1
}

func (x *session) forget(topics []wire.FetchRequestForgottenTopic) {
	gone := false
	for i := range topics {
		for _, index := range topics[i].Partitions {
			key := partKey{topics[i].Topic, topics[i].TopicId, index}
			if x.at[key] != nil {
				delete(x.at, key)
				gone = true
			}
		}
	}
	if !gone {
		return
	}
	kept := x.parts[:0]
	for _, p := range x.parts {
		if x.at[p.key] == p {
			kept = append(kept, p)
		}
	}
	clear(x.parts[len(kept):])
	x.parts = kept
}

// rotate moves the partitions that had records to the end, so that the next fetch begins with others.
func (x *session) rotate() {
	var last []*cachedPart
	kept := x.parts[:0]
	for _, p := range x.parts {
		if p.fed {
			last = append(last, p)
		} else {
			kept = append(kept, p)
		}
	}
	x.parts = append(kept, last...)
}

// tell notes what the client is about to be told and says whether it must be: records, an error, or
// another high watermark or log start than the last time.
func (p *cachedPart) tell(out *wire.FetchResponsePartition, size int64) bool {
	p.fed = size > 0
	must := p.fed || p.high != out.HighWatermark || p.start != out.LogStartOffset
	p.high, p.start = out.HighWatermark, out.LogStartOffset
	if out.ErrorCode != wire.None {
		p.high, must = -1, true
	}
	return must
}

// eachFetched visits the partitions of a fetch in order.
func eachFetched(q *wire.FetchRequest, visit func(partKey, *wire.FetchRequestPartition)) {
	for i := range q.Topics {
		t := &q.Topics[i]
		for j := range t.Partitions {
			visit(partKey{t.Topic, t.TopicId, t.Partitions[j].Partition}, &t.Partitions[j])
		}
	}
}
