package journal_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/record"
)

// disk is a Boot made of byte slices.
type disk struct {
	files  det.Map[string, []byte]
	sick   string // reads of this file fail at sickAt and behind
	sickAt int64

	reserves bool // Truncate makes a file longer before the first frame is written
}

func (d *disk) List() (list []core.FileInfo) {
	d.files.Each(func(path string, b []byte) { list = append(list, core.FileInfo{Path: path, Size: int64(len(b))}) })
	return list
}

func (d *disk) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	if path == d.sick && off+int64(len(b)) > d.sickAt {
		return copy(b, d.files.At(path)[min(off, d.sickAt):d.sickAt]), core.ErrIO
	}
	file, ok := d.files.Get(path)
	if !ok {
		return 0, core.ErrGone
	}
	n := copy(b, file[min(off, int64(len(file))):])
	if n < len(b) {
		return n, core.ErrShort
	}
	return n, core.OK
}

func (d *disk) clone() *disk {
	c := &disk{reserves: d.reserves}
	d.files.Each(func(path string, b []byte) { c.files.Set(path, slices.Clone(b)) })
	return c
}

func (d *disk) write(path string, off int64, b []byte) {
	file := slices.Clone(d.files.At(path))
	if grow := off + int64(len(b)) - int64(len(file)); grow > 0 {
		file = append(file, make([]byte, grow)...)
	}
	copy(file[off:], b)
	d.files.Set(path, file)
}

// rig drives one Writer against a disk; its writes wait until they are told to finish.
type rig struct {
	t     *testing.T
	disk  *disk
	w     *journal.Writer
	fx    core.Effects
	ids   uint64
	paths det.Map[core.FileID, string]
	ops   []op

	removed []string
}

type op struct {
	id   core.OpID
	path string
	off  int64
	data []byte
}

func newRig(t *testing.T, d *disk, cfg journal.Config) *rig {
	r := &rig{t: t, disk: d}
	cfg.NewFile = func() core.FileID { r.ids++; return core.NewFileID(cfg.Shard, r.ids) }
	cfg.NewOp = func() core.OpID { r.ids++; return core.NewOpID(cfg.Shard, r.ids) }
	r.w = journal.NewWriter(cfg)
	return r
}

// flush asks for a frame; its operations are under way then.
func (r *rig) flush() uint64 {
	r.fx.Reset()
	seq := r.w.Flush(&r.fx)
	for i := range r.fx.List {
		e := &r.fx.List[i]
		switch e.Kind {
		case core.Create:
			r.paths.Set(e.File, e.Path)
			if e.Op != 0 {
				r.ops = append(r.ops, op{id: e.Op, path: e.Path})
			}
			if _, ok := r.disk.files.Get(e.Path); !ok {
				r.disk.files.Set(e.Path, nil)
			}
		case core.Write:
			o := op{id: e.Op, path: r.paths.At(e.File), off: e.Off}
			for _, ref := range r.fx.Vec(e) {
				o.data = append(o.data, ref.Bytes()...)
				ref.Release()
			}
			if o.path == "" || !e.Sync {
				r.t.Fatalf("write to %q, sync %v", o.path, e.Sync)
			}
			r.ops = append(r.ops, o)
		case core.Truncate: // reserves: a crash may come before it
			if e.Op != 0 {
				r.t.Fatalf("a reservation that is waited for: %+v", e)
			}
			if r.disk.reserves {
				r.disk.write(r.paths.At(e.File), e.Off-1, []byte{0})
			}
		case core.Remove:
			r.removed = append(r.removed, r.paths.At(e.File))
			r.disk.files.Delete(r.paths.At(e.File))
		default:
			r.t.Fatalf("the journal asked for %v", e.Kind)
		}
	}
	return seq
}

// finish ends the n-th operation under way; half of its bytes are written when torn.
func (r *rig) finish(n int, err core.Errno) (durable uint64, ok bool) {
	o := r.ops[n]
	r.ops = slices.Delete(r.ops, n, n+1)
	if err == core.OK && o.data != nil {
		r.disk.write(o.path, o.off, o.data)
	}
	if !r.w.Owns(o.id) {
		r.t.Fatalf("the journal denies its operation %x", o.id)
	}
	return r.w.Done(o.id, err)
}

// sync flushes and finishes all.
func (r *rig) sync() uint64 {
	seq := r.flush()
	for len(r.ops) > 0 {
		if _, ok := r.finish(0, core.OK); !ok {
			r.t.Fatal("the journal is broken")
		}
	}
	return seq
}

func recovered(t *testing.T, d *disk) *journal.Found {
	t.Helper()
	f, err := journal.Recover(d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func find(f *journal.Found, id core.GroupID) *journal.Group {
	for i := range f.Groups {
		if f.Groups[i].ID == id {
			return &f.Groups[i]
		}
	}
	return nil
}

// batch is one record of n bytes at base.
func batch(base core.Offset, term core.Term, n int, fill byte) record.Batch {
	var w record.Builder
	w.At(base, term.Epoch())
	w.Producer(9, 1, int32(base))
	w.Append(record.Record{Value: slices.Repeat([]byte{fill}, n), Timestamp: 1_000_000 + core.Wall(base)})
	return w.Build()
}

// inline and direct are entries for a batch of n bytes whose offset is its index less one.
func inline(index core.Index, term core.Term, n int) journal.Entry {
	b := batch(core.Offset(index-1), term, n, byte(index))
	return journal.Entry{Index: index, Term: term, Data: journal.StubOf(b).Append(nil), Body: core.RefOf(b)}
}

func direct(index core.Index, term core.Term, n int) journal.Entry {
	e := inline(index, term, n)
	e.Body.Release()
	e.Body = core.Ref{}
	return e
}

func noop(index core.Index, term core.Term) journal.Entry {
	return journal.Entry{Index: index, Term: term}
}

func born(id core.GroupID) journal.Mark {
	return journal.Mark{Hard: journal.Hard{Term: 1, Commit: 1}, Voters: []uint64{1, 2, 3}, Index: 1, Term: 1,
		Name: fmt.Sprintf("t-%d", id), TopicID: [16]byte{15: byte(id)}}
}

func hard(term core.Term, commit core.Index) *journal.Hard {
	return &journal.Hard{Term: term, Vote: 7, Commit: commit}
}

// bodyMatches reads an inline batch back from where recovery says it is.
func bodyMatches(d *disk, e *journal.TailEntry) bool {
	b := make([]byte, e.Stub.Len)
	if _, err := d.ReadAt(e.Path, e.At, b); err != core.OK {
		return false
	}
	return record.Batch(b).Check() == record.Fine && record.Batch(b).BaseOffset() == e.Stub.Base
}
