package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/shard"
)

// The dumps of `karst log dump` beside segments: the identity, a journal file, and of a whole directory the
// checkpoints of its partitions with their producers.

// dumpOther prints what is no segment; false when path is none of the three.
func (d *logDump) dumpOther(c *cobra.Command, path string) (bool, error) {
	abs := mustAbs(path)
	st, err := os.Stat(abs)
	root := filepath.Dir(abs)
	switch {
	case err != nil:
		return false, nil
	case st.IsDir():
		return true, d.dumpMarks(c, path)
	case filepath.Base(abs) == "node":
		dir, err := openStillDir(root)
		if err != nil {
			return true, err
		}
		return true, d.dumpIdentity(c, path, dir)
	case filepath.Base(root) == "journal":
		dir, err := openStillDir(filepath.Dir(root))
		if err != nil {
			return true, err
		}
		return true, d.dumpJournal(c, path, dir, core.FileInfo{Path: "journal/" + filepath.Base(abs), Size: st.Size()})
	}
	return false, nil
}

type shownSlot struct {
	Slot        int             `json:"slot"`
	Valid       bool            `json:"valid"`
	Cluster     string          `json:"cluster,omitempty"`
	Node        int32           `json:"node"`
	Incarnation uint32          `json:"incarnation"`
	Start       uint32          `json:"start"` // how often the node began on this disk
	Writes      uint64          `json:"writes"`
	Seen        []shownIdentity `json:"seen,omitempty"`
}

// shownIdentity is a member that this node has met.
type shownIdentity struct {
	Node        int32  `json:"node"`
	Incarnation uint32 `json:"incarnation"`
	Start       uint32 `json:"start"`
}

func (d *logDump) dumpIdentity(c *cobra.Command, path string, dir *stillDir) error {
	slots, valid := []shownSlot{}, 0
	for k, id := range shard.Slots(dir) {
		s := shownSlot{Slot: k}
		if id != nil {
			valid++
			s = shownSlot{k, true, id.Cluster, int32(id.Node), id.Incarnation, id.Start, id.Writes, nil}
			for _, x := range id.Seen {
				s.Seen = append(s.Seen, shownIdentity{int32(x.Node), x.Incarnation, x.Start})
			}
		}
		slots = append(slots, s)
	}
	err := d.out.print(c, slots, func(w io.Writer) {
		var tb table
		tb.row("SLOT", "CLUSTER", "NODE", "INCARNATION", "STARTS", "WRITES", "HAS MET")
		for _, s := range slots {
			if !s.Valid {
				tb.row(s.Slot, "nothing valid")
				continue
			}
			var met []string
			for _, x := range s.Seen {
				met = append(met, fmt.Sprintf("n%d/%d/%d", x.Node, x.Incarnation, x.Start))
			}
			tb.row(s.Slot, s.Cluster, s.Node, s.Incarnation, s.Start, s.Writes, strings.Join(met, " "))
		}
		tb.write(w)
	})
	if err == nil && valid == 0 {
		return catalogue.Damaged.New("%s: neither slot holds an identity", path)
	}
	return err
}

type shownJournal struct {
	File    string       `json:"file"`
	Shard   uint16       `json:"shard"`
	Start   uint32       `json:"start"`
	Ordinal uint32       `json:"ordinal"`
	Frames  []shownFrame `json:"frames"`
	Behind  int64        `json:"bytes_behind"` // zeroes, or frames of an earlier use of the file
	Blank   bool         `json:"blank,omitempty"`
}

type shownFrame struct {
	Position int64         `json:"position"`
	Size     int64         `json:"size"`
	Sequence uint64        `json:"sequence"`
	Durable  uint64        `json:"durable"` // the highest sequence that was known durable when it was written
	Skipped  int64         `json:"skipped_bytes,omitempty"`
	Bad      string        `json:"bad,omitempty"`
	Records  []shownLogged `json:"records"`
}

type shownLogged struct {
	Group     uint64 `json:"group"`
	Kind      string `json:"kind"` // append, checkpoint, gone
	Partition string `json:"partition,omitempty"`
	Number    uint64 `json:"number"` // of the group's records in this start
	Term      uint64 `json:"term,omitempty"`
	Vote      uint64 `json:"vote,omitempty"`
	Commit    uint64 `json:"commit,omitempty"`
	Completed uint64 `json:"completed,omitempty"`
	First     uint64 `json:"first_index,omitempty"`
	Entries   int    `json:"entries"`
	Batches   int    `json:"batches"`
	Inline    int64  `json:"inline_bytes"`
	Offsets   string `json:"offsets,omitempty"`
	Rotten    int    `json:"rotten_batches,omitempty"`
}

