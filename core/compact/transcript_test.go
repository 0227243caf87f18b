package compact_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/record"
)

// script runs the commands of a transcript:
//
//	log                                a log, line by line; it follows what is there
//	  segment                          the next batch begins one
//	  batch [OPTION..] RECORD..        KEY=VALUE, KEY for a delete marker, =VALUE without a key
//	  commit|abort pid=P [epoch=E]     the marker of P's transaction
//	  gap N                            offsets that an earlier compaction left no batch for
//	compact [from=O] [to=O] [at=T] [retention=MS] [keys=N] [size=BYTES] [index=BYTES]
//	producer pid=P [last=O] [epoch=E]  where a producer stands
//	rot at=O                           a bit of the batch at O rots
//
// Options of a batch: pid=P epoch=E seq=S txn zstd time=T stamp=T (LogAppendTime).
type script struct {
	t     *testing.T
	h     history
	first map[int64]core.Offset // of the transactions that are open
	dirty core.Offset
}

func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		s := &script{first: map[int64]core.Offset{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { s.t = t; return s.run(d) })
	})
}

func (s *script) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "log":
		for _, line := range strings.Split(d.Input, "\n") {
			s.line(strings.Fields(line))
		}
		return fmt.Sprintf("next %d\n", s.h.next)
	case "producer":
		p := compact.Producer{Last: -1}
		scan(s.t, d, "pid", &p.PID)
		scan(s.t, d, "last", (*int64)(&p.Last))
		epoch := int64(0)
		scan(s.t, d, "epoch", &epoch)
		p.Epoch = int16(epoch)
		s.h.producers = slices.DeleteFunc(s.h.producers, func(x compact.Producer) bool { return x.PID == p.PID })
		s.h.producers = append(s.h.producers, p)
		slices.SortFunc(s.h.producers, func(a, b compact.Producer) int { return int(a.PID - b.PID) })
		return ""
	case "rot":
		at := int64(0)
		scan(s.t, d, "at", &at)
		for _, b := range batches(s.t, s.h.sealed) {
			if b.BaseOffset() == core.Offset(at) {
				b[len(b)-1] ^= 1
			}
		}
		return ""
	case "compact":
		return s.compact(d)
	}
	s.t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func scan(t *testing.T, d *datadriven.TestData, name string, to *int64) {
	if d.HasArg(name) {
		d.ScanArgs(t, name, to)
	}
}

func (s *script) line(words []string) {
	if words[0] == "segment" || len(s.h.sealed) == 0 {
		s.h.sealed = append(s.h.sealed, file{base: s.h.next})
	}
	opt := map[string]int64{"pid": -1, "epoch": 0, "seq": 0, "time": 1, "stamp": -1}
	var recs []record.Record
	txn, packed := false, false
	for _, word := range words[1:] {
		k, v, set := strings.Cut(word, "=")
		if _, ok := opt[k]; ok && set {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			opt[k] = n
			continue
		}
		switch word {
		case "txn":
			txn = true
		case "zstd":
			packed = true
		default:
			r := record.Record{Key: []byte(k), Timestamp: core.Wall(opt["time"])}
			if k == "" {
				r.Key = nil
			}
			if set {
				r.Value = []byte(v)
			}
			recs = append(recs, r)
		}
	}
	f := &s.h.sealed[len(s.h.sealed)-1]
	switch words[0] {
	case "gap":
		n, _ := strconv.Atoi(words[1])
		s.h.next += core.Offset(n)
	case "commit", "abort":
		pid := opt["pid"]
		f.data = append(f.data, marker(s.h.next, pid, int16(opt["epoch"]), words[0] == "commit", 1)...)
		if words[0] == "abort" {
			s.h.index = append(s.h.index, compact.Aborted{PID: pid, First: s.first[pid], Last: s.h.next})
			slices.SortFunc(s.h.index, func(a, b compact.Aborted) int { return int(a.First - b.First) })
		}
		delete(s.first, pid)
		s.h.next++
	case "batch":
		f.data = append(f.data, s.batch(opt, recs, txn, packed)...)
		s.h.next += core.Offset(len(recs))
	}
}

