// Package demo is the main job on real input, told in six scenes: real flights stream into a cluster
// of three processes while a node is killed and then the power of all is cut, a simulator looks for
// worse, and at the end the log itself is asked whether everything is there. It owns the telling and
// the judging; it promises that a green verdict was read back from the log and from the files, and is
// not what the producer believes. It refuses to end well when anything is off.
package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

const (
	topic      = "flights"
	partitions = 6
	group      = "flight-readers"
)

// Options are what the command line says.
type Options struct {
	Nodes     int
	File      string // flights as CSV in zstd; empty: the sample in the binary
	FullSpeed bool   // no pacing
	Dir       string // empty: a temporary one, removed at the end
	Keep      bool   // cluster and data stay
	Program   string // karst
	Out       io.Writer
	Live      bool // Out is a terminal: lines may be rewritten
	Colour    bool
	Simulate  Simulate
	Tempo     Tempo // zero: Usual
}

// Tempo says how long the scenes last. A stream at full speed has its scenes after shares of the rows.
type Tempo struct {
	Settle time.Duration // the stream before the first fault
	Dead   time.Duration // one node
	After  time.Duration // the stream from then, everything in sync, to the power cut
	Dark   time.Duration // all nodes
	Honest time.Duration // the simulator
	Lying  time.Duration // the simulator with disks that lie, at most
	Rows   int           // streamed at most; 0: all of the file
	Rate   int           // rows a second; 0: so that the rows last 20 s
}

// Usual is the tempo of about 40 seconds.
var Usual = Tempo{Settle: 6 * time.Second, Dead: 4 * time.Second, After: 2 * time.Second,
	Dark: 700 * time.Millisecond, Honest: 10 * time.Second, Lying: 30 * time.Second}

// run is one demo under way.
type run struct {
	Options
	*screen
	rows    *rows
	cluster *cluster
	load    *load
	readers *readers
	bad     []string     // what the verdict must not forgive, found before it
	earlier *underway    // of a demo that ended on a full disk in this directory
	moved   atomic.Int64 // rows stored and read, as last seen
}

// Run plays the demo.
func Run(ctx context.Context, o Options) error {
	if o.Tempo == (Tempo{}) {
		o.Tempo = Usual
	}
	r := &run{Options: o, screen: newScreen(o.Out, o.Live, o.Colour)}
	var err error
	if r.rows, err = openRows(o.File); err != nil {
		return err
	}
	defer r.rows.Close()
	if o.Tempo.Rows > 0 {
		r.rows.total = min(r.rows.total, o.Tempo.Rows)
	}
	cleanup, err := r.directory()
	if err != nil {
		return err
	}
	defer cleanup()
	playing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go r.guard(playing, stop)
	err = r.play(playing)
	switch {
	case err == nil:
		return os.Remove(r.underwayFile())
	case ctx.Err() != nil:
		r.endLive()
		return catalogue.DemoFailed.New("interrupted").Try("karst demo")
	case context.Cause(playing) == errStill:
		r.endLive()
		err = errStill
	}
	return r.blame(err)
}

// directory chooses where the data live, and says how to tidy up.
func (r *run) directory() (cleanup func(), err error) {
	nothing := func() {}
	if r.Dir != "" {
		_, err := os.Stat(filepath.Join(r.Dir, "dev.json"))
		if u, ok := r.left(); ok && err == nil {
			r.earlier = &u
			return nothing, nil
		}
		if err == nil {
			return nothing, catalogue.Contradiction.New("%s holds a cluster already; the demo begins with an empty one", r.Dir).
				Try("give another directory with --data")
		}
		return nothing, r.begin()
	}
	dir, err := os.MkdirTemp("", "karst-demo-")
	if err != nil {
		return nothing, catalogue.BadFile.New("cannot make a directory: %v", err).Wrap(err).Try("give one with --data")
	}
	r.Dir = dir
	return func() {
		if !r.Keep {
			os.RemoveAll(dir)
		}
	}, r.begin()
}

