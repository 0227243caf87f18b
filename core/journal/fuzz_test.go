package journal_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// sampleFile is a journal file with every kind of record.
func sampleFile(t *testing.T) []byte {
	d, r := one(t)
	r.w.Append(1, hard(2, 1), []journal.Entry{noop(2, 2), inline(3, 2, 50), direct(4, 2, 9000)}, 1)
	r.sync()
	r.w.Append(1, nil, []journal.Entry{inline(4, 3, 20)}, 3)
	r.w.Checkpoint(2, born(2), []journal.Entry{inline(2, 1, 10)})
	r.sync()
	r.w.Gone(2)
	r.sync()
	return d.files.At(journal.Path(0, 1))
}

// FuzzRecover reads two files of arbitrary bytes, as they are and with their checksums made true.
func FuzzRecover(f *testing.F) {
	file := sampleFile(&testing.T{})
	f.Add(file, file[:5000])
	f.Add(file[:len(file)-10], []byte{})
	other := bytes.Clone(file)
	other[17]++ // another shard
	journal.ResealAll(other)
	f.Add(file, other)
	f.Fuzz(func(t *testing.T, one, two []byte) {
		for _, reseal := range []bool{false, true} {
			d := &disk{}
			for i, b := range [][]byte{one, two} {
				b = bytes.Clone(b)
				if reseal {
					journal.ResealAll(b)
				}
				d.files.Set(journal.Path(core.ShardID(i), i+1), b)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			found, err := journal.Recover(d)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(2<<20+100*(len(one)+len(two))) {
				t.Fatalf("%d bytes were allocated for %d on disk", got, len(one)+len(two))
			}
			if err != nil {
				continue
			}
			judge(t, d, found)
		}
	})
}

// judge holds what was found to its promises.
func judge(t *testing.T, d *disk, found *journal.Found) {
	for i := range found.Groups {
		g := &found.Groups[i]
		if i > 0 && found.Groups[i-1].ID >= g.ID {
			t.Fatalf("group %d after %d", g.ID, found.Groups[i-1].ID)
		}
		if g.Damaged != "" || g.Gone {
			continue
		}
		if g.Hard.Commit > g.Last() || g.Bound > g.Last() || g.Bound < g.Mark.Index {
			t.Fatalf("group %d ends at %d: commit %d, bound %d", g.ID, g.Last(), g.Hard.Commit, g.Bound)
		}
		for j := range g.Tail {
			e := &g.Tail[j]
			if e.Index != g.Mark.Index+1+core.Index(j) {
				t.Fatalf("group %d: entry %d at place %d", g.ID, e.Index, j)
			}
			b := make([]byte, e.Stub.Len)
			if e.Inline {
				if _, err := d.ReadAt(e.Path, e.At, b); err != core.OK || !e.IsBatch {
					t.Fatalf("group %d: the batch of entry %d is not at %s:%d", g.ID, e.Index, e.Path, e.At)
				}
			}
		}
	}
}
