package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTheSampleHoldsTwoHundredThousandFlights(t *testing.T) {
	r, err := openRows("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.total != 200_000 {
		t.Fatalf("%d rows", r.total)
	}
	n := 0
	for {
		row, err := r.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if row.number != n || len(row.origin) != 3 || strings.Count(string(row.text), ",") != 4 {
			t.Fatalf("row %d: %q from %q", row.number, row.text, row.origin)
		}
		n++
	}
	if n != r.total {
		t.Errorf("read %d of %d rows", n, r.total)
	}
}

func TestAFileThatHoldsNoFlightsIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv.zst")
	if err := os.WriteFile(path, []byte("date,delay\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openRows(path); err == nil {
		t.Error("accepted")
	}
	if _, err := openRows(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file was accepted")
	}
}

// books makes a load that sent and had acknowledged n rows, and the records that a perfect log holds.
func books(n int) (*load, []*kgo.Record) {
	l := &load{rows: &rows{total: n}, sum: make([]uint32, n), ok: make([]bool, n)}
	var log []*kgo.Record
	for i := range n {
		value := fmt.Sprintf("978307260000000,%d,100,ATL,ORD", i)
		l.sum[i], l.ok[i] = crc32.ChecksumIEEE([]byte(value)), true
		log = append(log, &kgo.Record{Key: []byte("ATL"), Value: []byte(value), Offset: int64(i),
			Headers: []kgo.RecordHeader{{Key: rowHeader, Value: []byte(strconv.Itoa(i))}}})
	}
	return l, log
}

// judge counts what an audit finds in a log.
func judge(l *load, log []*kgo.Record) audit {
	a := audit{seen: make([]uint8, l.rows.total), delays: map[string]*delay{}}
	last := map[string]int{}
	for _, r := range log {
		a.record(r, l, last)
	}
	a.close(l)
	return a
}

func TestTheAuditSeesEachKindOfDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(log []*kgo.Record) []*kgo.Record
		want   audit
	}{
		{"nothing", func(log []*kgo.Record) []*kgo.Record { return log }, audit{}},
		{"a lost row", func(log []*kgo.Record) []*kgo.Record { return append(log[:4], log[5:]...) }, audit{lost: 1}},
		{"a row stored twice", func(log []*kgo.Record) []*kgo.Record { return append(log, log[9]) }, audit{twice: 1, disorder: 1}},
		{"two rows in the wrong order", func(log []*kgo.Record) []*kgo.Record {
			log[3], log[4] = log[4], log[3]
			return log
		}, audit{disorder: 1}},
		{"an altered value", func(log []*kgo.Record) []*kgo.Record {
			log[2].Value = []byte("978307260000000,2,100,ATL,OGG")
			return log
		}, audit{altered: 1}},
		{"a record of nobody", func(log []*kgo.Record) []*kgo.Record {
			return append(log, &kgo.Record{Key: []byte("ATL")})
		}, audit{strange: 1}},
	} {
		l, log := books(10)
		a := judge(l, c.damage(log))
		got := audit{lost: a.lost, twice: a.twice, altered: a.altered, disorder: a.disorder, strange: a.strange}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if c.name == "nothing" && a.airports() != "mean delay in minutes: ATL 4.5" {
			t.Errorf("airports: %q", a.airports())
		}
	}
}

// segment builds batches of one record each, whose offsets begin at base.
func segment(base, n int64, fill byte) (b []byte) {
	for i := range n {
		batch := make([]byte, 80)
		for k := range batch {
			batch[k] = fill
		}
		binary.BigEndian.PutUint64(batch, uint64(base+i))
		binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-12))
		binary.BigEndian.PutUint32(batch[23:], 0)
		b = append(b, batch...)
	}
	return b
}

// nodes writes two segments of partition 0 for each of three nodes, after changing what a node has.
func nodes(t *testing.T, change func(node int, first, second []byte) ([]byte, []byte)) []string {
	t.Helper()
	var dirs []string
	for i := range 3 {
		dir := t.TempDir()
		first, second := change(i, segment(0, 5, 1), segment(5, 3, 1))
		sub := filepath.Join(dir, topic+"-0")
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"00000000000000000000.log": first, "00000000000000000005.log": second} {
			if err := os.WriteFile(filepath.Join(sub, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func TestSegmentsAreComparedUpToTheHighWatermarkAndNoFurther(t *testing.T) {
	same := func(_ int, a, b []byte) ([]byte, []byte) { return a, b }
	n, err := compareOnce(nodes(t, same), [partitions]int64{8})
	if err != nil || n != 8*80 {
		t.Errorf("%d bytes, %v", n, err)
	}
	tail := func(node int, a, b []byte) ([]byte, []byte) {
		if node == 2 {
			return a, b[:2*80] // behind, but past the high watermark
		}
		return a, append(b[:2*80], segment(7, 1, byte(node))...)
	}
	if n, err = compareOnce(nodes(t, tail), [partitions]int64{7}); err != nil || n != 7*80 {
		t.Errorf("what follows the high watermark may differ: %d bytes, %v", n, err)
	}
	for name, change := range map[string]func(int, []byte, []byte) ([]byte, []byte){
		"one byte": func(node int, a, b []byte) ([]byte, []byte) {
			if node == 1 {
				a[3*80+70] ^= 1
			}
			return a, b
		},
		"too short": func(node int, a, b []byte) ([]byte, []byte) {
			if node == 2 {
				return a, b[:80]
			}
			return a, b
		},
		"short on all": func(_ int, a, b []byte) ([]byte, []byte) { return a, b[:80] },
		"a gap":        func(_ int, a, b []byte) ([]byte, []byte) { return a[:4*80], b },
	} {
		if _, err := compareOnce(nodes(t, change), [partitions]int64{8}); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestTheStoryFitsEightyColumnsAndIsPlainInAPipe(t *testing.T) {
	var b strings.Builder
	s := newScreen(&b, false, false)
	s.title("karst demo", "x")
	s.paragraph(strings.Repeat("word ", 60))
	s.meter.reset(0, 0)
	s.meter.printed = time.Time{} // long ago
	s.meter.points[0].at = time.Now().Add(-10 * time.Second)
	s.rates(123*time.Second, 1_234_567, 1_234_567, "catching up")
	s.update("never seen in a pipe")
	if strings.ContainsAny(b.String(), "\x1b\r") || strings.Contains(b.String(), "never") {
		t.Errorf("not plain: %q", b.String())
	}
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > width {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if !strings.Contains(b.String(), "total 1,234,567  catching up") {
		t.Errorf("no rates in %q", b.String())
	}
	if thousands(1234567) != "1,234,567" || thousands(-100) != "-100" || thousands(1000) != "1,000" {
		t.Error("thousands are not set apart")
	}
}
