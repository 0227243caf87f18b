package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/local"
	"github.com/karst-stream/karst/cmd/karst/settings"
)

const devHelp = `Runs N nodes on this machine, each a process of its own, until SIGTERM or ^C.

The data stay in .karst/dev, and the next run on the same directory carries on. From another
terminal, karst dev kill 2 (and revive, pause, resume, stop, powercut) does to a node what life
does to nodes.`

// devFlags holds the flags of `karst dev`.
type devFlags struct {
	nodes    int
	ports    []int
	first    int32
	host     string
	offset   int
	data     string
	remove   bool
	set      []string
	topics   []string
	shards   int
	power    bool
	tethered bool
}

var defaultDevDir = filepath.Join(".karst", "dev")

func newDev() *cobra.Command {
	var d devFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster on this machine",
		Long:  devHelp,
		Example: "  karst dev                 one node\n" +
			"  karst dev -n 3            three nodes\n" +
			"  karst dev kill 2          end node 2 at once; karst dev revive 2 starts it again",
		Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c) },
	}
	f := c.Flags()
	f.IntVarP(&d.nodes, "nodes", "n", 1, "number of nodes")
	f.IntSliceVar(&d.ports, "ports", nil, "Kafka ports, P1,P2,..; default 9092.., or free ones")
	f.Int32Var(&d.first, "first-node-id", 1, "id of the first node")
	f.StringVar(&d.host, "host", "", "the host name that clients are told; default 127.0.0.1")
	f.IntVar(&d.offset, "advertise-offset", 0, "added to a port to give the one that clients are told")
	f.BoolVar(&d.remove, "rm", false, "delete the data at the end")
	f.StringArrayVar(&d.set, "set", nil, "KEY=VALUE of any configuration key; may be repeated")
	f.StringArrayVar(&d.topics, "topic", nil, "NAME:PARTITIONS to have when ready; may be repeated")
	f.IntVar(&d.shards, "shards", 0, "event loops a node; 0: the cores, divided among the nodes")
	f.BoolVar(&d.power, "power-switch", false, "allow karst dev powercut")
	f.BoolVar(&d.tethered, "tethered", false, "end when the standard input ends")
	f.MarkHidden("tethered")
	c.PersistentFlags().StringVar(&d.data, "data", defaultDevDir, "directory of the cluster")
	c.AddCommand(newDevStatus(&d.data))
	for _, v := range []struct{ verb, short string }{
		{"kill", "End a node at once (SIGKILL)"},
		{"revive", "Start a dead node again"},
		{"pause", "Freeze a node (SIGSTOP)"},
		{"resume", "Let a frozen node go on (SIGCONT)"},
		{"stop", "End a node gracefully (SIGTERM)"},
		{"powercut", "Cut a node, or all at once, from power: lose what no sync covers"},
	} {
		c.AddCommand(newDevVerb(&d.data, v.verb, v.short))
	}
	return c
}

// spec checks the flags.
func (d *devFlags) spec(c *cobra.Command) (local.Spec, error) {
	s := local.Spec{Dir: d.data, Nodes: d.nodes, FirstID: d.first, Ports: d.ports, Host: d.host, Offset: d.offset,
		Shards: d.shards, PowerSwitch: d.power, Remove: d.remove, Set: d.set, Topics: d.topics}
	if !c.Flags().Changed("nodes") {
		s.Nodes = 0
	}
	if !c.Flags().Changed("first-node-id") {
		s.FirstID = -1
	} else if d.first < 0 {
		return s, catalogue.BadFlag.New("--first-node-id %d: ids start at 0", d.first)
	}
	if c.Flags().Changed("nodes") && (d.nodes < 1 || d.nodes > 99) {
		return s, catalogue.BadFlag.New("-n %d: between 1 and 99 nodes run on one machine", d.nodes)
	}
	for _, pair := range d.set {
		if _, err := settings.Check(pair); err != nil {
			return s, err
		}
	}
	for _, t := range d.topics {
		if _, err := parseTopicSpec(t); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (d *devFlags) run(c *cobra.Command) error {
	spec, err := d.spec(c)
	if err != nil {
		return err
	}
	// Signals are heard from here on, so that no node is left behind by an early ^C.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	if d.tethered {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	go func() {
		<-signals
		cancel()
	}()
	w := c.OutOrStdout()
	cluster, err := d.bringUp(ctx, c, spec)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	defer cluster.Close()
	go func() {
		<-signals // asked twice: no more grace
		cluster.Kill()
	}()
	var addresses []string
	for _, n := range cluster.Nodes() {
		addresses = append(addresses, n.Address)
	}
	fmt.Fprintf(w, "ready in %d ms: -B %s\n", time.Since(cluster.Began()).Milliseconds(), strings.Join(addresses, ","))
	if term.IsTerminal(int(os.Stdout.Fd())) {
		fmt.Fprintln(w, "next:  karst topic create orders -p 6        ^C stops; the data stay")
	}
	<-ctx.Done()
	return nil
}

// bringUp starts the nodes and waits until they serve. When somebody takes a port between its choice
// and the node's start, it begins again with other ports.
func (d *devFlags) bringUp(ctx context.Context, c *cobra.Command, spec local.Spec) (*local.Cluster, error) {
	const attempts = 5
	for i := 1; ; i++ {
		cluster, err := local.Start(spec)
		if err != nil {
			return nil, err
		}
		showEndpoints(c.OutOrStdout(), cluster)
		if err = d.untilReady(ctx, c.ErrOrStderr(), cluster); err == nil {
			return cluster, nil
		}
		cluster.Close()
		if !errors.Is(err, local.ErrPortClash) || i == attempts {
			return nil, err
		}
	}
}

// untilReady waits, and says after a while for whom.
func (d *devFlags) untilReady(ctx context.Context, w io.Writer, cluster *local.Cluster) error {
	done := make(chan error, 1)
	go func() { done <- cluster.Ready(ctx) }()
	slow := time.NewTimer(5 * time.Second)
	defer slow.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-slow.C:
			var waiting []string
			for _, n := range cluster.Nodes() {
				if n.State != local.Ready {
					waiting = append(waiting, fmt.Sprintf("%s (%s)", n.Name(), n.Log))
				}
			}
			fmt.Fprintf(w, "still waiting for %s\n", strings.Join(waiting, ", "))
		}
	}
}

