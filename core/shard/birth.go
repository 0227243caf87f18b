package shard

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Who belongs to the cluster. A disk is empty until it says to which cluster it belongs.
//
//	empty ──all peers say that they are empty, and mine is the lowest id──▶ draws the cluster's id
//	empty ──a peer belongs to one, all peers answered, none has ever met me──▶ adopts that id
//	empty ──a peer has met me──▶ refuses: this disk was wiped
//	      ──identity synced──▶ member: says hello, votes
//
// A hello carries cluster, node, incarnation, the lineage of its disk (lineage.go), and what its sender
// remembers of the receiver. Before a member is listened to, what it showed is synced here, so that a
// disk that was put back is refused by whoever has met the newer one.
//
// A frame may be an old one that somebody on the way sent again, so a hello also names the mark of the
// process that it was said to. What decides about a whole node, that it is adopted or that it must end, is believed
// of nothing else; and who is a member counts for one link only: frames that come on another are not its.

var (
	markFormed  = det.NewMark("birth: a cluster was formed")
	markAdopted = det.NewMark("birth: an empty node adopted its cluster")
	markWiped   = det.NewMark("birth: a wiped node was refused")
	markOldDisk = det.NewMark("birth: an old disk was refused")
	markStale   = det.NewMark("birth: a hello of another time was not believed")
)

const helloEvery = 250 * core.Millisecond // an empty node asks again

// hello is who speaks. Known is what the speaker remembers of the one it speaks to.
type hello struct {
	cluster     string // "" of an empty disk
	node        core.NodeID
	incarnation uint32
	start       uint32
	mark        uint64 // of this process, also on an empty disk
	heard       uint64 // the mark that the receiver showed on its link; 0: it has not said hello yet
	known       Seen
	past        []Past // with start and mark at its end; none of an empty disk
	rejoin      uint32 // of an empty disk: 1, it asks for an incarnation; of a member: the one that mark heard was given
	refuse      string // why the speaker will not listen; "" it will
}

