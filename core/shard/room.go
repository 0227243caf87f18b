package shard

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// What a node without room does (disk.go says when that is). All shards of a node share its disks: shard 0
// hears of each and tells all, and tells the other nodes with its pings. Where some data directories have room
// and others have none, all this is meant of the partitions in those that have none.
//
//   - clients' batches and commits of offsets are refused before anything is appended, with
//     KAFKA_STORAGE_ERROR, which makes a client ask who leads;
//   - leaders hand over to a voter in sync whose node has room, and look for one until there is;
//   - followers take no batches, and leaders that know of it send them none;
//   - everything else goes on: reads, elections, votes, the metadata log (topics can be deleted). It needs
//     the journal only, whose file was given its room before (journal.Writer keeps a spare one).
type room struct {
	here  bool      // something of this shard waits
	dirs  uint32    // ... in these directories, as bits
	node  uint32    // of some shard of this node
	told  uint32    // what the log was told
	peers int       // that have no room
	shut  bool      // clients cannot reach this node: shut.go
	at    det.Timer // looks what changed; repeated while the node cannot lead well
}

const yieldEvery = 250 * core.Millisecond

var (
	markFull    = det.NewMark("room: a node has no room")
	markRoomy   = det.NewMark("room: a node has room again")
	markPeer    = det.NewMark("room: a peer said that it has no room")
	markYielded = det.NewMark("room: a leader without room handed over")
)

// Full says whether node n has no room for batches, in any of its directories.
func (s *Shard) Full(n core.NodeID) bool {
	if n == s.cfg.Node {
		return s.room.dirs|s.room.node != 0
	}
	if s.room.peers == 0 {
		return false
	}
	p := s.peers.At(n)
	return p != nil && (p.full || len(p.crowded) > 0)
}

// onRoom follows what happened to the room of this shard and node.
func (s *Shard) onRoom(int64) {
	s.disk.buried(s)
	if dirs := s.disk.dirs(); dirs != s.room.dirs {
		s.room.here, s.room.dirs = dirs != 0, dirs
		k := s.cfg.Shard
		s.on(0, func(t *Shard) { t.home.shardFull(k, dirs) })
	}
	if full := s.room.dirs | s.room.node; full != s.room.told {
		if s.home != nil { // one shard says it for the node
			s.sayRoom(full)
		}
		s.room.told = full
	}
	if (s.room.told != 0 || s.room.shut && s.peers.Len() > 0) && !s.stop.asked {
		for _, g := range s.groups.Keys() {
			h := s.groups.At(g)
			full := h.full()
			if !full && !s.room.shut {
				continue
			}
			s.guard(h, func() {
				switch {
				case !h.r.Yield():
				case full:
					markYielded.Hit()
				default:
					markShut.Hit()
				}
			})
		}
		s.timers.Arm(&s.room.at, int64(s.now.Mono+yieldEvery))
	}
}

// sayRoom tells the log which directories have no room now, or have some again.
func (s *Shard) sayRoom(full uint32) {
	for n := range s.dirs {
		switch bit := uint32(1) << n; {
		case full&bit == s.room.told&bit:
		case full&bit != 0:
			markFull.Hit()
			what := "this node is"
			if len(s.dirs) > 1 {
				what = "the partitions of this directory are"
			}
			s.note(8, "msg=\"the disk is full: "+what+" read-only until there is room\" dir="+strconv.Quote(s.dirs[n].path)+
				" files="+strconv.Itoa(len(s.disk.waiting))+
				" try=\"free space on its volume, delete topics, or trim them; the node goes on by itself\"")
		default:
			markRoomy.Hit()
			s.note(4, "msg=\"the disk has room again\" dir="+strconv.Quote(s.dirs[n].path))
		}
	}
}

