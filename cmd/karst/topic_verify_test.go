package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// copyOfLog is a log of ten batches of two records, changed by change.
func copyOfLog(change func(log []byte) []byte) []byte {
	var log []byte
	for i := range 10 {
		var b record.Builder
		b.Append(record.Record{Value: fmt.Appendf(nil, "value %d", i)})
		b.Append(record.Record{Value: bytes.Repeat([]byte("x"), 50*i)})
		batch := append([]byte(nil), b.Build()...)
		record.Batch(batch).Patch(core.Offset(2*i), 0)
		log = append(log, batch...)
	}
	if change != nil {
		log = change(log)
	}
	return log
}

// batchAtOffset is the position of the batch that begins with an offset.
func batchAtOffset(log []byte, offset int64) int {
	for at := 0; at < len(log); {
		b := record.Batch(log[at:])
		if int64(b.BaseOffset()) == offset {
			return at
		}
		at += int(b.Size())
	}
	return -1
}

// serves answers as a broker whose file holds log, some bytes at a time; high is where its log ends.
func serves(log []byte, high int64) func(context.Context, *copyReader) ([]byte, int64, error) {
	whole := copyOfLog(nil)
	return func(_ context.Context, r *copyReader) ([]byte, int64, error) {
		at := batchAtOffset(whole, r.at-r.at%2)
		if r.at >= high || at < 0 {
			return nil, high, nil
		}
		return log[at:min(len(log), max(at+700, at+int(record.Batch(whole[at:]).Size())))], high, nil
	}
}

// Whatever is wrong with one copy is said of that one, with its place; the others are compared to their ends.
func TestCopiesAreCompared(t *testing.T) {
	flip := func(offset int64, at int) func([]byte) []byte {
		return func(log []byte) []byte {
			log[batchAtOffset(log, offset)+at] ^= 1
			return log
		}
	}
	for _, c := range []struct {
		name string
		log  []byte
		high int64
		err  error
		want string
		to   int64
	}{
		{"same", copyOfLog(nil), 20, nil, "", 20},
		{"a record rots", copyOfLog(flip(8, 70)), 20, nil, "damaged at offset 8: the checksum", 8},
		{"the epoch, which the checksum does not cover", copyOfLog(flip(8, 15)), 20, nil, "differs from node ", 10},
		{"an offset", copyOfLog(flip(8, 7)), 20, nil, "damaged at offset 8: a batch says 9..10", 8},
		{"a length", copyOfLog(flip(8, 8)), 20, nil, "damaged at offset 8: ", 8},
		{"behind", copyOfLog(nil), 12, nil, "behind: it ends at offset 12", 12},
		{"away", nil, 0, errors.New("nobody is there"), "does not answer: nobody is there", 0},
	} {
		for place := range 3 {
			copies := []*copyReader{}
			for n := range int32(3) {
				copies = append(copies, &copyReader{node: n + 1, end: 20, ask: serves(copyOfLog(nil), 20)})
			}
			sick := copies[place]
			sick.ask = serves(c.log, c.high)
			if c.err != nil {
				sick.ask = func(context.Context, *copyReader) ([]byte, int64, error) { return nil, 0, c.err }
			}
			want := c.want
			compare(t.Context(), copies, true)
			for i, x := range copies {
				row := x.row(0)
				switch {
				case i != place && (!row.Fine || row.To != 20 || row.Bytes == 0):
					t.Errorf("%s: the copy beside it: %+v", c.name, row)
				case i == place && (row.Fine != (want == "") || !strings.HasPrefix(x.why, want) || row.To != c.to):
					t.Errorf("%s: %+v, want %q", c.name, row, want)
				}
			}
		}
	}
}

func TestWhatIsReadIsPaced(t *testing.T) {
	p := &pace{rate: 1 << 20, began: time.Now()}
	p.took(t.Context(), 1<<18)
	if d := time.Since(p.began); d < 240*time.Millisecond {
		t.Errorf("256 KiB at 1 MiB/s took %v", d)
	}
}

