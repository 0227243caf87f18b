package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/local"
	"github.com/karst-stream/karst/cmd/karst/settings"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
)

const startHelp = `Runs one node of a cluster until SIGTERM or ^C.

Every key of the configuration can be given in the file, as KARST_ and the name in capitals, and
with --set KEY=VALUE under our name or Kafka's; the keys of the node itself have flags of their
own. A flag beats the environment, which beats the file, which beats the default.
karst docs configs lists them all.

A node whose data directory was lost comes back with --rejoin and an empty one: the others must be a
majority, and give it their records. To a directory that is not empty the flag means nothing.`

// started holds the flags of `karst start` that are no configuration keys.
type started struct {
	file        string
	set         []string
	topics      []string
	check       bool
	rejoin      bool
	supervised  bool
	powerSwitch bool
}

func newStart() *cobra.Command {
	var s started
	c := &cobra.Command{
		Use:   "start",
		Short: "Run one node of a cluster",
		Long:  startHelp,
		Example: "  karst start --config karst.yaml\n" +
			"  karst start --node-id 1 --data DIR --listen 127.0.0.1:9092 --peer-listen 127.0.0.1:33145",
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return s.run(c) },
	}
	f := c.Flags()
	f.StringVar(&s.file, "config", "", "a YAML file of configuration keys")
	f.StringArrayVar(&s.set, "set", nil, "KEY=VALUE of any configuration key; may be repeated")
	f.StringArrayVar(&s.topics, "topic", nil, "NAME:PARTITIONS to create at the first start; may be repeated")
	f.BoolVar(&s.check, "check", false, "only check the configuration")
	for _, k := range config.BrokerKeys() {
		if k.Flag != "" {
			f.String(k.Flag, "", strings.TrimSuffix(k.Doc, "."))
		}
	}
	f.BoolVar(&s.rejoin, "rejoin", false, "on an empty data directory: take the place of the disk that is gone")
	f.BoolVar(&s.supervised, "supervised", false, "tied to karst dev by open descriptors")
	f.BoolVar(&s.powerSwitch, "power-switch", false, "be able to lose what no sync covers, for tests")
	f.MarkHidden("supervised")
	f.MarkHidden("power-switch")
	return c
}

// load gathers the settings from everywhere.
func (s *started) load(c *cobra.Command) (*settings.Values, error) {
	src := settings.Sources{File: s.file, Env: os.LookupEnv}
	for _, pair := range s.set {
		f, err := settings.Check(pair)
		if err != nil {
			return nil, err
		}
		src.Flags = append(src.Flags, f)
	}
	for _, k := range config.BrokerKeys() {
		if k.Flag != "" && c.Flags().Changed(k.Flag) {
			text, err := c.Flags().GetString(k.Flag)
			if err != nil {
				return nil, err
			}
			src.Flags = append(src.Flags, settings.Flag{Key: k.Name, Value: text, Shown: "flag --" + k.Flag})
		}
	}
	return settings.Load(src)
}

func (s *started) run(c *cobra.Command) error {
	began := time.Now()
	v, err := s.load(c)
	if err != nil {
		return err
	}
	p, err := planNode(v, s.topics)
	if err != nil {
		return err
	}
	if s.check {
		fmt.Fprintln(c.OutOrStdout(), "the configuration is fine")
		return nil
	}
	p.powerSwitch, p.rejoin = s.powerSwitch, s.rejoin
	p.log = newLog(os.Stderr)
	for _, w := range v.Warnings() {
		p.log.Warn(w)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var tied *local.Supervised
	if s.supervised {
		tied = local.Adopt()
		p.control = tied.Control
	}
	p.ready = func() {
		args := []any{"kafka", strings.Join(p.shown(), ",")}
		if p.admin != "" {
			args = append(args, "admin", p.admin)
		}
		p.log.Info("ready", append(args, "node", int(p.id), "in", fmt.Sprintf("%dms", time.Since(began).Milliseconds()))...)
		if tied != nil {
			tied.Ready()
		}
	}
	return runNode(ctx, p)
}

// newLog writes text to a terminal and JSON elsewhere.
func newLog(f *os.File) *slog.Logger {
	if term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(f, nil))
	}
	return slog.New(slog.NewJSONHandler(f, nil))
}

