package meta

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
)

func (s *State) createTopic(c *CreateTopic, dry bool) Result {
	v := s.v
	if c.Name == MetadataTopic {
		return failed(InvalidRequest, "Creation of internal topic "+MetadataTopic+" is prohibited.")
	}
	if why := CheckName(c.Name); why != "" {
		return failed(InvalidTopic, why)
	}
	if v.Topic(c.Name) != nil {
		markExists.Hit()
		return failed(TopicExists, "Topic '"+c.Name+"' already exists.")
	}
	if other := v.collision(c.Name); other != "" {
		return failed(InvalidTopic, "Topic '"+c.Name+"' collides with existing topic: "+other)
	}
	configs, err := config.ValidateTopic(c.Configs)
	if err != nil {
		return failed(InvalidConfig, err.Error())
	}
	placed, bad := v.placeNew(c)
	if bad.Code != Done {
		return bad
	}
	t := &Topic{Name: c.Name, Internal: Internal(c.Name), ID: topicID(c.ID, v.nextGroup), Configs: configs,
		Partitions: s.birth(nil, placed)}
	if mut.On("M30b") { // ids are made of names: a topic that comes again has the id of the one that went
		t.ID = topicID([16]byte{}, core.GroupID(det.Hash(0).Str(c.Name)))
	}
	r := Result{TopicID: t.ID, Partitions: int32(len(placed)), Replication: int16(len(placed[0])),
		FirstGroup: v.nextGroup, Added: int32(len(placed))}
	if dry {
		return r
	}
	s.own(topicIndex)
	s.own(nameIndex)
	i, _ := v.topicAt(t.Name)
	v.Topics = slices.Insert(v.Topics, i, t.seal())
	i, known := v.idAt(t.ID)
	det.That(!known, "meta: a topic id is not used twice")
	v.ids = slices.Insert(v.ids, i, idEntry{t.ID, t.Name})
	if dotted(t.Name) {
		i, _ := slices.BinarySearchFunc(v.dotted, t.Name, unified)
		v.dotted = slices.Insert(v.dotted, i, t.Name)
	}
	s.grow(t, 0)
	return r
}

// placeNew decides where the partitions of a new topic live; the Result says why it cannot.
func (v *View) placeNew(c *CreateTopic) ([][]*Broker, Result) {
	if len(c.Assignment) > 0 {
		if c.Replication != -1 {
			return nil, failed(InvalidRequest,
				"A manual partition assignment was specified, but replication factor was not set to -1.")
		}
		if c.Partitions != -1 {
			return nil, failed(InvalidRequest,
				"A manual partition assignment was specified, but numPartitions was not set to -1.")
		}
		return v.placeByHand(0, c.Assignment, 0, c.Live)
	}
	if c.Replication < -1 || c.Replication == 0 {
		return nil, failed(InvalidReplicationFactor,
			"Replication factor must be larger than 0, or -1 to use the default value.")
	}
	if c.Partitions < -1 || c.Partitions == 0 {
		return nil, failed(InvalidPartitions,
			"Number of partitions was set to an invalid non-positive value.")
	}
	defaults := (&config.Layers{Cluster: v.ClusterConfigs}).BrokerValues()
	n, rf := c.Partitions, c.Replication
	if n == -1 {
		n = defaults.NumPartitions
	}
	if rf == -1 {
		rf = config.ReplicationFactor(defaults.DefaultReplicationFactor, len(v.Brokers))
	}
	return v.placeByRound(n, rf, c.Live)
}

func (v *View) placeByHand(first int, assignment [][]core.NodeID, rf int, live []core.NodeID) ([][]*Broker, Result) {
	out := make([][]*Broker, len(assignment))
	for i, nodes := range assignment {
		brokers, why := v.assigned(first+i, nodes, rf, live)
		if why != "" {
			return nil, failed(InvalidAssignment, why)
		}
		out[i], rf = brokers, len(nodes)
	}
	return out, Result{}
}

func (v *View) placeByRound(n int32, rf int16, live []core.NodeID) ([][]*Broker, Result) {
	if n > maxPartitions {
		return nil, failed(PolicyViolation, "Excessively large number of partitions per request.")
	}
	p := v.placer(live)
	if why := p.refuse(rf); why != "" {
		return nil, failed(InvalidReplicationFactor, why)
	}
	out := make([][]*Broker, n)
	for i := range out {
		out[i] = p.place(v.placed+uint64(i), rf)
	}
	return out, Result{}
}