func (s *script) batch(opt map[string]int64, recs []record.Record, txn, packed bool) record.Batch {
	var w record.Builder
	w.At(s.h.next, 1)
	if pid := opt["pid"]; pid >= 0 {
		w.Producer(pid, int16(opt["epoch"]), int32(opt["seq"]))
		if _, open := s.first[pid]; txn && !open {
			s.first[pid] = s.h.next
		}
	}
	if txn {
		w.Transactional()
	}
	for _, r := range recs {
		w.Append(r)
	}
	b := record.Batch(bytes.Clone(w.Build()))
	if opt["stamp"] >= 0 {
		b.Stamp(core.Wall(opt["stamp"]))
	}
	if packed {
		b = zstdOf(b)
	}
	return b
}

func (s *script) compact(d *datadriven.TestData) string {
	p := s.h.plan(s.dirty, 0)
	keys := int64(1000)
	for name, to := range map[string]*int64{"from": (*int64)(&p.From), "to": (*int64)(&p.To), "at": (*int64)(&p.At),
		"retention": &p.Retention, "keys": &keys, "size": &p.SegmentBytes, "index": &p.IndexBytes} {
		scan(s.t, d, name, to)
	}
	p.Memory = keys * compact.KeyBytes
	p.Segments = slices.DeleteFunc(p.Segments, func(x compact.Segment) bool { return x.Base >= p.To })
	for i := range p.Segments {
		p.Segments[i].Index = 10
	}
	r, err := compact.New(p)
	if err != nil {
		return err.Error() + "\n"
	}
	res, err := drive(r, s.h.sealed, whole)
	if err != nil {
		var failed *compact.Failed
		if !errors.As(err, &failed) {
			s.t.Fatal(err)
		}
		return err.Error() + "\n"
	}
	var out strings.Builder
	for i, g := range res.groups {
		fmt.Fprintf(&out, "segment %d in place of %d", g.Base, g.Segments)
		if g.Same {
			out.WriteString(", the same")
		}
		if g.Size == 0 {
			out.WriteString(", empty")
		}
		fmt.Fprintln(&out)
		for _, b := range batches(s.t, res.files[i:i+1]) {
			show(s.t, &out, b)
		}
		for _, a := range g.Aborted {
			fmt.Fprintf(&out, "  aborted %d: %d to %d\n", a.PID, a.First, a.Last)
		}
	}
	fmt.Fprintf(&out, "up to %d: %d of %d records, %d keys\n", res.upto, res.stats.Kept, res.stats.Records, res.stats.Keys)
	s.h.index = s.h.reindex(p, res)
	s.h.sealed, s.dirty = replaced(s.h.sealed, res), res.upto
	return out.String()
}

func show(t *testing.T, out *strings.Builder, b record.Batch) {
	fmt.Fprintf(out, "  %d-%d", b.BaseOffset(), b.LastOffset())
	if b.ProducerID() >= 0 {
		fmt.Fprintf(out, " pid=%d epoch=%d seq=%d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
	if b.Transactional() && !b.Control() {
		out.WriteString(" txn")
	}
	if b.Codec() != record.None {
		out.WriteString(" " + b.Codec().String())
	}
	if h, ok := b.DeleteHorizon(); ok {
		fmt.Fprintf(out, " horizon=%d", h)
	} else if b.BaseTimestamp() != 1 {
		fmt.Fprintf(out, " base=%d", b.BaseTimestamp())
	}
	if b.LogAppendTime() {
		out.WriteString(" stamped")
	}
	if b.MaxTimestamp() != 1 {
		fmt.Fprintf(out, " max=%d", b.MaxTimestamp())
	}
	out.WriteString(":")
	for _, e := range entries(t, []file{{0, b}}) {
		switch {
		case b.Control() && e.Key[3] == 1:
			fmt.Fprintf(out, " %d commit", e.Offset)
		case b.Control():
			fmt.Fprintf(out, " %d abort", e.Offset)
		case e.Value == nil:
			fmt.Fprintf(out, " %d %s", e.Offset, e.Key)
		default:
			fmt.Fprintf(out, " %d %s=%s", e.Offset, e.Key, e.Value)
		}
		if e.Timestamp != 1 {
			fmt.Fprintf(out, "@%d", e.Timestamp)
		}
	}
	out.WriteString("\n")
}
