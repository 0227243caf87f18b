package journal_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

func inspect(t *testing.T, file []byte) (h journal.Head, all []journal.Frame, behind int64, ok bool) {
	t.Helper()
	d := &disk{}
	d.files.Set(journal.Path(0, 1), file)
	h, behind, ok, err := journal.Inspect(d, d.List()[0], func(f journal.Frame) bool {
		all = append(all, f)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, all, behind, ok
}

// What a tool is shown of a file is what was written, frame by frame; a byte that rots is shown where it lies.
func TestAToolSeesEveryFrame(t *testing.T) {
	file := sampleFile(t)
	h, all, behind, ok := inspect(t, file)
	if !ok || h.Shard != 0 || h.Ordinal == 0 || len(all) < 3 || behind < 0 {
		t.Fatalf("%+v, %d frames, %d bytes behind", h, len(all), behind)
	}
	at, kinds, inline := all[0].At, map[string]int{}, int64(0)
	for i, f := range all {
		if f.Bad != "" || f.Skipped != 0 || f.At != at || f.Seq != uint64(i+1) {
			t.Errorf("frame %d: %+v, want it at %d", i, f, at)
		}
		at = (f.At + f.Size + 63) &^ 63
		for _, r := range f.Records {
			switch {
			case r.Gone:
				kinds["gone"]++
			case r.Mark != nil:
				kinds["checkpoint"]++
			default:
				kinds["append"]++
			}
			for _, e := range r.Entries {
				inline += e.Inline
				if e.Rotten || e.Inline > 0 && e.Stub == nil {
					t.Errorf("frame %d: %+v", i, e)
				}
			}
		}
	}
	if kinds["gone"] != 1 || kinds["checkpoint"] < 2 || kinds["append"] < 2 || inline == 0 {
		t.Errorf("records %v, %d bytes inline", kinds, inline)
	}

	broken := bytes.Clone(file)
	broken[all[1].At+4] ^= 1 // the header's checksum
	if _, some, _, _ := inspect(t, broken); len(some) != len(all)-1 || some[1].Skipped != all[2].At-all[1].At {
		t.Errorf("with a broken header: %+v", some)
	}
	broken = bytes.Clone(file)
	broken[all[1].At+64] ^= 1 // the first record
	if _, some, _, _ := inspect(t, broken); len(some) != len(all) || !strings.Contains(some[1].Bad, "checksum") {
		t.Errorf("with a broken record: %+v", some)
	}
	for i, f := range all {
		for _, r := range f.Records {
			for k, e := range r.Entries {
				if e.Inline == 0 {
					continue
				}
				broken = bytes.Clone(file)
				broken[e.At+e.Inline-1] ^= 1
				rotten := 0
				_, some, _, _ := inspect(t, broken)
				for _, x := range some[i].Records {
					if x.Group == r.Group && x.Chain == r.Chain && x.Entries[k].Rotten {
						rotten++
					}
				}
				if rotten != 1 {
					t.Errorf("a broken batch at %d is not shown", e.At)
				}
			}
		}
	}
	if _, _, _, ok := inspect(t, make([]byte, 10_000)); ok {
		t.Error("a file that was never written has a head")
	}
}

// Bytes from a disk may be anything, also with checksums that are right.
func TestAToolSurvivesAnyBytes(t *testing.T) {
	file := sampleFile(t)
	r := det.New(3, "inspect")
	frames := 0
	for round := range 2000 {
		b := bytes.Clone(file)
		for range 1 + r.N(6) {
			b[r.N(int64(len(b)))] ^= byte(1 << r.N(8))
		}
		b = b[:int64(len(b))-r.N(int64(len(b)/2))*int64(round%2)]
		if round%3 > 0 {
			journal.ResealAll(b)
		}
		d := &disk{}
		d.files.Set(journal.Path(0, 1), b)
		info := core.FileInfo{Path: journal.Path(0, 1), Size: int64(len(b))}
		if _, _, _, err := journal.Inspect(d, info, func(journal.Frame) bool { frames++; return true }); err != nil {
			continue
		}
	}
	if frames < 2000 {
		t.Errorf("%d frames: too little happened", frames)
	}
}
