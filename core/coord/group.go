package coord

import (
	"bytes"
	"slices"

	"github.com/karst-stream/karst/core/det"
)

// state is where a live group stands (ClassicGroupState.java).
//
//	        first member joins          join timer, or all are back
//	empty --------------------> preparing ------------------------> completing
//	  ^                           |   ^  ^  member joins, leaves, times out |
//	  +--- nobody came back ------+   |  +----------------------------------+
//	                                  |                                     | the leader's assignment
//	                                  +------------- stable <---------------+ is in the log
//
// A deleted group, and every group of a leadership that ended, is dead.
type state uint8

const (
	empty state = iota
	preparing
	completing
	stable
	dead
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

func (s state) String() string { return stateNames[s] }

// consumerType is the protocol type whose subscriptions the broker can read.
const consumerType = "consumer"

// member is one member of a live group.
type member struct {
	id         string
	instance   *string
	clientID   string
	clientHost string
	rebalance  int32 // ms
	session    int32 // ms
	protocols  []Protocol
	assignment []byte
	join       waiter    // of a JoinGroup that waits for the rebalance; changed by setJoin only
	sync       waiter    // of a SyncGroup that waits for the leader's assignment
	fresh      bool      // joined for the first time and does not know its id yet
	beat       det.Timer // the session's end
}

func (m *member) metadata(protocol string) []byte {
	for i := range m.protocols {
		if m.protocols[i].Name == protocol {
			return m.protocols[i].Metadata
		}
	}
	return nil
}

func (m *member) offers(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// group is a live group: what the leader knows beyond the log.
type group struct {
	c            *Coordinator
	name         string
	state        state
	initial      bool  // preparing, and was empty before: the rebalance lasts as long as the delay says
	since        int64 // Wall, ms, of the last change of state
	protocolType *string
	protocol     *string // chosen for this generation
	generation   int32
	leader       string // a member's id; "" while there is no member
	members      det.Map[string, *member]
	statics      det.Map[string, string] // instance id -> member id
	pending      det.Map[string, *det.Timer]
	unsynced     det.Map[string, bool] // members of this generation whose SyncGroup has not come
	joining      int                   // members that wait in JoinGroup
	votes        map[string]int        //det:ok protocol -> its members; looked up, never ranged
	grew         bool                  // a member came during the initial rebalance
	storing      bool                  // this generation's assignment is on its way into the log
	topics       []string              // that the members subscribe to, sorted
	topicsKnown  bool
	joinTimer    det.Timer
	syncTimer    det.Timer
}

func (c *Coordinator) newGroup(name string) *group {
	g := &group{c: c, name: name, since: int64(c.now.Wall), votes: map[string]int{}}
	g.syncTimer.Fire = func(int64) { g.expireUnsynced() }
	c.live.Set(name, g)
	return g
}

// revive makes the live group of what is stored, if it is not there.
func (c *Coordinator) revive(name string) {
	s := c.stored.At(name)
	if s == nil || c.live.At(name) != nil {
		return
	}
	g := c.newGroup(name)
	if s.meta == nil {
		return
	}
	g.generation, g.since = s.meta.generation, s.meta.since
	g.protocol = s.meta.protocol
	if s.meta.protocolType != "" {
		g.protocolType = &s.meta.protocolType
	}
	if s.meta.leader != nil {
		g.leader = *s.meta.leader
	}
	for i := range s.meta.members {
		g.reviveMember(&s.meta.members[i])
	}
	if g.members.Len() > 0 {
		markRevived.Hit()
		g.state = stable
		if g.members.At(g.leader) == nil {
			g.leader = g.members.Keys()[0]
		}
	}
	g.readTopics()
	if g.members.Len() > c.cfg.GroupMaxSize { // the limit was lowered: let them commit and come back
		g.prepareRebalance()
	}
}

func (g *group) reviveMember(s *memberMeta) {
	m := g.newMember(s.id, s.instance)
	m.clientID, m.clientHost, m.assignment = s.clientID, s.clientHost, s.assignment
	m.session, m.rebalance = s.session, s.rebalance
	if m.rebalance < 0 {
		m.rebalance = m.session
	}
	if g.protocol != nil {
		m.protocols = []Protocol{{Name: *g.protocol, Metadata: s.meta}}
	}
	g.add(m)
	g.beat(m, m.session)
}

func (g *group) newMember(id string, instance *string) *member {
	m := &member{id: id, instance: instance}
	m.beat.Fire = func(int64) { g.expireMember(m) }
	return m
}

func (g *group) to(s state) {
	g.initial = s == preparing && g.state == empty
	g.state = s
	g.since = int64(g.c.now.Wall)
}

func after(c *Coordinator, millis int32) int64 {
	return int64(c.now.Mono) + int64(max(millis, 0))*1e6
}

// beat gives m another millis to be heard of.
func (g *group) beat(m *member, millis int32) { g.c.timers.Arm(&m.beat, after(g.c, millis)) }

func (g *group) add(m *member) {
	if m.instance != nil {
		g.statics.Set(*m.instance, m.id)
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members.Set(m.id, m)
	g.countVotes(m, 1)
	g.dropPending(m.id)
}

func (g *group) countVotes(m *member, by int) {
	for i := range m.protocols {
		if g.votes[m.protocols[i].Name] += by; g.votes[m.protocols[i].Name] == 0 {
			delete(g.votes, m.protocols[i].Name)
		}
	}
}

func (g *group) dropPending(id string) {
	if t := g.pending.At(id); t != nil {
		g.c.timers.Stop(t)
		g.pending.Delete(id)
	}
}

// remove takes a member, or an id that was handed out, out of the group. A member that waits is told
// UNKNOWN_MEMBER_ID, so that it joins anew if it is still there.
func (g *group) remove(id string) {
	g.dropPending(id)
	g.unsynced.Delete(id)
	m := g.members.At(id)
	if m == nil {
		return
	}
	g.answerJoin(m, &JoinResponse{Err: errUnknownMember, Generation: -1})
	g.answerSync(m, &SyncResponse{Err: errUnknownMember})
	g.c.timers.Stop(&m.beat)
	g.members.Delete(id)
	g.countVotes(m, -1)
	if m.instance != nil {
		g.statics.Delete(*m.instance)
	}
	if g.leader == id {
		g.leader = ""
		if g.members.Len() > 0 {
			g.leader = g.members.Keys()[0]
		}
	}
}

// setJoin makes w wait for m's rebalance. One that waits already was given up by its client.
func (g *group) setJoin(m *member, w waiter) {
	if m.join != nil {
		markJoinTwice.Hit()
	}
	g.answerJoin(m, &JoinResponse{Err: errRebalanceInProgress, Generation: -1, Member: m.id})
	m.join = w
	g.joining++
}

func (g *group) answerJoin(m *member, resp *JoinResponse) {
	if m.join == nil {
		return
	}
	g.c.answer(m.join, resp)
	m.join = nil
	g.joining--
}

func (g *group) answerSync(m *member, resp *SyncResponse) bool {
	if m.sync == nil {
		return false
	}
	g.c.answer(m.sync, resp)
	m.sync = nil
	return true
}

// allJoined counts an id that was handed out as one that is still to come.
func (g *group) allJoined() bool {
	return g.members.Len() == g.joining && g.pending.Len() == 0
}

// rebalanceMillis is how long the slowest member may take.
func (g *group) rebalanceMillis() int32 {
	var most int32
	g.members.Each(func(_ string, m *member) { most = max(most, m.rebalance) })
	return most
}

// check is Kafka's validateMember: who calls must be in the group, and a static member must be the
// one that owns its instance id now.
func (g *group) check(id string, instance *string) int16 {
	if instance != nil {
		owner, ok := g.statics.Get(*instance)
		if !ok {
			return errUnknownMember
		}
		if owner != id {
			markFenced.Hit()
			return errFencedInstance
		}
	}
	if g.members.At(id) == nil {
		return errUnknownMember
	}
	return errNone
}

// accepts says whether a member that offers protocols of this type can join those who are there.
func (g *group) accepts(protocolType string, protocols []Protocol) bool {
	if g.state == empty {
		return protocolType != "" && len(protocols) > 0
	}
	if g.protocolType == nil || *g.protocolType != protocolType {
		return false
	}
	return slices.ContainsFunc(protocols, func(p Protocol) bool {
		return g.votes[p.Name] == g.members.Len()
	})
}

// choose elects the protocol: each member votes for the first of its list that all offer.
func (g *group) choose() (best string, ok bool) {
	var tally det.Map[string, int]
	g.members.Each(func(_ string, m *member) {
		for i := range m.protocols {
			if name := m.protocols[i].Name; g.votes[name] == g.members.Len() {
				tally.Set(name, tally.At(name)+1)
				return
			}
		}
	})
	most := 0
	tally.Each(func(name string, n int) {
		if n > most {
			best, most = name, n
		}
	})
	return best, most > 0
}

// readTopics learns from the subscriptions of a consumer group which topics it reads. That is known
// too when there is no member: none.
func (g *group) readTopics() {
	g.topics, g.topicsKnown = nil, false
	if g.protocolType == nil || *g.protocolType != consumerType {
		return
	}
	if g.members.Len() > 0 && g.protocol == nil {
		return
	}
	ok := true
	g.members.Each(func(_ string, m *member) {
		topics, parsed := subscription(m.metadata(*g.protocol))
		g.topics, ok = append(g.topics, topics...), ok && parsed
	})
	if !ok {
		g.topics = nil
		return
	}
	slices.Sort(g.topics)
	g.topics, g.topicsKnown = slices.Compact(g.topics), true
}

// subscribes says whether offsets of topic are in use. Of a consumer group whose subscriptions do
// not parse every topic is.
func (g *group) subscribes(topic string) bool {
	if !g.topicsKnown {
		return g.protocolType != nil && *g.protocolType == consumerType
	}
	_, found := slices.BinarySearch(g.topics, topic)
	return found
}

// subscription reads the topics of a ConsumerProtocolSubscription: version, then an array of strings
// in every version so far.
func subscription(b []byte) (topics []string, ok bool) {
	r := reader{b: b}
	r.i16()
	n := r.i32()
	if r.bad || n < 0 || int(n) > len(r.b)/2 {
		return nil, false
	}
	for range n {
		size := r.i16()
		topics = append(topics, string(r.take(int(size))))
	}
	return topics, !r.bad
}

// record is the group as it is now, for the log. Nobody but the members of a generation that has a
// protocol is in it.
func (g *group) record(assignments func(*member) []byte) KeyValue {
	meta := &groupMeta{generation: g.generation, protocol: g.protocol, since: g.since}
	if g.protocolType != nil {
		meta.protocolType = *g.protocolType
	}
	if g.leader != "" {
		meta.leader = &g.leader
	}
	g.members.Each(func(_ string, m *member) {
		det.That(g.protocol != nil, "coord: members without a protocol are stored")
		meta.members = append(meta.members, memberMeta{
			id: m.id, instance: m.instance, clientID: m.clientID, clientHost: m.clientHost,
			rebalance: m.rebalance, session: m.session,
			meta: m.metadata(*g.protocol), assignment: assignments(m),
		})
	})
	return KeyValue{Key: encodeGroupKey(g.name), Value: encodeGroup(meta)}
}
