package replica

import (
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
)

// fixedClock is a host of which only the clock is asked.
type fixedClock struct {
	Host
	now core.Mono
}

func (h *fixedClock) Now() core.Now { return core.Now{Mono: h.now} }

// offering is a leader whose log begins behind all that its one follower holds, and has just offered segments.
func offering(t *testing.T) (*Replica, *fixedClock) {
	const me, other = 1, 2
	disk := raft.NewMemoryStorage()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(disk.ApplySnapshot(raftpb.Snapshot{Metadata: raftpb.SnapshotMetadata{Index: 10, Term: 1,
		ConfState: raftpb.ConfState{Voters: []uint64{me, other}}}}))
	must(disk.SetHardState(raftpb.HardState{Term: 1, Commit: 10}))
	rn, err := raft.NewRawNode(&raft.Config{ID: me, ElectionTick: 10, HeartbeatTick: 1, Storage: disk, Applied: 10,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 16})
	must(err)
	h := &fixedClock{now: core.Second}
	r := &Replica{rn: rn, h: h, match: []matched{{id: other}}}
	must(rn.Campaign())
	emitted(t, r, disk)
	must(rn.Step(raftpb.Message{Type: raftpb.MsgVoteResp, From: other, To: me, Term: 2}))
	emitted(t, r, disk)
	must(rn.Step(raftpb.Message{Type: raftpb.MsgAppResp, From: other, To: me, Term: 2, Index: 10, Reject: true}))
	if emitted(t, r, disk)[raftpb.MsgSnap] != 1 {
		t.Fatal("raft offers nothing to a follower that has nothing")
	}
	r.match[0].offers = h.now // as sendOne notes it
	return r, h
}

// emitted counts what raft sends now.
func emitted(t *testing.T, r *Replica, disk *raft.MemoryStorage) map[raftpb.MessageType]int {
	t.Helper()
	n := map[raftpb.MessageType]int{}
	for r.rn.HasReady() {
		rd := r.rn.Ready()
		if !raft.IsEmptyHardState(rd.HardState) {
			if err := disk.SetHardState(rd.HardState); err != nil {
				t.Fatal(err)
			}
		}
		if err := disk.Append(rd.Entries); err != nil {
			t.Fatal(err)
		}
		for _, m := range rd.Messages {
			n[m.Type]++
		}
		r.rn.Advance(rd)
	}
	return n
}

// waits says whether raft holds back everything until the follower answers its offer.
func waits(r *Replica) bool {
	return r.rn.Status().Progress[uint64(r.match[0].id)].State.String() == "StateSnapshot"
}

// An offer that was lost is made again after three seconds, once, and not before.
func TestALostOfferIsRepeated(t *testing.T) {
	r, h := offering(t)
	began := h.now
	for h.now = began; h.now < began+offerAgain; h.now += tickEvery {
		if r.offer(); !waits(r) {
			t.Fatalf("given up after %d ms", (h.now-began)/core.Millisecond)
		}
	}
	h.now = began + offerAgain
	if r.offer(); waits(r) || r.match[0].offers != 0 {
		t.Fatal("raft still waits for the answer to an offer that was lost")
	}
}

// A follower that asks for bytes is at work on the offer, however long it takes.
func TestAnOfferThatIsTakenIsNotRepeated(t *testing.T) {
	r, h := offering(t)
	for range 20 {
		h.now += core.Second
		r.match[0].pulls = h.now
		if r.offer(); !waits(r) {
			t.Fatal("the offer was given up under way")
		}
	}
	h.now += offerAgain
	if r.offer(); waits(r) {
		t.Fatal("raft waits for a follower that asks no more")
	}
}

// Nothing was offered: nothing is repeated. What was answered meanwhile stays as it is.
func TestNoOfferIsMadeOfNothing(t *testing.T) {
	r, h := offering(t)
	r.match[0].offers = 0
	h.now += 10 * offerAgain
	if r.offer(); !waits(r) {
		t.Fatal("an offer was given up that this replica had not made")
	}
}
