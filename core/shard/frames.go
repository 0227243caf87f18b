package shard

import (
	"encoding/binary"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/replica"
)

// A frame between nodes begins as seal.go says; which shard it is for is the receiver's own affair. What
// its kind says follows. Integers are little-endian, as in the journal; the driver adds the length.
//
//	raft     length of the raft message, the message, then the batches of its entries end to end
//	control  a replica.Control, then its body
//	hello    who speaks (birth.go)          ping     how well its node can lead (room.go, shut.go)
//	news     leadership (leaders.go)        command  a metadata command (admin.go)
//	fresh    number of a question           freshAt  the number, and the end of the metadata log (fresh.go)
const (
	frameRaft    = 1
	frameControl = 2
	frameHello   = 3
	framePing    = 4
	frameNews    = 5
	frameCommand = 6
	frameFresh   = 7
	frameFreshAt = 8
)

// Hash names a partition to every node alike: of its directory, so that a topic that is deleted and
// made again meets the same shard, which knows when the old files are gone.
func hashDir(dir string) uint32 {
	h := det.Hash(0).Str(dir)
	return uint32(h>>32) ^ uint32(h)
}

// metaDir is the directory of the metadata log, which lives in shard 0 of every node.
const metaDir = meta.MetadataTopic + "-0"

func shardOf(g core.GroupID, hash uint32, shards int) core.ShardID {
	if g == core.MetaGroup {
		return 0
	}
	return core.ShardID(hash % uint32(shards))
}

// Route says which shard of a node with that many a frame from a peer is for.
func Route(frame []byte, shards int) core.ShardID {
	if len(frame) < frameHead || frame[1] != frameRaft && frame[1] != frameControl {
		return 0
	}
	return shardOf(groupOf(frame), binary.LittleEndian.Uint32(frame[frameHash:]), shards)
}

// peer is what a shard knows of another node.
type peer struct {
	node    core.NodeID
	up      bool           // frames may be sent
	disk    uint32         // the newest incarnation that it showed; 0: none yet
	link    core.LinkID    // where it speaks as a member: what it says there of groups counts; 0: nowhere
	full    bool           // it said that it has no room on its disk
	crowded []core.GroupID // or only none for these, sorted; never changed in place
	open    bool           // it said on this link that clients reach it
	queued  int64          // bytes given to the link by this shard and not yet sent
	since   core.Mono      // it is trusted
	told    core.Mono      // when shard 0 was last told that this shard heard of it
}

var (
	markPeerFull = det.NewMark("shard: a message to a peer was dropped, its queue is full")
	markGhost    = det.NewMark("shard: a frame of an older incarnation was dropped")
	markStrange  = det.NewMark("shard: a frame from a peer could not be read")
)

// post queues a frame for a peer; it takes vec.
func (s *Shard) post(to core.NodeID, vec ...core.Ref) bool {
	p := s.peers.At(to)
	n := core.Size(vec)
	if p == nil || !p.up || p.queued > 0 && p.queued+n > s.limits.PeerBytes {
		if p != nil && p.up {
			markPeerFull.Hit()
		}
		for i := range vec {
			vec[i].Release()
		}
		return false
	}
	p.queued += n
	s.say(to, vec...)
	return true
}

func (s *Shard) sendRaft(to core.NodeID, hash uint32, g core.GroupID, m *raftpb.Message, bodies []core.Ref) bool {
	n := m.Size()
	head := core.NewRef(frameHead + 4 + n)
	b := putHead(head.Bytes()[:0], frameRaft, hash, g)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	_, err := m.MarshalTo(head.Bytes()[len(b):])
	det.That(err == nil, "shard: a raft message can be written")
	var buf [16]core.Ref
	return s.post(to, append(append(buf[:0], head), bodies...)...)
}

// Behind a Control's fixed part is its Gen, when that is not 0: an older node takes it for a body.
const controlSize = 1 + 8*5 + 1

const (
	controlLast = 1
	controlGen  = 2
)

