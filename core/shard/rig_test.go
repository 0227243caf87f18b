package shard

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
)

// rig drives a few nodes with a perfect disk and network, a millisecond at a time. Faults belong to
// the simulator; here a state machine is followed step by step.
type rig struct {
	t      *testing.T
	now    core.Mono
	nodes  []*rigNode
	fatal  []string
	nextLk core.LinkID
	starts int         // of processes: each draws something else
	deaf   core.NodeID // frames to this node are lost
	static []config.KV // of nodes that start, beside what all have
}

type rigNode struct {
	id      core.NodeID
	disk    rigDisk
	shards  []*Shard
	inbox   [][]core.Event
	files   map[core.FileID]string
	gate    bool
	out     map[core.ConnID][][]byte
	down    bool
	links   map[core.NodeID]core.LinkID // outgoing, as the other side names it
	ready   map[core.LinkID]bool
	queue   map[core.LinkID][]core.Event
	stopped int
	room    int64 // bytes that the disk takes; 0: any number
	holds   bool  // writes of the identity wait in held
	held    []func()
	rejoin  bool  // start --rejoin
	dirs    int   // data directories; 0: one
	away    bool  // the last of them is not there
	dead    bool  // every sync in it fails
	ill     bool  // every sync in the first fails, but those of the file "node"
	read    int64 // bytes that it has asked the disk for
}

// rigDisk keeps every byte at once: what is synced or not is the simulator's matter.
type rigDisk map[string][]byte

func (d rigDisk) List() (out []core.FileInfo) {
	for p, b := range d {
		out = append(out, core.FileInfo{Path: p, Size: int64(len(b))})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out
}

func (d rigDisk) write(path string, off int, b []byte) {
	f := d[path]
	if need := off + len(b); need > len(f) {
		f = append(f, make([]byte, need-len(f))...)
	}
	copy(f[off:], b)
	d[path] = f
}

func (d rigDisk) copy() rigDisk {
	c := rigDisk{}
	for p, b := range d {
		c[p] = append([]byte(nil), b...)
	}
	return c
}

func (d rigDisk) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	f, ok := d[path]
	if !ok {
		return 0, core.ErrGone
	}
	n := 0
	if off < int64(len(f)) {
		n = copy(b, f[off:])
	}
	if n < len(b) {
		return n, core.ErrShort
	}
	return n, core.OK
}

func newRig(t *testing.T, nodes, shards int) *rig {
	r := &rig{t: t}
	for i := range nodes {
		n := &rigNode{id: core.NodeID(i + 1), disk: rigDisk{}}
		r.nodes = append(r.nodes, n)
		n.shards = make([]*Shard, shards)
	}
	for _, n := range r.nodes {
		r.start(n)
	}
	return r
}

func (r *rig) peers() (ids []core.NodeID) {
	for _, n := range r.nodes {
		ids = append(ids, n.id)
	}
	return ids
}

func (r *rig) start(n *rigNode) {
	r.t.Helper()
	rec, err := n.recover()
	if err != nil {
		r.t.Fatal(err)
	}
	n.files, n.out = map[core.FileID]string{}, map[core.ConnID][][]byte{}
	n.links, n.ready, n.queue = map[core.NodeID]core.LinkID{}, map[core.LinkID]bool{}, map[core.LinkID][]core.Event{}
	r.starts++
	n.inbox, n.down, n.gate, n.stopped = make([][]core.Event, len(n.shards)), false, false, 0
	for k := range n.shards {
		n.shards[k] = New(Config{Node: n.id, Shard: core.ShardID(k), Shards: len(n.shards), Seed: uint64(n.id)*77 + uint64(r.starts)<<16, Peers: r.peers(),
			Listeners: []meta.Listener{{Name: "PLAINTEXT", Host: "h", Port: uint16(9000 + n.id)}},
			Static:    config.Sort(append([]config.KV{{Key: "group.initial.rebalance.delay.ms", Value: "0"}}, r.static...)),
			Limits:    Limits{JournalSlot: 1 << 20}, Rejoin: n.rejoin}, rec)
	}
	for _, o := range r.nodes {
		if o != n && !o.down && o.shards[0] != nil {
			r.connect(n, o)
			r.connect(o, n)
		}
	}
}

func (r *rig) connect(from, to *rigNode) {
	if from.links == nil || to.inbox == nil {
		return
	}
	r.nextLk++
	from.links[to.id] = r.nextLk
	from.post(0, core.Event{Kind: core.PeerUp, Node: to.id})
}

