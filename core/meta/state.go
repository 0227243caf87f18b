package meta

import (
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
)

// Remembered is how many outcomes are kept for each node: a proposer has fewer commands in flight.
const Remembered = 256

var (
	markRepeat = det.NewMark("meta: a command came twice")
	markStale  = det.NewMark("meta: a command came after its outcome was forgotten")
)

// State is the machine. It is fed by one goroutine; Views of it may be read by many.
type State struct {
	v       *View
	frozen  bool     // v was handed out: the next change copies it first
	owned   index    // what of v was copied since, and is not shared with a view
	origins []origin // by node
}

// origin is what is remembered of a node's commands, so that a repeat acts once and gets its answer.
type origin struct {
	node  core.NodeID
	start uint64
	floor uint64    // numbers up to here may have been forgotten
	done  []outcome // by number, at most Remembered, all above floor
}

type outcome struct {
	number uint64
	result Result
}

// New is the state of a cluster before its first command.
func New(clusterID string) *State {
	return &State{v: &View{ClusterID: clusterID, nextGroup: core.MetaGroup + 1}}
}

// View is the state as it is now. It costs nothing; the first command after it copies the index that it
// changes (8 to 56 bytes a topic), the topics themselves are shared.
func (s *State) View() *View {
	s.frozen = true
	return s.v
}

// Apply acts on one record of the metadata log. It is a function of the state and of cmd alone. An
// error says that cmd is no command (it wraps ErrCommand) and that nothing changed: a build that meets
// one in a committed record cannot follow its cluster and must say so.
func (s *State) Apply(cmd []byte) (Result, error) {
	o, c, err := Decode(cmd)
	if err != nil {
		return Result{}, err
	}
	s.thaw()
	s.v.Version++
	i, ok := slices.BinarySearchFunc(s.origins, o.Node, func(g origin, n core.NodeID) int { return int(g.node) - int(n) })
	if !ok {
		s.origins = slices.Insert(s.origins, i, origin{node: o.Node, start: o.Start})
	}
	g := &s.origins[i]
	if o.Start > g.start {
		*g = origin{node: o.Node, start: o.Start}
	}
	at, seen := slices.BinarySearchFunc(g.done, o.Number, func(d outcome, n uint64) int {
		switch {
		case d.number < n:
			return -1
		case d.number > n:
			return 1
		}
		return 0
	})
	if o.Start < g.start || o.Number <= g.floor {
		markStale.Hit()
		return failed(Stale, "The command is older than what is remembered of its node"), nil
	}
	if seen {
		markRepeat.Hit()
		return g.done[at].result, nil
	}
	groups, producers := s.v.nextGroup, s.v.nextProducer
	r := s.run(c, false)
	det.That(s.v.nextGroup >= groups, "meta: group ids are not used twice")
	det.That(s.v.nextProducer >= producers, "meta: producer ids are not used twice")
	g.done = slices.Insert(g.done, at, outcome{o.Number, r})
	if len(g.done) > Remembered {
		g.floor = g.done[0].number
		g.done = slices.Delete(g.done, 0, 1)
	}
	return r, nil
}

// run is one command. With dry set it says what would happen and changes nothing.
func (s *State) run(c Command, dry bool) Result {
	switch c := c.(type) {
	case *RegisterBroker:
		return s.register(c, dry)
	case *CreateTopic:
		return s.createTopic(c, dry)
	case *DeleteTopic:
		return s.deleteTopic(c, dry)
	case *CreatePartitions:
		return s.createPartitions(c, dry)
	case *AlterConfigs:
		return s.alterConfigs(c, dry)
	case *AllocateProducerIDs:
		return s.allocate(c, dry)
	case *Rejoin:
		return s.rejoin(c, dry)
	}
	det.That(false, "meta: every command is run")
	return Result{}
}

// thaw makes v ours to change: a copy, whose indexes are still shared. Who changes one in place says own
// first; the others are replaced, or only appended to, which the shorter slices of older views never see.
func (s *State) thaw() {
	if !s.frozen {
		return
	}
	v := *s.v
	s.v, s.frozen, s.owned = &v, false, 0
}

// index names what is changed in place.
type index uint8

const (
	brokerIndex index = 1 << iota
	topicIndex        // Topics
	nameIndex         // ids and dotted
)

func (s *State) own(x index) {
	det.That(!s.frozen, "meta: a view that was handed out does not change")
	if s.owned&x != 0 {
		return
	}
	s.owned |= x
	switch x {
	case brokerIndex:
		s.v.Brokers = slices.Clone(s.v.Brokers)
		s.v.brokerConfigs = slices.Clone(s.v.brokerConfigs)
	case topicIndex:
		s.v.Topics = slices.Clone(s.v.Topics)
	case nameIndex:
		s.v.ids = slices.Clone(s.v.ids)
		s.v.dotted = slices.Clone(s.v.dotted)
	}
}

