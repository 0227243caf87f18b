package coord

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

func testCoordinator(appendTo func([]KeyValue, func(core.Now, Outcome))) *Coordinator {
	if appendTo == nil {
		appendTo = func(_ []KeyValue, settled func(core.Now, Outcome)) { settled(core.Now{}, NotAppended) }
	}
	return New(Config{
		InitialRebalanceMillis: 500, MinSessionMillis: 1000, MaxSessionMillis: 60_000, GroupMaxSize: 4,
		OffsetMetadataMax: 100, Append: appendTo, Topic: func(string) (id TopicID, ok bool) { return id, true },
	}, 3)
}

// leadBriefly lets every timer of a fresh leadership fire.
func leadBriefly(c *Coordinator) {
	c.Lead(core.Now{}, 1)
	for n := 0; n < 100 && c.Wake() != core.Never; n++ {
		c.Tick(core.Now{Mono: c.Wake()})
	}
	c.Resign()
}

// chaos drives two replicas with random requests, outcomes and changes of the leader.
type chaos struct {
	t        *testing.T
	r        *det.Rand
	node     [2]*Coordinator
	leader   int
	term     core.Term
	now      core.Now
	log      []byte
	end      core.Offset
	queue    []held
	ids      []string // that clients were told
	answers  []int
	joins    int
	syncs    int
	commits  int
	switches int
}

func newChaos(t *testing.T, seed uint64) *chaos {
	x := &chaos{t: t, r: det.New(seed, "chaos"), term: 1, now: core.Now{Wall: 1e6}}
	for i := range x.node {
		x.node[i] = testCoordinator(func(recs []KeyValue, settled func(core.Now, Outcome)) {
			x.queue = append(x.queue, held{recs, settled})
		})
	}
	x.node[0].Lead(x.now, x.term)
	return x
}

func (x *chaos) pick(list ...string) string { return list[x.r.N(int64(len(list)))] }

func (x *chaos) id() string {
	if len(x.ids) == 0 || x.r.Chance(1, 30) {
		return x.pick("", "stranger")
	}
	recent := x.ids[max(0, len(x.ids)-8):]
	return recent[x.r.N(int64(len(recent)))]
}

func (x *chaos) instance() *string {
	if x.r.Chance(2, 3) {
		return nil
	}
	return ptr(x.pick("i1", "i2"))
}

func (x *chaos) commitFirst() {
	h := x.queue[0]
	x.queue = x.queue[1:]
	x.write(h.recs)
	h.settled(x.now, Committed)
}

func (x *chaos) write(recs []KeyValue) {
	var b record.Builder
	b.At(x.end, 1)
	for _, r := range recs {
		b.Append(record.Record{Key: r.Key, Value: r.Value})
	}
	batch := b.Build()
	x.log, x.end = append(x.log, batch...), x.end+core.Offset(len(recs))
	for _, c := range x.node {
		c.Apply(batch.BaseOffset(), batch)
	}
}

// change gives the leadership to the other. Some of what is on its way is in the log by then, the
// rest never will be.
func (x *chaos) change() {
	old := x.node[x.leader]
	tail := x.queue
	x.queue = nil
	survive := x.r.N(int64(len(tail) + 1))
	if x.r.Chance(1, 2) {
		old.Resign()
	}
	for i, h := range tail {
		if int64(i) < survive {
			x.write(h.recs)
		}
		h.settled(x.now, Unknown)
	}
	old.Resign()
	x.queue = nil
	x.leader, x.term, x.switches = 1-x.leader, x.term+1, x.switches+1
	x.node[x.leader].Lead(x.now, x.term)
}

func (x *chaos) ask(req any, check func(c *Coordinator, resp any)) {
	n := len(x.answers)
	x.answers = append(x.answers, 0)
	c := x.node[x.leader]
	c.Handle(x.now, req, func(resp any) {
		x.answers[n]++
		if check != nil {
			check(c, resp)
		}
	})
}

