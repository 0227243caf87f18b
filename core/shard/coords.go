package shard

import (
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/seg"
)

// coordinator is the machine of one partition of __consumer_offsets, and its clock.
type coordinator struct {
	c     *coord.Coordinator
	timer det.Timer
	term  core.Term // that it leads in, or is about to; 0: none
}

// attachCoordinator gives a replica of __consumer_offsets its machine.
func (s *Shard) attachCoordinator(h *hosted) {
	if !strings.HasPrefix(h.dir, meta.OffsetsTopic+"-") {
		return
	}
	v := &s.values
	co := &coordinator{}
	co.c = coord.New(coord.Config{InitialRebalanceMillis: v.RebalanceDelayMs, MinSessionMillis: v.MinSessionTimeoutMs,
		MaxSessionMillis: v.MaxSessionTimeoutMs, GroupMaxSize: int(v.GroupMaxSize), OffsetMetadataMax: int(v.OffsetMetadataMaxBytes),
		Topic: func(name string) (id coord.TopicID, ok bool) {
			if t := s.view.Topic(name); t != nil {
				return t.ID, true
			}
			return id, false
		},
		Append: func(recs []coord.KeyValue, settled func(core.Now, coord.Outcome)) { s.appendRecords(h, recs, settled) },
	}, uint64(det.Hash(0).U64(s.cfg.Seed).U64(uint64(h.group))))
	co.timer.Fire = func(int64) {
		co.c.Tick(s.now)
		s.armCoordinator(co)
	}
	h.coord = co
	h.r.Attach(co.c)
}

func (s *Shard) detachCoordinator(h *hosted) {
	if h.coord != nil {
		h.coord.c.Resign()
		s.timers.Stop(&h.coord.timer)
		h.coord = nil
	}
}

func (s *Shard) armCoordinator(co *coordinator) {
	if at := co.c.Wake(); at < core.Never {
		s.timers.Arm(&co.timer, int64(max(at, s.now.Mono)))
	} else {
		s.timers.Stop(&co.timer)
	}
}

// appendRecords makes one batch of what a coordinator wants to remember.
func (s *Shard) appendRecords(h *hosted, recs []coord.KeyValue, settled func(core.Now, coord.Outcome)) {
	if h.full() {
		markCoordFull.Hit()
		settled(s.now, coord.NotAppended) // somebody with room will coordinate, or nobody has any
		return
	}
	var b record.Builder
	for _, kv := range recs {
		b.Append(record.Record{Key: kv.Key, Value: kv.Value, Timestamp: s.now.Wall})
	}
	h.r.Propose(b.Build(), func(res replica.Result) {
		switch res.Err {
		case replica.OK:
			h.r.Caught(res.Base+core.Offset(len(recs)), func() {
				settled(s.now, coord.Committed)
				if h.coord != nil {
					s.armCoordinator(h.coord)
				}
			})
		case replica.TimedOut, replica.StorageError:
			settled(s.now, coord.Unknown)
		default:
			settled(s.now, coord.NotAppended)
		}
	})
}

// coordChanged follows the leadership of a partition of __consumer_offsets.
func (s *Shard) coordChanged(h *hosted, i *replica.Info) {
	co := h.coord
	if co == nil {
		return
	}
	if co.term != 0 && (!i.Leads || i.Term != co.term) {
		markCoordLost.Hit()
		co.term = 0
		co.c.Resign()
		s.timers.Stop(&co.timer)
	}
	if i.Leads && co.term == 0 && h.r.MayRead() == replica.OK {
		co.term = i.Term
		term := i.Term
		h.r.Caught(h.r.High(), func() {
			if h.coord == co && co.term == term && !co.c.Leading() {
				co.c.Lead(s.now, term)
				s.armCoordinator(co)
				s.sweepOffsets(h, co, term)
			}
		})
	}
}

// sweepOffsets drops the offsets of topics that were deleted, and maybe made again, while nobody led. A topic
// that this node's metadata does not show may as well be one that it has not heard of yet: after a restart it
// knows none. So nothing goes before the metadata is no older than the leadership.
func (s *Shard) sweepOffsets(h *hosted, co *coordinator, term core.Term) {
	if !co.c.Stale() {
		return
	}
	markUnsure.Hit()
	s.Fresh(func(ok bool) {
		if h.coord != co || co.term != term || !co.c.Leading() {
			return
		}
		if !ok {
			s.sweepOffsets(h, co, term)
			return
		}
		co.c.Sweep(s.now)
		s.armCoordinator(co)
	})
}

var markUnsure = det.NewMark("shard: a new coordinator held offsets of topics that its node did not know")

