package meta

import (
	"slices"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/mut"
)

// placer spreads replicas over brokers. Leaders go round the live brokers, so that they are balanced
// within a topic and, because the next command goes on where the last one stopped, over topics too.
// Followers start one further on for every round, so that the load of a lost leader falls on all.
// Replicas of a partition take different racks as far as there are racks. Dead brokers are taken only
// when the live ones do not suffice, and never for a majority of a partition: raft could not elect a
// leader for it.
type placer struct {
	live  []*Broker // in the order that leaders go round: racks take turns
	dead  []*Broker
	racks []string
}

func (v *View) placer(live []core.NodeID) *placer {
	p := &placer{}
	var alive []*Broker
	for i := range v.Brokers {
		b := &v.Brokers[i]
		if slices.Contains(live, b.ID) {
			alive = append(alive, b)
		} else {
			p.dead = append(p.dead, b)
		}
		if !slices.Contains(p.racks, b.Rack) {
			p.racks = append(p.racks, b.Rack)
		}
	}
	slices.Sort(p.racks)
	byRack := make([][]*Broker, len(p.racks))
	for _, b := range alive {
		r, _ := slices.BinarySearch(p.racks, b.Rack)
		byRack[r] = append(byRack[r], b)
	}
	for i := 0; len(p.live) < len(alive); i++ {
		for _, rack := range byRack {
			if i < len(rack) {
				p.live = append(p.live, rack[i])
			}
		}
	}
	return p
}

// refuse says in Kafka's words why rf replicas cannot be placed; "" when they can.
func (p *placer) refuse(rf int16) string {
	all := len(p.live) + len(p.dead)
	why := ""
	switch {
	case len(p.live) == 0:
		why = "All brokers are currently fenced."
	case int(rf) > all:
		why = "The target replication factor of " + strconv.Itoa(int(rf)) + " cannot be reached because only " +
			strconv.Itoa(all) + " broker(s) are registered or some brokers have all their log directories cordoned."
	case rf > maxReplicas:
		why = "The target replication factor of " + strconv.Itoa(int(rf)) + " is more than " + strconv.Itoa(maxReplicas) + "."
	case len(p.live) <= int(rf)/2:
		why = "The target replication factor of " + strconv.Itoa(int(rf)) + " needs " + strconv.Itoa(int(rf)/2+1) +
			" broker(s) for a majority, and only " + strconv.Itoa(len(p.live)) + " of " + strconv.Itoa(all) + " are alive."
	default:
		return ""
	}
	return "Unable to replicate the partition " + strconv.Itoa(int(rf)) + " time(s): " + why
}

// place is the replicas of the nth partition that this cluster ever placed, the leader first.
func (p *placer) place(n uint64, rf int16) []*Broker {
	live := uint64(len(p.live))
	first, round := n%live, n/live
	order := make([]*Broker, 0, len(p.live)+len(p.dead))
	order = append(order, p.live[first])
	for j := uint64(0); j+1 < live; j++ {
		order = append(order, p.live[(first+1+(round+j)%(live-1))%live])
	}
	for j := range p.dead {
		order = append(order, p.dead[(n+uint64(j))%uint64(len(p.dead))])
	}
	inRack := make([]int, len(p.racks))
	taken := make([]bool, len(order))
	out := make([]*Broker, 0, rf)
	choose := func(from, to, most int) { // those of order[from:to] whose rack holds at most so many yet
		for i := from; i < to && len(out) < int(rf); i++ {
			r, _ := slices.BinarySearch(p.racks, order[i].Rack)
			if !taken[i] && inRack[r] <= most {
				taken[i] = true
				inRack[r]++
				out = append(out, order[i])
			}
		}
	}
	for most := 0; len(out) < min(int(rf), len(p.live)); most++ {
		choose(0, len(p.live), most)
	}
	for most := 0; len(out) < int(rf); most++ {
		choose(len(p.live), len(order), most)
	}
	if mut.On("M29") { // the order of a Go map decides who leads
		mut.Scatter(out)
	}
	return out
}

// assigned checks replicas that somebody chose by hand, in the words of ReplicationControlManager. rf is
// the number that each partition must have, 0 for that of the first.
func (v *View) assigned(partition int, nodes []core.NodeID, rf int, live []core.NodeID) ([]*Broker, string) {
	if len(nodes) == 0 {
		return nil, "The manual partition assignment includes an empty replica list."
	}
	if len(nodes) > maxReplicas {
		return nil, "The manual partition assignment includes a partition with more than " +
			strconv.Itoa(maxReplicas) + " replicas."
	}
	out := make([]*Broker, len(nodes))
	alive := 0
	for i, n := range nodes {
		b := v.Broker(n)
		if b == nil {
			return nil, "The manual partition assignment includes broker " + strconv.Itoa(int(n)) +
				", but no such broker is registered."
		}
		if slices.Contains(nodes[:i], n) {
			return nil, "The manual partition assignment includes the broker " + strconv.Itoa(int(n)) + " more than once."
		}
		if slices.Contains(live, n) {
			alive++
		}
		out[i] = b
	}
	if rf > 0 && len(nodes) != rf {
		return nil, "The manual partition assignment includes a partition with " + strconv.Itoa(len(nodes)) +
			" replica(s), but this is not consistent with previous partitions, which have " + strconv.Itoa(rf) + " replica(s)."
	}
	if alive == 0 {
		return nil, "All brokers specified in the manual partition assignment for partition " + strconv.Itoa(partition) +
			" are fenced or in controlled shutdown."
	}
	if alive <= len(nodes)/2 {
		return nil, "Of the brokers specified in the manual partition assignment for partition " + strconv.Itoa(partition) +
			" (" + joinNodes(nodes) + ") no majority is alive."
	}
	return out, ""
}

func joinNodes(nodes []core.NodeID) string {
	var b strings.Builder
	for i, n := range nodes {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(n)))
	}
	return b.String()
}
