// Package sim drives a whole cluster, its disks, its network and its clients under virtual time, in
// one goroutine, from one seed. It owns time and chance: everything that could differ between two
// runs is drawn from a stream of the seed, so that equal seeds give equal traces. It promises that
// core sees exactly what the contracts of diskio and netsim allow, at their worst, and that whatever
// the judges of package checker forbid is reported with the command that replays it. It refuses to
// know what the core means: it carries effects out and events in.
package sim

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/checker/linear"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	diskfake "github.com/karst-stream/karst/diskio/fake"
	netfake "github.com/karst-stream/karst/netsim/fake"
	"github.com/karst-stream/karst/sim/workload"
)

// Options are how a run is watched; none of them changes it.
type Options struct {
	For    core.Mono // of load and faults; default a minute
	Trace  io.Writer // one line for each event and effect; nil: none
	Mutant string    // planted, in builds that have mutants
	Liars  int       // this many disks lie about fsync
	File   string    // where the plan was read; empty: it is drawn from the seed

	Stop func() bool // asked now and then: whether the run is to end where it is; nil: never
}

// World is one run.
type World struct {
	opts   Options
	plan   Plan
	drv    driver
	now    core.Mono
	seq    uint64
	q      queue
	nodes  []*node
	net    *netfake.Net
	fleet  *workload.Fleet
	told   *checker.Judge // hears the clients
	judge  *checker.State
	copies copies
	fx     core.Effects
	hash   det.Hash
	result Result
	failed bool
	deaf   bool // what replicas do now is undone by the end of their process

	stage     stage
	began     core.Mono // of the load
	entered   core.Mono // when the stage began
	compareAt core.Mono // when disks may be compared again
	limit     core.Mono // when it must be over
	latest    core.Wall // that any node's clock has shown
	steps     *det.Rand
	faults    *det.Rand
	netRand   *det.Rand
	todo      []Fault                            // the plan's, and what became of aimed ones
	aimed     []Fault                            // wait for their moment
	leads     det.Map[core.GroupID, core.NodeID] // who became leader last
	healing   uint64                             // see heals
	gaveUp    bool                               // beyond the budget: the cluster refuses for good

	served   uint64 // the majority that must serve, and since when
	servedAt core.Mono
}

// stage of a run
type stage uint8

const (
	forming   stage = iota // until the topic has leaders
	loading                // plan.For long, with faults
	draining               // healed; until every batch is acknowledged and all replicas are in sync
	rebooting              // after a last loss of power, until all replicas are in sync again
	reading                // until every partition was read to its end
	ended
)

var stageNames = [...]string{"forming", "loading", "draining", "rebooting", "reading", "ended"}

// quiet is how long a cluster without producers needs until segments hold all that rides in journals.
const quiet = 1200 * core.Millisecond

// how long a stage may last before the cluster counts as stuck; readers of rotten bytes wait for a scrubber to come by
var patience = [ended + 1]core.Mono{forming: 30 * core.Second, draining: 60 * core.Second, rebooting: 60 * core.Second, reading: 180 * core.Second}

func newWorld(plan Plan, opts Options, drv driver) *World {
	w := &World{opts: opts, plan: plan, drv: drv}
	w.steps = det.New(plan.Seed, "steps")
	w.faults = det.New(plan.Seed, "faults")
	w.netRand = det.New(plan.Seed, "net")
	w.net = netfake.New(plan.Nodes, w.netRand, w)
	w.net.Shards = plan.Shards
	w.net.Address = func(n core.NodeID) string { return fmt.Sprintf("node-%d:9092", n) }
	w.net.Route = func(frame []byte) core.ShardID { return w.drv.route(frame, plan.Shards) }
	w.weather()
	w.told = checker.NewJudge(checker.Limits{})
	w.told.Heard, w.told.Log.Sparse = w.violation, false
	w.judge = checker.NewState(plan.Nodes, w.violation)
	if plan.Liars > 0 {
		w.judge.Deafen()
	}
	w.copies.init(w)
	for i := range plan.Nodes {
		n := &node{id: core.NodeID(i), disk: diskfake.New(det.New(plan.Seed, fmt.Sprint("disk ", i)))}
		n.disk.Lies = i < plan.Liars
		n.disk.Harms = func(path string) bool { return isSegment(path) || isIndex(path) }
		n.disk.Spares = n.uncovered
		w.nodes = append(w.nodes, n)
	}
	w.fleet = workload.New(workload.Config{Seed: plan.Seed, Nodes: plan.Nodes, Topic: "t", Partitions: plan.Partitions,
		Factor: plan.Factor, Rate: plan.Rate, Core: 1<<plan.Nodes - 1, Steady: steady(&plan), Loads: plan.Loads, Hot: plan.Hot, MaxRecord: plan.MaxRecord,
		Large: plan.Large, Packed: plan.Packed, Sparse: plan.Sparse, Configs: plan.topic()}, w, w.told)
	return w
}

