// Package meta is the replicated machine of topics, brokers, their settings and the placement of
// partitions: bytes in, bytes out. Commands (command.go) are the records of the metadata log; somebody
// else replicates them and feeds each, in the order of the log, to State.Apply. The package promises
// that equal commands give equal states and results on every node, that a command met twice acts once,
// that no group id or topic id is ever used again and that a topic never loses partitions (A30). It
// refuses to know raft, connections, Kafka's wire and time, and commands that it cannot decode.
//
// A View is what one version of the state looks like: immutable, shared by all shards of a node.
package meta

import (
	"bytes"
	"slices"
	"sort"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
)

// Listener is where a broker serves Kafka clients. A client is told the address of the listener that
// has the name of the one it came through.
type Listener struct {
	Name string
	Host string // "": the host that the client dialled
	Port uint16 // 0: the port that the client dialled
}

// Broker is a registered node. Nothing here says whether it is alive.
type Broker struct {
	ID          core.NodeID
	Incarnation uint32 // of its disk, from 1; see core.NewRaftID
	Rack        string // "": none
	Listeners   []Listener
}

// RaftID is the voter that this broker is in groups that are placed on it now.
func (b *Broker) RaftID() core.RaftID { return core.NewRaftID(b.Incarnation, b.ID) }

// Partition is one raft group of a topic; its number is its index in Topic.Partitions.
type Partition struct {
	Group    core.GroupID
	Replicas []core.NodeID // the preferred leader first
	// Voters are the raft ids of Replicas when the group was born, in the same order: its first
	// ConfState (DESIGN.md 11, rule 6), whatever incarnation a broker has now.
	Voters []core.RaftID
}

// Topic is immutable: a change makes a new one.
type Topic struct {
	Name       string
	ID         [16]byte
	Internal   bool
	Configs    []config.KV // its own settings, sorted, parsed
	Partitions []Partition
	digest     det.Hash
}

// ReplicationFactor is that of the first partition.
func (t *Topic) ReplicationFactor() int16 { return int16(len(t.Partitions[0].Replicas)) }

// View is one version of the state. Nothing reachable from it ever changes.
type View struct {
	ClusterID      string
	Version        uint64      // commands applied
	Brokers        []Broker    // by id
	Topics         []*Topic    // by name
	ClusterConfigs []config.KV // dynamic settings of all brokers

	brokerConfigs []brokerConfigs // dynamic settings of single brokers, by id
	ids           []idEntry       // by id
	spans         []span          // by group
	dotted        []string        // names with '.' or '_', in the order of unified
	nextGroup     core.GroupID    // never falls
	nextProducer  int64           // never falls
	grants        []grant         // by node
	placed        uint64          // partitions ever placed: where the next placement starts
}

type brokerConfigs struct {
	id  core.NodeID
	kvs []config.KV
}

type idEntry struct {
	id   [16]byte
	name string
}

// span is a run of groups, made by one command: groups [first, first+n) are the partitions
// [partition, partition+n) of the topic.
type span struct {
	first     core.GroupID
	n         int32
	partition int32
	topic     string
}

// Topic finds a topic by name, or nil.
func (v *View) Topic(name string) *Topic {
	if i, ok := v.topicAt(name); ok {
		return v.Topics[i]
	}
	return nil
}

func (v *View) topicAt(name string) (int, bool) {
	return slices.BinarySearchFunc(v.Topics, name, func(t *Topic, name string) int {
		return strings.Compare(t.Name, name)
	})
}

// TopicByID finds a topic by id, or nil.
func (v *View) TopicByID(id [16]byte) *Topic {
	if i, ok := v.idAt(id); ok {
		return v.Topic(v.ids[i].name)
	}
	return nil
}

func (v *View) idAt(id [16]byte) (int, bool) {
	return slices.BinarySearchFunc(v.ids, id, func(e idEntry, id [16]byte) int {
		return bytes.Compare(e.id[:], id[:])
	})
}

// Group finds the partition that a group is; nil when there is none (the metadata group is none).
func (v *View) Group(g core.GroupID) (*Topic, int32) {
	i, ok := slices.BinarySearchFunc(v.spans, g, func(s span, g core.GroupID) int {
		switch {
		case g < s.first:
			return 1
		case g >= s.first+core.GroupID(s.n):
			return -1
		}
		return 0
	})
	if !ok {
		return nil, 0
	}
	s := v.spans[i]
	t, p := v.Topic(s.topic), s.partition+int32(g-s.first)
	det.That(t != nil && int(p) < len(t.Partitions), "meta: a span belongs to a topic")
	det.That(t.Partitions[p].Group == g, "meta: a span names its groups")
	return t, p
}

// Broker finds a registered node, or nil.
func (v *View) Broker(id core.NodeID) *Broker {
	if i, ok := v.brokerAt(id); ok {
		return &v.Brokers[i]
	}
	return nil
}

func (v *View) brokerAt(id core.NodeID) (int, bool) {
	i := sort.Search(len(v.Brokers), func(i int) bool { return v.Brokers[i].ID >= id }) // copies no broker
	return i, i < len(v.Brokers) && v.Brokers[i].ID == id
}

// Granted is the incarnation that the metadata gave to the process with this mark of an empty node; 0: none.
func (v *View) Granted(id core.NodeID, mark uint64) uint32 {
	for _, g := range v.grants {
		if g.node == id && g.mark == mark {
			return g.incarnation
		}
	}
	return 0
}

// BrokerConfigs are the dynamic settings of one broker alone, sorted; those of all are ClusterConfigs.
func (v *View) BrokerConfigs(id core.NodeID) []config.KV {
	if i, ok := v.brokerConfigsAt(id); ok {
		return v.brokerConfigs[i].kvs
	}
	return nil
}

func (v *View) brokerConfigsAt(id core.NodeID) (int, bool) {
	return slices.BinarySearchFunc(v.brokerConfigs, id, func(b brokerConfigs, id core.NodeID) int {
		return int(b.id) - int(id)
	})
}

// Layers are the settings that bind a topic on a node; t may be nil, for the node alone.
func (v *View) Layers(t *Topic, node core.NodeID, static []config.KV) config.Layers {
	l := config.Layers{Broker: v.BrokerConfigs(node), Cluster: v.ClusterConfigs, Static: static}
	if t != nil {
		l.Topic = t.Configs
	}
	return l
}

// Check says what a command would do to this version, and does nothing: validate_only, and a first
// answer before proposing. It is the very code of State.Apply. Ids in the result are not promised. What
// came from a client is checked before it is proposed, because Encode does not bound it and a command
// beyond the bounds of Decode would be refused only after it is in the log.
func (v *View) Check(c Command) Result {
	if _, _, err := Decode(Encode(Origin{Number: 1}, c)); err != nil {
		return failed(InvalidRequest, "The request is too large: "+err.Error())
	}
	s := State{v: v, frozen: true}
	return s.run(c, true)
}

// Born says whether a group of this id was ever made: then one that is not in the view is gone.
func (v *View) Born(g core.GroupID) bool { return g < v.nextGroup }
