package journal_test

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

func TestALogStartIsReadBackAndNothingElseIsTakenForOne(t *testing.T) {
	for _, start := range []core.Offset{0, 1, 127, 128, 1 << 40, 1<<63 - 1} {
		b := journal.AppendStart(nil, start)
		rolling := journal.AppendRollingStart(nil, start)
		if got, ok := journal.DecodeStart(rolling); !ok || got != start || !journal.StartRolls(rolling) || journal.StartRolls(b) {
			t.Errorf("%d, with a new segment: %d, %v", start, got, ok)
		}
		if got, ok := journal.DecodeStart(b); !ok || got != start {
			t.Errorf("%d: %d, %v", start, got, ok)
		}
		if _, ok := journal.DecodeStub(b); ok {
			t.Errorf("%d: it is taken for a batch", start)
		}
		for n := range len(b) {
			if _, ok := journal.DecodeStart(b[:n]); ok {
				t.Errorf("%d: %d of %d bytes are enough", start, n, len(b))
			}
		}
		if _, ok := journal.DecodeStart(append(b, 0)); ok {
			t.Errorf("%d: with a byte too many", start)
		}
	}
	for _, b := range [][]byte{{2, 3, 0}, {2, 0, 0}, {1, 1, 0}, {1, 2, 0}, {2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if got, ok := journal.DecodeStart(b); ok {
			t.Errorf("% x is taken for %d", b, got)
		}
	}
	stub := journal.Stub{Base: 3, Count: 1, Len: 100, PID: -1, PEpoch: -1, Seq: -1}.Append(nil)
	if _, ok := journal.DecodeStart(stub); ok {
		t.Error("a batch is taken for a log start")
	}
}
