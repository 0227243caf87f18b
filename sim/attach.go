package sim

import (
	"strconv"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/shard"
	"github.com/karst-stream/karst/sim/workload"
)

// machine is one shard as the simulator sees it. Everything that ties the simulator to core/shard
// and core/api is in this file.
type machine interface {
	Step(now core.Now, events []core.Event, fx *core.Effects) (wake core.Mono)
}

// driver is how a world makes and feeds machines. Tests put toys in its place.
type driver struct {
	// boot opens a node's disk and makes its shards.
	boot func(w *World, n *node) ([]machine, error)
	// route names the shard of a peer frame after the hello.
	route func(frame []byte, shards int) core.ShardID
	// intake judges a client's frame before the step that sees it.
	intake func(frame core.Ref) any
	// abandon releases a machine's memory, because its process ends.
	abandon func(m machine)
}

// karst drives the real core.
var karst = driver{
	boot:   bootKarst,
	route:  shard.Route,
	intake: func(frame core.Ref) any { return api.Intake(frame) },
	abandon: func(m machine) {
		if a, ok := m.(interface{ Abandon() }); ok {
			a.Abandon()
		}
	},
}

func bootKarst(w *World, n *node) ([]machine, error) {
	rec, err := shard.Recover(n.disk.Dir(0), n.id, n.others(w.plan.Dirs)...)
	if err != nil {
		return nil, err
	}
	n.start = rec.Start
	var obs replica.Observer = observer{w.judge, w}
	if n.lost {
		obs = nil // it finds less than it acknowledged, and is judged by what the others do with it
	}
	var peers []core.NodeID
	for i := range w.plan.Nodes {
		peers = append(peers, core.NodeID(i))
	}
	var static []config.KV
	if every := workload.RetentionCheck(w.plan.Loads, w.plan.Sparse); every > 0 {
		static = []config.KV{{Key: "log.retention.check.interval.ms", Value: strconv.FormatInt(int64(every/core.Millisecond), 10)}}
	}
	if workload.Compacts(w.plan.Loads) {
		static = append(static, config.KV{Key: "log.cleaner.backoff.ms", Value: "100"})
	}
	if workload.Squeezes(w.plan.Loads) { // so that the topic of groups is compacted, too
		static = append(static, config.KV{Key: "log.roll.ms", Value: "1500"}, config.KV{Key: "log.cleaner.min.cleanable.ratio", Value: "0.1"},
			config.KV{Key: "log.segment.delete.delay.ms", Value: "1000"})
	}
	if w.plan.Segment > 0 {
		static = append(static, config.KV{Key: "log.segment.bytes", Value: strconv.FormatInt(w.plan.Segment, 10)})
	}
	limits := shard.Limits{WindowBytes: w.plan.Window, JournalSlot: w.plan.Journal}
	if e := int(w.plan.Entries); e > 0 {
		limits.WindowEntries, limits.GroupEntries = 1, e
	}
	if b := w.plan.Pull; b > 0 {
		limits.PullBytes, limits.PullMemory, limits.PullSync = b, 4*b, 2*b
	}
	var ms []machine
	for s := range w.plan.Shards {
		ms = append(ms, shard.New(shard.Config{
			Node: n.id, Shard: core.ShardID(s), Shards: w.plan.Shards, Peers: peers,
			Seed:      uint64(det.Hash(w.plan.Seed).U64(uint64(n.id)).U64(uint64(n.life))),
			Listeners: []meta.Listener{{Name: w.net.Listener, Host: "node-" + string(rune('0'+n.id)), Port: 9092}},
			Limits:    limits,
			Pace:      w.plan.pace(),
			Observer:  obs,
			Rejoin:    n.rejoin,
			Unzip:     workload.Unpack,
			Zip:       workload.Pack,
			Static:    config.Sort(static),
		}, rec))
	}
	return ms, nil
}

// pace is the plan's, with what it does not say.
func (p *Plan) pace() shard.Pace {
	return shard.Pace{Ping: p.Ping, Doubt: p.Suspicion, Scrub: p.Scrub}.OrDefaults()
}

// grace is how much longer than by default a node may take until it knows that another is gone or back.
func (p *Plan) grace() core.Mono {
	is, was := p.pace(), shard.Pace{}.OrDefaults()
	return 2 * max(0, is.Ping+is.Doubt-was.Ping-was.Doubt)
}

// observer passes what replicas do to the judge, and to the crashes that wait for a moment.
type observer struct {
	*checker.State
	w *World
}

func (o observer) Sent(n core.NodeID, g core.GroupID, m *raftpb.Message) {
	o.State.Sent(n, g, m)
	if m.Type == raftpb.MsgVoteResp && !m.Reject {
		o.w.moment(n, 0)
	}
}

func (o observer) Appended(n core.NodeID, g core.GroupID, i core.Index, t core.Term, hash det.Hash) {
	o.State.Appended(n, g, i, t, hash)
	o.w.moment(n, 1)
}

func (o observer) Pulled(n core.NodeID, g core.GroupID, leader core.NodeID, to core.Offset) {
	o.State.Pulled(n, g, leader, to)
	o.w.moment(n, 3)
	o.w.moment(leader, 4)
}

// Noted comes before a checkpoint speaks of what a catch-up has brought: it must be on the platter (M27c).
func (o observer) Noted(n core.NodeID, g core.GroupID, path string, size int64) {
	o.w.noted(o.w.nodes[n], g, path, size)
}

// Installed comes when raft has the snapshot: what it stands for must be on the platter by then (M27).
func (o observer) Installed(n core.NodeID, g core.GroupID, i core.Index, t core.Term, end core.Offset) {
	o.State.Installed(n, g, i, t, end)
	o.w.installed(o.w.nodes[n], g, end)
}

func (o observer) BecameLeader(n core.NodeID, g core.GroupID, id core.RaftID, t core.Term, last core.Index) {
	o.State.BecameLeader(n, g, id, t, last)
	if !o.w.deaf {
		o.w.leads.Set(g, n)
	}
	o.w.moment(n, 2)
}
