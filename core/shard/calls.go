package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
)

// The shard as the handlers of package api see it: api.Host. What is asked of a partition that lives
// in another shard goes there and comes back as mail.

func (s *Shard) Node() core.NodeID { return s.cfg.Node }
func (s *Shard) Rand() *det.Rand   { return s.rng }

// Setting is the effective value of a broker configuration key.
func (s *Shard) Setting(key string) string {
	k, ok := config.LookupBroker(key)
	if !ok {
		return ""
	}
	l := s.view.Layers(nil, s.cfg.Node, s.cfg.Static)
	return l.BrokerValue(k).Value
}

// Static are the broker settings of the file and the command line.
func (s *Shard) Static() []config.KV { return s.cfg.Static }

// Leadership is the newest word of a leader of g.
func (s *Shard) Leadership(g core.GroupID) api.Leadership {
	if l, ok := s.leaders[g]; ok {
		return l
	}
	return api.Leadership{Leader: core.NoNode}
}

func (s *Shard) OnLeadership(g core.GroupID, f func()) { s.onLeader[g] = append(s.onLeader[g], f) }

func (s *Shard) Controller() core.NodeID {
	if l, ok := s.leaders[core.MetaGroup]; ok && !l.Dead {
		return l.Leader
	}
	return core.NoNode
}

// at runs f with the replica of p in the shard that owns it; f gets nil when there is none here.
func (s *Shard) at(p api.Part, f func(t *Shard, h *hosted)) {
	g := p.Group()
	s.on(s.ownerOf(p), func(t *Shard) { f(t, t.groups.At(g)) })
}

// absent is what to answer for a partition that has no replica on this node.
func (s *Shard) absent(g core.GroupID) replica.Outcome {
	if t, _ := s.view.Group(g); t == nil {
		return replica.UnknownPartition
	}
	return replica.NotLeader
}

// Produce appends a batch; see api.Host. When the window is full the batch waits for its turn.
func (s *Shard) Produce(p api.Part, batch core.Ref, acks replica.Acks, done func(replica.Result, api.Leadership)) {
	from, g := s.cfg.Shard, p.Group()
	s.at(p, func(t *Shard, h *hosted) {
		answer := func(r replica.Result) {
			l := t.Leadership(g)
			t.on(from, func(*Shard) { done(r, l) })
		}
		if h == nil {
			batch.Release()
			answer(replica.Result{Err: t.absent(g), Base: -1, Start: -1, Time: -1})
			return
		}
		produce := func() {
			if h.r.Closed() {
				batch.Release()
				answer(replica.Result{Err: replica.UnknownPartition, Base: -1, Start: -1, Time: -1})
				return
			}
			t.guard(h, func() { h.r.Produce(batch, acks, answer) })
		}
		if (len(t.stalled) > 0 || t.window.Full()) && !h.full() {
			markStalled.Hit()
			t.stalled = append(t.stalled, stall{h, produce})
			return
		}
		produce()
	})
}

// stall is a produced batch that waits.
type stall struct {
	h   *hosted
	let func()
}

var markStalled = det.NewMark("shard: a produced batch waited for room in the window")

// retryStalled lets batches in that waited for room in the window, in their order; to be refused, when the
// disk has none: then nothing leaves the window.
func (s *Shard) retryStalled() {
	for len(s.stalled) > 0 && (!s.window.Full() || s.stalled[0].h.full()) {
		f := s.stalled[0]
		s.stalled[0] = stall{}
		s.stalled = s.stalled[1:]
		f.let()
	}
}

// epochOf compares a client's idea of the leader epoch with the replica's (KIP-320).
func epochOf(h *hosted, e core.Epoch) replica.Outcome {
	switch {
	case e < 0 || h.r.MayRead() != replica.OK:
		return replica.OK
	case e < h.r.Term().Epoch():
		markEpochOld.Hit()
		return replica.FencedEpoch
	case e > h.r.Term().Epoch():
		markEpochNew.Hit()
		return replica.UnknownEpoch
	}
	return replica.OK
}

// Read finds records; see api.Host.
func (s *Shard) Read(p api.Part, op api.ReadOp, done func(replica.Region, api.Leadership)) {
	from, g := s.cfg.Shard, p.Group()
	s.at(p, func(t *Shard, h *hosted) {
		answer := func(r replica.Region) {
			l := t.Leadership(g)
			t.on(from, func(*Shard) { done(r, l) })
		}
		if h == nil {
			answer(replica.Region{Err: t.absent(g), High: -1, Start: -1})
			return
		}
		if op.Own {
			t.guard(h, func() { h.r.Own(op.Offset, op.Max, answer) })
			return
		}
		if e := epochOf(h, op.Epoch); e != replica.OK {
			answer(replica.Region{Err: e, High: h.r.High(), Start: h.r.Start()})
			return
		}
		t.guard(h, func() {
			if op.Notify != nil {
				from, to := h.r.High(), s.cfg.Shard
				if h.r.MayRead() != replica.OK {
					from = -1 // whatever there is, once it may be read
				}
				w := replica.Watch{Key: op.Key, From: from, Fire: func() { t.on(to, func(*Shard) { op.Notify() }) }}
				h.r.Watch(w)
			}
			h.r.Read(op.Offset, op.Max, answer)
		})
	})
}

