package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// logDump holds the flags of `karst log dump`.
type logDump struct {
	records bool
	from    int64
	most    int
	out     output
}

const dumpHelp = `Prints the batches of a segment file (TOPIC-PARTITION/00000000000000000000.log), and with --records
the records in them. Every batch is verified on the way: its checksum, its offsets, its epoch. The
first byte that belongs to no such batch ends the dump with status 6 and its position.

Of an index file (.index, .timeindex, .txnindex) it prints the entries, and holds them against the segment beside it: status 6
when one is wrong. Of a journal file (journal/00-000001) it prints the frames, with --records what they say of each
partition; of the file "node" the identity of the disk; of a whole data directory the newest checkpoint of each
partition, with its voters, epochs, segments and producers.

Only reads. In a directory where a node is at work, the last batch may be half written.`

func newLogDump() *cobra.Command {
	var d logDump
	c := &cobra.Command{
		Use:   "dump SEGMENT.log|INDEX|JOURNAL|NODE|DATA-DIRECTORY",
		Short: "Print what is in a segment, an index, a journal, an identity or the checkpoints of a directory",
		Long:  dumpHelp,
		Example: "  karst log dump .karst/dev/n1/orders-0/00000000000000000000.log --records -n 3\n" +
			"  karst log dump .karst/dev/n1/orders-0/00000000000000000000.timeindex\n" +
			"  karst log dump .karst/dev/n1/journal/00-000001\n  karst log dump .karst/dev/n1",
		Args: exactly(1, "one file, or one data directory"),
		RunE: func(c *cobra.Command, args []string) error { return d.run(c, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&d.records, "records", false, "print the records as well (of a journal: those of its frames)")
	f.Int64Var(&d.from, "from", 0, "begin with the batch that holds this offset")
	f.IntVarP(&d.most, "count", "n", 0, "print this many batches, or frames (0: all)")
	d.out.register(c)
	return c
}

type shownRecord struct {
	Offset  int64             `json:"offset"`
	Time    time.Time         `json:"time"`
	Key     *string           `json:"key"` // null is Kafka's null
	Value   *string           `json:"value"`
	Headers map[string]string `json:"headers,omitempty"`
}

type shownBatch struct {
	Position    int64         `json:"position"`
	Size        int32         `json:"size"`
	First       int64         `json:"first_offset"`
	Last        int64         `json:"last_offset"`
	Count       int32         `json:"count"`
	Epoch       int32         `json:"leader_epoch"`
	Codec       string        `json:"codec"`
	Producer    int64         `json:"producer_id"` // -1: not idempotent
	ProdEpoch   int16         `json:"producer_epoch"`
	Sequence    int32         `json:"base_sequence"`
	MaxTime     time.Time     `json:"max_time"`
	Transaction bool          `json:"transactional,omitempty"`
	Control     bool          `json:"control,omitempty"`
	Records     []shownRecord `json:"records,omitempty"`
}

type shownSegment struct {
	File    string       `json:"file"`
	Batches []shownBatch `json:"batches"`
	Next    int64        `json:"next_offset"`
	End     int64        `json:"valid_bytes"`
	Size    int64        `json:"file_bytes"`
}

func (d *logDump) run(c *cobra.Command, path string) error {
	name := filepath.Base(filepath.Dir(mustAbs(path))) + "/" + filepath.Base(path)
	if _, base, k, ok := seg.ParseIndexPath(name); ok {
		return d.index(c, path, base, k)
	}
	if _, base, ok := seg.ParseTxnPath(name); ok {
		return d.txnIndex(c, path, base)
	}
	_, base, ok := seg.ParsePath(name)
	if !ok {
		if other, err := d.dumpOther(c, path); other {
			return err
		}
		return catalogue.BadLog.New("%s is not named like a segment, TOPIC-PARTITION/%020d.log", path, 0)
	}
	f, err := os.Open(path)
	if err != nil {
		return catalogue.BadLog.New("%v", err).Wrap(err)
	}
	defer f.Close()
	shown := shownSegment{File: path, Batches: []shownBatch{}}
	s := seg.ScannerOf(base, seg.Generation(name))
	var unread error
	err = scanSegment(f, s, func(b seg.Seen) {
		if int64(b.Head.LastOffset()) < d.from || d.most > 0 && len(shown.Batches) == d.most {
			return
		}
		sb := showBatch(b)
		if d.records && unread == nil {
			sb.Records, unread = readRecords(f, b)
		}
		shown.Batches = append(shown.Batches, sb)
	})
	if err == nil {
		err = unread
	}
	if err != nil {
		return catalogue.BadLog.New("%s: %v", path, err).Wrap(err)
	}
	next, end := s.End()
	info, err := f.Stat()
	if err != nil {
		return catalogue.BadLog.New("%v", err).Wrap(err)
	}
	shown.Next, shown.End, shown.Size = int64(next), end, info.Size()
	if err := d.out.print(c, shown, shown.write); err != nil {
		return err
	}
	if end < info.Size() {
		return catalogue.Damaged.New("%s: the bytes at %d are not the batch with offset %d (%d bytes follow)",
			path, end, next, info.Size()-end)
	}
	return nil
}

func mustAbs(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// scanSegment feeds the whole of f to s, as far as it is valid.
func scanSegment(f io.Reader, s *seg.Scanner, visit func(seg.Seen)) error {
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		if !s.Feed(buf[:n], visit) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func showBatch(b seg.Seen) shownBatch {
	h := b.Head
	return shownBatch{Position: b.Pos, Size: h.Size(), First: int64(h.BaseOffset()), Last: int64(h.LastOffset()),
		Count: h.Count(), Epoch: int32(h.LeaderEpoch()), Codec: h.Codec().String(), Producer: h.ProducerID(),
		ProdEpoch: h.ProducerEpoch(), Sequence: h.BaseSequence(), MaxTime: atWall(h.MaxTimestamp()),
		Transaction: h.Transactional(), Control: h.Control()}
}

func atWall(t core.Wall) time.Time { return time.UnixMilli(int64(t)).UTC() }

// readRecords reads the batch again, whole, and what its payload says.
func readRecords(f io.ReaderAt, seen seg.Seen) (out []shownRecord, err error) {
	b := make(record.Batch, seen.Head.Size())
	if _, err := f.ReadAt(b, seen.Pos); err != nil {
		return nil, err
	}
	plain, err := kgo.DefaultDecompressor().Decompress(b.Payload(), kgo.CompressionCodecType(b.Codec()))
	if err != nil {
		return nil, fmt.Errorf("the batch at %d: %w", seen.Pos, err)
	}
	err = b.RecordsIn(plain, func(r record.Record) bool {
		s := shownRecord{Offset: int64(r.Offset), Time: atWall(r.Timestamp), Key: nullable(r.Key), Value: nullable(r.Value)}
		for _, h := range r.Headers {
			if s.Headers == nil {
				s.Headers = map[string]string{}
			}
			s.Headers[h.Key] = string(h.Value)
		}
		out = append(out, s)
		return true
	})
	if err != nil {
		err = fmt.Errorf("the batch at %d: %w", seen.Pos, err)
	}
	return out, err
}

func nullable(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func (s shownSegment) write(w io.Writer) {
	var tb table
	tb.row("POSITION", "SIZE", "OFFSETS", "EPOCH", "CODEC", "PRODUCER", "SEQUENCE", "MAX TIME")
	for _, b := range s.Batches {
		producer, sequence := "-", "-"
		if b.Producer >= 0 {
			producer, sequence = fmt.Sprintf("%d/%d", b.Producer, b.ProdEpoch), strconv.Itoa(int(b.Sequence))
		}
		tb.row(b.Position, b.Size, fmt.Sprintf("%d..%d", b.First, b.Last), b.Epoch, b.Codec, producer, sequence,
			b.MaxTime.Format(logTime))
	}
	tb.write(w)
	var records table
	for _, b := range s.Batches {
		for _, r := range b.Records {
			records.row(r.Offset, r.Time.Format(logTime), quoteOrNull(r.Key), quoteOrNull(r.Value))
		}
	}
	if len(records.rows) > 0 {
		records.rows = append([][]string{{"OFFSET", "TIME", "KEY", "VALUE"}}, records.rows...)
		records.write(w)
	}
	fmt.Fprintf(w, "%s, %d of %d bytes valid, next offset %d\n", batches(len(s.Batches)), s.End, s.Size, s.Next)
}

func batches(n int) string {
	if n == 1 {
		return "1 batch"
	}
	return strconv.Itoa(n) + " batches"
}

const logTime = "2006-01-02T15:04:05.000Z"

func quoteOrNull(s *string) string {
	if s == nil {
		return "null"
	}
	return strconv.Quote(*s)
}
