package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/local"
)

const everyNode = local.All

// cluster is a `karst dev` of the demo's own, driven by its verbs.
type cluster struct {
	cmd     *exec.Cmd
	tether  io.Closer // its standard input: nil when it outlives the demo
	exited  chan struct{}
	verbs   *local.Client
	nodes   []local.Node
	readyIn time.Duration
	adm     *kadm.Client
}

// startCluster runs `karst dev` and waits for its ready line. The child ends with the demo unless it
// is to be kept.
func startCluster(ctx context.Context, program, dir string, nodes int, keep bool) (*cluster, error) {
	args := []string{"dev", "-n", fmt.Sprint(nodes), "--data", dir, "--power-switch",
		"--topic", fmt.Sprintf("%s:%d", topic, partitions), "--set", "group.initial.rebalance.delay.ms=0"}
	if !keep {
		args = append(args, "--tethered")
	}
	c := &cluster{cmd: exec.Command(program, args...), exited: make(chan struct{})}
	c.cmd.Args[0] = "karst"
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errText strings.Builder
	c.cmd.Stderr = &errText
	if keep { // files, not pipes: the child writes on when nobody reads any more
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, catalogue.BadFile.New("cannot make %s: %v", dir, err).Wrap(err).Try("give another directory with --data")
		}
		log, err := os.Create(filepath.Join(dir, "supervisor.log"))
		if err != nil {
			return nil, catalogue.BadFile.New("cannot write into %s: %v", dir, err).Wrap(err).Try("give another directory with --data")
		}
		defer log.Close()
		c.cmd.Stderr = log
	} else {
		in, err := c.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		c.tether = in
	}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stdout = w
	began := time.Now()
	err = c.cmd.Start()
	w.Close()
	if err != nil {
		return nil, catalogue.DemoFailed.New("cannot start karst dev: %v", err).Wrap(err)
	}
	ready := make(chan bool, 1)
	go func() {
		ready <- awaitReady(out)
		c.cmd.Wait()
		out.Close()
		close(c.exited)
	}()
	select {
	case ok := <-ready:
		if !ok {
			<-c.exited
			return nil, catalogue.DemoFailed.New("the cluster did not start").Because(strings.Split(strings.TrimSpace(errText.String()), "\n")...)
		}
	case <-ctx.Done():
		c.stop(false)
		return nil, ctx.Err()
	}
	c.readyIn = time.Since(began)
	return c, c.connect(dir)
}

// awaitReady reads until the line that begins with "ready"; false: the output ended before.
func awaitReady(out io.Reader) bool {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			return true
		}
	}
	return false
}

// connect finds the verbs and opens an administration client.
func (c *cluster) connect(dir string) (err error) {
	if c.verbs, err = local.Dial(dir); err == nil {
		c.nodes, err = c.verbs.Status()
	}
	if err == nil {
		var cl *kgo.Client
		if cl, err = kgo.NewClient(eager(c.seeds())...); err == nil {
			c.adm = kadm.NewClient(cl)
		}
	}
	if err != nil {
		c.stop(false)
	}
	return err
}

func (c *cluster) seeds() (out []string) {
	for _, n := range c.nodes {
		out = append(out, n.Address)
	}
	return out
}

// stop ends the cluster, or leaves it running.
func (c *cluster) stop(keep bool) {
	if c.adm != nil {
		c.adm.Close()
	}
	if keep {
		c.cmd.Process.Release()
		return
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second):
		c.cmd.Process.Kill()
		<-c.exited
	}
	if c.tether != nil {
		c.tether.Close()
	}
}

func (c *cluster) do(verb string, node int32) error {
	nodes, err := c.verbs.Do(verb, node)
	if err == nil {
		c.nodes = nodes
	}
	return err
}

// busiest is the node that leads most partitions of the topic.
func (c *cluster) busiest(ctx context.Context) (node int32, leads int, err error) {
	d, err := c.describe(ctx)
	if err != nil {
		return 0, 0, catalogue.DemoFailed.New("cannot look at the topic: %v", err).Wrap(err)
	}
	count := map[int32]int{}
	for _, p := range d.Partitions.Sorted() {
		count[p.Leader]++
		if n := count[p.Leader]; n > leads || n == leads && p.Leader < node {
			node, leads = p.Leader, n
		}
	}
	return node, leads, nil
}

func (c *cluster) describe(ctx context.Context) (kadm.TopicDetail, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := c.adm.ListTopics(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, err
	}
	d := all[topic]
	if d.Err == nil && len(d.Partitions) != partitions {
		d.Err = fmt.Errorf("%d partitions instead of %d", len(d.Partitions), partitions)
	}
	return d, d.Err
}

// whole waits until every partition has every copy in sync.
func (c *cluster) whole(ctx context.Context, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		d, err := c.describe(ctx)
		if err == nil && inSync(d) == partitions {
			return nil
		}
		if time.Now().After(deadline) {
			return catalogue.DemoFailed.New("copies are still missing after %v", patience)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inSync counts partitions whose copies are all in sync.
func inSync(d kadm.TopicDetail) (n int) {
	for _, p := range d.Partitions {
		if len(p.ISR) == len(p.Replicas) && len(p.ISR) > 0 {
			n++
		}
	}
	return n
}

// ends are the high watermarks of all partitions.
func (c *cluster) ends(ctx context.Context) (out [partitions]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		offsets, err := c.adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = offsets.Error()
		}
		if err == nil {
			for p := range out {
				o, ok := offsets.Lookup(topic, int32(p))
				if !ok {
					err = fmt.Errorf("partition %d has no end", p)
					break
				}
				out[p] = o.Offset
			}
		}
		if err == nil {
			return out, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return out, catalogue.DemoFailed.New("cannot ask for the ends of the logs: %v", errors.Join(err)).Wrap(err)
		}
	}
}

// missing counts promised offsets that the logs no longer reach.
func (c *cluster) missing(ctx context.Context, promised [partitions]int64) (n int64, err error) {
	ends, err := c.ends(ctx)
	for p := range promised {
		n += max(0, promised[p]-ends[p])
	}
	return n, err
}
