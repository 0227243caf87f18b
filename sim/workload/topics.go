package workload

import (
	"fmt"
	"slices"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// warden makes topics, looks at them, configures them, gives them partitions and deletes them, one after
// the other, each step until a broker says that it is done (A30).
//
//	creating -> looking -> configuring -> growing -> measuring -> describing -> deleting -> creating the next
type warden struct {
	*base
	name   string
	number int
	step   int
	tries  int
	busy   bool
	at     core.Mono
	spares bool // its topics
}

var topicsLoad = kindOfLoad{
	name: "topics", most: 16, about: "administrators that create, configure, widen and describe topics",
	draw:  sometimes(2, 1, 2),
	start: func(f *Fleet, n int) { startWardens(f, n, true) },
}

var deleteLoad = kindOfLoad{
	name: "deleters", most: 16, about: "administrators that also delete their topics",
	draw:  sometimes(4, 1, 1),
	start: func(f *Fleet, n int) { startWardens(f, n, false) },
}

func startWardens(f *Fleet, n int, spares bool) {
	for range n {
		f.add(&warden{base: f.base(), spares: spares})
	}
}

const wardSteps = 6 // without remove

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
		a.christen()
	}
	a.busy = true
	[...]func(core.NodeID){a.create, a.look, a.configure, a.widen, a.measure, a.describe, a.remove}[a.step](n)
	return core.Never
}

// christen names the next topic. Of those that are deleted, some come again.
func (a *warden) christen() {
	a.name = fmt.Sprintf("ward-%d-%d", a.id, a.number)
	if !a.spares {
		a.name = fmt.Sprintf("ward-%d-%d", a.id, a.number%2)
	}
	a.number++
	if !slices.Contains(a.f.wards, a.name) {
		a.f.wards = append(a.f.wards, a.name)
	}
}

// next goes on when e says that the step is done, here or by an earlier try whose answer was lost; a
// step that is refused for long is left out.
func (a *warden) next(e wire.Error, also ...wire.Error) {
	a.count(e)
	a.tries++
	if e != wire.None && !slices.Contains(also, e) && a.tries <= 20 {
		return
	}
	a.tries = 0
	if a.step++; a.step > wardSteps || a.step == wardSteps && a.spares {
		a.step, a.name = 0, ""
		a.f.Counts.Wards++
		a.at = a.f.env.Now() + core.Mono(a.rng.Between(1000, 4000))*core.Millisecond
	}
}

// asked is what a request of a warden asks for, whatever becomes of it.
type asked struct {
	checker.Kind
	count int64
	value string
}

// ask sends a request and tells of the operation that it is: o says how it ended, as far as the answer is
// sure of it; one that refuses because the step is done already did nothing. done returns the error of the one
// thing that was asked for; false: it is not in the answer.
func (a *warden) ask(n core.NodeID, key wire.Key, version int16, m wire.Message, what asked, done func(wire.Message, *checker.Op) (wire.Error, bool),
	also ...wire.Error) {
	began, name := a.f.env.Now(), a.name
	a.base.ask(n, key, version, m, func(resp wire.Message) {
		a.busy = false
		a.at = a.f.env.Now() + core.Mono(a.rng.Between(50, 500))*core.Millisecond
		o := a.op(what.Kind, began)
		o.Count, o.Value = what.count, what.value
		o.Topic, o.Resource, o.Key, o.Outcome = name, "topic "+name, "retention.ms", checker.Unknown
		e, ok := wire.Error(0), false
		if resp != nil {
			e, ok = done(resp, o)
		}
		switch old := a.f.env.Now()-began >= freshFor; {
		case (what.Kind == checker.DescribeConfig || what.Kind == checker.Metadata) && old:
		case ok && (e == wire.None || what.Kind == checker.Metadata && e == wire.UnknownTopicOrPartition):
			o.Outcome = checker.OK
		case ok && slices.Contains(also, e):
			o.Outcome, o.Error = checker.Fail, e.String()
		}
		a.f.tell(o)
		if what.Kind == checker.DeleteTopic {
			a.forget(o)
		}
		if ok {
			a.next(e, also...)
		}
	})
}