func (x *chaos) join(group string) {
	req := &JoinRequest{
		Group: group, Member: x.pick("", "", x.id()), Instance: x.instance(), ClientID: "c",
		SessionMillis: int32(x.r.Between(1000, 20_000)), RebalanceMillis: int32(x.r.Between(-1, 10_000)),
		ProtocolType: "consumer", RequireKnownMember: x.r.Chance(1, 2), MaySkipAssignment: x.r.Chance(1, 2),
		Protocols: []Protocol{{Name: x.pick("range", "sticky"), Metadata: []byte(x.pick("a", "b"))}, {Name: "all"}},
	}
	x.ask(req, func(c *Coordinator, resp any) {
		r := resp.(*JoinResponse)
		if r.Err == errMemberIDRequired {
			x.ids = append(x.ids, r.Member)
		}
		if r.Err != errNone {
			return
		}
		x.joins++
		x.ids = append(x.ids, r.Member)
		if x.r.Chance(4, 5) {
			x.sync(group, r)
		}
	})
}

func (x *chaos) sync(group string, j *JoinResponse) {
	req := &SyncRequest{Group: group, Member: j.Member, Generation: j.Generation}
	for _, m := range j.Members {
		req.Instance = nil
		req.Assignments = append(req.Assignments, Assignment{
			Member: m.Member, Bytes: []byte(fmt.Sprint(m.Member, j.Generation, x.r.N(100))),
		})
	}
	x.ask(req, func(c *Coordinator, resp any) {
		if r := resp.(*SyncResponse); r.Err == errNone {
			x.syncs++
			x.checkAssigned(c, req, r)
		}
	})
}

// checkAssigned: whoever is given an assignment finds it in the log, under that generation.
func (x *chaos) checkAssigned(c *Coordinator, req *SyncRequest, r *SyncResponse) {
	s := c.stored.At(req.Group)
	if s == nil || s.meta == nil || s.meta.generation != req.Generation {
		x.t.Fatalf("%s got generation %d, which is not stored", req.Member, req.Generation)
	}
	for _, m := range s.meta.members {
		if m.id == req.Member {
			if string(m.assignment) != string(r.Assignment) {
				x.t.Fatalf("%s was told %q, the log says %q", m.id, r.Assignment, m.assignment)
			}
			return
		}
	}
	x.t.Fatalf("%s is not in the stored generation", req.Member)
}

func (x *chaos) commit(group string) {
	req := &OffsetCommitRequest{Group: group, Member: x.id(), Generation: -1, RetentionMillis: -1}
	live := x.node[x.leader].live.At(group)
	if live != nil {
		req.Generation = live.generation - int32(x.r.N(2))
		if live.members.Len() == 0 && x.r.Chance(1, 2) {
			req.Member, req.Generation = "", -1
		}
	}
	p := CommitPartition{Partition: int32(x.r.N(3)), Offset: int64(len(x.answers)), Metadata: x.pick("", "m")}
	topic := CommitTopic{Topic: x.pick("t", "u"), Partitions: []CommitPartition{p}}
	req.Topics = []CommitTopic{topic}
	accepted := live == nil || req.Generation == live.generation || live.state == empty
	x.ask(req, func(c *Coordinator, resp any) {
		if resp.(*OffsetCommitResponse).Topics[0].Partitions[0].Err != errNone {
			return
		}
		x.commits++
		if !accepted {
			x.t.Fatalf("a commit of generation %d was accepted in another", req.Generation)
		}
		if got, ok := c.stored.At(group).commit(topic.Topic, p.Partition); !ok || got.offset != p.Offset {
			x.t.Fatalf("a commit of %d was answered, the log says %d", p.Offset, got.offset)
		}
	})
}

