package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// Cluster is a running set of node processes and their supervisor.
type Cluster struct {
	spec    Spec
	began   time.Time
	lock    *os.File
	nodes   []*process
	socket  net.Listener
	ports   claims
	spawn   chan func() // served by the thread to which the nodes are tied
	closing sync.Once
}

// Start locks the directory, chooses ports and starts all nodes; it does not wait for them.
func Start(spec Spec) (*Cluster, error) {
	c := &Cluster{spec: spec, began: time.Now(), spawn: make(chan func())}
	if err := c.open(); err != nil {
		return nil, err
	}
	go c.thread()
	errs := make([]error, len(c.nodes))
	for i, p := range c.nodes {
		errs[i] = c.launch(p)
	}
	for i, err := range errs {
		if err != nil {
			c.Close()
			return nil, catalogue.DevNodeDied.New("cannot start n%d: %v", c.nodes[i].id, err).Wrap(err)
		}
	}
	go c.serve()
	return c, nil
}

// open takes the directory, the ports and the socket.
func (c *Cluster) open() (err error) {
	s := &c.spec
	if c.lock, err = lockDir(s.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.ports.close()
			c.lock.Close()
		}
	}()
	if err = s.merge(); err != nil {
		return err
	}
	if s.Program == "" {
		s.Program = self
	}
	if s.Program == "" {
		if s.Program, err = os.Executable(); err != nil {
			return err
		}
	}
	if err = c.assign(); err != nil {
		return err
	}
	path := socketPath(s.Dir)
	os.Remove(path) // of a killed run: the lock is ours, so nobody listens there
	if c.socket, err = net.Listen("unix", path); err != nil {
		return catalogue.BadFile.New("cannot make the control socket: %v", err).Wrap(err).
			Try("give another directory with --data")
	}
	r := record{Version: 1, Nodes: s.Nodes, FirstID: s.FirstID, Remove: s.Remove, Socket: path}
	if err = r.write(s.Dir); err != nil {
		c.socket.Close()
		return catalogue.BadFile.New("cannot write into the data directory: %v", err).Wrap(err).
			Try("give another directory with --data")
	}
	return nil
}

// assign chooses every port and lays the nodes out.
func (c *Cluster) assign() error {
	s := &c.spec
	claimed := &c.ports
	defer claimed.release()
	host := s.listenHost()
	kafka := make([]int, s.Nodes)
	if len(s.Ports) > 0 {
		if err := claimed.given(host, s.Ports); err != nil {
			return err
		}
		copy(kafka, s.Ports)
	}
	peer, admin := make([]int, s.Nodes), make([]int, s.Nodes)
	for i := range s.Nodes {
		var err error
		if len(s.Ports) == 0 {
			if kafka[i], err = claimed.near(host, 9092+i); err != nil {
				return err
			}
		}
		if peer[i], err = claimed.any("127.0.0.1"); err != nil {
			return err
		}
		if admin[i], err = claimed.near("127.0.0.1", 9644+i); err != nil {
			return err
		}
	}
	for i := range s.Nodes {
		p := s.plan(i, kafka, peer, admin)
		os.Remove(p.shown.Log)
		c.nodes = append(c.nodes, p)
	}
	return nil
}

// thread starts processes, all from one OS thread that ends only after them.
func (c *Cluster) thread() {
	runtime.LockOSThread()
	for f := range c.spawn {
		f()
	}
}

func (c *Cluster) launch(p *process) error {
	done := make(chan error)
	c.spawn <- func() { done <- p.start(c.spec.Program, c.lock) }
	return <-done
}

// Ready waits until every node serves. An end of ctx is its error; a node that ends before is one of
// the catalogue.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, p := range c.nodes {
		p.mu.Lock()
		serving, gone := p.serving, p.gone
		p.mu.Unlock()
		select {
		case <-serving:
		case <-gone:
			select {
			case <-serving:
			default:
				return p.died("n%d ended before the cluster was ready", p.id)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, p := range c.nodes {
		if p.node().State == Dead {
			return p.died("n%d ended before the cluster was ready", p.id)
		}
	}
	return nil
}

// Began is when the supervisor started.
func (c *Cluster) Began() time.Time { return c.began }

// Dir is the directory of the cluster.
func (c *Cluster) Dir() string { return filepath.Clean(c.spec.Dir) }

// Nodes shows the nodes in order of id.
func (c *Cluster) Nodes() []Node {
	out := make([]Node, len(c.nodes))
	for i, p := range c.nodes {
		out[i] = p.node()
	}
	return out
}

func (c *Cluster) find(id int32) (*process, error) {
	for _, p := range c.nodes {
		if p.id == id {
			return p, nil
		}
	}
	last := c.nodes[len(c.nodes)-1].id
	return nil, catalogue.DevNoNode.New("there is no node %d", id).
		Because(fmt.Sprintf("the nodes are n%d to n%d", c.nodes[0].id, last))
}

// Close stops every node, gracefully first, and removes the data when the spec says so.
func (c *Cluster) Close() {
	c.closing.Do(func() {
		if c.socket != nil {
			c.socket.Close()
		}
		for _, p := range c.nodes {
			p.signal(syscall.SIGTERM)
		}
		for _, p := range c.nodes {
			p.signal(syscall.SIGCONT) // a paused node hears the other signal only then
		}
		c.reap()
		close(c.spawn)
		if c.spec.Remove {
			c.spec.clear()
		}
		c.ports.close()
		c.lock.Close()
	})
}

// reap waits for the nodes, which were told to end. When all of them end there is nobody to whom a
// leadership could be handed, so they are not given the time for it.
func (c *Cluster) reap() {
	told := time.Now()
	for _, p := range c.nodes {
		if !p.await(max(0, closePatience-time.Since(told))) {
			p.signal(syscall.SIGKILL)
		}
	}
	for _, p := range c.nodes {
		p.await(stopPatience)
	}
}

// Kill ends every node at once, without grace: the answer to a second ^C.
func (c *Cluster) Kill() {
	for _, p := range c.nodes {
		p.signal(syscall.SIGKILL)
	}
}
