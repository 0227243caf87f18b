package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/seg"
)

const verifyHelp = `Reads a whole data directory as the next start of its node would: the journal's frames, what they
say of each partition, every byte of the segments up to its last checkpoint, and each batch behind
that. A tail that never was completed is torn, which is no damage: the next start cuts it. Every entry
of an index file is held against its segment; a wrong or missing one is named, and is no damage either:
nothing believes such a file, and the node makes it again.

Of a node with several data directories each is verified for itself.

Changes nothing, and starts nothing. Stop the node first: a journal that moves is read as a torn one.
Ends with status 6 when something that was promised cannot be read.`

func newLogVerify() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:     "verify DATA-DIRECTORY",
		Short:   "Verify every byte in the data directory of a node that is stopped",
		Long:    verifyHelp,
		Example: "  karst log verify .karst/dev/n1",
		Args:    exactly(1, "the data directory of one node"),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := verifyDir(args[0])
			if err != nil {
				return err
			}
			if err := out.print(c, s, s.write); err != nil {
				return err
			}
			if n := s.bad(); n > 0 {
				return catalogue.Damaged.New("%s: %s", args[0], count(n, "finding"))
			}
			return nil
		},
	}
	out.register(c)
	return c
}

type verifiedPartition struct {
	Partition string `json:"partition"`
	Group     uint64 `json:"group"`
	Segments  int    `json:"segments"`
	Bytes     int64  `json:"verified_bytes"`
	First     int64  `json:"first_offset"`
	Next      int64  `json:"next_offset"`
	Term      uint64 `json:"term"`
	Commit    uint64 `json:"commit_index"`
	Behind    int    `json:"entries_behind_checkpoint"`
	Torn      int    `json:"torn_entries"` // never completed, so never acknowledged here; the next start cuts them
	Damage    string `json:"damage,omitempty"`

	Indexes []string `json:"index_findings,omitempty"` // index files that the node will make again, and why
}

type shownVerify struct {
	Dir        string              `json:"directory"`
	Starts     uint32              `json:"starts"`
	Journal    int                 `json:"journal_files"`
	Lost       string              `json:"journal_lost,omitempty"`
	Partitions []verifiedPartition `json:"partitions"`
	Strangers  []string            `json:"unknown_files,omitempty"` // segments that no partition of the journal owns
}

func (s *shownVerify) bad() (n int) {
	if s.Lost != "" {
		n++
	}
	for _, p := range s.Partitions {
		if p.Damage != "" {
			n++
		}
	}
	return n
}

func verifyDir(root string) (*shownVerify, error) {
	_, err := os.Stat(filepath.Join(root, "node"))
	if _, other := os.Stat(filepath.Join(root, "directory")); err != nil && other != nil {
		return nil, catalogue.BadLog.New("%s is no data directory of a node: it has no file \"node\"", root).Wrap(err)
	}
	dir, err := openStillDir(root)
	if err != nil {
		return nil, err
	}
	found, err := journal.Recover(dir)
	if err != nil {
		return nil, catalogue.BadLog.New("%s: %v", root, err).Wrap(err)
	}
	s := &shownVerify{Dir: root, Starts: found.Start, Journal: len(found.Files) + len(found.Blank), Lost: found.Lost,
		Partitions: []verifiedPartition{}}
	segments := map[string][]segmentFile{}
	for _, f := range dir.files {
		if name, base, ok := seg.ParsePath(f.Path); ok {
			segments[name] = append(segments[name], segmentFile{f, base, seg.Generation(f.Path)})
		}
	}
	for i := range found.Groups {
		g := &found.Groups[i]
		if g.Gone {
			continue
		}
		p, err := verifyPartition(dir, g, segments[g.Mark.Name])
		if err != nil {
			return nil, err
		}
		delete(segments, g.Mark.Name)
		s.Partitions = append(s.Partitions, p)
	}
	for _, files := range segments {
		for _, f := range files {
			s.Strangers = append(s.Strangers, f.Path)
		}
	}
	slices.Sort(s.Strangers)
	slices.SortFunc(s.Partitions, func(a, b verifiedPartition) int { return cmp.Compare(a.Partition, b.Partition) })
	return s, nil
}

type segmentFile struct {
	core.FileInfo
	base core.Offset
	gen  uint64 // the decision that compaction wrote it for; 0: it holds what was appended
}

