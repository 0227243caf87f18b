package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/seg"
)

type shownEntry struct {
	Offset   int64  `json:"offset"`
	Position *int64 `json:"position,omitempty"` // of the batch that ends with the offset
	Time     *int64 `json:"time,omitempty"`     // the largest timestamp up to the offset, in milliseconds

	Aborted *shownAborted `json:"aborted,omitempty"` // the transaction that was, with its marker at the offset
}

type shownAborted struct {
	Producer int64 `json:"producer_id"`
	First    int64 `json:"first_offset"`
	Stable   int64 `json:"last_stable_offset"` // the log was stable up to there once the marker was in it
}

type shownIndex struct {
	File    string       `json:"file"`
	Entries []shownEntry `json:"entries"`
	Finding string       `json:"finding,omitempty"`
}

// index prints the entries of an index file, from the offset --from on, and at most --count.
func (d *logDump) index(c *cobra.Command, path string, base core.Offset, k seg.Kind) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return catalogue.BadLog.New("%v", err).Wrap(err)
	}
	shown := shownIndex{File: path, Entries: []shownEntry{}}
	seg.Entries(k, base, b, func(x, y int64) {
		e := shownEntry{Offset: x, Position: &y}
		if k == seg.Times {
			e = shownEntry{Offset: y, Time: &x}
		}
		if e.Offset >= d.from && (d.most == 0 || len(shown.Entries) < d.most) {
			shown.Entries = append(shown.Entries, e)
		}
	})
	if err := checkIndex(path, base, k, b); err != nil {
		shown.Finding = err.Error()
	}
	if err := d.out.print(c, shown, shown.write); err != nil {
		return err
	}
	if shown.Finding != "" {
		return catalogue.Damaged.New("%s: %s", path, shown.Finding)
	}
	return nil
}

// txnIndex prints the entries of a transaction index, and holds them against its segment. What began in an earlier
// one is believed.
func (d *logDump) txnIndex(c *cobra.Command, path string, base core.Offset) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return catalogue.BadLog.New("%v", err).Wrap(err)
	}
	shown := shownIndex{File: path, Entries: []shownEntry{}}
	all, err := seg.DecodeAborted(b, base)
	for _, a := range all {
		if int64(a.Last) >= d.from && (d.most == 0 || len(shown.Entries) < d.most) {
			shown.Entries = append(shown.Entries, shownEntry{Offset: int64(a.Last),
				Aborted: &shownAborted{a.PID, int64(a.First), int64(a.Stable)}})
		}
	}
	if err == nil {
		err = checkTxnIndex(path, base, b)
	}
	if err != nil {
		shown.Finding = err.Error()
	}
	if err := d.out.print(c, shown, shown.write); err != nil {
		return err
	}
	if shown.Finding != "" {
		return catalogue.Damaged.New("%s: %s", path, shown.Finding)
	}
	return nil
}

func checkTxnIndex(path string, base core.Offset, b []byte) error {
	f, err := os.Open(strings.TrimSuffix(path, filepath.Ext(path)) + ".log")
	if err != nil {
		return err
	}
	defer f.Close()
	check := seg.NewTxnCheck(base)
	check.Segment(base, b)
	if err := scanSegment(f, seg.NewScanner(base, 0), check.Batch); err != nil {
		return err
	}
	return check.End()
}

// checkIndex holds one index file against its segment. The other file is left out: what a check asks of a
// closed segment goes for both.
func checkIndex(path string, base core.Offset, k seg.Kind, b []byte) error {
	f, err := os.Open(strings.TrimSuffix(path, filepath.Ext(path)) + ".log")
	if err != nil {
		return err
	}
	defer f.Close()
	files := [seg.Kinds][]byte{}
	files[k] = b
	check := seg.NewCheck(base, files[seg.Offsets], files[seg.Times])
	if err := scanSegment(f, seg.ScannerOf(base, seg.Generation("/"+filepath.Base(path))), check.Batch); err != nil {
		return err
	}
	return check.End(false)
}

func (s shownIndex) write(w io.Writer) {
	var tb table
	for _, e := range s.Entries {
		if a := e.Aborted; a != nil {
			tb.row(a.Producer, a.First, e.Offset, a.Stable)
		} else if e.Time != nil {
			tb.row(atWall(core.Wall(*e.Time)).Format(logTime), e.Offset)
		} else {
			tb.row(e.Offset, *e.Position)
		}
	}
	if len(tb.rows) > 0 {
		head := []string{"OFFSET", "POSITION"}
		if s.Entries[0].Time != nil {
			head = []string{"TIME", "OFFSET"}
		}
		if s.Entries[0].Aborted != nil {
			head = []string{"PRODUCER", "FIRST", "MARKER", "STABLE"}
		}
		tb.rows = append([][]string{head}, tb.rows...)
	}
	tb.write(w)
	if len(s.Entries) == 1 {
		fmt.Fprintln(w, "1 entry")
	} else {
		fmt.Fprintf(w, "%d entries\n", len(s.Entries))
	}
}