func (s *State) register(c *RegisterBroker, dry bool) Result {
	b := c.Broker
	if len(b.Listeners) == 0 {
		return failed(InvalidRequest, "A broker needs a listener.")
	}
	for i := range b.Listeners {
		for j := range i {
			if b.Listeners[i].Name == b.Listeners[j].Name {
				return failed(InvalidRequest, "Each listener must have a different name, listeners: "+b.Listeners[i].Name)
			}
		}
	}
	i, known := s.v.brokerAt(b.ID)
	if known && s.v.Brokers[i].Incarnation > b.Incarnation {
		return failed(OldIncarnation, "Broker "+strconv.Itoa(int(b.ID))+" is known with a newer data directory (incarnation "+
			strconv.FormatUint(uint64(s.v.Brokers[i].Incarnation), 10)+").")
	}
	if dry {
		return Result{}
	}
	b.Listeners = slices.Clone(b.Listeners)
	s.own(brokerIndex)
	if known {
		markAgain.Hit()
		s.v.Brokers[i] = b
	} else {
		s.v.Brokers = slices.Insert(s.v.Brokers, i, b)
	}
	return Result{}
}

// grant is the newest incarnation that was given to a disk of a node, and the mark of who asked.
type grant struct {
	node        core.NodeID
	incarnation uint32
	mark        uint64
}

// rejoin never gives one incarnation to two marks: raft ids are made of it.
func (s *State) rejoin(c *Rejoin, dry bool) Result {
	b := s.v.Broker(c.Node)
	if b == nil {
		return failed(UnknownBroker, "Broker "+strconv.Itoa(int(c.Node))+" never registered: there is nothing to come back to.")
	}
	if dry || s.v.Granted(c.Node, c.Mark) > 0 {
		return Result{}
	}
	i, known := slices.BinarySearchFunc(s.v.grants, c.Node, func(g grant, n core.NodeID) int { return int(g.node) - int(n) })
	g := grant{c.Node, b.Incarnation + 1, c.Mark}
	s.v.grants = slices.Clone(s.v.grants)
	if known {
		g.incarnation = max(g.incarnation, s.v.grants[i].incarnation+1)
		s.v.grants[i] = g
	} else {
		s.v.grants = slices.Insert(s.v.grants, i, g)
	}
	markGranted.Hit()
	return Result{}
}

func (s *State) allocate(c *AllocateProducerIDs, dry bool) Result {
	if c.Count <= 0 || c.Count > maxProducers {
		return failed(InvalidRequest, "A block of "+strconv.Itoa(int(c.Count))+" producer ids is not given out.")
	}
	r := Result{FirstProducer: s.v.nextProducer}
	if !dry {
		s.v.nextProducer += int64(c.Count) // 2^63 ids outlast the disk that this is written to
	}
	return r
}

// Digest is a hash of the whole state: equal on all nodes at an equal position of the log (I14). It
// costs a walk over topics, not over partitions.
func (s *State) Digest() det.Hash {
	v := s.v
	h := det.Hash(0).Str(v.ClusterID).U64(v.Version).U64(uint64(v.nextGroup)).I64(v.nextProducer).U64(v.placed)
	h = h.U64(uint64(len(v.Brokers)))
	for i := range v.Brokers {
		b := &v.Brokers[i]
		h = h.I64(int64(b.ID)).U64(uint64(b.Incarnation)).Str(b.Rack).U64(uint64(len(b.Listeners)))
		for _, l := range b.Listeners {
			h = h.Str(l.Name).Str(l.Host).U64(uint64(l.Port))
		}
	}
	h = hashConfigs(h, v.ClusterConfigs).U64(uint64(len(v.brokerConfigs)))
	for _, b := range v.brokerConfigs {
		h = hashConfigs(h.I64(int64(b.id)), b.kvs)
	}
	for _, g := range v.grants {
		h = h.I64(int64(g.node)).U64(uint64(g.incarnation)).U64(g.mark)
	}
	h = h.U64(uint64(len(v.Topics)))
	for _, t := range v.Topics {
		h = h.U64(uint64(t.digest))
	}
	for i := range s.origins {
		g := &s.origins[i]
		h = h.I64(int64(g.node)).U64(g.start).U64(g.floor).U64(uint64(len(g.done)))
		for j := range g.done {
			h = hashResult(h.U64(g.done[j].number), &g.done[j].result)
		}
	}
	return h
}

func hashConfigs(h det.Hash, kvs []config.KV) det.Hash {
	h = h.U64(uint64(len(kvs)))
	for _, kv := range kvs {
		h = h.Str(kv.Key).Str(kv.Value)
	}
	return h
}

func hashResult(h det.Hash, r *Result) det.Hash {
	return h.U64(uint64(r.Code)).Str(r.Message).Bytes(r.TopicID[:]).I64(int64(r.Partitions)).I64(int64(r.Replication)).
		U64(uint64(r.FirstGroup)).I64(int64(r.Added)).I64(r.FirstProducer)
}

// seal computes what Digest reads of a topic. Topics are built once and never change after it.
func (t *Topic) seal() *Topic {
	h := det.Hash(0).Str(t.Name).Bytes(t.ID[:])
	h = hashConfigs(h, t.Configs).U64(uint64(len(t.Partitions)))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		h = h.U64(uint64(p.Group)).U64(uint64(len(p.Replicas)))
		for j, n := range p.Replicas {
			h = h.I64(int64(n)).U64(uint64(p.Voters[j]))
		}
	}
	t.digest = h
	return t
}
