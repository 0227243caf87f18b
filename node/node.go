// Package node drives core/shard on a machine. It owns the process's event loops, its clock, its jobs,
// the admin endpoint and the power switch's trigger; sockets and files belong to netsim/tcp and
// diskio/posix. It promises that each shard sees its events in the order in which they were posted,
// that effects leave in the order of their step, and that one clear error says why a node did not
// start or had to end. It refuses to decide anything that a shard could decide.
//
//	reader ─┐                                  ┌─▶ disk worker ─▶ post
//	timer  ─┼─▶ inbox ─▶ Step ─▶ effects ──────┼─▶ socket (on the same goroutine while it takes bytes)
//	disk   ─┘            on the goroutine      └─▶ mail ─▶ inbox of another shard
//	                     of whoever posted
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/shard"
	"github.com/karst-stream/karst/diskio"
	"github.com/karst-stream/karst/diskio/posix"
	"github.com/karst-stream/karst/netsim"
	"github.com/karst-stream/karst/netsim/tcp"
)

// Listener is a Kafka listener and what clients are told of it.
type Listener struct {
	Name           string
	Host           string
	Port           int
	AdvertisedHost string // empty: the host that the client dialled
	AdvertisedPort int    // 0: Port, or the free one that was taken for it
}

// Peer is another node of the cluster.
type Peer struct {
	ID   core.NodeID
	Addr string // HOST:PORT of its PeerListen
}

// TopicSpec is a topic that must have leaders before clients are let in; it is made when absent.
type TopicSpec struct {
	Name       string
	Partitions int32
}

// Options of a node.
type Options struct {
	NodeID      core.NodeID
	Dir         string
	MoreDirs    []string // other data directories; partitions live in any of them
	Listeners   []Listener
	PeerListen  string            // HOST:PORT; empty in a cluster of one
	Peers       []Peer            // the other nodes; one with this node's ID is ignored
	Shards      int               // event loops; default one per core, at most 64
	Admin       string            // HOST:PORT of the admin endpoint; empty: none
	PowerSwitch bool              // let Control cut the power
	Rejoin      bool              // an empty Dir takes the place of one that is gone; nothing to any other
	Configs     map[string]string // broker settings by Kafka's names
	Topics      []TopicSpec
	Log         *slog.Logger
	Ready       func()    // called once, when clients are let in
	Control     io.Reader // lines from a supervisor; at its end the process ends at once. Nil: none

	// BeforeSync delays or fails syncs, for measurements (posix.Options).
	BeforeSync func(path string) error

	// Fault makes the disk hostile, for tests (posix.Options).
	Fault posix.Fault

	others []shard.Dir // MoreDirs as they were opened

	build func(o *Options, boot core.Boot) (*engine, error) // wire; tests replace it
	bound func(*node)                                       // for tests: the addresses are known
	kill  func()                                            // SIGKILL to oneself; tests replace it
}

// engine is what the node drives.
type engine struct {
	shards []stepper
	intake func(core.Ref) any
	route  func([]byte) core.ShardID
}

type node struct {
	o     Options
	log   *slog.Logger
	began time.Time
	disks disks
	net   *tcp.Net
	loops []*loop
	jobs  *jobs
	soon  *jobs // those that requests wait for
	admin *admin
	gauge *metrics

	ready   atomic.Bool
	failed  atomic.Bool
	failing chan error // the first reason to end
	stops   atomic.Int64
	stopped chan struct{} // every shard has stopped
	own     sync.WaitGroup
}

const (
	// stopWithin bounds a graceful stop; handing leaderships over takes a fraction of it.
	stopWithin = 3 * time.Second
)

// Run drives a node until ctx ends (a graceful stop, nil), or until it cannot go on: the error says
// why and what to do.
func Run(ctx context.Context, o Options) error {
	n, err := open(o)
	if err != nil {
		return err
	}
	defer tuneMemory()()
	n.start()
	select {
	case <-ctx.Done():
	case err = <-n.failing:
		n.close()
		return err
	}
	n.ready.Store(false)
	n.net.CloseGates() // who comes now is better served elsewhere
	for _, l := range n.loops {
		l.post([]core.Event{{Kind: core.StopAsked}})
	}
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-n.stopped:
	case err = <-n.failing:
	case <-late.C:
		n.log.Warn("the stop took too long and was cut short", "within", stopWithin)
	}
	n.close()
	return err
}