// named leaves of a partition's files those that its checkpoint names, and those that were begun after it. Of what
// compaction has replaced, or has not put in place yet, the next start removes the rest. missing is a file that
// compaction wrote and that is not there.
func named(m *journal.Mark, files []segmentFile) (left []segmentFile, missing string) {
	st, ok := replica.DecodeState(m.State)
	if !ok {
		return files, ""
	}
	for _, x := range st.Segments {
		there := x.Generation == 0
		for _, f := range files {
			if f.base == x.Base && f.gen == x.Generation {
				left, there = append(left, f), true
			}
		}
		if !there && missing == "" {
			missing = seg.PathOf(m.Name, x.Base, x.Generation)
		}
	}
	for _, f := range files {
		if n := len(st.Segments); f.gen == 0 && (n == 0 || f.base > st.Segments[n-1].Base) {
			left = append(left, f)
		}
	}
	return left, missing
}

// verifyPartition scans what the group's checkpoint says must be there.
func verifyPartition(dir *stillDir, g *journal.Group, files []segmentFile) (verifiedPartition, error) {
	m := &g.Mark
	p := verifiedPartition{Partition: m.Name, Group: uint64(g.ID), Next: int64(m.Offset), First: int64(m.Offset),
		Term: uint64(g.Hard.Term), Commit: uint64(g.Hard.Commit), Behind: len(g.Tail), Damage: g.Damaged}
	damage := func(format string, args ...any) {
		if p.Damage == "" {
			p.Damage = fmt.Sprintf(format, args...)
		}
	}
	files, missing := named(m, files)
	if missing != "" {
		damage("%s is missing", missing)
	}
	want := core.Offset(-1) // the base that the next file must have
	var txns *seg.TxnCheck
	for i, f := range files {
		if f.base > m.Segment || f.base == m.Segment && m.Pos == 0 { // begun after the checkpoint
			later, err := verifyIndexes(dir, m.Name, files[i:])
			if err != nil {
				return p, err
			}
			p.Indexes = append(p.Indexes, later...)
			break
		}
		if want >= 0 && f.base != want {
			damage("%s is missing: %s comes where offset %d should", seg.Path(m.Name, want), f.Path, want)
		}
		x := readIndexes(dir, m.Name, f)
		if txns == nil {
			txns = seg.NewTxnCheck(f.base)
		}
		txns.Segment(f.base, readTxnIndex(dir, m.Name, f.base))
		next, end, err := scanFile(dir, f, func(b seg.Seen) { x.check.Batch(b); txns.Batch(b) })
		if err != nil {
			return p, err
		}
		if err := txns.End(); err != nil {
			p.Indexes = append(p.Indexes, f.Path+": its "+err.Error())
		}
		if why := x.end(i+1 < len(files) && (next == files[i+1].base || f.gen > 0)); why != "" {
			p.Indexes = append(p.Indexes, why)
		}
		if p.Segments == 0 {
			p.First = int64(f.base)
		}
		p.Segments++
		p.Bytes += end
		must := f.Size
		if f.base == m.Segment {
			must = m.Pos
		}
		if end < must {
			damage("%s: the bytes at %d are not the batch with offset %d", f.Path, end, next)
		}
		if want = next; f.gen > 0 {
			want = -1 // batches are gone
		}
	}
	if m.Pos > 0 && (len(files) == 0 || files[len(files)-1].base < m.Segment) {
		damage("%s is missing", seg.Path(m.Name, m.Segment))
	}
	if why := verifyTail(dir, g, &p); why != "" {
		damage("%s", why)
	}
	return p, nil
}

// verifyTail reads the batches behind the checkpoint: those in the journal were verified with it, those that
// went straight to a segment must be there when they were certainly durable. The first other one that is
// not there was torn, and ends the log.
func verifyTail(dir *stillDir, g *journal.Group, p *verifiedPartition) string {
	segment, pos := g.Mark.Segment, g.Mark.Pos
	for i := range g.Tail {
		t := &g.Tail[i]
		if !t.IsBatch {
			if start, ok := journal.DecodeStart(t.Data); ok && int64(start) == p.Next && pos > 0 && journal.StartRolls(t.Data) {
				segment, pos = start, 0 // all before it was removed
			}
			continue
		}
		if t.Stub.Flags&journal.Roll != 0 {
			segment, pos = t.Stub.Base, 0
		}
		path, at := seg.Path(g.Mark.Name, segment), pos
		pos += int64(t.Stub.Len)
		switch {
		case t.Rotten:
			return fmt.Sprintf("the journal holds rotten bytes for offset %d", t.Stub.Base)
		case t.Inline || batchAt(dir, path, at, t):
			p.Bytes += int64(t.Stub.Len)
		case t.Index <= g.Bound:
			return fmt.Sprintf("%s: the bytes at %d are not the batch with offset %d", path, at, t.Stub.Base)
		default:
			p.Torn = len(g.Tail) - i
			return ""
		}
		p.Next = int64(t.Stub.Next())
	}
	return ""
}

