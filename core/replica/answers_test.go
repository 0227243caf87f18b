package replica

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// neighbours is a host that knows which nodes are in trouble.
type neighbours struct {
	Host
	now           core.Mono
	suspect, full core.NodeID
	newest        uint32
}

func (h *neighbours) Now() core.Now              { return core.Now{Mono: h.now} }
func (h *neighbours) Suspect(n core.NodeID) bool { return n == h.suspect }
func (h *neighbours) Full(n core.NodeID) bool    { return n == h.full }
func (h *neighbours) Newest(core.NodeID) uint32  { return h.newest }

// Whoever cannot read says why, and names no record.
func TestASearchThatIsRefusedFindsNothing(t *testing.T) {
	for _, r := range []*Replica{{closed: true}, {offline: "gone"}, {}, {leads: true}} {
		err := r.MayRead()
		if err == OK {
			t.Fatal("such a replica may not read")
		}
		want, asked := Found{err, -1, -1, -1}, 0
		found := func(f Found) {
			if asked++; f != want {
				t.Errorf("%+v, want %+v", f, want)
			}
		}
		r.Since(5, nil, found)
		r.Latest(nil, found)
		if asked != 2 {
			t.Errorf("%d answers", asked)
		}
	}
}

// One reason is enough to keep the leadership.
func TestLeadershipGoesToNobodyInTrouble(t *testing.T) {
	const other = core.NodeID(2)
	for name, spoil := range map[string]func(r *Replica, h *neighbours){
		"a follower":      func(r *Replica, _ *neighbours) { r.leads = false },
		"a new leader":    func(r *Replica, _ *neighbours) { r.ready = false },
		"offline":         func(r *Replica, _ *neighbours) { r.offline = "its disk" },
		"handing already": func(r *Replica, _ *neighbours) { r.handing = 1 },
		"a suspect":       func(_ *Replica, h *neighbours) { h.suspect = other },
		"a full disk":     func(_ *Replica, h *neighbours) { h.full = other },
		"out of sync":     func(r *Replica, _ *neighbours) { r.isr = r.isr[:1] },
		"behind":          func(r *Replica, _ *neighbours) { r.match[0].index = 6 },
		"a learner":       func(r *Replica, _ *neighbours) { r.match[0].learner = true },
		"an old disk":     func(_ *Replica, h *neighbours) { h.newest = 2 },
		"one that lacks":  func(r *Replica, h *neighbours) { r.match[0].pulls = h.now },
	} {
		h := &neighbours{now: core.Second}
		r := &Replica{h: h, leads: true, ready: true, commit: 7, isr: []core.NodeID{1, other},
			match: []matched{{id: core.NewRaftID(1, other), index: 7}}, log: &window{}}
		spoil(r, h)
		func() {
			defer func() {
				if recover() != nil { // there is no raft that could be told
					t.Errorf("%s: the leadership is handed over", name)
				}
			}()
			if r.TransferTo(other) {
				t.Errorf("%s: the leadership is handed over", name)
			}
		}()
	}
}

// Two folds that differ have digests that differ: I12 sees through nothing else.
func TestADigestTellsProducersApart(t *testing.T) {
	var all []producers
	for _, batches := range [][2]int32{{0, 1}, {0, 2}, {1, 1}} {
		var ps producers
		ps.fold(stub(7, 0, batches[0], 0, batches[1]))
		all = append(all, ps)
	}
	var later, other, empty producers
	later.fold(stub(7, 0, 0, 5, 1))
	other.fold(stub(8, 0, 0, 0, 1))
	all = append(all, later, other, empty)
	for i := range all {
		for k := range all[:i] {
			if all[i].digest() == all[k].digest() {
				t.Errorf("states %d and %d look alike", k, i)
			}
		}
	}
}
