package checker

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"testing"
)

// FuzzReader: whatever the bytes, there is a verdict or one of the two errors. What is understood is
// judged the same when it is written anew, and gets no verdict when a part is missing.
func FuzzReader(f *testing.F) {
	a := base(nil)
	closing(a)
	f.Add(a.file())
	f.Add([]byte(closed(aSend, aPoll)))
	f.Add([]byte(closed(aSend, aPoll, aScan, seal(2))))
	var long bytes.Buffer
	writeLong(&long, 60)
	f.Add(long.Bytes())
	limits := Limits{Bytes: 64 << 20}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, _, err := JudgeHistory(bytes.NewReader(b), limits)
		if err != nil && !errors.Is(err, ErrHistory) && !errors.Is(err, ErrIncomplete) {
			t.Fatalf("%v is not of the two kinds", err)
		}
		if err == nil && v.Clean() && v.Sends == 0 && v.Operations == 0 {
			t.Fatal("nothing happened, and that is clean")
		}
		if v == nil {
			return
		}
		again, _, err2 := JudgeHistory(bytes.NewReader(rewritten(t, b)), limits)
		if again == nil || again.Operations != v.Operations || !maps.Equal(again.Counts, v.Counts) || (err == nil) != (err2 == nil) {
			t.Fatalf("%+v, %v; written anew %+v, %v", v, err, again, err2)
		}
		for _, cut := range []int{len(b) / 3, len(b) - 1, bytes.LastIndexByte(b[:len(b)-1], '\n') + 1} {
			if _, _, err := JudgeHistory(bytes.NewReader(b[:cut]), limits); !errors.Is(err, ErrHistory) {
				t.Fatalf("cut at %d of %d bytes: %v", cut, len(b), err)
			}
		}
	})
}

// rewritten reads a history and writes it anew.
func rewritten(t *testing.T, b []byte) []byte {
	d, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out := AppendHeader(nil, d.Recorder)
	var o Op
	for {
		switch err := d.Next(&o); err {
		case nil:
			out = AppendOp(out, &o)
		case io.EOF:
			return AppendEnd(out, d.Read)
		default:
			t.Fatal(err)
		}
	}
}