func showEndpoints(w io.Writer, cluster *local.Cluster) {
	nodes := cluster.Nodes()
	fmt.Fprintf(w, "karst dev: %s, data in %s\n", count(len(nodes), "node"), cluster.Dir())
	var tb table
	for _, n := range nodes {
		tb.row("  "+n.Name(), "kafka "+n.Address, "admin http://"+n.Admin, "pid "+strconv.Itoa(n.PID))
	}
	tb.write(w)
}

func newDevStatus(dir *string) *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes of a running karst dev",
		Args:  nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := local.Dial(*dir)
			if err != nil {
				return err
			}
			nodes, err := client.Status()
			if err != nil {
				return err
			}
			return out.print(c, nodes, func(w io.Writer) { nodeTable(w, nodes) })
		},
	}
	out.register(c)
	return c
}

func nodeTable(w io.Writer, nodes []local.Node) {
	var tb table
	tb.row("NODE", "STATE", "PID", "ADDRESS", "ADMIN", "DATA")
	for _, n := range nodes {
		pid := "-"
		if n.PID != 0 {
			pid = strconv.Itoa(n.PID)
		}
		tb.row(n.ID, n.State, pid, n.Address, n.Admin, n.Data)
	}
	tb.write(w)
}

func newDevVerb(dir *string, verb, short string) *cobra.Command {
	var out output
	rejoin := false
	c := &cobra.Command{
		Use:   verb + " N|all",
		Short: short,
		Args:  exactly(1, "one node id, or all"),
		RunE: func(c *cobra.Command, args []string) error {
			id := local.All
			if args[0] != "all" {
				n, err := strconv.ParseUint(strings.TrimPrefix(args[0], "n"), 10, 31)
				if err != nil {
					return catalogue.BadArgument.New("%q is not a node id", args[0]).Try("karst dev " + verb + " 2")
				}
				id = int32(n)
			}
			if rejoin && id == local.All {
				return catalogue.BadFlag.New("--rejoin is for one node: the others must be there to let it in").Try("karst dev revive 2 --rejoin")
			}
			client, err := local.Dial(*dir)
			if err != nil {
				return err
			}
			began := time.Now()
			does := verb
			if rejoin {
				does = "rejoin"
			}
			nodes, err := client.Do(does, id)
			if err != nil {
				return err
			}
			if rejoin {
				if err := untilTaken(c.Context(), nodes, id); err != nil {
					return err
				}
			}
			var touched []local.Node
			for _, n := range nodes {
				if id == local.All || n.ID == id {
					touched = append(touched, n)
				}
			}
			return out.print(c, touched, func(w io.Writer) {
				for _, n := range touched {
					fmt.Fprintf(w, "%s is %s", n.Name(), n.State)
					if verb == "revive" && n.State == local.Ready {
						fmt.Fprintf(w, " after %d ms", time.Since(began).Milliseconds())
					}
					fmt.Fprintln(w)
				}
			})
		},
	}
	if verb == "revive" {
		c.Flags().BoolVar(&rejoin, "rejoin", false, "its data directory is empty: take the place of the disk that is gone")
	}
	out.register(c)
	return c
}