func (a *warden) create(n core.NodeID) {
	req := wire.NewCreateTopicsRequest()
	req.TimeoutMs = int32(a.rng.Between(100, 1000))
	req.Topics = []wire.CreateTopicsRequestTopic{{Name: a.name, NumPartitions: 2, ReplicationFactor: int16(a.f.cfg.Factor)}}
	a.ask(n, wire.KeyCreateTopics, 7, &req, asked{Kind: checker.CreateTopic, count: 2}, func(m wire.Message, o *checker.Op) (wire.Error, bool) {
		r := m.(*wire.CreateTopicsResponse)
		if len(r.Topics) != 1 {
			return 0, false
		}
		if r.Topics[0].ErrorCode == wire.None {
			o.TopicID = a.f.idText(r.Topics[0].TopicId)
		}
		return r.Topics[0].ErrorCode, true
	}, wire.TopicAlreadyExists)
}

// forget tells that a topic which may be deleted takes its settings along.
func (a *warden) forget(deleted *checker.Op) {
	call, outcome := deleted.Call, deleted.Outcome
	o := a.op(checker.AlterConfig, core.Mono(call))
	o.Resource, o.Key, o.Outcome = "topic "+a.name, "retention.ms", outcome
	a.f.tell(o)
}

// look asks a broker what it knows of the topic.
func (a *warden) look(n core.NodeID) {
	began, name := a.f.env.Now(), a.name
	req := wire.NewMetadataRequest()
	req.Topics, req.AllowAutoTopicCreation = []wire.MetadataRequestTopic{{Name: &name}}, false
	a.base.ask(n, wire.KeyMetadata, 12, &req, func(m wire.Message) {
		a.busy = false
		if r, ok := m.(*wire.MetadataResponse); ok && len(r.Topics) == 1 {
			if r.Topics[0].ErrorCode == wire.None || a.f.env.Now()-began < freshFor {
				a.shown(began, n, name, &r.Topics[0])
			}
			a.next(r.Topics[0].ErrorCode, wire.UnknownTopicOrPartition)
		}
	})
}

func (a *warden) configure(n core.NodeID) {
	value := fmt.Sprint(3600000 + a.number)
	req := wire.IncrementalAlterConfigsRequest{Resources: []wire.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: a.name,
		Configs: []wire.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: &value}}}}}
	a.ask(n, wire.KeyIncrementalAlterConfigs, 1, &req, asked{Kind: checker.AlterConfig, value: value}, func(m wire.Message, _ *checker.Op) (wire.Error, bool) {
		if r := m.(*wire.IncrementalAlterConfigsResponse); len(r.Responses) == 1 {
			return r.Responses[0].ErrorCode, true
		}
		return 0, false
	})
}

func (a *warden) widen(n core.NodeID) {
	req := wire.CreatePartitionsRequest{TimeoutMs: 1000, Topics: []wire.CreatePartitionsRequestTopic{{Name: a.name, Count: 3}}}
	a.ask(n, wire.KeyCreatePartitions, 3, &req, asked{Kind: checker.GrowTopic, count: 3}, func(m wire.Message, _ *checker.Op) (wire.Error, bool) {
		if r := m.(*wire.CreatePartitionsResponse); len(r.Results) == 1 {
			return r.Results[0].ErrorCode, true
		}
		return 0, false
	}, wire.InvalidPartitions) // an earlier try was through
}

// measure asks how many partitions the topic has now. Other than Metadata, this shows all that was decided before.
func (a *warden) measure(n core.NodeID) {
	req := wire.NewDescribeTopicPartitionsRequest()
	req.Topics = []wire.DescribeTopicPartitionsRequestTopic{{Name: a.name}}
	a.ask(n, wire.KeyDescribeTopicPartitions, 0, &req, asked{Kind: checker.Metadata}, func(m wire.Message, o *checker.Op) (wire.Error, bool) {
		r := m.(*wire.DescribeTopicPartitionsResponse)
		if len(r.Topics) != 1 {
			return 0, false
		}
		t := &r.Topics[0]
		if o.Exists = t.ErrorCode == wire.None; o.Exists {
			o.TopicID, o.Count = a.f.idText(t.TopicId), int64(len(t.Partitions))
		}
		o.Node = int64(a.session(n).conn)<<8 | int64(n)
		return t.ErrorCode, true
	}, wire.UnknownTopicOrPartition)
}

