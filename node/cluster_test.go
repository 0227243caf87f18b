package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/core"
)

// freePort is a port that nobody had a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// member is one real node.
type member struct {
	o    Options
	addr string
	n    *node
	stop context.CancelFunc
	done chan error
}

func (m *member) start(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan struct{})
	m.stop, m.done = stop, make(chan error, 2)
	m.o.Ready = func() { close(ready) }
	m.o.bound = func(n *node) {
		m.n, m.addr = n, n.net.Addrs()[0].String()
		m.o.Listeners[0].Port = n.net.Addrs()[0].Port // the same again after a restart
	}
	ended := make(chan struct{})
	go func() {
		m.done <- Run(ctx, m.o)
		close(ended)
	}()
	t.Cleanup(func() { stop(); <-ended })
	go func() {
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			t.Errorf("node %d is not ready", m.o.NodeID)
		}
		m.done <- nil
	}()
}

// up waits until the node is ready.
func (m *member) up(t *testing.T) {
	t.Helper()
	if err := <-m.done; err != nil {
		t.Fatal(err)
	}
}

func cluster(t *testing.T, size int, change func(*Options)) (all []*member, seeds []string) {
	t.Helper()
	var peers []Peer
	for i := range size {
		peers = append(peers, Peer{core.NodeID(i), freePort(t)})
	}
	for i := range size {
		o := Options{NodeID: core.NodeID(i), Dir: t.TempDir(), Shards: 2,
			Listeners: []Listener{{Name: "PLAINTEXT", Host: "127.0.0.1"}},
			Topics:    []TopicSpec{{"numbers", 4}}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		if size > 1 {
			o.Peers, o.PeerListen = peers, peers[i].Addr
		}
		if change != nil {
			change(&o)
		}
		m := &member{o: o}
		all = append(all, m)
		m.start(t)
	}
	for _, m := range all {
		m.up(t)
		seeds = append(seeds, m.addr)
	}
	return all, seeds
}

func produce(t *testing.T, seeds []string, from, to int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("numbers"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, kgo.KeyStringRecord(fmt.Sprint(i), fmt.Sprintf("value %d", i)))
	}
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// consume reads until it has seen all of [0, n) and nothing twice.
func consume(t *testing.T, seeds []string, n int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics("numbers"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	seen := map[string]bool{}
	for len(seen) < n {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(seen), n, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if seen[string(r.Key)] || string(r.Value) != "value "+string(r.Key) {
				t.Errorf("%q, %q at %d/%d: twice or wrong", r.Key, r.Value, r.Partition, r.Offset)
			}
			seen[string(r.Key)] = true
		})
	}
}

func TestClusterOfOne(t *testing.T) {
	all, seeds := cluster(t, 1, nil)
	produce(t, seeds, 0, 1000)
	consume(t, seeds, 1000)
	all[0].stop()
	if err := <-all[0].done; err != nil {
		t.Fatal(err)
	}
	all[0].start(t)
	all[0].up(t)
	consume(t, seeds, 1000)
	produce(t, seeds, 1000, 1100)
	consume(t, seeds, 1100)
}

// TestClusterOfThree loses the power of all three nodes at once.
func TestClusterOfThree(t *testing.T) {
	controls := map[core.NodeID]*io.PipeWriter{}
	dead := make(chan struct{}, 3)
	all, seeds := cluster(t, 3, func(o *Options) {
		r, w := io.Pipe()
		o.PowerSwitch, o.Control = true, r
		o.kill = func() { dead <- struct{}{}; select {} }
		controls[o.NodeID] = w
	})
	produce(t, seeds, 0, 3000)
	consume(t, seeds, 3000)
	for _, m := range all {
		if _, err := io.WriteString(controls[m.o.NodeID], "powercut\n"); err != nil {
			t.Fatal(err)
		}
	}
	for range all {
		<-dead
	}
	for _, m := range all {
		m.stop()
	}
	for _, m := range all {
		if err := <-m.done; err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range all {
		m.o.Control = nil
		m.start(t)
	}
	for _, m := range all {
		m.up(t)
	}
	consume(t, seeds, 3000)
	produce(t, seeds, 3000, 3100)
	consume(t, seeds, 3100)
}