// vanish drops a node, as the loss of power does: nobody hears of it.
func (r *rig) vanish(n *rigNode) {
	n.down, n.held = true, nil
	for _, s := range n.shards {
		s.Abandon()
	}
}

// kill drops a node, as SIGKILL does: its disk stays.
func (r *rig) kill(n *rigNode) {
	r.vanish(n)
	for _, o := range r.nodes {
		if o == n || o.down {
			continue
		}
		if l, ok := n.links[o.id]; ok {
			o.post(0, core.Event{Kind: core.PeerClosed, Node: n.id, Link: l})
		}
		delete(o.links, n.id)
		o.post(0, core.Event{Kind: core.PeerDown, Node: n.id})
	}
}

func (n *rigNode) post(k core.ShardID, ev core.Event) { n.inbox[k] = append(n.inbox[k], ev) }

func (r *rig) node(id core.NodeID) *rigNode { return r.nodes[id-1] }

// turn gives every shard one step.
func (r *rig) turn() {
	r.now += core.Millisecond
	for _, n := range r.nodes {
		for k, s := range n.shards {
			if n.down {
				continue
			}
			evs := n.inbox[k]
			n.inbox[k] = nil
			var fx core.Effects
			s.Step(core.Now{Mono: r.now, Wall: core.Wall(r.now / core.Millisecond)}, evs, &fx)
			for i := range fx.List {
				r.do(n, core.ShardID(k), &fx.List[i], fx.Vec(&fx.List[i]))
			}
		}
	}
}

func gather(n *rigNode, vec []core.Ref) (b []byte) {
	for _, x := range vec {
		if x.Buf != nil {
			b = append(b, x.Bytes()...)
		} else if x.Len > 0 {
			f := n.disk[n.files[x.File]]
			b = append(b, f[x.Off:x.Off+int64(x.Len)]...)
		}
		x.Release()
	}
	return b
}

func (r *rig) do(n *rigNode, k core.ShardID, e *core.Effect, vec []core.Ref) {
	done := core.Event{Kind: core.DiskDone, Op: e.Op}
	path := n.files[e.File]
	if e.Sync && (n.dead && e.File.Dir() == n.dirs-1 || n.ill && e.File.Dir() == 0 && path != identityPath) {
		for _, x := range vec {
			x.Release()
		}
		if done.Err = core.ErrIO; e.Op != 0 {
			n.post(k, done)
		}
		return
	}
	if n.noRoom(e, vec) {
		for _, x := range vec {
			x.Release()
		}
		done.Err = core.ErrNoSpac
		n.post(k, done)
		return
	}
	switch e.Kind {
	case core.Create:
		path = inDir(e.File.Dir(), e.Path)
		n.files[e.File] = path
		if n.disk[path] == nil {
			n.disk[path] = []byte{}
		}
	case core.Write:
		b, off := gather(n, vec), int(e.Off)
		if n.holds && path == identityPath {
			n.held = append(n.held, func() {
				n.disk.write(path, off, b)
				n.post(k, done)
			})
			return
		}
		n.disk.write(path, off, b)
	case core.Truncate:
		f := n.disk[path]
		n.disk[path] = append(f[:min(int64(len(f)), e.Off)], make([]byte, max(0, e.Off-int64(len(f))))...)
	case core.SyncFile:
	case core.Read:
		n.read += e.N
		body := core.NewRef(int(e.N))
		m, err := n.disk.ReadAt(path, e.Off, body.Bytes())
		done.Body, done.Err = body.Slice(0, int32(m)), err
	case core.Remove:
		delete(n.disk, path)
	case core.Space:
		n.post(k, core.Event{Kind: core.JobDone, Op: e.Op, Body: core.RefOf(core.SpaceBytes(1<<40, 1<<30))})
		return
	case core.Run:
		var in [][]byte
		for _, x := range e.Job.In {
			in = append(in, x.Bytes())
		}
		out, err := e.Job.Do(in)
		for _, x := range e.Job.In {
			x.Release()
		}
		n.post(k, core.Event{Kind: core.JobDone, Op: e.Op, Err: err, Body: core.RefOf(out)})
		return
	default:
		r.tell(n, k, e, vec)
		return
	}
	if e.Op != 0 {
		n.post(k, done)
	}
}