const ofTopic = 1 // the source of a setting in DescribeConfigs: the topic itself

func (a *warden) describe(n core.NodeID) {
	req := wire.DescribeConfigsRequest{Resources: []wire.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: a.name}}}
	a.ask(n, wire.KeyDescribeConfigs, 4, &req, asked{Kind: checker.DescribeConfig}, func(m wire.Message, o *checker.Op) (wire.Error, bool) {
		r := m.(*wire.DescribeConfigsResponse)
		if len(r.Results) != 1 {
			return 0, false
		}
		for _, c := range r.Results[0].Configs {
			if c.Name == o.Key && c.Value != nil && c.ConfigSource == ofTopic {
				o.Value = *c.Value
			}
		}
		return r.Results[0].ErrorCode, true
	})
}

func (a *warden) remove(n core.NodeID) {
	name := a.name
	req := wire.DeleteTopicsRequest{TimeoutMs: 1000, Topics: []wire.DeleteTopicsRequestTopic{{Name: &name}}}
	a.ask(n, wire.KeyDeleteTopics, 6, &req, asked{Kind: checker.DeleteTopic}, func(m wire.Message, _ *checker.Op) (wire.Error, bool) {
		if r := m.(*wire.DeleteTopicsResponse); len(r.Responses) == 1 {
			return r.Responses[0].ErrorCode, true
		}
		return 0, false
	}, wire.UnknownTopicOrPartition)
}

// census asks at the end of a run, when all is well again, what became of every topic that wardens made:
// what was made and never deleted is there. A broker without the word of the metadata leader may say what it
// knew before, and its link to him may be that of a process of his that is gone, until TCP gives it up. So one
// that does not know such a topic is asked again, for a while; nobody else is, who might know more.
type census struct {
	*base
	asking bool
	at     core.Mono
	behind core.NodeID // who is asked again, when until is set
	until  core.Mono   // when its word counts; 0: nobody was behind yet
	done   bool
}

const censusFor = 10 * core.Second

func (c *census) poll(now core.Mono) core.Mono {
	if c.done || c.asking {
		return core.Never
	}
	n, ok := c.whom(now)
	if !ok || now < c.at || c.f.cfg.Core>>n&1 == 0 { // the others may never hear of anything again
		return max(c.at, now+20*core.Millisecond)
	}
	c.asking = true
	req := wire.NewMetadataRequest()
	req.AllowAutoTopicCreation = false
	for i := range c.f.wards {
		req.Topics = append(req.Topics, wire.MetadataRequestTopic{Name: &c.f.wards[i]})
	}
	c.ask(n, wire.KeyMetadata, 12, &req, func(m wire.Message) {
		c.asking, c.at = false, c.f.env.Now()+c.backoff()
		r, ok := m.(*wire.MetadataResponse)
		if !ok || len(r.Topics) != len(c.f.wards) {
			return
		}
		lacks := false
		for i := range r.Topics {
			if t := &r.Topics[i]; t.Name != nil {
				c.shown(now, n, *t.Name, t)
				lacks = lacks || t.ErrorCode == wire.UnknownTopicOrPartition && c.f.Judge.Topics.Owed(*t.Name)
			}
		}
		if lacks && c.until == 0 {
			c.behind, c.until = n, now+censusFor
		}
		c.done = !lacks || now >= c.until
	})
	return core.Never
}

// whom draws a broker, or is the one that was behind.
func (c *census) whom(now core.Mono) (core.NodeID, bool) {
	if c.until > 0 {
		return c.behind, c.reachable(c.behind, now)
	}
	return c.any(now)
}
