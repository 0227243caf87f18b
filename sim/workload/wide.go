package workload

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// wide makes a second topic of many partitions that nobody writes to: groups that sleep, wake and
// elect beside those that work.
type wide struct {
	*base
	parts int
	busy  bool
	done  bool
	at    core.Mono
}

var wideLoad = kindOfLoad{
	name: "wide", most: 1000, about: "partitions of a second, idle topic",
	draw:  sometimes(12, 20, 60),
	start: func(f *Fleet, n int) { f.add(&wide{base: f.base(), parts: n}) },
}

func (a *wide) poll(now core.Mono) core.Mono {
	if a.done || a.busy || a.f.stopped {
		return core.Never
	}
	n, ok := a.any(now)
	if now < a.at || !ok {
		return max(a.at, now+50*core.Millisecond)
	}
	a.busy = true
	req := wire.NewCreateTopicsRequest()
	req.TimeoutMs = 1000
	req.Topics = []wire.CreateTopicsRequestTopic{{Name: "wide", NumPartitions: int32(a.parts), ReplicationFactor: int16(a.f.cfg.Factor)}}
	a.ask(n, wire.KeyCreateTopics, 7, &req, func(m wire.Message) {
		a.busy, a.at = false, a.f.env.Now()+200*core.Millisecond
		if r, ok := m.(*wire.CreateTopicsResponse); ok && len(r.Topics) == 1 {
			a.count(r.Topics[0].ErrorCode)
			a.done = r.Topics[0].ErrorCode == wire.None || r.Topics[0].ErrorCode == wire.TopicAlreadyExists
		}
	})
	return core.Never
}