// Each segment's indexes are asked for once, in order; a broker that is busy is asked again, and what it says is
// told of its copy.
func TestIndexesOfACopyAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		bad   int32
		err   error
		next  int64
		want  string
		asked string
	}{
		{"fine", 0, nil, 100, "", "[7 7 50 100]"},
		{"the first", 1, nil, 100, "t-3/00000000000000000050.log: its index is not", "[7 7 50]"},
		{"the second", 2, nil, 100, "t-3/00000000000000000050.log: its time index is not", "[7 7 50]"},
		{"in circles", 0, nil, 50, "says that the segment", "[7 7 50]"},
		{"gone meanwhile", 0, kerr.OffsetOutOfRange, 100, "", "[7 7 50]"},
		{"an older build", 0, kerr.UnsupportedVersion, 100, "does not say", "[7 7 50]"},
	} {
		asked := []int64{}
		x := &copyReader{topic: "t", partition: 3, wait: time.Minute}
		x.indexes(t.Context(), 7, func(_ context.Context, at int64) (checkedIndex, error) {
			asked = append(asked, at)
			switch {
			case len(asked) == 1:
				return checkedIndex{-1, -1, 0}, kerr.OffsetNotAvailable
			case at == 7:
				return checkedIndex{0, 50, 0}, nil
			case at == 50:
				return checkedIndex{50, c.next, c.bad}, c.err
			}
			return checkedIndex{100, -1, 0}, nil
		})
		if got := fmt.Sprint(asked); got != c.asked || !strings.HasPrefix(x.why, c.want) || (x.why == "") != (c.want == "") {
			t.Errorf("%s: asked for %s, want %s: %q, want %q", c.name, got, c.asked, x.why, c.want)
		}
	}
}

// Copies that have not carried out the same compactions need not be equal, and gaps belong to those that have.
func TestCopiesAreComparedAfterTheSameCompaction(t *testing.T) {
	whole := copyOfLog(nil)
	thin := append(bytes.Clone(whole[:batchAtOffset(whole, 4)]), whole[batchAtOffset(whole, 12):]...)
	at := func(log []byte, gen int64) func(context.Context, *copyReader) ([]byte, int64, error) {
		return func(_ context.Context, r *copyReader) ([]byte, int64, error) {
			r.saw(gen)
			for i := 0; i < len(log); {
				b := record.Batch(log[i:])
				if int64(b.LastOffset()) >= r.at {
					return log[i:], 20, nil
				}
				i += int(b.Size())
			}
			return nil, 20, nil
		}
	}
	read := func(gens [3]int64, logs ...[]byte) (why []string) {
		var copies []*copyReader
		for i, log := range logs {
			copies = append(copies, &copyReader{node: int32(i), end: 20, ask: at(log, gens[i])})
		}
		compareEven(t.Context(), copies, true)
		for _, x := range copies {
			why = append(why, x.why)
		}
		return why
	}
	if why := read([3]int64{7, 7, 7}, thin, thin, thin); strings.Join(why, "") != "" {
		t.Errorf("equal ones: %q", why)
	}
	if why := read([3]int64{7, 0, 7}, thin, whole, thin); why[0]+why[2] != "" || why[1] != "behind a compaction" {
		t.Errorf("one behind: %q", why)
	}
	if why := read([3]int64{0, 7, 0}, whole, thin, whole); why[1] != "" || why[0] != "behind a compaction" || why[2] != why[0] {
		t.Errorf("two behind: %q", why)
	}
	if why := read([3]int64{7, 7, 7}, thin, whole, thin); why[0]+why[2] != "" || !strings.HasPrefix(why[1], "differs from node") {
		t.Errorf("one differs: %q", why)
	}
	if why := read([3]int64{0, 0, 0}, thin, whole, whole); why[1]+why[2] != "" || !strings.HasPrefix(why[0], "damaged at offset 4") {
		t.Errorf("a gap that nothing explains: %q", why)
	}
}
