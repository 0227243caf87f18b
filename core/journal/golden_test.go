package journal_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/cockroachdb/datadriven" // defines -rewrite

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// describe prints what recovery found, one line a group and one an entry.
func describe(f *journal.Found) string {
	var b strings.Builder
	if f.Lost != "" {
		fmt.Fprintf(&b, "lost: %s\n", f.Lost)
	}
	for i := range f.Groups {
		g := &f.Groups[i]
		switch {
		case g.Gone:
			fmt.Fprintf(&b, "group %d gone %q\n", g.ID, g.Mark.Name)
			continue
		case g.Damaged != "":
			fmt.Fprintf(&b, "group %d DAMAGED: %s\n", g.ID, g.Damaged)
			continue
		}
		m := &g.Mark
		fmt.Fprintf(&b, "group %d %s: mark %d@%d offset %d in %d:%d start %d; term %d vote %d commit %d; bound %d\n",
			g.ID, m.Name, m.Index, m.Term, m.Offset, m.Segment, m.Pos, m.LogStart, g.Hard.Term, g.Hard.Vote, g.Hard.Commit, g.Bound)
		for j := range g.Tail {
			e := &g.Tail[j]
			switch {
			case e.Inline:
				fmt.Fprintf(&b, "  %d@%d batch at %d, %d bytes in %s:%d\n", e.Index, e.Term, e.Stub.Base, e.Stub.Len, e.Path, e.At)
			case e.IsBatch:
				fmt.Fprintf(&b, "  %d@%d batch at %d, %d bytes in its segment\n", e.Index, e.Term, e.Stub.Base, e.Stub.Len)
			default:
				fmt.Fprintf(&b, "  %d@%d type %d, %q\n", e.Index, e.Term, e.Type, e.Data)
			}
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// testdata/v1 was written by the first build of format 1 and is never written again: what it says
// must be read for ever. To begin a new version, change the name and run with -rewrite.
func TestTheDataDirectoryOfFormat1IsRead(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	if flag.Lookup("rewrite").Value.String() == "true" {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			writeGolden(t, dir)
		}
	}
	d := &disk{}
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d.files.Set("journal/"+filepath.Base(name), b)
	}
	found := recovered(t, d)
	got := describe(found)
	want, err := os.ReadFile(filepath.Join(dir, "found.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
	one := find(found, 1)
	if fmt.Sprintf("%+v", one.Mark) != goldenMark {
		t.Errorf("the mark of group 1 is\n%+v", one.Mark)
	}
	for i := range one.Tail {
		if e := &one.Tail[i]; e.Inline && !bodyMatches(d, e) {
			t.Errorf("the batch of entry %d cannot be read back", e.Index)
		}
	}
}

const goldenMark = "{Hard:{Term:3 Vote:4294967297 Commit:5} Voters:[1 2] Learners:[3] VotersOut:[4] LearnersNext:[5] " +
	"AutoLeave:true Index:5 Term:3 Offset:4 Segment:2 Pos:777 LogStart:1 Name:golden-0 " +
	"TopicID:[1 2 3 0 0 0 0 0 0 0 0 0 0 0 0 9] State:[115 116 97 116 101]}"

func writeGolden(t *testing.T, dir string) {
	d := &disk{}
	r := newRig(t, d, journal.Config{Shard: 1, Start: 1, First: 1, Slot: 16 << 10})
	r.w.Checkpoint(1, born(1), nil)
	r.w.Checkpoint(2, born(2), nil)
	r.sync()
	r = newRig(t, d, journal.Config{Start: 2, First: 2, Slot: 16 << 10})
	r.w.Checkpoint(1, journal.Mark{Hard: journal.Hard{Term: 3, Vote: core.NewRaftID(1, 1), Commit: 5}, Voters: []uint64{1, 2},
		Learners: []uint64{3}, VotersOut: []uint64{4}, LearnersNext: []uint64{5}, AutoLeave: true, Index: 5, Term: 3,
		Offset: 4, Segment: 2, Pos: 777, LogStart: 1, Name: "golden-0", TopicID: [16]byte{1, 2, 3, 15: 9},
		State: []byte("state")}, []journal.Entry{inline(6, 3, 100)})
	r.w.Gone(2)
	r.sync()
	r.w.Append(1, hard(4, 6), []journal.Entry{noop(7, 4), direct(8, 4, 5000), {Index: 9, Term: 4, Type: 2, Data: []byte("cc")}}, 6)
	r.sync()
	if err := os.MkdirAll(filepath.Join(dir, "journal"), 0o777); err != nil {
		t.Fatal(err)
	}
	d.files.Each(func(path string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, path), b, 0o666); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "found.txt"), []byte(describe(recovered(t, d))), 0o666); err != nil {
		t.Fatal(err)
	}
}