func (d *logDump) dumpJournal(c *cobra.Command, path string, dir *stillDir, info core.FileInfo) error {
	j := shownJournal{File: path, Frames: []shownFrame{}}
	bad := 0
	h, behind, ok, err := journal.Inspect(dir, info, func(f journal.Frame) bool {
		s := shownFrame{Position: f.At, Size: f.Size, Sequence: f.Seq, Durable: f.Durable, Skipped: f.Skipped, Bad: f.Bad,
			Records: []shownLogged{}}
		if f.Bad != "" || f.Skipped > 0 {
			bad++
		}
		for i := range f.Records {
			r := showLogged(&f.Records[i])
			bad += r.Rotten
			s.Records = append(s.Records, r)
		}
		j.Frames = append(j.Frames, s)
		return d.most == 0 || len(j.Frames) < d.most
	})
	if err != nil {
		return catalogue.BadLog.New("%v", err).Wrap(err)
	}
	j.Shard, j.Start, j.Ordinal, j.Behind, j.Blank = uint16(h.Shard), h.Start, h.Ordinal, behind, !ok
	if err := d.out.print(c, j, func(w io.Writer) { j.write(w, d.records) }); err != nil {
		return err
	}
	if bad > 0 {
		return catalogue.Damaged.New("%s: %s that cannot be believed, or bytes that are none", path, count(bad, "frame or batch")).
			Try("karst log verify DIR        says what that means for the partitions")
	}
	return nil
}

func showLogged(r *journal.Record) shownLogged {
	s := shownLogged{Group: uint64(r.Group), Kind: "append", Number: r.Chain, Completed: uint64(r.Completed), Entries: len(r.Entries)}
	if r.Hard != nil {
		s.Term, s.Vote, s.Commit = uint64(r.Hard.Term), uint64(r.Hard.Vote), uint64(r.Hard.Commit)
	}
	if m := r.Mark; m != nil {
		s.Kind, s.Partition = "checkpoint", m.Name
		s.Term, s.Vote, s.Commit = uint64(m.Hard.Term), uint64(m.Hard.Vote), uint64(m.Hard.Commit)
	}
	if r.Gone {
		s.Kind = "gone"
	}
	first, next := int64(-1), int64(-1)
	for i := range r.Entries {
		e := &r.Entries[i]
		if i == 0 {
			s.First = uint64(e.Index)
		}
		s.Inline += e.Inline
		if e.Rotten {
			s.Rotten++
		}
		if e.Stub != nil {
			s.Batches++
			if first < 0 {
				first = int64(e.Stub.Base)
			}
			next = int64(e.Stub.Next())
		}
	}
	if first >= 0 {
		s.Offsets = fmt.Sprintf("%d..%d", first, next)
	}
	return s
}

func (j shownJournal) write(w io.Writer, records bool) {
	if j.Blank {
		fmt.Fprintln(w, "never written: room for when the disk is full")
		return
	}
	var tb table
	tb.row("POSITION", "SIZE", "SEQUENCE", "DURABLE", "RECORDS", "ENTRIES", "INLINE", "")
	for _, f := range j.Frames {
		entries, inline, note := 0, int64(0), f.Bad
		for _, r := range f.Records {
			entries, inline = entries+r.Entries, inline+r.Inline
			if r.Rotten > 0 && note == "" {
				note = "a batch in it rots"
			}
		}
		if f.Skipped > 0 {
			note = strings.TrimSpace(fmt.Sprintf("%d bytes before it are no frame  %s", f.Skipped, note))
		}
		tb.row(f.Position, f.Size, f.Sequence, f.Durable, len(f.Records), entries, inline, note)
		if !records {
			continue
		}
		for _, r := range f.Records {
			tb.row("", "", "", fmt.Sprintf("group %d", r.Group), r.Kind, r.Entries, r.Inline, r.text())
		}
	}
	tb.write(w)
	fmt.Fprintf(w, "shard %d, start %d, file %d: %s, %d bytes behind them\n", j.Shard, j.Start, j.Ordinal,
		count(len(j.Frames), "frame"), j.Behind)
}

// text is what a record says, in a line.
func (r shownLogged) text() string {
	var b strings.Builder
	if r.Partition != "" {
		fmt.Fprintf(&b, "%s ", r.Partition)
	}
	if r.Term > 0 {
		fmt.Fprintf(&b, "term %d vote %x commit %d ", r.Term, r.Vote, r.Commit)
	}
	if r.Completed > 0 {
		fmt.Fprintf(&b, "complete %d ", r.Completed)
	}
	if r.Entries > 0 {
		fmt.Fprintf(&b, "from index %d ", r.First)
	}
	if r.Offsets != "" {
		fmt.Fprintf(&b, "offsets %s ", r.Offsets)
	}
	return strings.TrimSpace(b.String())
}

