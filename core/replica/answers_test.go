package replica

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// neighbours is a host that knows which nodes are in trouble.
type neighbours struct {
	Host
	now           core.Mono
	suspect, full core.NodeID
	newest        uint32
	timers        det.Timers
	changed       int
}

func (h *neighbours) Now() core.Now              { return core.Now{Mono: h.now} }
func (h *neighbours) Suspect(n core.NodeID) bool { return n == h.suspect }
func (h *neighbours) Full(n core.NodeID) bool    { return n == h.full }
func (h *neighbours) Newest(core.NodeID) uint32  { return h.newest }
func (h *neighbours) Timers() *det.Timers        { return &h.timers }
func (h *neighbours) Changed(*Replica)           { h.changed++ }
func (h *neighbours) Dirty(*Replica)             {}

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

// A follower that asked for bytes is out of the in-sync set until it has caught up again: that it had, a
// moment before, says nothing any more.
func TestWhoeverLackedBytesMustCatchUpAnew(t *testing.T) {
	const me, other = core.NodeID(1), core.NodeID(2)
	h := &neighbours{now: core.Second}
	r := &Replica{h: h, leads: true, ready: true, commit: 7, log: &window{}, cfg: Config{ID: core.NewRaftID(1, me), Node: me}}
	r.match = []matched{{id: core.NewRaftID(1, me), index: 7, caught: -1}, {id: core.NewRaftID(1, other), index: 7, caught: -1}}
	follower := &r.match[1]
	see := func(when string, want ...core.NodeID) {
		t.Helper()
		if r.insync(); !slices.Equal(r.isr, want) {
			t.Errorf("%s: in sync are %v, want %v", when, r.isr, want)
		}
	}
	see("at first", me, other)
	follower.index, h.now = 6, h.now+lagMax
	see("behind for as long as it may", me, other)
	follower.index = 7
	see("caught up", me, other)
	follower.pulls, h.now = h.now, h.now+1
	see("when it asks for bytes", me)
	follower.index, h.now = 6, h.now+2*pullRetry
	see("when it asks no more", me)
	follower.index = 7
	see("caught up again", me, other)
	follower.index, h.now = 6, h.now+lagMax+1
	see("behind for too long", me)
}

// A leader that hands over waits a second for the other to win, and then leads again.
func TestAHandOverIsGivenUpAfterASecond(t *testing.T) {
	r, clock := offering(t)
	h := &neighbours{now: clock.now}
	r.h, r.leads, r.awake, r.began, r.match = h, true, true, true, nil
	r.handing = h.now + core.Second
	for _, c := range []struct {
		after core.Mono
		hands bool
	}{{0, true}, {core.Second, true}, {core.Second + 1, false}} {
		h.now = clock.now + c.after
		if r.onTick(0); (r.handing > 0) != c.hands {
			t.Errorf("after %d ms: handing over: %v", c.after/core.Millisecond, r.handing > 0)
		}
	}
	if h.changed != 1 {
		t.Errorf("clients are told %d times that it leads", h.changed)
	}
	if r.onTick(0); h.changed != 1 {
		t.Error("and once more though nothing was handed over")
	}
}

// A read ends before the batch that would go beyond what may be sent; the first one always goes.
func TestAReadKeepsToItsLimit(t *testing.T) {
	r := &Replica{commit: 3, high: 3, log: &window{first: 1}}
	for i := range core.Offset(3) {
		body := core.RefOf(make([]byte, 100))
		r.log.notes = append(r.log.notes, note{batch: true, body: body, end: i + 1, stub: journal.Stub{Len: 100, Base: i}})
	}
	for _, c := range []struct{ limit, want int64 }{{0, 100}, {99, 100}, {100, 100}, {199, 100}, {200, 200}, {299, 200}, {300, 300}} {
		if got := r.hot(0, c.limit, Region{}); got.Size != c.want {
			t.Errorf("limit %d: %d bytes, want %d", c.limit, got.Size, c.want)
		}
	}
	if got := r.hot(2, 1000, Region{}); got.Size != 100 {
		t.Errorf("from the last batch: %d bytes", got.Size)
	}
}

// A leader that learns of a newer disk wakes its group, to replace the old one; whoever follows leaves that
// to the leader.
func TestALeaderWakesForANewDisk(t *testing.T) {
	for _, leads := range []bool{true, false} {
		h := &neighbours{now: core.Second, newest: 2}
		r := &Replica{h: h, began: true, leads: leads, log: &window{}, match: []matched{{id: core.NewRaftID(1, 2)}}}
		if r.Reconsider(); r.awake != leads {
			t.Errorf("leads %v: awake %v", leads, r.awake)
		}
	}
}

// Only a voter that is awake and follows has a candidate to wait for.
func TestOnlyAFollowerThatIsAwakePutsOff(t *testing.T) {
	for _, c := range []struct{ leads, awake, armed bool }{{false, true, true}, {false, false, false}, {true, true, false}, {true, false, false}} {
		r := &Replica{h: &neighbours{now: core.Second}, rng: det.New(1, "put off"), leads: c.leads, awake: c.awake}
		if r.putOff(); r.elect.Armed() != c.armed {
			t.Errorf("leads %v, awake %v: it waits: %v", c.leads, c.awake, r.elect.Armed())
		}
	}
}