// begin makes the directory and the file in which a demo under way is noted.
func (r *run) begin() error {
	err := os.MkdirAll(r.Dir, 0o755)
	if err == nil {
		err = underway{}.note(r.underwayFile())
	}
	if err != nil {
		return r.blame(catalogue.BadFile.New("cannot write into %s: %v", r.Dir, err).Wrap(err).Try("give another directory with --data"))
	}
	return nil
}

func (r *run) play(ctx context.Context) error {
	r.title("karst demo", "a cluster, real flights, and what life does to nodes")
	if err := r.sceneNodes(ctx); err != nil {
		return err
	}
	defer func() {
		if r.cluster != nil {
			r.cluster.stop(r.Keep && ctx.Err() == nil)
		}
	}()
	if err := r.sceneStream(ctx); err != nil {
		return err
	}
	defer r.readers.close()
	defer r.load.close()
	if err := r.sceneKill(ctx); err != nil {
		return err
	}
	if err := r.scenePowerCut(ctx); err != nil {
		return err
	}
	if err := r.finish(ctx); err != nil {
		return err
	}
	if err := r.sceneSimulator(ctx); err != nil {
		return err
	}
	return r.sceneVerdict(ctx)
}

// sceneNodes starts the processes.
func (r *run) sceneNodes(ctx context.Context) error {
	r.scene("a", fmt.Sprintf("%s start, each a process of its own", number(r.Nodes, "node")))
	c, err := startCluster(ctx, r.Program, r.Dir, r.Nodes, r.Keep)
	if err != nil {
		return err
	}
	r.cluster = c
	for _, n := range c.nodes {
		r.say("%s at %s, process %d", n.Name(), n.Address, n.PID)
	}
	r.say("ready in %s", r.strong(fmt.Sprintf("%d ms", c.readyIn.Milliseconds())))
	if r.earlier != nil {
		return r.carryOn(ctx, *r.earlier)
	}
	return nil
}

// sceneStream starts producer and readers and lets them settle.
func (r *run) sceneStream(ctx context.Context) error {
	pace := "at full speed"
	rate := 0
	if !r.FullSpeed {
		if rate = r.Tempo.Rate; rate == 0 {
			rate = min(max(r.rows.total/20, 1000), 50_000)
		}
		pace = "at " + thousands(int64(rate)) + " a second"
	}
	r.scene("b", fmt.Sprintf("%s flights of 2001 stream into %q %s", thousands(int64(r.rows.total)), topic, pace))
	r.say("%d partitions, %d copies each, keyed by origin; acks=all, idempotent", partitions, min(3, r.Nodes))
	r.say("a group of three members reads along")
	var err error
	if r.readers, err = openReaders(r.cluster.seeds(), r.group(), r.rows.total); err != nil {
		return err
	}
	if r.load, err = openLoad(r.cluster.seeds(), r.rows, rate); err != nil {
		r.readers.close()
		return err
	}
	r.readers.start(ctx)
	r.load.start(ctx)
	return r.watch(ctx, "", r.until(r.Tempo.Settle, 0.25))
}