func (h *hello) encode() []byte {
	b := putHead(nil, frameHello, 0, 0)
	b = appendText(b, h.cluster)
	for _, v := range [6]uint64{uint64(uint32(h.node)), uint64(h.incarnation), uint64(h.start), uint64(h.known.Incarnation), uint64(h.known.Start), uint64(h.rejoin)} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range [3]uint64{h.mark, h.heard, h.known.Mark} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return appendText(putPast(b, h.past), h.refuse)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func decodeHello(b []byte) (h hello, ok bool) {
	r := scan{b: b}
	h.cluster = r.text(64)
	h.node, h.incarnation, h.start = core.NodeID(uint32(r.num())), uint32(r.num()), uint32(r.num())
	h.known.Incarnation, h.known.Start, h.rejoin = uint32(r.num()), uint32(r.num()), uint32(r.num())
	h.mark, h.heard, h.known.Mark = r.mark(), r.mark(), r.mark()
	h.past = r.past()
	h.refuse = r.text(1024)
	return h, !r.bad && len(r.b) == 0 && h.mark != 0
}

// link is what shard 0 knows of the connections with another node.
type link struct {
	out     bool        // ours to it is open
	in      core.LinkID // its to us, accepted; 0 none
	hello   *hello      // its newest, on this link
	told    uint64      // the mark that our last hello to it named as heard
	member  bool        // hello says our cluster, and is synced here
	heardAt core.Mono
	asked   core.Mono // when it was last asked what it leads; 0: not on this link
}

// home is what shard 0 has beside a shard.
type home struct {
	s       *Shard
	links   det.Map[core.NodeID, *link]
	ping    det.Timer
	ask     det.Timer
	file    core.FileID
	writing bool   // the identity file
	again   bool   // ... and it changed meanwhile
	safe    []Seen // what it says of the peers, durably
	then    []func()
	member  bool // our identity is durable

	admin     admin
	rejoin    rejoin
	questions questions
	gate      gate
	boots     [core.MaxDirs]int          // shards whose boot is durable, by directory
	full      []uint32                   // directories in which a shard has no room, as bits, by shard
	where     det.Map[core.GroupID, int] // directories of partitions; with one directory it is empty
	enrolls   enrolling
	tolls     tolls
}

func newHome(s *Shard) *home {
	h := &home{s: s, full: make([]uint32, s.cfg.Shards)}
	for _, n := range s.cfg.Peers {
		if n != s.cfg.Node {
			h.links.Set(n, &link{})
		}
	}
	h.ping.Fire = h.onPing
	h.ask.Fire = h.onAsk
	h.admin.retry.Fire = func(int64) { h.pushAdmin() }
	h.questions.again.Fire = func(int64) { h.askFresh() }
	h.gate.at.Fire = func(int64) { h.progress() }
	h.tolls.init(s)
	return h
}

// begin opens the identity file and counts this start.
func (h *home) begin() {
	s := h.s
	h.file = s.NewFile()
	s.fx.Add(core.Effect{Kind: core.Create, File: h.file, Path: identityPath, Sync: true})
	s.id.Node = s.cfg.Node
	s.id.begun(s.rec.Start, s.rng.Uint64()|1)
	if s.id.Cluster != "" {
		h.persist(h.enroll)
	} else {
		s.id.Incarnation = 1
		h.tryForm()
	}
	s.timers.Arm(&h.ping, int64(s.now.Mono+s.pace.Ping))
	s.timers.Arm(&h.ask, int64(s.now.Mono+helloEvery))
}

// persist writes the identity; then is called when what it says now is durable.
func (h *home) persist(then func()) {
	h.then = append(h.then, then)
	if h.writing {
		h.again = true
		return
	}
	h.write()
}

func (h *home) write() {
	s := h.s
	s.id.Writes++
	b := s.id.encode()
	det.That(len(b) <= identitySlot, "birth: an identity fits its slot")
	h.writing = true
	waiting, seen := h.then, slices.Clone(s.id.Seen)
	h.then = nil
	op := s.NewOp(func(ev *core.Event) {
		h.writing = false
		if ev.Err != core.OK {
			s.fx.Add(core.Effect{Kind: core.Fatal, Text: "cannot write the file \"" + identityPath + "\" in the data directory: " +
				ev.Err.String() + "; free space or repair the disk, then start again"})
			return
		}
		h.safe = seen
		for _, f := range waiting {
			f()
		}
		if h.again {
			h.again = false
			h.write()
		}
	})
	s.fx.Add(core.Effect{Kind: core.Write, File: h.file, Off: int64(s.id.Writes%2) * identitySlot, Sync: true, Op: op}, core.RefOf(b))
}

// onAsk says hello again while somebody has not answered as a member.
func (h *home) onAsk(int64) {
	waiting := false
	h.links.Each(func(n core.NodeID, l *link) {
		if l.out && !l.member {
			h.sayHello(n, l, "")
			waiting = true
		}
	})
	if waiting || !h.member {
		h.s.timers.Arm(&h.ask, int64(h.s.now.Mono+helloEvery))
	}
}

func (h *home) sayHello(n core.NodeID, l *link, refuse string) {
	s := h.s
	me := hello{node: s.cfg.Node, mark: s.id.Mark, refuse: refuse}
	if h.member {
		me.cluster, me.incarnation, me.start, me.past = s.id.Cluster, s.id.Incarnation, s.id.Start, s.id.Past
	} else if s.cfg.Rejoin {
		me.rejoin = 1
	}
	if l.hello != nil {
		me.heard = l.hello.mark
		if h.member {
			me.rejoin = s.view.Granted(n, l.hello.mark)
		}
	}
	l.told = me.heard
	if k := s.id.seen(n); k != nil {
		me.known = *k
		if !slices.Contains(h.safe, *k) {
			me.known.Mark = 0 // it may be lost: the other must not forget what was before
		}
	} else if b := s.view.Broker(n); b != nil {
		me.known.Incarnation = b.Incarnation // others have met it
	}
	s.say(n, core.RefOf(me.encode()))
}

// link takes what the driver says of connections with peers.
func (h *home) link(ev *core.Event) {
	s := h.s
	if ev.Kind == core.PeerHello {
		h.peerHello(ev)
		return
	}
	l := h.links.At(ev.Node)
	if l == nil {
		return
	}
	switch ev.Kind {
	case core.PeerUp:
		l.out = true
		h.sayHello(ev.Node, l, "")
		if !h.ask.Armed() {
			s.timers.Arm(&h.ask, int64(s.now.Mono+helloEvery))
		}
		h.linked(ev.Node, l)
	case core.PeerDown:
		l.out = false
		h.unlinked(ev.Node)
	case core.PeerClosed:
		if ev.Link == l.in {
			l.in, l.member, l.hello = 0, false, nil // what is said on the next link is not proved by this one
			h.unlinked(ev.Node)
		}
	}
}

// peerHello judges the first frame of an incoming link.
func (h *home) peerHello(ev *core.Event) {
	defer ev.Body.Release()
	s := h.s
	b := ev.Body.Bytes()
	if !sealed(b) || b[1] != frameHello {
		s.fx.Add(core.Effect{Kind: core.ClosePeer, Link: ev.Link})
		return
	}
	in, ok := decodeHello(b[frameHead:])
	l := h.links.At(in.node)
	if !ok || l == nil || in.node == s.cfg.Node {
		s.note(4, "msg=\"refused a peer that is not in --peers\" peer="+strconv.Itoa(int(in.node)))
		s.fx.Add(core.Effect{Kind: core.ClosePeer, Link: ev.Link})
		return
	}
	if l.in != 0 {
		s.fx.Add(core.Effect{Kind: core.ClosePeer, Link: l.in})
	}
	was := l.in
	l.in, l.member, l.hello = ev.Link, false, nil
	if was != 0 {
		h.unlinked(in.node)
	}
	s.fx.Add(core.Effect{Kind: core.AcceptPeer, Link: ev.Link, Node: in.node})
	h.heardHello(in.node, l, in)
}

// helloAgain takes a hello on a link that is open. One process speaks there, so another mark is of a frame that
// somebody on the way sent again.
func (h *home) helloAgain(n core.NodeID, b []byte) {
	in, ok := decodeHello(b)
	l := h.links.At(n)
	if !ok || in.node != n || l.hello == nil {
		return
	}
	if in.mark != l.hello.mark || in.cluster != l.hello.cluster && l.hello.cluster != "" ||
		in.heard != h.s.id.Mark && l.hello.heard == h.s.id.Mark {
		markStale.Hit()
		return
	}
	h.heardHello(n, l, in)
}

// heardHello takes a hello of the process that speaks on the link.
func (h *home) heardHello(n core.NodeID, l *link, in hello) {
	s := h.s
	l.hello = &in
	l.heardAt = s.now.Mono
	if l.told != in.mark && l.out {
		h.sayHello(n, l, "") // so that it can be sure that we speak to it
	}
	if in.refuse != "" && in.heard == s.id.Mark {
		s.fx.Add(core.Effect{Kind: core.Fatal, Text: in.refuse})
		return
	}
	if !h.member {
		h.tryForm()
		return
	}
	if in.cluster == "" {
		h.asked(n, &in)
		return // still empty; it hears of our cluster from our hello
	}
	if why := h.judge(n, &in); why != "" {
		if l.member {
			l.member = false
			h.unlinked(n)
		}
		h.sayHello(n, l, why)
		return
	}
	if h.outlived(n, &in) {
		return
	}
	h.believe(n, l, &in)
}

// believe makes the sender of a hello a member once this disk knows of it.
func (h *home) believe(n core.NodeID, l *link, in *hello) {
	s := h.s
	known := s.id.seen(n)
	met := uint32(0)
	if mark, ok := markAt(s.id.Past, in.known.Start); ok && mark == in.known.Mark && in.known.Incarnation == s.id.Incarnation {
		met = in.known.Start
	}
	now := Seen{Node: n, Incarnation: in.incarnation, Start: in.start, Mark: in.mark, Met: met}
	if known != nil {
		now.Met = max(met, known.Met)
		if *known == now && !h.writing {
			h.admit(n, l)
			return
		}
	} else {
		i, _ := slices.BinarySearchFunc(s.id.Seen, n, func(x Seen, n core.NodeID) int { return int(x.Node) - int(n) })
		s.id.Seen = slices.Insert(s.id.Seen, i, Seen{})
		known = &s.id.Seen[i]
	}
	news := known.Mark != now.Mark
	*known = now
	link := l.in
	h.persist(func() {
		if l.in != link || l.hello == nil || l.hello.mark != now.Mark {
			return
		}
		if news && l.out {
			h.sayHello(n, l, "") // what we know of it is safe, and it may forget what was before
		}
		h.admit(n, l)
	})
}

// admit lets in what comes on the link: what it showed is durable here.
func (h *home) admit(n core.NodeID, l *link) {
	if l.member {
		return
	}
	l.member = true
	h.linked(n, l)
}

// judge says why a member's hello cannot be believed; "" when it can.
func (h *home) judge(n core.NodeID, in *hello) string {
	s := h.s
	if in.cluster != s.id.Cluster {
		return fmt.Sprintf("node %d belongs to cluster %s, but node %d belongs to cluster %s: give --peers of one cluster, or an empty data directory",
			n, in.cluster, s.cfg.Node, s.id.Cluster)
	}
	if newest := h.newest(n); in.incarnation < newest {
		markReplacedDisk.Hit()
		return fmt.Sprintf("node %d shows an old disk (incarnation %d): node %d knows that incarnation %d has taken its place; bring that one back, or empty the data directory and start with --rejoin",
			n, in.incarnation, s.cfg.Node, newest)
	}
	if k := s.id.seen(n); k != nil {
		if why := k.descends(in.incarnation, in.start, in.past); why != "" {
			markOldDisk.Hit()
			return fmt.Sprintf("node %d shows %s by node %d: records acknowledged since may be missing there; bring the newer disk back",
				n, why, s.cfg.Node)
		}
	}
	return ""
}

// outlived ends this node when a peer has met what its disk cannot have been: it is this disk that is old.
func (h *home) outlived(n core.NodeID, in *hello) bool {
	id := &h.s.id
	mark, ok := markAt(id.Past, in.known.Start)
	forked := in.known.Start > id.Start || ok && in.known.Mark != 0 && mark != in.known.Mark
	if in.heard != id.Mark || in.known.Incarnation != id.Incarnation || !forked {
		return false
	}
	markAware.Hit()
	h.s.fx.Add(core.Effect{Kind: core.Fatal, Text: fmt.Sprintf("the data directory is an old disk of node %d: node %d has met another one with start %d; bring that one back",
		h.s.cfg.Node, n, in.known.Start)})
	return true
}

// tryForm decides for an empty disk; see the drawing above.
func (h *home) tryForm() {
	s := h.s
	if h.member || h.writing || s.id.Cluster != "" {
		return
	}
	if s.cfg.Rejoin && h.tryRejoin() {
		return
	}
	lowest, found := !s.cfg.Rejoin, ""
	all := true
	h.links.Each(func(n core.NodeID, l *link) {
		lowest = lowest && s.cfg.Node < n
		if l.hello == nil || l.hello.heard != s.id.Mark {
			all = false // it has not answered this process
			return
		}
		if l.hello.cluster == "" {
			return
		}
		if found != "" && found != l.hello.cluster {
			s.fx.Add(core.Effect{Kind: core.Fatal, Text: fmt.Sprintf("the nodes of --peers belong to different clusters (%s, %s): give --peers of one cluster",
				found, l.hello.cluster)})
			all = false
		}
		found = l.hello.cluster
		if k := l.hello.known; k.Incarnation > 0 {
			all = false
			if s.cfg.Rejoin {
				return // it has asked for another incarnation
			}
			markWiped.Hit()
			s.fx.Add(core.Effect{Kind: core.Fatal, Text: fmt.Sprintf("the data directory is empty, but node %d of cluster %s has met node %d before (start %d): what it acknowledged would be forgotten; bring its disk back, or start with --rejoin when that is gone for good",
				n, found, s.cfg.Node, k.Start)})
		}
	})
	switch {
	case !all:
		return
	case found != "":
		markAdopted.Hit()
		s.id.Cluster = found
	case lowest:
		markFormed.Hit()
		s.id.Cluster = fmt.Sprintf("karst-%016x", s.rng.Uint64())
	default:
		return
	}
	s.id.Incarnation = 1
	h.persist(h.enroll)
}

// becomeMember is called once the identity is durable, in all data directories.
func (h *home) becomeMember() {
	s := h.s
	h.member = true
	id := s.id
	id.Seen, id.Past, id.Dirs = nil, nil, nil // shard 0's own
	s.onOthers(func(t *Shard) { t.id = id })
	h.links.Each(func(n core.NodeID, l *link) {
		if l.out {
			h.sayHello(n, l, "")
		}
		if l.hello != nil && l.in != 0 {
			h.heardHello(n, l, *l.hello)
		}
	})
	s.bearMeta()
}
