package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/checker/linear"
	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// checking holds the flags of `karst check`.
type checking struct {
	out      output
	memory   int64
	search   int64
	window   int
	pictures string
}

const checkHelp = `Reads what clients of a cluster saw, one operation a line, and says whether anything happened that
must never happen: acknowledged records that are lost, records that are there twice or in another
order, reads of what was refused, offsets that move, committed offsets that go back, and so on. The
history may come from any broker; docs/history-format.md describes the format and every id.

Exit status 0 says that the whole history was understood and is clean, 6 that something was found,
anything else that there is no verdict.`

func newCheck() *cobra.Command {
	var k checking
	c := &cobra.Command{
		Use:   "check HISTORY.jsonl",
		Short: "Judge a history of what clients saw",
		Long:  checkHelp,
		Example: "  karst check record --for 60s --out run.jsonl\n" +
			"  karst check run.jsonl -o json",
		Args: exactly(1, "one history file"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := k.out.check(); err != nil {
				return err
			}
			return k.judge(c, args[0])
		},
	}
	k.register(c)
	c.AddCommand(newCheckRecord())
	return c
}

func (k *checking) register(c *cobra.Command) {
	f := c.Flags()
	f.Int64Var(&k.memory, "memory", 4096, "MiB of memory that the judges may use")
	f.Int64Var(&k.search, "search", 200_000, "operations that are also searched for an order, beside the exact judges")
	f.IntVar(&k.window, "window", 20_000, "the most operations between two quiet instants")
	f.StringVar(&k.pictures, "pictures", "", "directory for pictures of what fits no order (default: beside the history)")
	k.out.register(c)
}

// shownVerdict is what -o json prints.
type shownVerdict struct {
	File    string           `json:"file"`
	Clean   bool             `json:"clean"`
	Verdict *checker.Verdict `json:"verdict"`
	Search  *linear.Report   `json:"search"`
	Found   []shownAnomaly   `json:"found"`
}

type shownAnomaly struct {
	ID   string `json:"id"`
	What string `json:"what"`
}

// judge prints the verdict on a history. When a partition was not read to its end, what nobody saw is no
// anomaly: it may be there.
func (k *checking) judge(c *cobra.Command, path string) error {
	f, err := openHistory(path)
	if err != nil {
		return catalogue.BadHistory.New("cannot read %s: %v", path, err).Wrap(err).Try("check the path")
	}
	defer f.Close()
	debug.SetMemoryLimit(k.memory << 20) // rather collect more often than take twice of what is alive
	v, j, err := checker.JudgeHistory(f, checker.Limits{Bytes: k.memory << 20})
	if v == nil {
		return catalogue.BadHistory.New("%s: %v", path, err).Wrap(err)
	}
	if errors.Is(err, checker.ErrIncomplete) {
		v.Violations = slices.DeleteFunc(v.Violations, func(x checker.Violation) bool { return unseen[x.ID] })
		maps.DeleteFunc(v.Counts, func(id string, _ int64) bool { return unseen[id] })
	}
	if k.pictures == "" {
		k.pictures = filepath.Dir(path)
	}
	search, failed := linear.Check(j, linear.Options{Operations: k.search, Window: k.window, Pictures: k.pictures})
	s := shownVerdict{File: path, Verdict: v, Search: search}
	for _, x := range append(v.Violations, search.Violations...) {
		s.Found = append(s.Found, shownAnomaly{x.ID, x.What})
	}
	for _, x := range search.Violations {
		v.Counts[x.ID]++
	}
	s.Clean = v.Clean() && err == nil && failed == nil
	if err := k.out.print(c, s, s.write); err != nil {
		return err
	}
	if !v.Clean() {
		e := catalogue.Anomaly.New("%s shows what must never happen: %s", path, s.ids())
		return e.Because(search.Pictures...)
	}
	if err = errors.Join(err, failed); err != nil {
		return catalogue.NoVerdict.New("%s: %v", path, err).Wrap(err)
	}
	return nil
}

// unseen are the anomalies that say that something was not seen.
var unseen = map[string]bool{"A4": true, "empty": true}

func (s *shownVerdict) ids() string {
	text := ""
	for i, id := range s.Verdict.IDs() {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s %d times", id, s.Verdict.Counts[id])
	}
	return text
}

func (s shownVerdict) write(w io.Writer) {
	v := s.Verdict
	verdict := "clean"
	switch {
	case !v.Clean():
		verdict = "NOT CLEAN"
	case !s.Clean:
		verdict = "no verdict"
	}
	fmt.Fprintf(w, "%s: %s\n", s.File, verdict)
	fmt.Fprintf(w, "%s (%d with an unknown outcome), %s acknowledged, %s read, %s\n", count(int(v.Operations), "operation"),
		v.Unknown, count(int(v.Sends), "send"), count(int(v.Records), "record"), count(v.Partitions, "partition"))
	if v.WeakLost > 0 {
		fmt.Fprintf(w, "%s with acks=1 or 0 lost, which was never promised otherwise\n", count(int(v.WeakLost), "record"))
	}
	r := s.Search
	fmt.Fprintf(w, "an order was looked for: %s, %s in %s", count(r.Objects, "object"), count(int(r.Operations), "operation"),
		count(int(r.Windows), "window"))
	if r.Left > 0 {
		fmt.Fprintf(w, "; %s more seen by exact judges only", count(int(r.Left), "operation"))
	}
	fmt.Fprintln(w)
	for _, x := range s.Found {
		fmt.Fprintf(w, "%-4s %s\n", x.ID, x.What)
	}
}