// until gives the end of a stretch: a duration when paced, a share of the rows at full speed.
func (r *run) until(d time.Duration, share float64) func() bool {
	if r.FullSpeed {
		want := int64(share * float64(r.rows.total))
		return func() bool { return r.load.acked.Load() >= want }
	}
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// sceneKill ends the node with most leaders and brings it back.
func (r *run) sceneKill(ctx context.Context) error {
	if r.Nodes < 3 {
		return nil // without a majority left there is nothing to show but a pause
	}
	victim, leads, err := r.cluster.busiest(ctx)
	if err != nil {
		return err
	}
	r.scene("c", fmt.Sprintf("n%d, leader of %d of %d partitions, is killed by SIGKILL", victim, leads, partitions))
	r.load.watchGap()
	if err := r.cluster.do("kill", victim); err != nil {
		return err
	}
	if err := r.watch(ctx, fmt.Sprintf("n%d dead", victim), r.until(r.Tempo.Dead, 0.45)); err != nil {
		return err
	}
	gap := r.load.gap()
	r.say("longest pause of a partition: %s", r.strong(fmt.Sprintf("%d ms", gap.Milliseconds())))
	began := time.Now()
	if err := r.cluster.do("revive", victim); err != nil {
		return err
	}
	r.say("n%d is revived and serves after %d ms", victim, time.Since(began).Milliseconds())
	whole := make(chan error, 1)
	go func() { whole <- r.cluster.whole(ctx, 30*time.Second) }()
	var caught time.Duration
	var wholeErr error
	err = r.watch(ctx, "catching up", func() bool {
		select {
		case wholeErr = <-whole:
			caught = time.Since(began)
			return true
		default:
			return false
		}
	})
	if err == nil {
		err = wholeErr
	}
	if err != nil {
		return err
	}
	r.say("every copy is in sync again after %s", r.strong(fmt.Sprintf("%d ms", caught.Milliseconds())))
	return r.watch(ctx, "", r.until(r.Tempo.After, 0.7))
}

// scenePowerCut cuts all nodes at once and starts them again.
func (r *run) scenePowerCut(ctx context.Context) error {
	r.scene("d", fmt.Sprintf("the power of %s fails at the same moment", map[bool]string{true: "the node", false: "all nodes"}[r.Nodes == 1]))
	if err := r.cluster.do("powercut", everyNode); err != nil {
		return err
	}
	promised := r.load.promises()
	r.say("gone: whatever no completed sync covered; promised until then: %s rows", thousands(promised.rows))
	if err := r.watch(ctx, "all dark", r.pause(r.Tempo.Dark)); err != nil {
		return err
	}
	began := time.Now()
	if err := r.cluster.do("revive", everyNode); err != nil {
		return err
	}
	back := time.Since(began)
	lost, err := r.cluster.missing(ctx, promised.ends)
	if err != nil {
		return err
	}
	r.say("power is back, the cluster serves after %s", r.strong(fmt.Sprintf("%d ms", back.Milliseconds())))
	if lost > 0 {
		r.bad = append(r.bad, fmt.Sprintf("%d promised rows were not in the log after the power cut", lost))
	}
	r.say("promised rows missing in the logs: %s", r.judged(lost == 0, thousands(lost)))
	return nil
}

func (r *run) pause(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// finish waits until everything was sent and read.
func (r *run) finish(ctx context.Context) error {
	quiet := time.Now()
	var seen int64
	stuck := false
	err := r.watch(ctx, "", func() bool {
		if done := r.load.acked.Load() + r.readers.distinct.Load(); done != seen {
			seen, quiet = done, time.Now()
		}
		stuck = time.Since(quiet) > standstill
		return stuck || r.load.done() && r.readers.distinct.Load() >= r.load.acked.Load()
	})
	if err != nil {
		return err
	}
	if stuck {
		r.bad = append(r.bad, fmt.Sprintf("the stream stood still for %v", standstill))
	}
	if err := r.load.failure(); err != nil {
		return catalogue.DemoFailed.New("the producer gave up: %v", err).Wrap(err)
	}
	took := r.load.took()
	n := r.load.acked.Load()
	r.say("%s rows in %.1f s: %s rows/s, %.1f MB/s of values, faults included", thousands(n), took.Seconds(),
		thousands(int64(float64(n)/took.Seconds())), float64(r.load.bytes.Load())/1e6/took.Seconds())
	return nil
}

// watch shows the rates until done says so.
func (r *run) watch(ctx context.Context, note string, done func() bool) error {
	defer r.endLive()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	r.meter.reset(r.load.acked.Load(), r.readers.delivered.Load())
	for {
		r.moved.Store(r.load.acked.Load() + r.readers.distinct.Load())
		if err := r.load.failure(); err != nil {
			return catalogue.DemoFailed.New("the producer gave up: %v", err).Wrap(err)
		}
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			r.rates(time.Since(r.load.began), r.load.acked.Load(), r.readers.delivered.Load(), note)
		}
	}
}
