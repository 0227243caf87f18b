package seg_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// kafkaSegment is what Apache Kafka 4.3.1 had on its disk of one segment.
type kafkaSegment struct {
	base                   core.Offset
	log, index, txn, state []byte
}

// kafkaFiles reads a directory of a zip file of testdata: the segments, and what else lies there.
func kafkaFiles(t *testing.T, file, dir string) (all []kafkaSegment, other string) {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	names, err := fs.ReadDir(z, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		b, err := fs.ReadFile(z, path.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		ext := path.Ext(e.Name())
		if ext == "" {
			other = string(b)
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(e.Name(), ext), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 || all[len(all)-1].base != core.Offset(n) {
			all = append(all, kafkaSegment{base: core.Offset(n)})
		}
		s := &all[len(all)-1]
		*map[string]*[]byte{".log": &s.log, ".index": &s.index, ".txnindex": &s.txn, ".snapshot": &s.state}[ext] = b
	}
	return all, other
}

func each(t *testing.T, log []byte, see func(pos int64, b record.Batch)) {
	t.Helper()
	for pos := 0; pos < len(log); {
		b, _, err := record.Next(log[pos:])
		if err != nil {
			t.Fatal(err)
		}
		see(int64(pos), b)
		pos += len(b)
	}
}

// openIn are the transactions that a snapshot of Kafka's producer state tells of (ProducerStateManager.java).
func openIn(b []byte) (open []seg.Ongoing) {
	const entry, first = 46, 38
	for b = b[10:]; len(b) >= entry; b = b[entry:] {
		if at := int64(binary.BigEndian.Uint64(b[first:])); at >= 0 {
			open = append(open, seg.Ongoing{PID: int64(binary.BigEndian.Uint64(b)), First: core.Offset(at)})
		}
	}
	slices.SortFunc(open, func(a, b seg.Ongoing) int { return int(a.First - b.First) })
	return open
}

func TestTheTransactionIndexIsKafkas(t *testing.T) {
	for _, c := range []struct {
		file, dir string
		entries   int
	}{
		{"testdata/txn/kafka.zip", ".", 13},
		{"../compact/testdata/kafka.zip", "plain/1-before", 2},
		{"../compact/testdata/kafka.zip", "packed/1-before", 2},
		{"../compact/testdata/kafka.zip", "plain/3-before", 1},
		{"../compact/testdata/kafka.zip", "packed/3-before", 1},
	} {
		t.Run(c.dir, func(t *testing.T) {
			all, _ := kafkaFiles(t, c.file, c.dir)
			var txns seg.Transactions
			entries, opened := 0, 0
			for _, s := range all {
				if s.state != nil {
					open := openIn(s.state)
					opened += len(open)
					if !slices.Equal(open, txns.Open()) {
						t.Fatalf("at %d: open are %v, Kafka says %v", s.base, txns.Open(), open)
					}
				}
				before := txns.Clone()
				var made []byte
				each(t, s.log, func(_ int64, b record.Batch) {
					if a, ok := txns.Batch(b); ok {
						made, entries = a.Append(made), entries+1
					}
				})
				if !bytes.Equal(made, s.txn) {
					t.Errorf("segment %d: %x, Kafka has %x", s.base, made, s.txn)
				}
				var again []byte // deleted, and made again by what was open at its base
				kept, rest, ok := seg.DecodeOpen(before.AppendOpen(nil))
				if !ok || len(rest) > 0 {
					t.Fatal("what was open does not come back")
				}
				seg.Scan(s.log, s.base, 0, func(b seg.Seen) {
					x := b.Head
					if b.Marker != nil {
						x = b.Marker
					}
					if a, ok := kept.Batch(x); ok {
						again = a.Append(again)
					}
				})
				if c.dir == "." && !bytes.Equal(again, s.txn) {
					t.Errorf("segment %d, made again: %x, Kafka has %x", s.base, again, s.txn)
				}
				got, err := seg.DecodeAborted(s.txn, s.base)
				var back []byte
				for _, a := range got {
					back = a.Append(back)
				}
				if err != nil || !bytes.Equal(back, s.txn) {
					t.Errorf("segment %d: %v, read back as %x", s.base, err, back)
				}
			}
			if entries != c.entries || c.dir == "." && opened < 4 {
				t.Errorf("%d transactions were aborted, want %d; %d were open between segments", entries, c.entries, opened)
			}
		})
	}
}

// upper is where the range of a fetch ends for Kafka (LogSegment.fetchUpperBoundOffset): the first entry of the offset
// index behind its bytes, else the next segment, else the log's end. An entry right behind them counts, unless it is
// the first (AbstractIndex.indexSlotFor).
func upper(s kafkaSegment, pos, size int64, next core.Offset) core.Offset {
	for i := 0; i+8 <= len(s.index); i += 8 {
		if at := int64(binary.BigEndian.Uint32(s.index[i+4:])); at > pos+size || at == pos+size && i > 0 {
			return s.base + core.Offset(binary.BigEndian.Uint32(s.index[i:]))
		}
	}
	return next
}

// TestReadersOfWhatIsCommitted holds the last stable offset and the lists of aborted transactions against what the
// broker answered, for a fetch of each third offset in three sizes.
func TestReadersOfWhatIsCommitted(t *testing.T) {
	all, answers := kafkaFiles(t, "testdata/txn/kafka.zip", ".")
	var txns seg.Transactions
	for _, s := range all {
		each(t, s.log, func(_ int64, b record.Batch) { txns.Batch(b) })
	}
	lists, many := 0, 0
	for line := range strings.Lines(answers) {
		var from, most, high, stable, size int64
		if _, err := fmt.Sscan(line, &from, &most, &high, &stable, &size); err != nil {
			t.Fatal(err)
		}
		if got := txns.Stable(core.Offset(high)); int64(got) != stable {
			t.Fatalf("stable up to %d, Kafka says %d", got, stable)
		}
		want := strings.Fields(line)[5:]
		k := len(all) - 1
		for all[k].base > core.Offset(from) {
			k--
		}
		pos, next := int64(-1), core.Offset(high)
		if k+1 < len(all) {
			next = all[k+1].base
		}
		each(t, all[k].log, func(at int64, b record.Batch) {
			if pos < 0 && b.LastOffset() >= core.Offset(from) {
				pos = at
			}
		})
		if size == 0 { // nothing stable is left to be read
			if len(want) > 0 {
				t.Fatalf("%q: no bytes, and aborted transactions", line)
			}
			continue
		}
		var got []string
		for _, a := range seg.AbortedIn(core.Offset(from), upper(all[k], pos, size, next), func(i int) ([]seg.Aborted, bool) {
			if k+i >= len(all) {
				return nil, false
			}
			list, err := seg.DecodeAborted(all[k+i].txn, all[k+i].base)
			if err != nil {
				t.Fatal(err)
			}
			return list, true
		}) {
			got = append(got, fmt.Sprintf("%d:%d", a.PID, a.First))
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %d, %d bytes: aborted %v, Kafka says %v", from, size, got, want)
		}
		if lists++; len(want) > 1 {
			many++
		}
	}
	if lists < 100 || many < 50 {
		t.Errorf("%d lists, %d of them with several transactions: too few", lists, many)
	}
}

func TestATransactionIndexThatLies(t *testing.T) {
	all, _ := kafkaFiles(t, "testdata/txn/kafka.zip", ".")
	check := func(from int, txn func(k int) []byte) error {
		c := seg.NewTxnCheck(all[from].base)
		for k := from; k < len(all); k++ {
			c.Segment(all[k].base, txn(k))
			seg.Scan(all[k].log, all[k].base, 0, c.Batch)
			if err := c.End(); err != nil {
				return fmt.Errorf("segment %d: %w", k, err)
			}
		}
		return nil
	}
	for from := range all {
		if err := check(from, func(k int) []byte { return all[k].txn }); err != nil {
			t.Errorf("Kafka's own files from segment %d on: %v", from, err)
		}
	}
	at := func(n int, f func(b []byte) []byte) func(int) []byte {
		return func(k int) []byte {
			if k == n {
				return f(bytes.Clone(all[k].txn))
			}
			return all[k].txn
		}
	}
	for what, c := range map[string]struct {
		file func(int) []byte
		want string
	}{
		"gone":           {at(0, func([]byte) []byte { return nil }), "segment 0: txnindex lacks"},
		"cut":            {at(1, func(b []byte) []byte { return b[:len(b)-1] }), "segment 1: txnindex has 67 bytes"},
		"short":          {at(0, func(b []byte) []byte { return b[:68] }), "segment 0: txnindex lacks"},
		"twice":          {at(0, func(b []byte) []byte { return append(b, b...) }), "not behind"},
		"longer":         {at(4, func(b []byte) []byte { return seg.Aborted{PID: 1, First: 131, Last: 9e9, Stable: 1}.Append(b) }), "behind the last batch"},
		"of another":     {at(1, func([]byte) []byte { return all[0].txn }), "not behind"},
		"of a later one": {at(0, func([]byte) []byte { return all[1].txn }), "segment 0: txnindex lacks"},
		"a version":      {at(0, func(b []byte) []byte { b[1] = 1; return b }), "version 1"},
		"a bit":          {at(0, func(b []byte) []byte { b[17] ^= 1; return b }), "the batches say"},
	} {
		if err := check(0, c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func FuzzTransactionIndex(f *testing.F) {
	f.Add(seg.Aborted{PID: 1, First: 2, Last: 9, Stable: 3}.Append(nil), int64(0))
	f.Add(make([]byte, seg.AbortedSize), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, base int64) {
		all, err := seg.DecodeAborted(b, core.Offset(base))
		if err != nil {
			return
		}
		var back []byte
		for _, a := range all {
			back = a.Append(back)
		}
		if !bytes.Equal(back, b) {
			t.Fatalf("%x comes back as %x", b, back)
		}
		seg.Collect(all, core.Offset(base), core.Offset(base)+10)
		seg.DecodeOpen(b)
	})
}
