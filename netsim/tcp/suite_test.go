package tcp

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
	"github.com/karst-stream/karst/netsim/nettest"
)

func TestMain(m *testing.M) {
	core.Poison = true
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	nettest.Run(t, func(t *testing.T) nettest.World { return newWorld(t) })
	nettest.RunHostile(t, func(t *testing.T) nettest.World { return newWorld(t) })
}

// world is loopback. The peers' ports are taken first, so that each node can be told the other's.
type world struct {
	t     *testing.T
	dir   string
	addrs map[core.NodeID]string
	nets  map[core.NodeID]*Net

	mu    sync.Mutex
	files map[string]string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), addrs: map[core.NodeID]string{},
		nets: map[core.NodeID]*Net{}, files: map[string]string{}}
	for _, id := range []core.NodeID{1, 2} {
		g, err := bind(Listener{Host: "127.0.0.1"}) // reserved: nobody is answered there before Open
		if err != nil {
			t.Fatal(err)
		}
		w.addrs[id] = g.addr.String()
		t.Cleanup(g.close)
	}
	return w
}

func (w *world) Open(t testing.TB, cfg netsim.Config) netsim.Net {
	n, err := New(Options{Config: cfg, Listeners: []Listener{{Name: "PLAIN", Host: "127.0.0.1"}},
		PeerListen: w.addrs[cfg.Node], Peers: map[core.NodeID]string{3 - cfg.Node: w.addrs[3-cfg.Node]},
		Region: func(f core.FileID) (netsim.Region, bool) { return w.region(cfg.Node, f) },
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w.nets[cfg.Node] = n
	n.Start()
	return n
}

func (w *world) File(node core.NodeID, f core.FileID, content []byte) {
	path := filepath.Join(w.dir, fmt.Sprint(node, "-", f))
	if err := os.WriteFile(path, content, 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[fmt.Sprint(node, f)] = path
}

func (w *world) region(node core.NodeID, f core.FileID) (netsim.Region, bool) {
	w.mu.Lock()
	path, ok := w.files[fmt.Sprint(node, f)]
	w.mu.Unlock()
	if !ok {
		return nil, false
	}
	file, err := os.Open(path)
	return region{file}, err == nil
}

type region struct{ *os.File }

func (r region) Fd() (int, bool) { return int(r.File.Fd()), true }
func (r region) Release()        { _ = r.Close() }

func (w *world) Advance() bool { return false }

func (w *world) Dial(node core.NodeID, news func()) (nettest.Client, error) {
	nc, err := net.Dial("tcp", w.nets[node].Addrs()[0].String())
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc}
	go c.run(news)
	return c, nil
}

// client collects what the node sends.
type client struct {
	nc    net.Conn
	mu    sync.Mutex
	got   bytes.Buffer
	ended bool
}

func (c *client) run(news func()) {
	b := make([]byte, 64<<10)
	for {
		n, err := c.nc.Read(b)
		c.mu.Lock()
		c.got.Write(b[:n])
		c.ended = err != nil
		c.mu.Unlock()
		news()
		if err != nil {
			return
		}
	}
}

func (c *client) Send(b []byte) { _, _ = c.nc.Write(b) }
func (c *client) Close()        { _ = c.nc.Close() }

func (c *client) Received() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.got.Bytes())
}

func (c *client) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}
