package shard

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/mut"
)

// How a node whose disk is gone comes back (docs/decisions/0020-a-new-incarnation.md). Its incarnation is
// decided before it is a member of anything, so no two disks ever have one, whoever forgets what:
//
//	empty, --rejoin ──hello: I ask, my mark──▶ a member ──Rejoin(node, mark)──▶ metadata log
//	                ◀──hello: your mark has incarnation 3── any member whose view shows it
//	                ──identity synced──▶ member with incarnation 3, which groups take in (replica/members.go)
type rejoin struct {
	asking det.Map[core.NodeID, uint64] // marks on whose behalf a command is under way
	told   core.Mono                    // when this node last said that it waits
}

var (
	markRejoinAsked  = det.NewMark("rejoin: a member asked for an incarnation on behalf of an empty node")
	markRejoined     = det.NewMark("rejoin: an empty node took a new incarnation")
	markReplacedDisk = det.NewMark("rejoin: a disk whose place is taken was refused")
)

// newest is the highest incarnation of a node that this disk or the metadata knows.
func (h *home) newest(n core.NodeID) uint32 {
	newest := uint32(0)
	if k := h.s.id.seen(n); k != nil {
		newest = k.Incarnation
	}
	if b := h.s.view.Broker(n); b != nil {
		newest = max(newest, b.Incarnation)
	}
	return newest
}

// asked takes the hello of an empty disk that asks for an incarnation of its node.
func (h *home) asked(n core.NodeID, in *hello) {
	s, mark := h.s, in.mark
	if in.rejoin == 0 || in.heard != s.id.Mark || !h.admin.published || h.rejoin.asking.At(n) == mark ||
		s.view.Granted(n, mark) > 0 {
		return
	}
	markRejoinAsked.Hit()
	h.rejoin.asking.Set(n, mark)
	h.submit(&meta.Rejoin{Node: n, Mark: mark}, 5*core.Second, func(r meta.Result, e api.AdminErr) {
		if h.rejoin.asking.At(n) == mark {
			h.rejoin.asking.Delete(n)
		}
		if l := h.links.At(n); e == api.AdminOK && r.Code == meta.Done && l.out {
			h.sayHello(n, l, "")
		}
	})
}

const rejoinNoteEvery = 5 * core.Second

// tryRejoin makes an empty node a member with the incarnation that it was given; false: none yet.
func (h *home) tryRejoin() bool {
	s := h.s
	if h.links.Len() == 0 {
		s.fx.Add(core.Effect{Kind: core.Fatal, Text: "a cluster of one node has nobody who could let it in again: start without --rejoin"})
		return true
	}
	given, cluster, met := uint32(0), "", uint32(0)
	h.links.Each(func(n core.NodeID, l *link) {
		if l.hello == nil || l.hello.heard != s.id.Mark || l.hello.cluster == "" {
			return
		}
		met = max(met, l.hello.known.Incarnation)
		if l.hello.rejoin > given {
			given, cluster = l.hello.rejoin, l.hello.cluster
		}
	})
	if given == 0 {
		if s.now.Mono-h.rejoin.told >= rejoinNoteEvery {
			h.rejoin.told = s.now.Mono
			s.note(4, "msg=\"waiting to be let in again: a majority of the cluster that knows this node must run\" node="+strconv.Itoa(int(s.cfg.Node)))
		}
		return false
	}
	markRejoined.Hit()
	s.id.Cluster, s.id.Incarnation = cluster, given
	if mut.On("M23") { // it votes under the name of the disk that is gone
		s.id.Incarnation = max(1, met)
	}
	s.note(4, "msg=\"this node takes a new incarnation\" node="+strconv.Itoa(int(s.cfg.Node))+" incarnation="+strconv.FormatUint(uint64(given), 10))
	h.persist(h.enroll)
	return true
}
