package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/checker"
)

// TestSignals: the first ends the load, the second everything.
func TestSignals(t *testing.T) {
	c := &cobra.Command{}
	c.SetContext(t.Context())
	ctx, enough, deaf := hear(c)
	defer deaf()
	for _, ended := range []<-chan struct{}{enough.Done(), ctx.Done()} {
		if ctx.Err() != nil {
			t.Fatal("one signal ended the recording")
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
}

// TestTapes: what was written comes back, compressed or not, and is clean only with its last line.
func TestTapes(t *testing.T) {
	for _, name := range []string{"h.jsonl", "h.jsonl.gz"} {
		for _, whole := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), name)
			tp, err := newTape(path, "test")
			if err != nil {
				t.Fatal(err)
			}
			o := checker.NewOp(checker.InitProducer)
			o.Process, o.Call, o.PID, o.Epoch = tp.process(), tp.now(), 7, 0
			tp.write(&o)
			if err := tp.close(whole); err != nil {
				t.Fatal(err)
			}
			tp.write(&o) // too late: it must not follow the last line
			f, err := openHistory(path)
			if err != nil {
				t.Fatal(err)
			}
			v, _, err := checker.JudgeHistory(f, checker.Limits{})
			if clean := v != nil && err == nil && v.Clean() && v.Operations == 1; clean != whole {
				t.Errorf("%s, closed as whole %v: %+v, %v", name, whole, v, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestValues: a value is known by its name, any changed bit shows, and checksums tell values apart.
func TestValues(t *testing.T) {
	s := stamp{1, 2, 3}
	a, b := s.value(3, 5, 100, 60), s.value(3, 5, 101, 60)
	if producer, counter, ok := s.parse(a, 5); producer != 3 || counter != 100 || !ok {
		t.Errorf("value 100 of producer 3 reads as %d of %d, %v", counter, producer, ok)
	}
	if _, _, ok := s.parse(a, 4); ok {
		t.Error("a value of another partition passes")
	}
	if ending(a) == ending(b) {
		t.Errorf("two values have the checksum %08x", ending(a))
	}
	for bit := range 8 * len(a) {
		a[bit/8] ^= 1 << (bit % 8)
		if _, _, ok := s.parse(a, 5); ok {
			t.Errorf("bit %d changed, and the value passes", bit)
		}
		a[bit/8] ^= 1 << (bit % 8)
	}
}