// topic is what its topic is made with.
func (p *Plan) topic() map[string]string {
	cs := map[string]string{"segment.bytes": "1048576",
		"index.interval.bytes":           [...]string{"0", "4096", "300"}[p.Seed%3], // files of more than a page
		"message.timestamp.after.max.ms": "9223372036854775807", "compression.type": "producer"}
	if p.Packed > 0 {
		cs["compression.type"] = "uncompressed"
	}
	if p.Segment > 0 {
		delete(cs, "segment.bytes") // smaller ones than clients may ask for: the brokers' own default
	}
	if p.Sparse > 1 { // nothing of it may go, its judges remember it all; what retention takes are topics of their own
		cs["retention.ms"], cs["segment.ms"] = "-1", strconv.FormatInt(1000*p.Sparse, 10)
	}
	return cs
}

// weather sets what the network does all the time.
func (w *World) weather() {
	r := w.plan.Rates
	w.net.Weather = netfake.Weather{Min: 40 * core.Microsecond, Max: 500 * core.Microsecond, SpikeMax: w.plan.SpikeMax}
	if w.stage == loading {
		w.net.Weather.Reset, w.net.Weather.Drop, w.net.Weather.Double = r.Reset, r.Drop, r.Double
		w.net.Weather.Spike, w.net.Weather.Rot = r.Spike, r.Rot
		w.net.Weather.Part, w.net.Weather.Replay, w.net.Weather.Corrupt = r.Part, r.Replay, r.Corrupt
		w.net.Weather.ReplayMax = w.plan.ReplayMax
	}
}

// after schedules something.
func (w *World) after(at core.Mono, k what, n *node, s core.ShardID, arg uint64) {
	w.seq++
	m := moment{at: at, seq: w.seq, what: k, arg: arg, s: uint8(s), node: -1}
	if n != nil {
		m.node, m.life = int8(n.id), n.life
	}
	w.q.push(w.now, m)
}

// play runs the world to its end.
func (w *World) play() {
	for _, n := range w.nodes {
		w.start(n)
	}
	w.limit = w.patient(forming)
	w.after(core.Millisecond, dueCheck, nil, 0, 0)
	for w.q.len() > 0 && w.stage != ended && !w.failed {
		m := w.q.pop()
		w.now = m.at
		if m.node >= 0 {
			n := w.nodes[m.node]
			if n.life == m.life && n.alive {
				w.happen(n, &m)
			}
			continue
		}
		switch m.what {
		case dueNet:
			w.net.Fire(w.now, m.arg)
		case dueClient:
			w.fleet.Wake(int(m.arg))
		case dueFault:
			w.fault(int(m.arg))
		case dueRestart:
			if n := w.nodes[m.arg]; !n.alive {
				w.start(n)
			}
		case dueCheck:
			w.look()
			w.watch()
			if w.opts.Stop != nil && w.opts.Stop() {
				w.result.Stopped, w.gaveUp = true, true
				w.enter(ended)
			}
			w.after(w.now+w.lookEvery(), dueCheck, nil, 0, 0)
		}
	}
	w.finish()
}

func (w *World) happen(n *node, m *moment) {
	s := core.ShardID(m.s)
	switch m.what {
	case dueStep:
		w.step(n, s)
	case dueWake:
		w.woken(n, s, core.Mono(m.arg))
	case dueDisk:
		ev, answer := n.disk.Complete(core.FileID(m.arg))
		if answer {
			w.give(n, ev.Op.Shard(), ev)
		}
	case dueMail:
		w.mailed(n, int(m.arg))
	case dueJob:
		w.jobDone(n, core.OpID(m.arg))
	}
}

// lookEvery is the time between two looks: in a world in which little happens they would be most of what does.
func (w *World) lookEvery() core.Mono {
	switch {
	case w.plan.Sparse <= 1 || w.stage == forming:
		return lookEvery
	case w.stage == loading:
		return min(lookEvery*core.Mono(w.plan.Sparse), 10*core.Second)
	}
	return min(lookEvery*core.Mono(w.plan.Sparse), core.Second)
}

const lookEvery = 20 * core.Millisecond

// patient is how long a stage may last.
func (w *World) patient(s stage) core.Mono {
	if patience[s] == 0 {
		return 0
	}
	return patience[s] + 2*w.plan.grace() + workload.Patience(w.plan.Loads, w.plan.Sparse)
}