type shownMark struct {
	Partition string          `json:"partition"`
	Group     uint64          `json:"group"`
	Voters    []uint64        `json:"voters"` // incarnation and node: see n1/1 in the table
	Index     uint64          `json:"index"`
	Term      uint64          `json:"term"`
	Vote      uint64          `json:"vote"`
	Commit    uint64          `json:"commit"`
	LogStart  int64           `json:"log_start"`
	Next      int64           `json:"next_offset"` // of the checkpoint; the tail in the journal comes after it
	Segment   int64           `json:"segment"`
	Position  int64           `json:"position"`
	Behind    int             `json:"entries_behind"`
	Damage    string          `json:"damage,omitempty"`
	Segments  []shownPiece    `json:"segments"`
	Epochs    []shownEpoch    `json:"epochs"`
	Producers []shownProducer `json:"producers"`
}

type shownPiece struct {
	Base  int64 `json:"base_offset"`
	Bytes int64 `json:"bytes"` // when the checkpoint was taken
}

type shownEpoch struct {
	Epoch int32 `json:"leader_epoch"`
	First int64 `json:"first_offset"`
}

type shownProducer struct {
	ID      int64     `json:"producer_id"`
	Epoch   int16     `json:"producer_epoch"`
	Batches int       `json:"batches"` // that are remembered
	First   int32     `json:"first_sequence"`
	Last    int32     `json:"last_sequence"`
	Offset  int64     `json:"offset"` // of the newest batch
	Time    time.Time `json:"max_time"`
}

func (m *shownMark) state(st replica.State) {
	m.Segments, m.Epochs, m.Producers = []shownPiece{}, []shownEpoch{}, []shownProducer{}
	for _, s := range st.Segments {
		m.Segments = append(m.Segments, shownPiece{int64(s.Base), s.Bytes})
	}
	for _, e := range st.Epochs {
		m.Epochs = append(m.Epochs, shownEpoch{int32(e.Epoch), int64(e.First)})
	}
	for _, p := range st.Producers {
		m.Producers = append(m.Producers, shownProducer{p.ID, p.Epoch, p.Batches, p.First, p.Last, int64(p.Offset), atWall(p.Timestamp)})
	}
}

// dumpMarks prints what recovery finds of each partition in the journal of a whole directory.
func (d *logDump) dumpMarks(c *cobra.Command, root string) error {
	if _, err := os.Stat(filepath.Join(root, "node")); err != nil {
		return catalogue.BadLog.New("%s is no data directory of a node: it has no file \"node\"", root).Wrap(err)
	}
	dir, err := openStillDir(root)
	if err != nil {
		return err
	}
	found, err := journal.Recover(dir)
	if err != nil {
		return catalogue.BadLog.New("%s: %v", root, err).Wrap(err)
	}
	marks := []shownMark{}
	for i := range found.Groups {
		g := &found.Groups[i]
		if g.Gone {
			continue
		}
		m := shownMark{Partition: g.Mark.Name, Group: uint64(g.ID), Voters: g.Mark.Voters, Index: uint64(g.Mark.Index),
			Term: uint64(g.Hard.Term), Vote: uint64(g.Hard.Vote), Commit: uint64(g.Hard.Commit), LogStart: int64(g.Mark.LogStart),
			Next: int64(g.Mark.Offset), Segment: int64(g.Mark.Segment), Position: g.Mark.Pos, Behind: len(g.Tail), Damage: g.Damaged}
		st, ok := replica.DecodeState(g.Mark.State)
		if !ok && m.Damage == "" {
			m.Damage = "its checkpoint's state cannot be read"
		}
		m.state(st)
		marks = append(marks, m)
	}
	return d.out.print(c, marks, func(w io.Writer) { writeMarks(w, marks) })
}

func writeMarks(w io.Writer, marks []shownMark) {
	var tb, producers table
	tb.row("PARTITION", "GROUP", "VOTERS", "INDEX", "TERM", "COMMIT", "START", "NEXT", "SEGMENTS", "BEHIND", "EPOCHS", "")
	producers.row("PARTITION", "PRODUCER", "BATCHES", "SEQUENCES", "OFFSET", "TIME")
	for _, m := range marks {
		var voters, epochs []string
		for _, v := range m.Voters {
			voters = append(voters, fmt.Sprintf("n%d/%d", core.RaftID(v).Node(), core.RaftID(v).Incarnation()))
		}
		for _, e := range m.Epochs {
			epochs = append(epochs, fmt.Sprintf("%d@%d", e.Epoch, e.First))
		}
		tb.row(m.Partition, m.Group, strings.Join(voters, ","), m.Index, m.Term, m.Commit, m.LogStart, m.Next, len(m.Segments),
			m.Behind, strings.Join(epochs, ","), m.Damage)
		for _, p := range m.Producers {
			producers.row(m.Partition, fmt.Sprintf("%d/%d", p.ID, p.Epoch), p.Batches, fmt.Sprintf("%d..%d", p.First, p.Last),
				p.Offset, p.Time.Format(logTime))
		}
	}
	tb.write(w)
	if len(producers.rows) > 1 {
		producers.write(w)
	}
	fmt.Fprintf(w, "checkpoints of %s; what came after them lies in the journal\n", count(len(marks), "partition"))
}
