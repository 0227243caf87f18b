package shard

import (
	"slices"
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// What a node without room does (disk.go says when that is). All shards of a node share its disk: shard 0
// hears of each and tells all, and tells the other nodes with its pings.
//
//   - clients' batches and commits of offsets are refused before anything is appended, with
//     KAFKA_STORAGE_ERROR, which makes a client ask who leads;
//   - leaders hand over to a voter in sync whose node has room, and look for one until there is;
//   - followers take no batches, and leaders that know of it send them none;
//   - everything else goes on: reads, elections, votes, the metadata log (topics can be deleted). It needs
//     the journal only, whose file was given its room before (journal.Writer keeps a spare one).
type room struct {
	here  bool      // something of this shard waits
	node  bool      // of some shard of this node
	told  bool      // what the log was told
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

// Full says whether node n has no room for batches.
func (s *Shard) Full(n core.NodeID) bool {
	if n == s.cfg.Node {
		return s.room.here || s.room.node
	}
	if s.room.peers == 0 {
		return false
	}
	p := s.peers.At(n)
	return p != nil && p.full
}

// onRoom follows what happened to the room of this shard and node.
func (s *Shard) onRoom(int64) {
	s.disk.buried(s)
	if here := s.disk.full(); here != s.room.here {
		s.room.here = here
		k := s.cfg.Shard
		s.on(0, func(t *Shard) { t.home.shardFull(k, here) })
	}
	full := s.Full(s.cfg.Node)
	if full != s.room.told {
		s.room.told = full
		switch {
		case s.home == nil: // one shard says it for the node
		case full:
			markFull.Hit()
			s.note(8, "msg=\"the disk is full: this node is read-only until there is room\" dir="+strconv.Quote(s.cfg.DataDir)+
				" files="+strconv.Itoa(len(s.disk.waiting))+
				" try=\"free space on its volume, delete topics, or trim them; the node goes on by itself\"")
		default:
			markRoomy.Hit()
			s.note(4, "msg=\"the disk has room again\"")
		}
	}
	if (full || s.room.shut && s.peers.Len() > 0) && !s.stop.asked {
		for _, g := range s.groups.Keys() {
			h := s.groups.At(g)
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

// shardFull is told to shard 0 by each of its node.
func (h *home) shardFull(k core.ShardID, full bool) {
	if i := slices.Index(h.full, k); full && i < 0 {
		h.full = append(h.full, k)
	} else if !full && i >= 0 {
		h.full = slices.Delete(h.full, i, i+1)
	}
	if any := len(h.full) > 0; any != h.s.room.node {
		f := func(t *Shard) {
			t.room.node = any
			t.timers.Arm(&t.room.at, int64(t.now.Mono))
		}
		f(h.s)
		h.s.onOthers(f)
		h.pingAll() // the leaders here look for nodes with room, and so do those elsewhere
	}
}

// peerFull takes from a ping whether its sender has room.
func (h *home) peerFull(n core.NodeID, full bool) {
	if p := h.s.peers.At(n); p == nil || p.full == full {
		return
	}
	if full {
		markPeer.Hit()
	}
	f := func(t *Shard) {
		t.peers.At(n).full = full
		if t.room.peers--; full {
			t.room.peers += 2
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
	if len(h.full) > 0 {
		state |= pingFull
	}
	if !h.s.room.shut {
		state |= pingOpen
	}
	if now := h.s.now.Mono; l.member && (l.asked == 0 || now-l.asked >= askEvery) {
		state |= pingAsk
		l.asked = now
	}
	h.s.say(n, core.RefOf(append(putHead(nil, framePing, 0, 0), state)))
}

// Bits of the body of a ping.
const (
	pingFull = 1 // its node has no room
	pingOpen = 2 // clients reach its node
	pingAsk  = 4 // it wants to know what is led here
)

// pinged takes what a ping says of its sender.
func (h *home) pinged(n core.NodeID, b []byte) {
	if len(b) == 1 {
		h.peerFull(n, b[0]&pingFull != 0)
		h.peerOpen(n, b[0]&pingOpen != 0)
		if b[0]&pingAsk != 0 {
			h.s.tellLed(n)
			h.s.onOthers(func(t *Shard) { t.tellLed(n) })
		}
	}
}