// tell carries out an effect on somebody else than the disk: a peer, a client, a shard or the rig.
func (r *rig) tell(n *rigNode, k core.ShardID, e *core.Effect, vec []core.Ref) {
	switch e.Kind {
	case core.SendPeer:
		r.send(n, k, e.Node, gather(n, vec))
	case core.AcceptPeer:
		n.ready[e.Link] = true
		for _, ev := range n.queue[e.Link] {
			n.post(Route(ev.Body.Bytes(), len(n.shards)), ev)
		}
		delete(n.queue, e.Link)
	case core.MailOut:
		n.post(e.Shard, core.Event{Kind: core.MailIn, Shard: k, Mail: e.Mail})
	case core.SendConn:
		b := gather(n, vec)
		n.out[e.Conn] = append(n.out[e.Conn], b)
		n.post(k, core.Event{Kind: core.ConnSent, Conn: e.Conn, N: int64(len(b))})
	case core.OpenGate:
		n.gate = true
	case core.Stopped:
		n.stopped++
	case core.Fatal:
		r.fatal = append(r.fatal, e.Text)
	case core.Note:
		r.t.Logf("%8d ms n%d.%d %s", r.now/core.Millisecond, n.id, k, e.Text)
	}
}

func (r *rig) send(n *rigNode, k core.ShardID, to core.NodeID, b []byte) {
	n.post(k, core.Event{Kind: core.PeerSent, Node: to, N: int64(len(b))})
	l, ok := n.links[to]
	o := r.node(to)
	if !ok || o.down || to == r.deaf {
		return
	}
	if known, seen := o.ready[l]; !known {
		if !seen {
			o.ready[l] = false
			o.post(0, core.Event{Kind: core.PeerHello, Link: l, Body: core.RefOf(b)})
			return
		}
		o.queue[l] = append(o.queue[l], core.Event{Kind: core.PeerFrame, Node: n.id, Link: l, Body: core.RefOf(b)})
		return
	}
	o.post(Route(b, len(o.shards)), core.Event{Kind: core.PeerFrame, Node: n.id, Link: l, Body: core.RefOf(b)})
}

// until turns until ok, for at most d.
func (r *rig) until(what string, d core.Mono, ok func() bool) {
	r.t.Helper()
	for end := r.now + d; r.now < end; {
		r.turn()
		if ok() {
			return
		}
	}
	r.t.Fatalf("not within %d ms: %s\n%s", d/core.Millisecond, what, r.describe())
}

func (r *rig) run(d core.Mono) {
	for end := r.now + d; r.now < end; {
		r.turn()
	}
}

func (r *rig) open() {
	r.t.Helper()
	r.until("gates open", 10*core.Second, func() bool {
		return !slices.ContainsFunc(r.nodes, func(n *rigNode) bool { return !n.down && !n.gate })
	})
}

func (r *rig) describe() string {
	var b strings.Builder
	for _, n := range r.nodes {
		for _, s := range n.shards {
			if s == nil || n.down {
				continue
			}
			for _, g := range s.groups.Keys() {
				h := s.groups.At(g)
				i := h.r.Info()
				fmt.Fprintf(&b, "n%d.%d %s group %d term %d leader %d leads %v isr %v high %d end %d began %v awake %v off %q\n", n.id, s.cfg.Shard, h.dir, g,
					i.Term, i.Leader, i.Leads, i.ISR, h.r.High(), h.r.End(), h.r.Began(), h.r.Awake(), i.Dead)
			}
		}
	}
	return b.String() + strings.Join(r.fatal, "\n")
}

// frame gives a request to a node on a connection of its own number and waits for the answer.
func (r *rig) request(n *rigNode, conn core.ConnID, frame []byte) []byte {
	r.t.Helper()
	k := core.ShardID(uint64(conn) % uint64(len(n.shards)))
	if _, ok := n.out[conn]; !ok {
		n.out[conn] = nil
		n.post(k, core.Event{Kind: core.ConnOpen, Conn: conn, Body: core.RefOf([]byte("PLAINTEXT\x00h:9001"))})
	}
	ref := core.RefOf(frame)
	n.post(k, core.Event{Kind: core.ConnFrame, Conn: conn, Body: ref, Check: api.Intake(ref)})
	before := len(n.out[conn])
	r.until("an answer", 10*core.Second, func() bool { return len(n.out[conn]) > before })
	return n.out[conn][before]
}