func (s *Shard) sendControl(to core.NodeID, hash uint32, g core.GroupID, c replica.Control) {
	size := frameHead + controlSize
	if c.Gen > 0 {
		size += 8
	}
	head := core.NewRef(size)
	b := putHead(head.Bytes()[:0], frameControl, hash, g)
	b = append(b, byte(c.Kind))
	for _, v := range [5]uint64{uint64(c.Term), uint64(c.Index), uint64(c.Seg), uint64(c.Pos), uint64(c.Next)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	flags := byte(0)
	if c.Last {
		flags |= controlLast
	}
	if c.Gen > 0 {
		flags |= controlGen
	}
	if b = append(b, flags); c.Gen > 0 {
		_ = binary.LittleEndian.AppendUint64(b, c.Gen)
	}
	if c.Body.Len > 0 {
		s.post(to, head, c.Body)
		return
	}
	c.Body.Release()
	s.post(to, head)
}

// peerFrame hands a frame to whom it is for. Its sender must be a member; what it says is checked.
func (s *Shard) peerFrame(ev *core.Event) {
	defer ev.Body.Release()
	b := ev.Body.Bytes()
	if !sealed(b) { // what follows on this link is no better
		s.fx.Add(core.Effect{Kind: core.ClosePeer, Link: ev.Link})
		return
	}
	// A link that was not judged, or is no longer the node's, may be a wiped disk's or an old one's. Shard 0 told
	// us of the judgement by mail, and frames may be faster: hence the link's number.
	kind, g := b[1], groupOf(b)
	p := s.peers.At(ev.Node)
	if p == nil || kind != frameHello && (ev.Link == 0 || ev.Link != p.link) {
		return
	}
	if kind == frameHello {
		if s.home != nil && s.home.links.At(ev.Node).in == ev.Link {
			s.home.helloAgain(ev.Node, b[frameHead:])
		}
		return
	}
	s.heard(ev.Node)
	switch kind {
	case frameRaft:
		s.raftFrame(g, ev)
	case frameControl:
		s.controlFrame(g, ev)
	case framePing, frameNews, frameCommand, frameFresh, frameFreshAt:
		if s.home == nil {
			markStrange.Hit()
			return
		}
		s.home.frame(kind, ev.Node, b[frameHead:])
	default:
		markStrange.Hit()
	}
}

func (s *Shard) raftFrame(g core.GroupID, ev *core.Event) {
	b := ev.Body.Bytes()[frameHead:]
	h := s.groups.At(g)
	if h == nil || len(b) < 4 {
		return // not born here yet, or gone
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		markStrange.Hit()
		return
	}
	var m raftpb.Message
	if m.Unmarshal(b[4:4+n]) != nil || core.RaftID(m.From).Node() != ev.Node {
		markStrange.Hit()
		return
	}
	if core.RaftID(m.From).Incarnation() != s.peers.At(ev.Node).disk {
		markGhost.Hit() // sent again by somebody on the way: that disk is gone
		return
	}
	at := int32(frameHead + 4 + n)
	s.guard(h, func() { h.r.Recv(&m, ev.Body.Slice(at, ev.Body.Len-at)) })
}

func (s *Shard) controlFrame(g core.GroupID, ev *core.Event) {
	b := ev.Body.Bytes()[frameHead:]
	h := s.groups.At(g)
	if h == nil || len(b) < controlSize {
		return
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	c := replica.Control{Kind: replica.ControlKind(b[0]), Term: core.Term(u(0)), Index: core.Index(u(1)),
		Seg: core.Offset(u(2)), Pos: int64(u(3)), Next: core.Offset(u(4)), Last: b[controlSize-1]&controlLast != 0}
	at := int32(frameHead + controlSize)
	if b[controlSize-1]&controlGen != 0 {
		if len(b) < controlSize+8 {
			markStrange.Hit()
			return
		}
		c.Gen = binary.LittleEndian.Uint64(b[controlSize:])
		at += 8
	}
	c.Body = ev.Body.Slice(at, ev.Body.Len-at).Retain()
	s.guard(h, func() { h.r.Control(ev.Node, c) })
}

// spread tells everybody what changed in the leadership of the replicas of this shard.
func (s *Shard) spread() {
	changed := s.changed
	s.changed = nil
	var news []replica.Info
	for _, h := range changed {
		h.changed = false
		i := h.r.Info()
		s.coordChanged(h, &i)
		if i.Leads {
			if h.r.Handing() {
				i.Leader = core.NoNode
			}
			news = append(news, i)
		} else {
			s.follow(i)
		}
		s.stopProgress()
	}
	if len(news) == 0 {
		return
	}
	s.wantBalance()
	frame := encodeNews(news)
	for _, n := range s.peers.Keys() {
		s.post(n, core.RefOf(frame))
	}
	s.learn(s.cfg.Node, news)
	s.onOthers(func(t *Shard) { t.learn(s.cfg.Node, news) })
}

// follow takes from a follower of this shard what its raft knows of the leader: sooner than news, and
// it ends the rumour that this node still leads.
func (s *Shard) follow(i replica.Info) {
	f := func(t *Shard) {
		l, known := t.leaders[i.Group]
		if known && (l.Term > i.Term || l.Term == i.Term && l.Leader == i.Leader) {
			return
		}
		if l.Term == i.Term && i.Leader == core.NoNode && l.Leader != t.cfg.Node {
			return
		}
		term := i.Term
		if i.Leader == core.NoNode {
			// A term that has had no leader is no epoch: a client that saw it would take the true leader's
			// for old, for as long as that one leads.
			term = l.Term
			if known && l.Leader == core.NoNode {
				return
			}
		}
		t.leaders[i.Group] = api.Leadership{Leader: i.Leader, Term: term, ISR: l.ISR, Dead: t.suspects.At(i.Leader)}
		t.leaderChanged(i.Group)
	}
	f(s)
	s.onOthers(f)
}

// encodeNews is (group, term, in-sync set) of groups that the sender leads.
func encodeNews(news []replica.Info) []byte {
	b := putHead(nil, frameNews, 0, 0)
	b = binary.AppendUvarint(b, uint64(len(news)))
	for _, i := range news {
		b = binary.AppendUvarint(b, uint64(i.Group))
		b = binary.AppendUvarint(b, uint64(i.Term))
		b = binary.AppendVarint(b, int64(i.Leader))
		b = binary.AppendUvarint(b, uint64(len(i.ISR)))
		for _, n := range i.ISR {
			b = binary.AppendUvarint(b, uint64(uint32(n)))
		}
	}
	return b
}

func decodeNews(b []byte) (news []replica.Info, ok bool) {
	ok = true
	num := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	for k := num(); k > 0 && ok; k-- {
		i := replica.Info{Group: core.GroupID(num()), Term: core.Term(num()), Leads: true}
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, false
		}
		b = b[n:]
		i.Leader = core.NodeID(v)
		for m := num(); m > 0 && ok; m-- {
			i.ISR = append(i.ISR, core.NodeID(uint32(num())))
		}
		news = append(news, i)
	}
	return news, ok && len(b) == 0
}

// learn keeps the newest word of the leaders: the highest term wins, within it the last word.
func (s *Shard) learn(from core.NodeID, news []replica.Info) {
	for _, i := range news {
		l, known := s.leaders[i.Group]
		if known && l.Term > i.Term {
			continue
		}
		s.leaders[i.Group] = api.Leadership{Leader: i.Leader, Term: i.Term, ISR: i.ISR, Dead: s.suspects.At(i.Leader)}
		s.leaderChanged(i.Group)
	}
}

func (s *Shard) leaderChanged(g core.GroupID) {
	if fs, ok := s.onLeader[g]; ok {
		delete(s.onLeader, g)
		for _, f := range fs {
			f()
		}
	}
	if s.home == nil {
		return
	}
	if g == core.MetaGroup && len(s.home.admin.queue) > 0 {
		s.home.deliver(s.home.admin.queue) // a new leader, or one that has become ready
	}
	s.home.progress()
}
