package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// Simulate runs seeds, one after the other from first, until the budget of real time is used up, a
// violation is found, or ctx ends. With lying disks, two of three say that they synced and did not.
type Simulate func(ctx context.Context, first uint64, lying bool, budget time.Duration, progress func(SimReport)) (SimReport, error)

// SimReport is what a stretch of simulation came to.
type SimReport struct {
	Seeds     int
	Virtual   time.Duration
	Acked     int64 // batches
	Faults    []Fault
	Violation string // empty: none
	Seed      uint64 // of the violation
	Replay    string // the command that shows it again
}

// Fault counts one kind.
type Fault struct {
	Kind  string
	Count int64
}

// sceneSimulator looks for what the real run did not meet.
func (r *run) sceneSimulator(ctx context.Context) error {
	r.scene("e", fmt.Sprintf("%.0f seconds of simulator: whole clusters from seeds, under worse faults",
		r.Tempo.Honest.Seconds()))
	progress := func(rep SimReport) {
		r.update(fmt.Sprintf("   %d seeds, %s of virtual time, %s batches acknowledged", rep.Seeds,
			rep.Virtual.Round(time.Second), thousands(rep.Acked)))
	}
	rep, err := r.Simulate(ctx, 1, false, r.Tempo.Honest, progress)
	if err != nil {
		return catalogue.DemoFailed.New("the simulator: %v", err).Wrap(err)
	}
	r.eraseLive()
	r.say("%d seeds, %s of virtual time, %s batches acknowledged", rep.Seeds, rep.Virtual.Round(time.Second), thousands(rep.Acked))
	r.paragraph(faults(rep.Faults))
	if rep.Violation != "" {
		r.bad = append(r.bad, "the simulator: "+rep.Violation)
		r.say("%s", r.judged(false, rep.Violation))
		r.say("again: %s", r.strong(rep.Replay))
	} else {
		r.say("violations: %s", r.judged(true, "none"))
	}
	r.say("and with two of three disks that lie about fsync:")
	lie, err := r.Simulate(ctx, 1, true, r.Tempo.Lying, progress)
	if err != nil {
		return catalogue.DemoFailed.New("the simulator: %v", err).Wrap(err)
	}
	r.eraseLive()
	if lie.Violation == "" {
		r.bad = append(r.bad, "the simulator did not notice disks that lie")
		r.say("%s", r.judged(false, "nothing was found: the checker is blind"))
		return nil
	}
	r.paragraph("found at seed " + fmt.Sprint(lie.Seed) + ": " + lie.Violation)
	r.say("again: %s", r.strong(lie.Replay))
	return nil
}

func faults(fs []Fault) string {
	parts := make([]string, 0, len(fs))
	for _, f := range fs {
		if f.Count > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", f.Kind, thousands(f.Count)))
		}
	}
	return "faults: " + strings.Join(parts, ", ")
}

// paragraph says a long text over several lines.
func (s *screen) paragraph(text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width-6 {
			s.say("%s", line)
			line = "  "
		}
		if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	s.say("%s", line)
}

// eraseLive takes the live line away: what follows says the same for good.
func (s *screen) eraseLive() {
	if s.onLine {
		fmt.Fprint(s.w, "\r\x1b[2K")
		s.onLine = false
	}
}