// open takes everything that can be refused: ports, directory, recovery. In this order nothing on the
// disk is touched when a port is taken.
func open(o Options) (_ *node, err error) {
	if o.Shards == 0 {
		o.Shards = runtime.NumCPU()
	}
	o.Shards = min(o.Shards, maxShards)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.build == nil {
		o.build = wire
	}
	n := &node{o: o, log: o.Log, began: time.Now(), failing: make(chan error, 1), stopped: make(chan struct{})}
	n.gauge = newMetrics(n)
	defer func() {
		if err != nil {
			n.shut()
		}
	}()
	var eng engine
	limit, err := requestLimit(o.Configs)
	if err != nil {
		return nil, err
	}
	cfg := netsim.Config{Node: o.NodeID, Shards: o.Shards, Post: n.post,
		Intake: func(f core.Ref) any { return eng.intake(f) },
		Route:  func(b []byte) core.ShardID { return eng.route(b) }}
	to := tcp.Options{Config: cfg, PeerListen: o.PeerListen, Peers: map[core.NodeID]string{}, Region: n.region,
		MaxFrame: limit, Log: o.Log, Fail: n.fail}
	for _, l := range o.Listeners {
		to.Listeners = append(to.Listeners, tcp.Listener{Name: l.Name, Host: l.Host, Port: l.Port})
	}
	for _, p := range o.Peers {
		if p.ID != o.NodeID {
			to.Peers[p.ID] = p.Addr
		}
	}
	if n.net, err = tcp.New(to); err != nil {
		return nil, err
	}
	n.o.Listeners = append([]Listener(nil), o.Listeners...)
	for i, a := range n.net.Addrs() {
		if l := &n.o.Listeners[i]; l.AdvertisedPort == 0 {
			l.AdvertisedPort = a.Port
		}
	}
	if o.Admin != "" {
		if n.admin, err = newAdmin(n, o.Admin); err != nil {
			return nil, err
		}
	}
	if n.o.others, err = n.openDisks(&o); err != nil {
		return nil, err
	}
	made, err := o.build(&n.o, n.disks[0])
	if err != nil {
		return nil, err
	}
	eng = *made
	for i, s := range eng.shards {
		n.loops = append(n.loops, newLoop(n, core.ShardID(i), s))
	}
	n.jobs, n.soon = newJobs(n), newJobs(n)
	if o.bound != nil {
		o.bound(n)
	}
	return n, nil
}

func (n *node) start() {
	for _, l := range n.loops {
		n.own.Go(l.serve)
	}
	n.jobs.start(&n.own)
	n.soon.start(&n.own)
	if n.admin != nil {
		n.own.Go(n.admin.serve)
	}
	if n.o.Control != nil {
		go n.obey(n.o.Control) // ends with the process
	}
	for _, l := range n.loops {
		l.post([]core.Event{{Kind: core.Tick}})
	}
	n.net.Start()
}

func (n *node) now() core.Now {
	t := time.Now()
	return core.Now{Mono: core.Mono(t.Sub(n.began)), Wall: core.Wall(t.UnixMilli())}
}

func (n *node) post(s core.ShardID, events []core.Event) { n.loops[s].post(events) }

func (n *node) region(f core.FileID) (netsim.Region, bool) {
	r, ok := n.disks[f.Dir()].Region(f)
	return diskio.Region(r), ok
}

// gateOpened follows OpenGate, unless a listener was refused after all: then the node ends and was never
// ready.
func (n *node) gateOpened() {
	if n.failed.Load() {
		return
	}
	if !n.ready.Swap(true) && n.o.Ready != nil {
		go n.o.Ready() // it may take its time
	}
}

func (n *node) shardStopped(core.ShardID) {
	if n.stops.Add(1) == int64(len(n.loops)) {
		close(n.stopped)
	}
}

// fail ends the node; only the first reason counts.
func (n *node) fail(err error) {
	n.failed.Store(true)
	select {
	case n.failing <- err:
	default:
	}
}

// close ends everything that start began: steps first, so that nothing new is asked for.
func (n *node) close() {
	n.ready.Store(false)
	for _, l := range n.loops {
		l.halt(true)
	}
	n.shut()
	for _, l := range n.loops {
		close(l.work)
		if a, ok := l.s.(interface{ Abandon() }); ok {
			a.Abandon()
		}
	}
	n.own.Wait()
}

// shut gives back what open took.
func (n *node) shut() {
	if n.net != nil {
		n.net.Close()
	}
	n.disks.close()
	if n.jobs != nil {
		n.jobs.close()
		n.soon.close()
	}
	if n.admin != nil {
		n.admin.close()
	}
}

// errPort is the one error for an address that cannot be had.
func errPort(what, addr string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: cannot listen on %s: %w: choose another address", what, addr, err)
}
