package sim

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// A plan is a value: what it prints is what it parses to, and plays the same run.
func TestPlansAreText(t *testing.T) {
	for seed := range uint64(200) {
		p := Swarm(seed, int(seed%3), minute)
		if err := p.Check(); err != nil {
			t.Fatalf("seed %d draws what cannot be: %v", seed, err)
		}
		q, err := ParsePlan(p.String())
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("seed %d: %v\n%v\n%v", seed, err, p.String(), q.String())
		}
	}
	p := Swarm(5, 0, core.Second)
	q, err := ParsePlan(p.String())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := RunPlan(p, Options{}), RunPlan(q, Options{}); a.Hash != b.Hash || a.Hash == 0 {
		t.Errorf("hash %016x, and of the text %016x", a.Hash, b.Hash)
	}
}

// A plan written by hand says what differs from a calm world.
func TestAPlanByHand(t *testing.T) {
	p, err := ParsePlan("# the leader goes, and comes back\nseed 3\nfor 4s\n\nload produce 2\nload readers 1 # no group\nfault 1s isolate-leader for 1.5s x 0\n")
	if err != nil {
		t.Fatal(err)
	}
	if p.Nodes != 3 || p.Core != 7 || len(p.Loads) != 2 || len(p.Faults) != 1 || p.Faults[0].Kind != Isolate {
		t.Fatalf("it became\n%v", p.String())
	}
	r := RunPlan(p, Options{})
	if r.Violation != nil || r.Faults[Isolate] != 1 || r.Leaders == 0 || r.Acked < 100 {
		t.Errorf("%v\n%v", r.String(), r.Violation)
	}
}