// topicGone drops the committed offsets of a deleted topic.
func (s *Shard) topicGone(t *meta.Topic) {
	for _, g := range s.groups.Keys() {
		if h := s.groups.At(g); h.coord != nil && h.coord.c.Leading() {
			h.coord.c.TopicDeleted(s.now, t.Name, t.ID)
			s.armCoordinator(h.coord)
		}
	}
}

// CoordinatorOf is the partition that a group belongs to: Java's String.hashCode, as in Kafka's
// GroupCoordinatorService.partitionFor.
func (s *Shard) CoordinatorOf(group string) (api.Part, bool) {
	t := s.view.Topic(meta.OffsetsTopic)
	if t == nil {
		return api.Part{}, false
	}
	return api.Part{Topic: t, Index: int32(uint32(javaHash(group)) & 0x7fffffff % uint32(len(t.Partitions)))}, true
}

// javaHash is String.hashCode: over UTF-16 code units.
func javaHash(s string) (h int32) {
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + int32(0xD800+r>>10)
			r = 0xDC00 + r&0x3ff
		}
		h = 31*h + int32(r)
	}
	return h
}

// Coordinate serves req where the group's coordinator is; see api.Host.
func (s *Shard) Coordinate(group string, req any, done func(any, replica.Outcome)) {
	p, ok := s.CoordinatorOf(group)
	if !ok {
		done(nil, replica.NotLeader)
		return
	}
	from, g := s.cfg.Shard, p.Group()
	s.on(s.ownerOf(p), func(t *Shard) {
		t.coordinate(t.groups.At(g), req, func(resp any, err replica.Outcome) {
			t.on(from, func(*Shard) { done(resp, err) })
		})
	})
}

func (s *Shard) coordinate(h *hosted, req any, done func(any, replica.Outcome)) {
	if h == nil || h.coord == nil {
		done(nil, replica.NotLeader)
		return
	}
	if err := h.r.MayRead(); err != replica.OK {
		if err == replica.NotAvailable {
			err = replica.Loading
		}
		done(nil, err)
		return
	}
	if !h.coord.c.Leading() {
		markLoading.Hit()
		done(nil, replica.Loading)
		return
	}
	serve := func() {
		h.coord.c.Handle(s.now, req, func(resp any) { done(resp, replica.OK) })
		s.armCoordinator(h.coord)
	}
	// What only reads must not be answered by a coordinator that was deposed without knowing it.
	if readsOnly(req) {
		served := serve
		serve = func() {
			h.r.Linear(func(err replica.Outcome) {
				if err != replica.OK || h.coord == nil || !h.coord.c.Leading() {
					markUnproved.Hit()
					done(nil, replica.NotLeader)
					return
				}
				served()
			})
		}
	}
	if !h.coord.c.Doubts(req) {
		serve()
		return
	}
	s.Fresh(func(ok bool) {
		if !ok || h.coord == nil {
			done(nil, replica.Loading)
			return
		}
		s.guard(h, serve)
	})
}

// readsOnly says whether req is answered from what is committed, without writing.
func readsOnly(req any) bool {
	switch req.(type) {
	case *coord.OffsetFetchRequest, *coord.DescribeRequest, *coord.ListRequest:
		return true
	}
	return false
}

// CoordinateAll asks every coordinator of this node; see api.Host.
func (s *Shard) CoordinateAll(req any, done func([]any, replica.Outcome)) {
	t := s.view.Topic(meta.OffsetsTopic)
	if t == nil {
		done(nil, replica.OK)
		return
	}
	resps := make([]any, len(t.Partitions))
	left, worst := 1, replica.OK
	end := func() {
		if left--; left == 0 {
			kept := resps[:0]
			for _, r := range resps {
				if r != nil {
					kept = append(kept, r)
				}
			}
			done(kept, worst)
		}
	}
	for i := range t.Partitions {
		if l := s.leaders[t.Partitions[i].Group]; l.Leader != s.cfg.Node {
			continue
		}
		left++
		p := api.Part{Topic: t, Index: int32(i)}
		from, g := s.cfg.Shard, p.Group()
		s.on(s.ownerOf(p), func(o *Shard) {
			o.coordinate(o.groups.At(g), req, func(resp any, err replica.Outcome) {
				o.on(from, func(*Shard) {
					if err == replica.Loading {
						worst = err
					}
					resps[i] = resp
					end()
				})
			})
		})
	}
	end()
}

func (s *Shard) ownerOf(p api.Part) core.ShardID {
	g := p.Group()
	if k, ok := s.owners[g]; ok {
		return k
	}
	k := shardOf(g, hashDir(seg.Dir(p.Topic.Name, p.Index)), s.cfg.Shards)
	s.owners[g] = k
	return k
}
