package sim

import (
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
)

// quarantined are the kinds that no seed draws, and what each waits for. Whoever brings that takes the
// line out and gives the kind its share in draws.
var quarantined = map[FaultKind]string{
	RotJournal: "the last frame of a journal, when it rots, cannot be told from a torn one: see RotSealed",
}

// Each kind of fault happens when a plan says so, is counted, and does no harm that it may not do.
func TestEveryFault(t *testing.T) {
	example := map[FaultKind]string{
		Aimed: "n1 for 300ms x 1", Boundary: "n1 for 300ms x 40", CrashLoop: "n1 for 1.5s x 3", Flap: "n1 for 1s x 200",
		Pause: "n1 for 900ms", SlowDisk: "n1 for 1s x 40", Delay: "for 700ms x 20000", Isolate: "for 800ms x 3", IsolateHalf: "for 800ms x 4",
		SlowLink: "n0 n1 for 1s x 50", NarrowLink: "n0 n1 for 1s x 2", ThinLink: "n0 n1 for 1s x 100", LossyLink: "n0 n1 for 1s x 100000",
		EchoLink: "n0 n1 for 1s x 500000", NoisyLink: "n0 n1 for 1s x 5000", CutOneWay: "n0 n1 for 900ms", WrongDisk: "n0 n1 for 500ms", ClockSkew: "n1 for 1s x -3600000",
		ClockJump: "n1 x 86400000", ClockDrift: "n1 for 1s x 100000", LoadBurst: "for 500ms x 4", Wipe: "n1", Rejoin: "n1 x 1", OldDisk: "n1 for 2s",
		PowerAll: "for 400ms", Rolling: "for 2s", Swizzle: "for 1s", Reconnect: "n1", Rot: "n1 x 9", LostWrite: "n1", StrayWrite: "n1", RotSealed: "n1 x 2",
	}
	for k := range faultKinds {
		if quarantined[k] != "" {
			continue
		}
		args, ok := example[k]
		if !ok {
			args = "n1 for 700ms"
		}
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			plan := "seed 7\nreplay-max 500000000\nend-power\n"
			if k == DirError || k == DirFull || k == DirAway {
				plan += "dirs 2\n"
			}
			if k == Rot { // of what was synced some time ago; a start syncs segments, which else wait for a checkpoint
				plan += "for 6s\nfault 400ms kill n1 for 50ms\nfault 5s"
			} else {
				plan += "for 3s\nfault 600ms"
			}
			p, err := ParsePlan(fmt.Sprintf("%s %v %s", plan, k, args))
			if err != nil {
				t.Fatal(err)
			}
			r := RunPlan(p, Options{})
			if r.Violation != nil {
				t.Fatal(r.Violation)
			}
			if r.Faults[k] == 0 || r.Acked < 200 || r.Kinds() == 0 {
				t.Errorf("happened %d times, %d batches acknowledged", r.Faults[k], r.Acked)
			}
		})
	}
}

// Of the kinds that the standard world has, each is drawn by some seed; the others say why not.
func TestSwarmDrawsEveryKind(t *testing.T) {
	drawn := map[FaultKind]int{}
	for seed := range uint64(600) {
		for _, f := range Swarm(seed, 0, minute).Faults {
			drawn[f.Kind]++
		}
	}
	for k := range faultKinds {
		if (drawn[k] == 0) != (quarantined[k] != "") {
			t.Errorf("%v is drawn %d times; quarantined: %q", k, drawn[k], quarantined[k])
		}
	}
}

// Beyond its budget a cluster may refuse for ever, and still tells no lie.
func TestBeyondBudget(t *testing.T) {
	p, err := ParsePlan("seed 9\nfor 3s\nbeyond-budget\nfault 1s wipe n1\nfault 1.5s wipe n2")
	if err != nil {
		t.Fatal(err)
	}
	r := RunPlan(p, Options{})
	if r.Violation != nil {
		t.Fatal(r.Violation)
	}
	if r.Faults[Wipe] != 2 || r.Acked == 0 || r.Acked == r.Offered {
		t.Errorf("%d disks wiped, %d of %d batches acknowledged", r.Faults[Wipe], r.Acked, r.Offered)
	}
}

// A majority that runs must serve: when it does not, the run fails, and says who ran.
func TestAMajorityMustServe(t *testing.T) {
	p, err := ParsePlan("seed 4\nfor 20s\nload produce 2\nload readers 1")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(p, Options{}, karst)
	prepare(Options{})
	for _, n := range w.nodes {
		n.alive = true
	}
	w.stage, w.now = loading, core.Second
	w.watch()
	if w.served != 7 {
		t.Fatalf("three whole nodes serve as %b", w.served)
	}
	w.nodes[2].paused = true
	w.watch()
	w.now += serveWithin
	w.watch()
	if w.failed || w.served != 3 {
		t.Fatalf("two of three serve as %b: %v", w.served, w.result.Violation)
	}
	w.net.Cut(0, 1)
	w.watch()
	if w.served != 0 {
		t.Errorf("two that do not reach each other serve as %b", w.served)
	}
	w.net.Uncut(w.now, 0, 1)
	w.watch()
	w.now += serveWithin + core.Second
	w.watch()
	if !w.failed || w.result.Violation.ID != "unavailable" {
		t.Errorf("nobody was served: %v", w.result.Violation)
	}
}