func TestImpossiblePlans(t *testing.T) {
	for text, want := range map[string]string{
		"seed x":                                "line 1: seed \"x\"",
		"seed 1\nfor -3s":                       "line 2",
		"seed 1\n\nseed 2":                      "line 3: seed stands in line 1",
		"load produce 2\nload produce 3":        "line 2: load produce stands in line 1",
		"for 0s":                                "line 1: for 0s: a run lasts",
		"seed 1\n# five of them\nnodes 9":       "line 3: nodes \"9\": it must be a number from 1 to 3",
		"nodes 3\nfactor 2":                     "line 2: factor 2: each of the 3 nodes",
		"window 1":                              "line 1: window 1: it is 0",
		"journal 1":                             "line 1: journal 1: it is 0",
		"journal 4294967296":                    "from 0 to",
		"end-power now":                         "stands alone",
		"core":                                  "names nobody",
		"rate 0":                                "from 1 to",
		"net-drop 1000001":                      "from 0 to 1000000",
		"liars 4":                               "from 0 to 3",
		"liars 2\nnodes 1\ncore n0":             "line 1: liars 2: there are 1 disks",
		"nodes 2\ncore n0":                      "line 2: core n0: it must be a majority",
		"core n0":                               "a majority",
		"core n0 n7":                            "no node",
		"nodes 2\ncore n1 n2":                   "a majority",
		"load dreamers 3":                       "is no load",
		"load produce many":                     "no number",
		"load produce 0":                        "no number",
		"colour red":                            "begins no line",
		"fault 1s":                              "a fault is a time",
		"fault soon kill n1 for 1s":             "is no time",
		"fault 1s explode n1":                   "is no kind",
		"fault 1s kill":                         "lacks its node",
		"fault 1s kill 1 for 1s":                "is no node",
		"fault 1s kill n1":                      "lacks \"for\"",
		"fault 1s kill n1 for 0s":               "last for some time",
		"fault 1s kill n1 for 1s x 3":           "is too much",
		"nodes 2\nfault 1s kill n2 for 1s":      "line 2: fault 1s kill n2 for 1s: there is no node n2",
		"for 5s\nfault 5s kill n1 for 1s":       "line 2: fault 5s kill n1 for 1s: the run is over by then",
		"fault 1s cut-one-way n1 n1 for 1s":     "no other node",
		"fault 1s slow-disk n1 for 1s x 0":      "times must be from 2",
		"fault 1s flap n1 for 1s x 1e3":         "invalid syntax",
		"fault 1s wipe n1\nfault 2s wipe n2":    "line 2: the disks of n1 n2 are harmed: of 3 nodes at most 1 may be",
		"fault 1s rot n0 x 1\nfault 2s wipe n2": "the disks of n0 n2 are harmed",
		"seed " + strings.Repeat("1", 70000):    "too long",
	} {
		if _, err := ParsePlan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	if _, err := ParsePlan("beyond-budget\nfault 1s wipe n1\nfault 2s wipe n2"); err != nil {
		t.Error("a plan that says so may exceed its budget:", err)
	}
	if _, err := ParsePlan(strings.Repeat("fault 1s kill n1 for 1s\n", maxFaults+1)); err == nil {
		t.Error("a plan may have any number of faults")
	}
}

// What a plan may say can be played, at both ends of each of its ranges.
func TestExtremesCanBePlayed(t *testing.T) {
	var p Plan
	var all []string
	for _, n := range p.numbers() {
		lo := n.lo
		switch n.name {
		case "window":
			lo = leastWindow
		case "journal":
			lo = leastJournal
		}
		all = append(all, fmt.Sprintf("%s %d", n.name, lo), fmt.Sprintf("%s %d", n.name, n.hi))
	}
	all = append(all, "nodes 1", "nodes 2", "shards 16", "partitions 1000\nload produce 1", "liars 3", "for 1ns",
		"nodes 1\nfault 10ms cut n0 for 1s\nfault 20ms bridge n0 for 1s\nfault 30ms swizzle for 1s\nfault 40ms isolate-leader for 1s x 3")
	for k := range specs {
		s := specs[k]
		least, most := Fault{At: 10 * ms, Kind: FaultKind(k), Peer: 1, For: 1, N: s.lo}, Fault{At: 10 * ms, Kind: FaultKind(k), Peer: 1, For: 60 * minute, N: s.hi}
		all = append(all, "fault "+least.String(), "fault "+most.String())
	}
	for _, line := range all {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			text := line
			for _, other := range []string{"for 100ms", "partitions 2", "rate 100", "load produce 1"} {
				if name, _, _ := strings.Cut(other, " "); !strings.Contains("\n"+line, "\n"+name+" ") {
					text += "\n" + other
				}
			}
			p, err := ParsePlan(text)
			if err != nil {
				t.Fatal(err)
			}
			if r := RunPlan(p, Options{}); r.Violation != nil {
				t.Error(r.Violation)
			}
		})
	}
}

// FuzzParsePlan: any text is a plan that prints what parses to it again, or an error.
func FuzzParsePlan(f *testing.F) {
	f.Add(new(Swarm(3, 1, minute)).String())
	f.Add("nodes 2\ncore n0 n1\nload produce 2\nfault 1.5s slow-link n0 n1 for 2s x 40 # slow\nbeyond-budget")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlan(text)
		if err != nil {
			return
		}
		if q, err := ParsePlan(p.String()); err != nil || !reflect.DeepEqual(p, q) {
			t.Errorf("%v\n%v\nbecame\n%v", err, p.String(), q.String())
		}
	})
}

// What is printed of any kind of fault can be read.
func TestFaultsAreText(t *testing.T) {
	for k := range faultKinds {
		s := &specs[k]
		if s.name == "" || s.begin == nil {
			t.Fatalf("kind %d has no spec", k)
		}
		f := Fault{At: 1234567, Kind: k, N: s.lo}
		if s.node {
			f.Node = 2
		}
		if s.peer {
			f.Peer = 1
		}
		if s.span {
			f.For = 987654321
		}
		if g, err := ParseFault(f.String()); err != nil || g != f {
			t.Errorf("%v became %v: %v", f, g, err)
		}
	}
}
