package journal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// script runs the commands of a transcript:
//
//	start n=START shard=S      a writer for the files that are there
//	checkpoint g=G index=I     of a group, with noop, inline or direct entries after it as in append
//	append g=G term=T from=I [noop|inline|direct]...  [commit=C] [completed=C]
//	gone g=G | seal | adopt    adopt gives all files that were there at the start
//	flush | done [n=N] [err]   done finishes the oldest operation, or the n-th
//	needy | files
//	crash [keep=BYTES]         the power fails; of the oldest write so many bytes are on disk
//	flip file=NAME at=N        a bit rots
//	recover
type script struct {
	t    *testing.T
	disk *disk
	rig  *rig
	past []core.FileInfo
}

func (s *script) run(d *datadriven.TestData) string {
	var g, index, term, n, shard, at int
	for name, to := range map[string]*int{"g": &g, "index": &index, "from": &index, "term": &term, "n": &n, "shard": &shard, "at": &at} {
		if d.HasArg(name) {
			d.ScanArgs(s.t, name, to)
		}
	}
	id := core.GroupID(g)
	switch d.Cmd {
	case "start":
		s.past = recovered(s.t, s.disk).Files
		s.rig = newRig(s.t, s.disk, journal.Config{Shard: core.ShardID(shard), Start: uint32(n),
			First: recovered(s.t, s.disk).NextFile, Slot: 16 << 10})
	case "checkpoint":
		m := born(id)
		m.Index = core.Index(index)
		s.rig.w.Checkpoint(id, m, s.entries(d, m.Index+1, core.Term(term)))
	case "append":
		commit, completed := 0, 0
		d.MaybeScanArgs(s.t, "commit", &commit)
		d.MaybeScanArgs(s.t, "completed", &completed)
		s.rig.w.Append(id, hard(core.Term(term), core.Index(commit)), s.entries(d, core.Index(index), core.Term(term)), core.Index(completed))
	case "gone":
		s.rig.w.Gone(id)
	case "seal":
		s.rig.w.Seal()
	case "adopt":
		s.rig.w.Adopt(s.past)
	case "flush":
		s.rig.flush()
		return s.asked()
	case "done":
		err := core.OK
		if d.HasArg("err") {
			err = core.ErrIO
		}
		durable, ok := s.rig.finish(n, err)
		return fmt.Sprintf("durable %d, ok %v\n", durable, ok)
	case "needy":
		return fmt.Sprintf("%v\n", s.rig.w.Needy())
	case "files":
		var b strings.Builder
		for _, f := range s.disk.List() {
			fmt.Fprintf(&b, "%s %d\n", f.Path, f.Size)
		}
		return b.String()
	case "crash":
		keep := 0
		d.MaybeScanArgs(s.t, "keep", &keep)
		if len(s.rig.ops) > 0 {
			o := s.rig.ops[0]
			s.disk.write(o.path, o.off, o.data[:min(keep, len(o.data))])
		}
		s.rig = nil
	case "flip":
		var name string
		d.ScanArgs(s.t, "file", &name)
		s.disk.files.At(name)[at] ^= 1
	case "recover":
		return describe(recovered(s.t, s.disk))
	default:
		d.Fatalf(s.t, "no such command")
	}
	return "ok\n"
}

func (s *script) entries(d *datadriven.TestData, index core.Index, term core.Term) (ents []journal.Entry) {
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "noop":
			ents = append(ents, noop(index, term))
		case "inline":
			ents = append(ents, inline(index, term, 2000))
		case "direct":
			ents = append(ents, direct(index, term, 2000))
		default:
			continue
		}
		index++
	}
	return ents
}

func (s *script) asked() string {
	var b strings.Builder
	for i := range s.rig.fx.List {
		switch e := &s.rig.fx.List[i]; e.Kind {
		case core.Write:
			o := s.rig.ops[len(s.rig.ops)-1]
			fmt.Fprintf(&b, "Write %s at %d, %d bytes, sync %v: frame %d\n", o.path, e.Off, len(o.data), e.Sync, s.rig.w.Seq())
		case core.Truncate:
			fmt.Fprintf(&b, "Truncate to %d, sync %v\n", e.Off, e.Sync)
		default:
			fmt.Fprintf(&b, "%v %s, sync %v\n", e.Kind, e.Path, e.Sync)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// After a change of behaviour run this test with -rewrite and read the difference.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		s := &script{t: t, disk: &disk{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { s.t = t; return s.run(d) })
		for s.rig != nil && len(s.rig.ops) > 0 {
			s.rig.finish(0, core.OK)
		}
	})
}