func (s *Shard) Unwatch(p api.Part, key core.ConnID) {
	s.at(p, func(_ *Shard, h *hosted) {
		if h != nil {
			h.r.Unwatch(key)
		}
	})
}

// List finds an offset by time; see api.Host.
func (s *Shard) List(p api.Part, op api.ListOp, done func(api.ListResult, api.Leadership)) {
	from, g := s.cfg.Shard, p.Group()
	s.at(p, func(t *Shard, h *hosted) {
		answer := func(r api.ListResult) {
			l := t.Leadership(g)
			t.on(from, func(*Shard) { done(r, l) })
		}
		fail := func(err replica.Outcome) { answer(api.ListResult{Err: err, Offset: -1, Timestamp: -1, Epoch: -1}) }
		if h == nil {
			fail(t.absent(g))
			return
		}
		if op.Timestamp == api.IndexesAt {
			t.guard(h, func() { h.r.CheckIndexes(op.At, func(x replica.Indexes) { answer(indexesOf(x)) }) })
			return
		}
		if e := epochOf(h, op.Epoch); e != replica.OK {
			fail(e)
			return
		}
		found := func(f replica.Found) {
			answer(api.ListResult{Err: f.Err, Offset: f.Offset, Timestamp: f.Time, Epoch: f.Epoch})
		}
		t.guard(h, func() {
			switch op.Timestamp {
			case -1:
				h.r.Linear(func(err replica.Outcome) {
					if err != replica.OK {
						fail(err)
						return
					}
					answer(api.ListResult{Offset: h.r.High(), Timestamp: -1, Epoch: h.r.Term().Epoch()})
				})
			case -2, -4:
				if err := h.r.MayRead(); err != replica.OK {
					fail(err)
					return
				}
				answer(api.ListResult{Offset: h.r.Start(), Timestamp: -1, Epoch: h.r.Term().Epoch()})
			case -3:
				h.r.Latest(t.cfg.Unzip, found)
			case api.EpochEnd:
				if err := h.r.MayRead(); err != replica.OK {
					fail(err)
					return
				}
				e, end := h.r.EpochEnd(op.EndOf)
				answer(api.ListResult{Offset: end, Timestamp: -1, Epoch: e})
			case -5, -6:
				answer(api.ListResult{Offset: -1, Timestamp: -1, Epoch: -1}) // nothing is tiered
			default:
				h.r.Since(core.Wall(op.Timestamp), t.cfg.Unzip, found)
			}
		})
	})
}

func indexesOf(x replica.Indexes) api.ListResult {
	bad := core.Epoch(0)
	for k, b := range x.Bad {
		if b {
			bad |= 1 << k
		}
	}
	return api.ListResult{Err: x.Err, Offset: x.Next, Timestamp: core.Wall(x.Base), Epoch: bad}
}

// Trim raises the log start of a partition; see api.Host.
func (s *Shard) Trim(p api.Part, to core.Offset, done func(replica.Trimmed)) {
	from, g := s.cfg.Shard, p.Group()
	s.at(p, func(t *Shard, h *hosted) {
		answer := func(x replica.Trimmed) { t.on(from, func(*Shard) { done(x) }) }
		if h == nil {
			answer(replica.Trimmed{Err: t.absent(g), Start: -1})
			return
		}
		t.guard(h, func() { h.r.Trim(to, answer) })
	})
}

// OnDesk runs do on shard k, then done here; see api.Host.
func (s *Shard) OnDesk(k core.ShardID, do func(api.Host, *api.Desk), done func()) {
	from := s.cfg.Shard
	s.on(k, func(t *Shard) {
		do(t, t.desk)
		t.on(from, func(*Shard) { done() })
	})
}

// Run has a job done on a worker; see api.Host.
func (s *Shard) Run(job *core.Job, done func(core.Ref, core.Errno)) {
	job.Soon = true
	s.fx.Add(core.Effect{Kind: core.Run, Job: job, Op: s.NewOp(func(ev *core.Event) { done(ev.Body, ev.Err) })})
}

// Packers are what the driver gave; see api.Host.
func (s *Shard) Packers() (record.Unzip, record.Zip) { return record.Unzip(s.cfg.Unzip), s.cfg.Zip }

// After calls f once, d from now.
func (s *Shard) After(d core.Mono, f func()) (cancel func()) {
	t := &det.Timer{Fire: func(int64) { f() }}
	s.timers.Arm(t, int64(s.now.Mono+max(d, 0)))
	return func() { s.timers.Stop(t) }
}

var _ api.Host = (*Shard)(nil)
