package sim

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// The sweep that every test run includes: short seeds of the standard world, each twice.
func TestSweep(t *testing.T) {
	last := uint64(110)
	if testing.Short() {
		last = 10
	}
	shown := 0
	sum := Sweep(1, last, SweepOptions{Options: Options{For: 8 * core.Second}, Twice: true, Keep: 3, Each: func(so *Summary) bool {
		for ; shown < len(so.Failures); shown++ { // at once: a sweep is long
			f := so.Failures[shown]
			fmt.Fprintf(os.Stderr, "seed %d: %s\n%s\n", f.Seed, f.Why, f.Replay)
		}
		return true
	}})
	t.Log(sum.String())
	for _, f := range sum.Failures {
		t.Errorf("seed %d: %s\n%s", f.Seed, f.Why, f.Replay)
	}
	if len(sum.Failures) == 0 && sum.Seeds != int64(last) {
		t.Errorf("%d of %d seeds were played", sum.Seeds, last)
	}
}

// A seed names its run: its trace is the same text twice, and another seed's is not.
func TestTrace(t *testing.T) {
	trace := func(seed uint64) (string, Result) {
		var b bytes.Buffer
		r := Run(seed, Options{For: core.Second, Trace: &b})
		return b.String(), r
	}
	a, first := trace(11)
	b, second := trace(11)
	if first.Hash != second.Hash || a != b {
		i := 0
		for i < len(a) && i < len(b) && a[i] == b[i] {
			i++
		}
		t.Fatalf("two traces of a seed differ from byte %d on: %q and %q", i, line(a, i), line(b, i))
	}
	if _, other := trace(12); other.Hash == first.Hash {
		t.Error("two seeds have one hash")
	}
	if r := Run(11, Options{For: core.Second}); r.Hash != first.Hash {
		t.Error("watching a run changes it")
	}
	for _, want := range []string{"plan: seed 11", "< ConnFrame", "> SendPeer", "< DiskDone", "stage ended"} {
		if !strings.Contains(a, want) {
			t.Errorf("the trace lacks %q", want)
		}
	}
}

func line(s string, at int) string {
	from := strings.LastIndexByte(s[:at], '\n') + 1
	return s[from:min(at+80, len(s))]
}

// Two of three disks say that they have synced and have not: acknowledged records are lost, and the
// run says so. It is what shows that the other runs prove something.
func TestLyingDisks(t *testing.T) {
	found, stranded := map[string]int{}, 0
	for seed := range uint64(12) {
		r := Run(seed, Options{For: 6 * core.Second, Liars: 2})
		if r.Stranded != nil {
			stranded++
		}
		if r.Violation != nil {
			found[r.Violation.ID]++
			if !slices.Contains(loss, r.Violation.ID) {
				t.Errorf("seed %d: a cluster that refuses its disks does nothing wrong: %v", seed, r.Violation)
			}
			if want := fmt.Sprintf("karst sim run --seed %d --for 6s --liars 2", seed); r.Replay(Options{}) != want {
				t.Errorf("replay is %q, want %q", r.Replay(Options{}), want)
			}
		}
	}
	t.Log("found", found, "never whole again", stranded)
	if found["A1"]+found["A3"]+found["A4"] == 0 {
		t.Error("disks lie and no client misses a record")
	}
}

func TestEmptySeeds(t *testing.T) {
	whole := Result{Plan: Plan{For: minute}, Acked: 2000, Leaders: 1}
	whole.Faults[Boundary], whole.Faults[Wipe], whole.Faults[Bridge] = 1, 1, 2
	if why := whole.Empty(); why != "" {
		t.Error("enough happened, and yet:", why)
	}
	for want, take := range map[string]func(r *Result){
		"1999 acknowledged batches of 2000": func(r *Result) { r.Acked-- },
		"1 crashes of 2":                    func(r *Result) { r.Faults[Boundary], r.Faults[Stall] = 0, 1 },
		"1 cuts of 2":                       func(r *Result) { r.Faults[Bridge]-- },
		"0 leader changes of 1":             func(r *Result) { r.Leaders = 0 },
		"2 kinds of fault of 3":             func(r *Result) { r.Faults[Wipe], r.Faults[Boundary] = 0, 2 },
	} {
		r := whole
		r.Disk.LostSectors, r.Net.Full = 1000, 1000 // they follow from others and are no kinds of their own
		take(&r)
		if why := r.Empty(); why != want {
			t.Errorf("%q, want %q", why, want)
		}
	}
	quick := Result{Plan: Plan{For: 6 * core.Second}, Acked: 200, Leaders: 1}
	quick.Faults[Power], quick.Faults[CutOneWay], quick.Net.Replays = 1, 1, 1
	if why := quick.Empty(); why != "" {
		t.Error("a tenth of a minute needs a tenth, rounded up:", why)
	}
}

// Processors decide how a sweep is shared out, and nothing else.
func TestProcessorsDoNotMatter(t *testing.T) {
	opts := SweepOptions{Options: Options{For: 2 * core.Second}}
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	one := Sweep(41, 48, opts)
	runtime.GOMAXPROCS(2)
	two := Sweep(41, 48, opts)
	if len(one.Hashes) != 8 || !slices.Equal(one.Hashes, two.Hashes) || one.Hash != two.Hash {
		t.Errorf("one processor: %016x\ntwo: %016x", one.Hashes, two.Hashes)
	}
}

// Every seed of the standard world has crashes and cuts, and its faults lie within its length.
func TestSwarm(t *testing.T) {
	for seed := range uint64(300) {
		p := Swarm(seed, 0, minute)
		var n [faultKinds]int
		for _, f := range p.Faults {
			n[f.Kind]++
			if err := f.check(&p); err != nil {
				t.Fatalf("seed %d: %v: %v", seed, f, err)
			}
		}
		if n[Kill]+n[Power] < 2 || n[Cut] < 2 {
			t.Errorf("seed %d: %d crashes, %d cuts", seed, n[Kill]+n[Power], n[Cut])
		}
		if p.String() != new(Swarm(seed, 0, minute)).String() {
			t.Fatal("a seed draws two plans")
		}
	}
}

// TestOne plays one seed, for whoever looks into it:
//
//	KARST_SEED=7 KARST_SECONDS=10 KARST_TRACE=1 go test ./sim -run TestOne -v
func TestOne(t *testing.T) {
	number := func(name string, or uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return or
	}
	opts := Options{For: core.Mono(number("KARST_SECONDS", 10)) * core.Second, Liars: int(number("KARST_LIARS", 0)), Mutant: os.Getenv("KARST_MUTANT")}
	if os.Getenv("KARST_TRACE") != "" {
		opts.Trace = os.Stdout
	}
	r := Run(number("KARST_SEED", 1), opts)
	t.Log(r.Plan.String())
	t.Logf("%v\nclients: %+v", r.String(), r.Clients)
	if r.Violation != nil {
		t.Errorf("%v\n%s", r.Violation, r.Replay(opts))
	}
}