// listener is one [NAME://]HOST:PORT, with what clients are told.
type listener struct {
	name           string
	host           string
	port           int
	advertisedHost string // empty: the address that the client dialled
	advertisedPort int
}

// peer is one ID@HOST:PORT.
type peer struct {
	id   int32
	addr string
}

type topicSpec struct {
	name       string
	partitions int32
}

// nodePlan is what one node needs to run, understood and checked.
type nodePlan struct {
	id          int32
	dirs        []string
	listeners   []listener
	peerListen  string
	peers       []peer
	shards      int
	admin       string
	powerSwitch bool
	rejoin      bool
	configs     map[string]string
	topics      []topicSpec
	log         *slog.Logger
	ready       func()
	control     *os.File // nil: nobody supervises
}

// shown are the advertised addresses, or where it listens.
func (p *nodePlan) shown() (out []string) {
	for _, l := range p.listeners {
		host, port := l.advertisedHost, l.advertisedPort
		if host == "" {
			host, port = l.host, l.port
		}
		out = append(out, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return out
}

// planNode turns settings into a plan, or says what is missing or contradicts.
func planNode(v *settings.Values, topics []string) (*nodePlan, error) {
	p := &nodePlan{peerListen: v.Text("peer-listen"), admin: v.Text("admin"), configs: v.Configs()}
	if !v.Given("node-id") {
		return nil, catalogue.Missing.New("the node has no number: --node-id is missing")
	}
	id, err := strconv.ParseInt(v.Text("node-id"), 10, 32)
	if err != nil {
		return nil, catalogue.BadValue.New("node-id %q is not a number", v.Text("node-id")).Because("from " + v.From("node-id"))
	}
	p.id = int32(id)
	if err := p.planDirs(v); err != nil {
		return nil, err
	}
	if p.shards, err = strconv.Atoi(v.Text("shards")); err != nil {
		return nil, catalogue.BadValue.New("shards %q is not a number", v.Text("shards")).Because("from " + v.From("shards"))
	}
	if p.listeners, err = planListeners(v); err != nil {
		return nil, err
	}
	if err := p.planPeers(v); err != nil {
		return nil, err
	}
	for _, name := range []string{"admin", "peer-listen"} {
		if text := v.Text(name); text != "" {
			if _, _, err := hostPort(text); err != nil {
				return nil, catalogue.BadValue.New("%s: %v", name, err).Because("from " + v.From(name))
			}
		}
	}
	for _, t := range topics {
		spec, err := parseTopicSpec(t)
		if err != nil {
			return nil, err
		}
		p.topics = append(p.topics, spec)
	}
	return p, nil
}

// planDirs takes the data directories apart.
func (p *nodePlan) planDirs(v *settings.Values) error {
	for _, d := range list(v.Text("data")) {
		p.dirs = append(p.dirs, strings.TrimSpace(d))
	}
	if len(p.dirs) == 0 {
		return catalogue.Missing.New("the node has no directory: --data is missing")
	}
	if n := len(p.dirs); n > core.MaxDirs {
		return catalogue.BadValue.New("data: %d directories, a node may have %d", n, core.MaxDirs).Because("from " + v.From("data"))
	}
	for i, d := range p.dirs {
		switch j := slices.IndexFunc(p.dirs, func(o string) bool { return filepath.Clean(o) == filepath.Clean(d) }); {
		case d == "":
			return catalogue.BadValue.New("data: %q has an empty name in it", v.Text("data")).Because("from " + v.From("data"))
		case j < i:
			return catalogue.Contradiction.New("data: %s is named twice", d).Because("from " + v.From("data"))
		}
	}
	return nil
}

func (p *nodePlan) planPeers(v *settings.Values) error {
	own := false
	for _, part := range list(v.Text("peers")) {
		number, addr, ok := strings.Cut(part, "@")
		id, err := strconv.ParseInt(number, 10, 32)
		if _, _, aerr := hostPort(addr); !ok || err != nil || id < 0 || aerr != nil {
			return catalogue.BadValue.New("peers: %q is not ID@HOST:PORT", part).Because("from " + v.From("peers"))
		}
		for _, q := range p.peers {
			if q.id == int32(id) {
				return catalogue.Contradiction.New("peers: node %d is named twice", id).Because("from " + v.From("peers"))
			}
		}
		own = own || int32(id) == p.id
		p.peers = append(p.peers, peer{int32(id), addr})
	}
	if len(p.peers) > 0 && !own {
		return catalogue.Contradiction.New("peers: this node, %d, is not among them", p.id).
			Because("peers from "+v.From("peers"), "node-id from "+v.From("node-id")).
			Try("name every node in --peers, this one included")
	}
	if len(p.peers) > 1 && p.peerListen == "" {
		return catalogue.Missing.New("the other nodes cannot reach this one: --peer-listen is missing")
	}
	return nil
}

// planListeners pairs each listener with its advertised address, by name.
func planListeners(v *settings.Values) ([]listener, error) {
	var out []listener
	for _, part := range list(v.Text("listen")) {
		name, host, port, err := parseListener(part)
		if err != nil {
			return nil, catalogue.BadValue.New("listen: %v", err).Because("from " + v.From("listen"))
		}
		for _, l := range out {
			if l.name == name {
				return nil, catalogue.Contradiction.New("listen: two listeners are called %s", name).
					Because("from " + v.From("listen")).Try("give each a name: INTERNAL://HOST:PORT,EXTERNAL://HOST:PORT")
			}
		}
		out = append(out, listener{name: name, host: host, port: port})
	}
	if len(out) == 0 {
		return nil, catalogue.Missing.New("the node listens nowhere: --listen is empty")
	}
next:
	for _, part := range list(v.Text("advertise")) {
		name, host, port, err := parseListener(part)
		if err != nil {
			return nil, catalogue.BadValue.New("advertise: %v", err).Because("from " + v.From("advertise"))
		}
		if host == "" || port == 0 {
			return nil, catalogue.BadValue.New("advertise: %q names no host and port that a client could dial", part).
				Because("from " + v.From("advertise"))
		}
		for i := range out {
			if out[i].name == name {
				out[i].advertisedHost, out[i].advertisedPort = host, port
				continue next
			}
		}
		return nil, catalogue.Contradiction.New("advertise: no listener is called %s", name).
			Because("listen from "+v.From("listen"), "advertise from "+v.From("advertise"))
	}
	return out, nil
}

// list splits at commas; empty text has no elements.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// parseListener reads [NAME://]HOST:PORT. The name is PLAINTEXT when it is left away, as Kafka's.
func parseListener(s string) (name, host string, port int, err error) {
	name = "PLAINTEXT"
	if n, rest, ok := strings.Cut(s, "://"); ok {
		name, s = strings.ToUpper(n), rest
		if name == "" {
			return "", "", 0, fmt.Errorf("%q has an empty name", s)
		}
	}
	host, port, err = hostPort(s)
	return name, host, port, err
}

func hostPort(s string) (string, int, error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", s)
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %q is not a port", s, p)
	}
	return host, int(port), nil
}

// parseTopicSpec reads NAME:PARTITIONS.
func parseTopicSpec(s string) (topicSpec, error) {
	name, number, ok := strings.Cut(s, ":")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok || name == "" || err != nil || n < 1 {
		return topicSpec{}, catalogue.BadFlag.New("--topic %q is not NAME:PARTITIONS", s).Try("--topic orders:6")
	}
	return topicSpec{name, int32(n)}, nil
}