func batchAt(dir *stillDir, path string, at int64, t *journal.TailEntry) bool {
	b := make(record.Batch, t.Stub.Len)
	if _, err := dir.ReadAt(path, at, b); err != core.OK || len(b) < record.HeaderSize {
		return false
	}
	return b.BaseOffset() == t.Stub.Base && b.LeaderEpoch() == t.Term.Epoch() && b.CRC() == t.Stub.CRC && b.CRCValid()
}

// verifyIndexes looks at segments behind the checkpoint that others follow, where they are whole: what is not may
// be in the journal still.
func verifyIndexes(dir *stillDir, partition string, files []segmentFile) (findings []string, err error) {
	for i, f := range files {
		x := readIndexes(dir, partition, f)
		next, _, err := scanFile(dir, f, x.check.Batch)
		if err != nil {
			return nil, err
		}
		if i+1 == len(files) || next != files[i+1].base {
			continue
		}
		if why := x.end(true); why != "" {
			findings = append(findings, why)
		}
	}
	return findings, nil
}

// indexesOf are the index files of a segment, which are held against it.
type indexesOf struct {
	path  string // of the segment
	there int
	check *seg.Check
}

func readIndexes(dir *stillDir, partition string, f segmentFile) indexesOf {
	x := indexesOf{path: f.Path}
	var b [seg.Kinds][]byte
	for k := range seg.Kinds {
		at, err := os.ReadFile(filepath.Join(dir.root, filepath.FromSlash(seg.IndexPathOf(partition, f.base, f.gen, k))))
		if err == nil {
			b[k] = at
			x.there++
		}
	}
	x.check = seg.NewCheck(f.base, b[seg.Offsets], b[seg.Times])
	return x
}

// readTxnIndex is the transaction index of a segment, empty when it has none, as most.
func readTxnIndex(dir *stillDir, partition string, base core.Offset) []byte {
	b, err := os.ReadFile(filepath.Join(dir.root, filepath.FromSlash(seg.TxnPath(partition, base))))
	if err != nil {
		return nil
	}
	return b
}

// end says what is wrong with them. The last segment may have none yet.
func (x *indexesOf) end(closed bool) string {
	switch err := x.check.End(closed && x.there == int(seg.Kinds)); {
	case err != nil:
		return x.path + ": its " + err.Error()
	case closed && x.there < int(seg.Kinds):
		return x.path + ": an index file is missing"
	}
	return ""
}

func scanFile(dir *stillDir, f segmentFile, visit func(seg.Seen)) (next core.Offset, end int64, err error) {
	file, err := os.Open(filepath.Join(dir.root, filepath.FromSlash(f.Path)))
	if err != nil {
		return 0, 0, catalogue.BadLog.New("%v", err).Wrap(err)
	}
	defer file.Close()
	s := seg.ScannerOf(f.base, f.gen)
	if err := scanSegment(file, s, visit); err != nil {
		return 0, 0, catalogue.BadLog.New("%s: %v", f.Path, err).Wrap(err)
	}
	next, end = s.End()
	return next, end, nil
}

func (s *shownVerify) write(w io.Writer) {
	var tb table
	tb.row("PARTITION", "SEGMENTS", "BYTES", "OFFSETS", "TERM", "COMMIT", "BEHIND", "")
	for _, p := range s.Partitions {
		verdict := p.Damage
		switch {
		case verdict != "":
		case p.Torn > 0:
			verdict = fmt.Sprintf("ok; the next start cuts a torn tail of %d", p.Torn)
		default:
			verdict = "ok"
		}
		tb.row(p.Partition, p.Segments, p.Bytes, fmt.Sprintf("%d..%d", p.First, p.Next), p.Term, p.Commit, p.Behind, verdict)
	}
	tb.write(w)
	for _, p := range s.Partitions {
		for _, why := range p.Indexes {
			fmt.Fprintf(w, "%s; the node will make it again\n", why)
		}
	}
	if s.Lost != "" {
		fmt.Fprintf(w, "journal: %s\n", s.Lost)
	}
	for _, f := range s.Strangers {
		fmt.Fprintf(w, "%s: no partition of the journal owns it\n", f)
	}
	fmt.Fprintf(w, "%s, %s, %s\n", count(len(s.Partitions), "partition"), count(s.Journal, "journal file"), count(s.bad(), "finding"))
}