func (x *chaos) step() {
	group := x.pick("g1", "g2", "g3")
	c := x.node[x.leader]
	switch n := x.r.N(100); {
	case n < 30:
		x.join(group)
	case n < 50:
		x.commit(group)
	case n < 60:
		x.ask(&HeartbeatRequest{Group: group, Member: x.id(), Generation: int32(x.r.N(9))}, nil)
	case n < 66:
		x.ask(&LeaveRequest{Group: group, Members: []LeaveMember{{Member: x.id()}}}, nil)
	case n < 68:
		x.ask(&LeaveRequest{Group: group, Members: []LeaveMember{{Instance: x.instance()}}}, nil)
	case n < 70:
		x.ask(&DeleteGroupRequest{Group: group}, nil)
	case n < 72:
		x.ask(&OffsetDeleteRequest{Group: group, Topics: []FetchTopic{{Topic: "t", Partitions: []int32{0, 1}}}}, nil)
	case n < 75:
		x.ask(&OffsetFetchRequest{Group: group, RequireStable: x.r.Chance(1, 2)}, nil)
	case n < 76:
		c.TopicDeleted(x.now, "u", TopicID{})
	case n < 77:
		x.change()
	case n < 79 && len(x.queue) > 0:
		h := x.queue[0]
		x.queue = x.queue[1:]
		h.settled(x.now, NotAppended)
	case n < 88:
		ms := x.r.Between(1, 3000)
		x.now.Mono += core.Mono(ms) * core.Millisecond
		x.now.Wall += core.Wall(ms)
		c.Tick(x.now)
	default:
		for len(x.queue) > 0 && x.r.Chance(4, 5) {
			x.commitFirst()
		}
	}
}

func dump(c *Coordinator) string {
	var b strings.Builder
	c.Live(func(g GroupView) {
		fmt.Fprintf(&b, "%s %s %d %s %s", g.Group, g.State, g.Generation, g.Leader, g.Protocol)
		for _, m := range g.Members {
			fmt.Fprintf(&b, " [%s %s %q]", m.Member, opt(m.Instance), m.Assignment)
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// A digest that leaves something out would call replicas equal that are not.
func TestADigestTellsCommitsApart(t *testing.T) {
	seen := map[det.Hash]string{}
	for _, o := range []commit{{}, {offset: 1}, {epoch: 1}, {meta: "m"}, {at: 1}, {expires: 1}, {topicID: [16]byte{1}}} {
		for part := range int32(2) {
			c := testCoordinator(nil)
			s := &stored{}
			offsets := &det.Map[int32, commit]{}
			offsets.Set(part, o)
			s.topics.Set("t", offsets)
			c.stored.Set("g", s)
			what := fmt.Sprintf("%+v in partition %d", o, part)
			if was := seen[c.Digest()]; was != "" {
				t.Errorf("%s has the digest of %s", what, was)
			}
			seen[c.Digest()] = what
		}
	}
}

// Replicas that folded the same log are the same, whether they led, followed or read it afterwards in
// one go, and would lead the same groups; every request is answered once; nobody is told what the log
// does not say.
func TestReplayEqualsLive(t *testing.T) {
	var total chaos
	for seed := range uint64(60) {
		x := newChaos(t, seed)
		for range 600 {
			x.step()
			if a, b := x.node[0].Digest(), x.node[1].Digest(); a != b {
				t.Fatalf("seed %d: replicas differ: %x %x", seed, a, b)
			}
		}
		for len(x.queue) > 0 {
			x.commitFirst()
		}
		x.node[x.leader].Resign()
		if slices.ContainsFunc(x.answers, func(n int) bool { return n != 1 }) {
			t.Fatalf("seed %d: a request was answered not once: %v", seed, x.answers)
		}
		fresh := testCoordinator(nil)
		fresh.Apply(0, x.log)
		if fresh.Digest() != x.node[0].Digest() || fresh.Applied() != x.end {
			t.Fatalf("seed %d: the replay differs", seed)
		}
		fresh.Lead(x.now, 1000)
		x.node[0].Lead(x.now, 1000)
		if a, b := dump(fresh), dump(x.node[0]); a != b {
			t.Fatalf("seed %d: the replay would lead\n%s, not\n%s", seed, a, b)
		}
		x.queue = nil
		total.joins, total.syncs = total.joins+x.joins, total.syncs+x.syncs
		total.commits, total.switches = total.commits+x.commits, total.switches+x.switches
	}
	t.Logf("joins %d, syncs %d, commits %d, changes of the leader %d", total.joins, total.syncs,
		total.commits, total.switches)
	if total.joins < 1000 || total.syncs < 500 || total.commits < 500 || total.switches < 100 {
		t.Fatal("too little happened")
	}
}