// birth appends new partitions to those a topic has. Their groups are the next ones in order; grow
// takes these ids.
func (s *State) birth(have []Partition, placed [][]*Broker) []Partition {
	parts := make([]Partition, len(have), len(have)+len(placed))
	copy(parts, have)
	rf := len(placed[0])
	nodes, voters := make([]core.NodeID, 0, rf*len(placed)), make([]core.RaftID, 0, rf*len(placed))
	for i, brokers := range placed {
		det.That(len(brokers) == rf, "meta: partitions of a command have one replication factor")
		for _, b := range brokers {
			nodes, voters = append(nodes, b.ID), append(voters, b.RaftID())
		}
		lo, hi := i*rf, (i+1)*rf
		parts = append(parts, Partition{Group: s.v.nextGroup + core.GroupID(i),
			Replicas: nodes[lo:hi:hi], Voters: voters[lo:hi:hi]})
	}
	return parts
}

// grow records that the partitions of t from first on are new.
func (s *State) grow(t *Topic, first int) {
	n := len(t.Partitions) - first
	det.That(n > 0, "meta: a topic only grows")
	det.That(t.Partitions[first].Group == s.v.nextGroup, "meta: new groups take the next ids")
	s.v.spans = append(s.v.spans, span{first: s.v.nextGroup, n: int32(n), partition: int32(first), topic: t.Name})
	s.v.nextGroup += core.GroupID(n)
	s.v.placed += uint64(n)
}

// topicID joins a drawn half and one made from the first group of the topic. The latter is a
// permutation of the counter of groups (the finalizer of splitmix64), so ids differ whatever was drawn.
func topicID(drawn [16]byte, first core.GroupID) [16]byte {
	z := uint64(first)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	id := drawn
	binary.BigEndian.PutUint64(id[8:], z)
	if id[0]>>2 == 62 {
		id[0] ^= 0x80 // base64 would begin with '-', which tools take for a flag (as Uuid.randomUuid avoids)
	}
	return id
}

func (s *State) deleteTopic(c *DeleteTopic, dry bool) Result {
	v := s.v
	t := v.Topic(c.Name)
	if c.Name == "" {
		if t = v.TopicByID(c.ID); t == nil {
			return failed(UnknownTopicID, "This server does not host this topic ID.")
		}
	}
	if t == nil {
		return failed(UnknownTopic, "This server does not host this topic-partition.")
	}
	if t.Internal {
		return failed(InvalidRequest, "Topic '"+t.Name+"' is internal and cannot be deleted.")
	}
	r := Result{TopicID: t.ID}
	if dry {
		return r
	}
	s.own(topicIndex)
	s.own(nameIndex)
	i, _ := v.topicAt(t.Name)
	v.Topics = slices.Delete(v.Topics, i, i+1)
	markDeleted.Hit()
	i, ok := v.idAt(t.ID)
	det.That(ok, "meta: a topic is found by its id")
	v.ids = slices.Delete(v.ids, i, i+1)
	if i, ok := slices.BinarySearchFunc(v.dotted, t.Name, unified); ok {
		v.dotted = slices.Delete(v.dotted, i, i+1)
	}
	left := make([]span, 0, len(v.spans)) // never in place: older views share it
	for _, s := range v.spans {
		if s.topic != t.Name {
			left = append(left, s)
		}
	}
	v.spans = left
	return r
}

func (s *State) createPartitions(c *CreatePartitions, dry bool) Result {
	v := s.v
	t := v.Topic(c.Topic)
	if t == nil {
		return failed(UnknownTopic, "This server does not host this topic-partition.")
	}
	have := int32(len(t.Partitions))
	switch {
	case t.Internal:
		return failed(InvalidPartitions, "The number of partitions of the internal topic "+t.Name+" cannot be changed.")
	case c.Count == have:
		return failed(InvalidPartitions, "Topic already has "+strconv.Itoa(int(have))+" partition(s).")
	case c.Count < have:
		return failed(InvalidPartitions, "The topic "+t.Name+" currently has "+strconv.Itoa(int(have))+" partition(s); "+
			strconv.Itoa(int(c.Count))+" would not be an increase.")
	}
	more := c.Count - have
	var placed [][]*Broker
	var bad Result
	if len(c.Assignment) == 0 {
		placed, bad = v.placeByRound(more, t.ReplicationFactor(), c.Live)
	} else if len(c.Assignment) != int(more) {
		bad = failed(InvalidAssignment, "Attempted to add "+strconv.Itoa(int(more))+" additional partition(s), but only "+
			strconv.Itoa(len(c.Assignment))+" assignment(s) were specified.")
	} else {
		placed, bad = v.placeByHand(int(have), c.Assignment, int(t.ReplicationFactor()), c.Live)
	}
	if bad.Code != Done {
		return bad
	}
	r := Result{TopicID: t.ID, Partitions: c.Count, Replication: t.ReplicationFactor(),
		FirstGroup: v.nextGroup, Added: more}
	if dry {
		return r
	}
	grown := *t
	grown.Partitions = s.birth(t.Partitions, placed)
	markGrown.Hit()
	s.own(topicIndex)
	i, _ := v.topicAt(t.Name)
	v.Topics[i] = grown.seal()
	s.grow(v.Topics[i], int(have))
	return r
}
