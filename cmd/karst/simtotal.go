package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/karst-stream/karst/sim"
)

// simTotal is what a sweep came to; the JSON of karst sim run.
type simTotal struct {
	Seeds    int64            `json:"seeds"`
	Virtual  float64          `json:"virtual_seconds"`
	Real     float64          `json:"real_seconds"`
	CPU      float64          `json:"cpu_seconds"`
	Acked    int64            `json:"acknowledged_batches"`
	Leaders  int64            `json:"leader_changes"`
	Rolls    int64            `json:"segments_made"`
	Removals int64            `json:"segments_removed"`
	Crashes  int64            `json:"crashes"`
	Cuts     int64            `json:"cuts"`
	Steps    int64            `json:"steps"`
	Empty    int64            `json:"drawn_again"`           // seeds in which too little happened at first
	Stranded int64            `json:"ended_early,omitempty"` // seeds on lying disks whose cluster never came back
	Twice    bool             `json:"hashes_compared"`
	Hash     string           `json:"hash"`   // over the hashes of all seeds, in order
	Hashes   []string         `json:"hashes"` // of the seeds, in order
	Mutant   string           `json:"mutant,omitempty"`
	Slowest  simSlowest       `json:"slowest"`
	Faults   map[string]int64 `json:"faults"`
	Marks    simMarks         `json:"marks"`
	Met      simMet           `json:"met"`
	Violated []string         `json:"violations,omitempty"`
	Failures []simFailure     `json:"failures"`
	Coverage string           `json:"coverage"` // the last line of the table

	listMarks bool
}

type simSlowest struct {
	Seed uint64  `json:"seed"`
	Real float64 `json:"real_seconds"`
}

type simMarks struct {
	All   int      `json:"all"`
	Hit   int      `json:"hit"`
	Never []string `json:"never_hit"`
}

// simMet is in which situations clients have been.
type simMet struct {
	Must    float64     `json:"must_serve_seconds"`
	May     float64     `json:"may_refuse_seconds"`
	Under   []simUnder  `json:"requests_under_faults"`
	Pairs   []simPair   `json:"pairs_of_faults"`
	Answers []simAnswer `json:"answers"`
}

type simUnder struct {
	Fault string `json:"fault"`
	API   string `json:"api"`
	Count int64  `json:"count"`
}

type simPair struct {
	Faults [2]string `json:"faults"`
	Count  int64     `json:"count"`
}

type simAnswer struct {
	API   string `json:"api"`
	Error string `json:"error"`
	Count int64  `json:"count"`
}

type simFailure struct {
	Seed   uint64 `json:"seed"`
	Why    string `json:"why"`
	Replay string `json:"replay,omitempty"`
}

func totalOf(s *sim.Summary, twice bool) simTotal {
	t := simTotal{Seeds: s.Seeds, Virtual: virtual(s).Seconds(), Real: s.Took.Seconds(), CPU: s.CPU.Seconds(), Acked: s.Acked,
		Leaders: s.Elected, Rolls: s.Rolls, Removals: s.Removals, Crashes: s.Crashes, Cuts: s.Cuts, Steps: s.Steps, Empty: s.Redrawn, Stranded: s.Stranded, Twice: twice,
		Hash: fmt.Sprintf("%016x", s.Hash), Mutant: s.Mutant, Slowest: simSlowest{s.Slowest, s.SlowTook.Seconds()}, Faults: s.Faults,
		Marks: simMarks{s.Marks, s.Hit, append([]string{}, s.Unhit...)}, Met: metOf(s), Hashes: []string{}, Failures: []simFailure{},
		Coverage: s.Coverage()}
	slices.Sort(t.Marks.Never)
	for _, h := range s.Hashes {
		t.Hashes = append(t.Hashes, fmt.Sprintf("%016x", h))
	}
	for _, f := range s.Failures {
		t.Failures = append(t.Failures, simFailure{f.Seed, f.Why, f.Replay})
		if f.Violation != nil {
			t.Violated = append(t.Violated, fmt.Sprintf("seed %d: %s", f.Seed, f.Why))
		}
	}
	return t
}

func metOf(s *sim.Summary) simMet {
	m := simMet{Must: time.Duration(s.Met.Must).Seconds(), May: time.Duration(s.Met.May).Seconds(),
		Under: []simUnder{}, Pairs: []simPair{}, Answers: []simAnswer{}}
	for k, n := range s.Met.Under {
		m.Under = append(m.Under, simUnder{k.Fault, k.Key.String(), n})
	}
	for k, n := range s.Met.Pairs {
		m.Pairs = append(m.Pairs, simPair{k, n})
	}
	for k, n := range s.Met.Answers {
		m.Answers = append(m.Answers, simAnswer{k.Key.String(), k.Error.String(), n})
	}
	slices.SortFunc(m.Under, func(a, b simUnder) int {
		return cmp.Or(cmp.Compare(a.Fault, b.Fault), cmp.Compare(a.API, b.API))
	})
	slices.SortFunc(m.Pairs, func(a, b simPair) int { return slices.Compare(a.Faults[:], b.Faults[:]) })
	slices.SortFunc(m.Answers, func(a, b simAnswer) int {
		return cmp.Or(cmp.Compare(a.API, b.API), cmp.Compare(a.Error, b.Error))
	})
	return m
}

// virtual is the time that passed in the worlds of a sweep.
func virtual(s *sim.Summary) time.Duration { return time.Duration(s.Virtual) }

// write is for people; its last line is the sweep's coverage.
func (t simTotal) write(w io.Writer) {
	each := 1 / max(float64(t.Seeds), 1)
	fmt.Fprintf(w, "%s, %.0f virtual s in %.1f s, %d batches acknowledged, hash %s\n", count(int(t.Seeds), "seed"),
		t.Virtual, t.Real, t.Acked, t.Hash)
	fmt.Fprintf(w, "a seed: %.1f virtual s, %.0f batches, %.1f crashes, %.1f cuts, %.1f changes of leader, %.1f segments made, %.1f removed\n",
		t.Virtual*each, float64(t.Acked)*each, float64(t.Crashes)*each, float64(t.Cuts)*each, float64(t.Leaders)*each, float64(t.Rolls)*each,
		float64(t.Removals)*each)
	fmt.Fprintf(w, "it had to serve for %.0f s, and might refuse for %.0f s\n", t.Met.Must, t.Met.May)
	fmt.Fprintf(w, "met: %d kinds of request under a fault, %d pairs of faults, %d kinds of answer\n",
		len(t.Met.Under), len(t.Met.Pairs), len(t.Met.Answers))
	if t.Empty > 0 {
		fmt.Fprintf(w, "drawn again because too little happened: %s\n", count(int(t.Empty), "seed"))
	}
	if t.Stranded > 0 {
		fmt.Fprintf(w, "never whole again after disks forgot what they had synced: %s\n", count(int(t.Stranded), "seed"))
	}
	if t.listMarks {
		for _, name := range t.Marks.Never {
			fmt.Fprintf(w, "never reached: %s\n", name)
		}
	}
	if len(t.Failures) == 0 && t.Seeds > 0 {
		fmt.Fprintln(w, "no violation")
	}
	fmt.Fprintln(w, t.Coverage)
}