// shardFull is told to shard 0 by each of its node: the directories in which it has no room.
func (h *home) shardFull(k core.ShardID, dirs uint32) {
	h.full[k] = dirs
	any := uint32(0)
	for _, d := range h.full {
		any |= d
	}
	if any != h.s.room.node {
		f := func(t *Shard) {
			t.room.node = any
			t.timers.Arm(&t.room.at, int64(t.now.Mono))
		}
		f(h.s)
		h.s.onOthers(f)
		h.pingAll() // the leaders here look for nodes with room, and so do those elsewhere
	}
}

// peerFull takes from a ping whether its sender has room, and the partitions for which it has none when it has
// some for others.
func (h *home) peerFull(n core.NodeID, full bool, crowded []core.GroupID) {
	p := h.s.peers.At(n)
	if p == nil || p.full == full && slices.Equal(p.crowded, crowded) {
		return
	}
	if full || len(crowded) > 0 {
		markPeer.Hit()
	}
	f := func(t *Shard) {
		p := t.peers.At(n)
		if p.full || len(p.crowded) > 0 {
			t.room.peers--
		}
		if p.full, p.crowded = full, crowded; full || len(crowded) > 0 {
			t.room.peers++
		}
	}
	f(h.s)
	h.s.onOthers(f)
}

// pingAll shows every linked peer that this node lives, and how well it can lead.
func (h *home) pingAll() {
	h.links.Each(func(n core.NodeID, l *link) {
		if l.out && l.in != 0 {
			h.sayPing(n, l)
		}
	})
}

// askEvery is how often a node asks each other one what it leads. News come unasked with each change, but those
// that are under way while a link is judged, or lost with a link, do not come again.
const askEvery = 5 * core.Second

func (h *home) sayPing(n core.NodeID, l *link) {
	state := byte(0)
	crowded := h.crowded()
	switch {
	case crowded != nil:
		state |= pingPart
	case h.s.room.node != 0:
		state |= pingFull
	}
	if !h.s.room.shut {
		state |= pingOpen
	}
	if now := h.s.now.Mono; l.member && (l.asked == 0 || now-l.asked >= askEvery) {
		state |= pingAsk
		l.asked = now
	}
	h.s.say(n, core.RefOf(append(append(putHead(nil, framePing, 0, 0), state), crowded...)))
}

// crowded lists the partitions in directories without room, as the difference of each to the one before; nil when
// no directory is without, or all are.
func (h *home) crowded() (b []byte) {
	s := h.s
	full, well := s.room.node, uint32(0)
	for n := range s.dirs {
		if s.dirs[n].failed == "" {
			well |= 1 << n
		}
	}
	if full == 0 || full&well == well {
		return nil
	}
	markPartFull.Hit()
	b, last := []byte{}, core.GroupID(0)
	h.where.Each(func(g core.GroupID, n int) {
		if full>>n&1 != 0 {
			b, last = binary.AppendUvarint(b, uint64(g-last)), g
		}
	})
	return b
}

// Bits of the body of a ping.
const (
	pingFull = 1 // its node has no room
	pingOpen = 2 // clients reach its node
	pingAsk  = 4 // it wants to know what is led here
	pingPart = 8 // its node has no room for the partitions that follow
)

// pinged takes what a ping says of its sender.
func (h *home) pinged(n core.NodeID, b []byte) {
	if len(b) > 0 {
		var crowded []core.GroupID
		r, last := scan{b: b[1:]}, core.GroupID(0)
		for b[0]&pingPart != 0 && len(r.b) > 0 && !r.bad {
			last += core.GroupID(r.num())
			crowded = append(crowded, last)
		}
		if r.bad || b[0]&pingPart == 0 && len(b) > 1 || !slices.IsSorted(crowded) {
			return
		}
		h.peerFull(n, b[0]&pingFull != 0, crowded)
		h.peerOpen(n, b[0]&pingOpen != 0)
		if b[0]&pingAsk != 0 {
			h.s.tellLed(n)
			h.s.onOthers(func(t *Shard) { t.tellLed(n) })
		}
	}
}
