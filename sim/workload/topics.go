package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/wire"
)

// warden makes topics, configures them, gives them partitions and deletes them, one after the other,
// each step until a broker says that it is done. A topic's id must never be another's.
//
//	creating -> configuring -> growing -> describing -> deleting -> creating the next
type warden struct {
	*base
	name   string
	number int
	step   int
	tries  int
	busy   bool
	at     core.Mono
	ids    map[wire.UUID]string // looked up
	spares bool                 // its topics
}

var topicsLoad = kindOfLoad{
	name: "topics", most: 16, about: "administrators that create, configure, widen and describe topics",
	draw:  sometimes(3, 1, 1),
	start: func(f *Fleet, n int) { startWardens(f, n, true) },
}

// What a deleted replica promised may be forgotten with it, but the judge of replicas is not told of
// deletions: until it is, no seed draws this.
var deleteLoad = kindOfLoad{
	name: "deleters", most: 16, about: "administrators that also delete their topics",
	draw:  func(*det.Rand) int { return 0 },
	start: func(f *Fleet, n int) { startWardens(f, n, false) },
}

func startWardens(f *Fleet, n int, spares bool) {
	for range n {
		f.add(&warden{base: f.base(), ids: map[wire.UUID]string{}, spares: spares})
	}
}

const lastStep = 4 // remove

func (a *warden) poll(now core.Mono) core.Mono {
	if a.f.stopped || a.busy {
		return core.Never
	}
	if now < a.at {
		return a.at
	}
	n, ok := a.any(now)
	if !ok {
		return now + 50*core.Millisecond
	}
	if a.step == 0 && a.name == "" {
		a.name = fmt.Sprintf("ward-%d-%d", a.id, a.number)
		a.number++
	}
	a.busy = true
	[...]func(core.NodeID){a.create, a.configure, a.widen, a.describe, a.remove}[a.step](n)
	return core.Never
}

// next goes on when e says that the step is done, here or by an earlier try whose answer was lost; a
// step that is refused for long is left out.
func (a *warden) next(e wire.Error, also ...wire.Error) {
	a.count(e)
	a.tries++
	done := e == wire.None || a.tries > 20
	for _, x := range also {
		done = done || e == x
	}
	if !done {
		return
	}
	a.tries = 0
	if a.step++; a.step > lastStep || a.step == lastStep && a.spares {
		a.step, a.name = 0, ""
		a.f.Counts.Wards++
		a.at = a.f.env.Now() + core.Mono(a.rng.Between(1000, 4000))*core.Millisecond
	}
}

func (a *warden) ask(n core.NodeID, key wire.Key, version int16, m wire.Message, done func(wire.Message)) {
	a.base.ask(n, key, version, m, func(resp wire.Message) {
		a.busy = false
		a.at = a.f.env.Now() + core.Mono(a.rng.Between(50, 500))*core.Millisecond
		if resp != nil {
			done(resp)
		}
	})
}

func (a *warden) create(n core.NodeID) {
	req := wire.NewCreateTopicsRequest()
	req.TimeoutMs = 1000
	req.Topics = []wire.CreateTopicsRequestTopic{{Name: a.name, NumPartitions: 2, ReplicationFactor: int16(a.f.cfg.Factor)}}
	a.ask(n, wire.KeyCreateTopics, 7, &req, func(m wire.Message) {
		r := m.(*wire.CreateTopicsResponse)
		if len(r.Topics) != 1 {
			return
		}
		t := &r.Topics[0]
		if was, ok := a.ids[t.TopicId]; t.ErrorCode == wire.None && t.TopicId != (wire.UUID{}) {
			if ok && was != a.name {
				a.f.env.Fail("A30", fmt.Sprintf("topic %s was made with the id of topic %s", a.name, was))
			}
			a.ids[t.TopicId] = a.name
		}
		a.next(t.ErrorCode, wire.TopicAlreadyExists)
	})
}

func (a *warden) configure(n core.NodeID) {
	value := fmt.Sprint(3600000 + a.number)
	req := wire.IncrementalAlterConfigsRequest{Resources: []wire.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: a.name,
		Configs: []wire.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: &value}}}}}
	a.ask(n, wire.KeyIncrementalAlterConfigs, 1, &req, func(m wire.Message) {
		if r := m.(*wire.IncrementalAlterConfigsResponse); len(r.Responses) == 1 {
			a.next(r.Responses[0].ErrorCode)
		}
	})
}

func (a *warden) widen(n core.NodeID) {
	req := wire.CreatePartitionsRequest{TimeoutMs: 1000, Topics: []wire.CreatePartitionsRequestTopic{{Name: a.name, Count: 3}}}
	a.ask(n, wire.KeyCreatePartitions, 3, &req, func(m wire.Message) {
		if r := m.(*wire.CreatePartitionsResponse); len(r.Results) == 1 {
			a.next(r.Results[0].ErrorCode, wire.InvalidPartitions) // an earlier try was through
		}
	})
}

func (a *warden) describe(n core.NodeID) {
	req := wire.DescribeConfigsRequest{Resources: []wire.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: a.name}}}
	a.ask(n, wire.KeyDescribeConfigs, 4, &req, func(m wire.Message) {
		if r := m.(*wire.DescribeConfigsResponse); len(r.Results) == 1 {
			a.next(r.Results[0].ErrorCode)
		}
	})
}

func (a *warden) remove(n core.NodeID) {
	name := a.name
	req := wire.DeleteTopicsRequest{TimeoutMs: 1000, Topics: []wire.DeleteTopicsRequestTopic{{Name: &name}}}
	a.ask(n, wire.KeyDeleteTopics, 6, &req, func(m wire.Message) {
		if r := m.(*wire.DeleteTopicsResponse); len(r.Responses) == 1 {
			a.next(r.Responses[0].ErrorCode, wire.UnknownTopicOrPartition)
		}
	})
}
