package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// A follower without room takes what no group can do without: what it has, and one entry more when nothing that waits here
// can be committed without it. Else the entry that a new leader needs to commit anything would wait for the memory of
// those that it would commit.
func TestAFollowerWithoutRoomTakesWhatCommitsTheRest(t *testing.T) {
	ents := func(from uint64, terms ...uint64) (all []raftpb.Entry) {
		for i, x := range terms {
			all = append(all, raftpb.Entry{Index: from + uint64(i), Term: x})
		}
		return all
	}
	for _, x := range []struct {
		name   string
		commit uint64
		term   uint64
		sent   []raftpb.Entry
		takes  int
	}{
		{"nothing waits", 7, 3, ents(8, 3, 3), 1},
		{"an older leader's entries wait", 5, 4, ents(8, 4), 1},
		{"they wait, and the first of those that are sent are here", 5, 4, ents(6, 3, 3, 3, 4), 3},
		{"they wait, and are not what this leader has", 5, 4, ents(6, 3, 4, 4), 2},
		{"this leader's entries wait", 5, 3, ents(8, 3, 3), 0},
		{"they wait, and are sent again", 5, 3, ents(6, 3, 3, 3), 2},
		{"all is here", 5, 4, ents(6, 3, 3), 2},
	} {
		r := &Replica{commit: x.commit, log: &window{first: 5, ents: ents(5, 2, 3, 3), notes: make([]note, 3)}}
		if got := r.indispensable(&raftpb.Message{Term: x.term, Entries: x.sent}); got != x.takes {
			t.Errorf("%s: it takes %d of %d entries, want %d", x.name, got, len(x.sent), x.takes)
		}
	}
}

// A catch-up that begins anew, because it buried what contradicted it, gives back the memory it had: the whole files that it
// may fetch now ask for memory of their own, and would wait for this.
func TestACatchUpThatBeginsAnewHoldsNoMemory(t *testing.T) {
	h := &landing{}
	h.full = 9
	r := &Replica{h: h, cfg: Config{Node: 1}, log: &window{}, cut: &cut{}}
	r.pull = &pull{begun: true, buried: true, dead: 7, held: 5000, inWrite: 1000, want: 3000}
	r.pullMarked()
	if p := r.pull; h.landed != 4000 || p.held != 1000 || p.want != 0 || p.begun {
		t.Errorf("%d bytes are given back, %d held, %d awaited", h.landed, p.held, p.want)
	}
	// Nor does it keep what was granted for the question that it no longer asks.
	r.pull = &pull{begun: true, to: snapData{end: 9}}
	r.ask()
	r.pull.begun = false
	h.grant(2000)
	if p := r.pull; h.landed != 6000 || p.held != 0 || p.want != 0 || len(h.asked) > 0 {
		t.Errorf("of a late grant %d bytes are held, %d awaited: %v", p.held, p.want, h.asked)
	}
}

// Nor does one hold memory that waits for room on the disk, or for a leader that is silent.
func TestACatchUpThatWaitsHoldsNoMemory(t *testing.T) {
	h := &landing{}
	h.full, h.suspect = 1, 2
	r := &Replica{h: h, cfg: Config{Node: 1}, log: &window{}}
	r.pull = &pull{begun: true, to: snapData{end: 9}, held: 5000, inWrite: 1000}
	r.ask()
	if h.landed != 4000 || h.grant != nil {
		t.Errorf("without room on the disk %d bytes are given back", h.landed)
	}
	x := &fetch{held: 3000, wants: []file{{size: 9}}}
	r.refit.fetch = x
	r.askFile(x, x.wants[0], &fetched{})
	if h.landed != 7000 || x.held != 0 || h.grant != nil {
		t.Errorf("then %d", h.landed)
	}
	h.full = 9
	r.pull = &pull{from: 2, begun: true, to: snapData{end: 9}, held: 5000, want: 5000}
	r.armPull(r.pull)
	h.now = pullRetry
	h.timers.Run(int64(h.now))
	if p := r.pull; h.landed != 12000 || p.held != 0 || p.want != 0 || h.grant != nil {
		t.Errorf("a leader is silent, and %d bytes are held, %d awaited", p.held, p.want)
	}
	h.suspect = 9
	h.now += pullRetry
	h.timers.Run(int64(h.now))
	if h.grant == nil {
		t.Error("it is heard again, and not asked")
	}
}

// landing counts the memory that is given back, and grants when the test says so.
type landing struct {
	giver
	landed int64
	grant  func(int64)
}

func (h *landing) Landed(n int64)                         { h.landed += n }
func (h *landing) Toll(_ *Replica, _ Lane, f func(int64)) { h.grant = f }
func (h *landing) PullSync() int64                        { return 1 << 20 }
