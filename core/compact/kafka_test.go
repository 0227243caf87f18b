package compact_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/record"
)

// testdata/kafka.zip holds two partitions of Apache Kafka 4.3.1 before and after each of four rounds of its log
// cleaner: idempotent, transactional and plain producers, aborted transactions over several segments, delete
// markers, null keys, LogAppendTime; "packed" has the same in zstd. delete.retention.ms was 2000, segments end at
// 6,000 bytes. "range" is what the cleaner took: its checkpoint and the base of the active segment. testdata/kafka makes it.
//
// With the same log, range and time we must write the same bytes. Compressed batches that lose records are
// compressed otherwise (lz4.go): there, header and records must be the same.
func TestKafkaCleansTheSame(t *testing.T) {
	for _, topic := range []string{"plain", "packed"} {
		now, dated, emptied := core.Wall(0), 0, 0
		for round := 1; round <= 4; round++ {
			t.Run(fmt.Sprintf("%s %d", topic, round), func(t *testing.T) {
				before := kafkaLog(t, fmt.Sprintf("%s/%d-before", topic, round))
				after := kafkaLog(t, fmt.Sprintf("%s/%d-after", topic, round))
				var ok bool
				if now, ok = decidedAt(t, before, after, now); ok {
					dated++
				}
				p := before.plan(before.from, now)
				p.Retention, p.SegmentBytes = 2000, 6000
				got := replaced(before.sealed, run(t, p, before.sealed))
				if len(got) != len(after.sealed) {
					t.Fatalf("%d segments, Kafka has %d", len(got), len(after.sealed))
				}
				for i, f := range got {
					emptied += sameFile(t, topic == "plain", f, after.sealed[i])
				}
				if index := before.reindex(p, run(t, p, before.sealed)); !reflect.DeepEqual(index, after.index) {
					t.Errorf("aborted %v, Kafka has %v", index, after.index)
				}
			})
		}
		if dated < 2 || emptied < 2 {
			t.Errorf("%s: %d rounds dated something, %d headers without records", topic, dated, emptied)
		}
	}
}

type kafka struct {
	history
	from core.Offset
}

// kafkaLog reads one state of a partition; the last segment is the active one.
func kafkaLog(t *testing.T, dir string) (k kafka) {
	z, err := zip.OpenReader("testdata/kafka.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	names, err := fs.ReadDir(z, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(z, path.Join(dir, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		switch path.Ext(name.Name()) {
		case ".log":
			base, err := strconv.ParseInt(strings.TrimSuffix(name.Name(), ".log"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			k.sealed = append(k.sealed, file{core.Offset(base), b})
		case ".txnindex": // entries of 34 bytes: version, producer, first, last, last stable offset
			for ; len(b) >= 34; b = b[34:] {
				n := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
				k.index = append(k.index, compact.Aborted{PID: n(2), First: core.Offset(n(10)), Last: core.Offset(n(18))})
			}
		default:
			from, _, _ := strings.Cut(string(b), " ")
			n, err := strconv.ParseInt(from, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			k.from = core.Offset(n)
		}
	}
	slices.SortFunc(k.index, func(a, b compact.Aborted) int { return int(a.First - b.First) })
	last := map[int64]compact.Producer{}
	for _, b := range batches(t, k.sealed) {
		p, ok := last[b.ProducerID()]
		switch {
		case b.ProducerID() < 0:
			continue
		case !b.Control():
			p.Last = b.LastOffset()
		case !ok || b.ProducerEpoch() != p.Epoch: // a new epoch has no batches yet (KIP-890)
			p.Last = -1
		}
		p.PID, p.Epoch = b.ProducerID(), b.ProducerEpoch()
		last[p.PID] = p
	}
	for _, p := range last {
		k.producers = append(k.producers, p)
	}
	slices.SortFunc(k.producers, func(a, b compact.Producer) int { return int(a.PID - b.PID) })
	n := len(k.sealed) - 1
	k.next, k.sealed = k.sealed[n].base, k.sealed[:n]
	return k
}

// decidedAt is the time of a round: what it dated was dated a retention later. Without any it is later than
// the last one by more than a retention.
func decidedAt(t *testing.T, before, after kafka, last core.Wall) (at core.Wall, ok bool) {
	was := map[core.Offset]bool{}
	for _, b := range batches(t, before.sealed) {
		_, was[b.BaseOffset()] = b.DeleteHorizon()
	}
	for _, b := range batches(t, after.sealed) {
		if h, dated := b.DeleteHorizon(); dated && !was[b.BaseOffset()] {
			return h - 2000, true
		}
	}
	return last + 3000, false
}

func sameFile(t *testing.T, exact bool, got, want file) (emptied int) {
	t.Helper()
	if got.base != want.base {
		t.Fatalf("segment %d, Kafka has %d", got.base, want.base)
	}
	ours, theirs := batches(t, []file{got}), batches(t, []file{want})
	if len(ours) != len(theirs) {
		t.Fatalf("segment %d: %d batches, Kafka has %d", got.base, len(ours), len(theirs))
	}
	for i, o := range ours {
		k := theirs[i]
		if o.Count() == 0 {
			emptied++
		}
		if bytes.Equal(o, k) {
			continue
		}
		if exact || o.Codec() == record.Zstd || k.Codec() != record.Zstd {
			t.Errorf("segment %d, batch %d:\n%x\n%x is Kafka's", got.base, o.BaseOffset(), []byte(o), []byte(k))
			continue
		}
		// All but length, checksum and codec.
		a, b := bytes.Clone(o[:record.HeaderSize]), bytes.Clone(k[:record.HeaderSize])
		for _, h := range [][]byte{a, b} {
			clear(h[8:12])
			clear(h[17:21])
			h[22] &^= 7
		}
		if !bytes.Equal(a, b) {
			t.Errorf("segment %d, batch %d:\n%x\n%x is Kafka's", got.base, o.BaseOffset(), a, b)
		}
		x, y := entries(t, []file{{0, o}}), entries(t, []file{{0, k}})
		for j := range x {
			if len(x) != len(y) || !sameRecord(x[j].Record, y[j].Record) {
				t.Fatalf("segment %d, batch %d: %+v, Kafka has %+v", got.base, o.BaseOffset(), x, y)
			}
		}
	}
	return emptied
}
