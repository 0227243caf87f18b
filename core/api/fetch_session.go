package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
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

// sessions are the incremental fetch sessions (KIP-227) of one shard. An id carries the shard, so that an
// id brought to another shard is unknown there for certain: FETCH_SESSION_ID_NOT_FOUND, after which
// clients begin a new session.
type sessions struct {
	shard  core.ShardID
	shards int
	by     map[int32]*session //det:ok looked up, never ranged
	all    []*session         // in the order of their making
	cached int                // partitions of all of them
}

// session is what a broker remembers of a client's fetches.
type session struct {
	id     int32
	epoch  int32 // that the next fetch must carry
	byID   bool  // fetches v13+, by topic ids
	parts  []*cachedPart
	at     map[partKey]*cachedPart //det:ok looked up, never ranged
	made   core.Mono
	used   core.Mono
	closed bool
}

type partKey struct {
	name  string // "" when byID
	id    wire.UUID
	index int32
}

// cachedPart is one partition of a session: what the client asked, and what it was told last.
type cachedPart struct {
	key   partKey
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
func (s *sessions) open(h Host, byID bool, parts []*cachedPart, slots int64) *session {
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
	for _, p := range parts {
		if x.at[p.key] == nil {
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
	x.closed = true
}

// next takes an incremental fetch: it finds the session, checks the epoch and applies what changed.
func (s *sessions) next(h Host, q *wire.FetchRequest, byID bool) (*session, wire.Error) {
	x := s.by[q.SessionId]
	switch {
	case x == nil:
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
		p := &cachedPart{key: key, ask: *ask, high: -1, start: -1}
		x.at[key] = p
		x.parts = append(x.parts, p)
	})
	s.cached += len(x.parts)
	if len(x.parts) > maxSessionPartitions || s.cached > maxCachedPartitions {
		s.close(x)
		return nil, wire.FetchSessionIdNotFound
	}
	x.epoch = nextEpoch(x.epoch)
	x.used = h.Now().Mono
	return x, wire.None
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
func (x *session) rotate(fed func(*cachedPart) bool) {
	var last []*cachedPart
	kept := x.parts[:0]
	for _, p := range x.parts {
		if fed(p) {
			last = append(last, p)
		} else {
			kept = append(kept, p)
		}
	}
	x.parts = append(kept, last...)
}

// tell notes what the client is about to be told and says whether it must be: records, an error, or
// another high watermark or log start than the last time.
func (p *cachedPart) tell(out *wire.FetchResponsePartition) bool {
	must := out.Records.Len > 0 || p.high != out.HighWatermark || p.start != out.LogStartOffset
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