// look moves the run from stage to stage.
func (w *World) look() {
	switch w.stage {
	case forming:
		if w.fleet.Ready() {
			w.enter(loading)
			w.began = w.now
			w.limit = core.Never
			w.todo = slices.Clone(w.plan.Faults)
			for i, f := range w.todo {
				w.after(w.now+f.At, dueFault, nil, 0, uint64(i))
			}
			w.fleet.Start()
		}
	case loading:
		if w.now >= w.began+w.plan.For {
			w.enter(draining)
			w.fleet.Stop()
			w.fleet.Await(w.heals())
			w.calm()
		}
	case draining:
		if w.fleet.Drained() && w.fleet.Settled(w.began+w.plan.For) {
			if w.plan.EndPower {
				w.enter(rebooting)
				w.powerAll()
				w.startCore()
			} else {
				w.enter(reading)
				w.fleet.ReadBack()
			}
		}
	case rebooting:
		if w.fleet.Settled(w.entered + core.Second) {
			w.enter(reading)
			w.fleet.ReadBack()
		}
	case reading:
		if w.fleet.ReadAll() && w.now > w.entered+quiet && w.equal() {
			w.enter(ended)
		}
	}
	if w.stage != ended && w.now > w.limit && w.plan.Beyond {
		w.gaveUp = true
		w.enter(ended)
	}
	if w.stage != ended && w.now > w.limit {
		w.failAt("stuck", "%s takes longer than %.0f s: %s%s", stageNames[w.stage], seconds(w.limit-w.entered), w.fleet.Stuck(), w.state())
	}
}

func (w *World) enter(s stage) {
	w.stage = s
	w.entered = w.now
	w.limit = w.now + w.patient(s)
	if w.plan.Liars > 0 && s > loading {
		w.limit = w.now + patience[s]/4 // a node that finds its disk out of date stays away
	}
	w.weather()
	w.line("stage "+stageNames[s], 0, 0, uint64(s), 0, nil)
}

// state describes the nodes, for a report.
func (w *World) state() string {
	s := ""
	for _, n := range w.nodes {
		s += fmt.Sprintf("; node %d: alive %v paused %v gate %v life %d %s", n.id, n.alive, n.paused, n.gate, n.life, n.fatal)
		for i, x := range n.shards {
			m := x.m
			if d, ok := m.(interface{ Describe() string }); ok && n.alive {
				s += fmt.Sprintf("\n  n%d.%d %s", n.id, i, d.Describe())
			}
		}
	}
	return s
}

func (w *World) finish() {
	if !w.failed && !w.gaveUp {
		if _, err := w.told.Finish(); err != nil {
			w.failAt("history", "%v", err)
		}
		w.search()
		w.settle()
		w.judge.Finish()
		if id, what := w.compareDisks(); id != "" {
			w.failAt(id, "%s", what)
		}
		w.platters()
	}
	w.result.Hash = uint64(w.unseed())
	w.result.Virtual = w.now
	w.result.Acked, w.result.Offered = w.fleet.Counts.Acked, w.fleet.Counts.Offered
	w.result.Clients = w.fleet.Counts
	w.result.Leaders = w.judge.Elections
	w.result.Proved = w.copies.proved
	w.result.Net = w.net.Faults
	for _, n := range w.nodes {
		f := &w.result.Disk
		f.NoRoom += n.disk.Faults.NoRoom
		f.LostWrites += n.disk.Faults.LostWrites
		f.Misdirected += n.disk.Faults.Misdirected
		f.Rotten += n.disk.Faults.Rotten
		f.SyncErrors += n.disk.Faults.SyncErrors
		f.LostSectors += n.disk.Faults.LostSectors
		f.TornFiles += n.disk.Faults.TornFiles
		f.LostEntries += n.disk.Faults.LostEntries
		f.Lies += n.disk.Faults.Lies
		if n.alive {
			w.stop(n, false)
		}
	}
	w.net.Shut()
}

// violation is the first thing that must not happen.
func (w *World) violation(v checker.Violation) {
	if w.plan.Liars > 0 && !slices.Contains(loss, v.ID) {
		return // logs shrink when disks lie; the finding is what clients miss for good
	}
	w.failAt(v.ID, "%s", v.What)
}

// loss is how the loss of an acknowledged record shows.
var loss = []string{"A1", "A3", "A4"}

func (w *World) fail(format string, args ...any) { w.failAt("sim", format, args...) }

// searchedAtOnce is the most operations on a topic or key between two quiet instants. A run has a few dozen.
const searchedAtOnce = 2000

// search looks for orders of what clients saw of topics and configurations (L2, L3), which no judge did so far.
func (w *World) search() {
	r, err := linear.CheckCells(w.told, linear.Options{Window: searchedAtOnce, Seconds: 20})
	if err != nil {
		w.failAt("search", "%v", err)
		return
	}
	for _, v := range r.Violations {
		w.violation(v)
	}
}

func (w *World) failAt(id, format string, args ...any) {
	if w.failed {
		return
	}
	w.failed = true
	w.result.Violation = &Violation{ID: id, What: fmt.Sprintf(format, args...), At: w.now}
}

func (w *World) note(format string, args ...any) {
	if w.opts.Trace != nil {
		fmt.Fprintf(w.opts.Trace, "%13.6f %s\n", seconds(w.now), fmt.Sprintf(format, args...))
	}
}

// steady are the nodes whose disks come to no harm, as bits.
func steady(p *Plan) uint64 {
	if p.Liars > 0 {
		return 0
	}
	set := uint64(1)<<p.Nodes - 1
	for _, f := range p.Faults {
		if specs[f.Kind].harm || f.Kind == WrongDisk {
			set &^= 1 << f.Node
			set &^= 1 << f.Peer
		}
	}
	return set
}
