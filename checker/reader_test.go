package checker

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

const head = `{"format":"karst-history","version":1,"recorder":"me"}` + "\n"

// aSend is a whole line.
const aSend = `{"op":"produce","process":1,"call":10,"done":20,"outcome":"ok","topic":"t","partition":0,"producer":1,"first":0,"count":2,"acks":-1,"pid":7,"epoch":0,"seq":0,"base":0}` + "\n"

const aPoll = `{"op":"fetch","process":2,"call":30,"done":40,"outcome":"ok","topic":"t","partition":0,"from":0,"runs":[[0,1,0,2]],"hw":2}` + "\n"

const aScan = `{"op":"scan","process":3,"call":50,"done":60,"outcome":"ok","topic":"t","partition":0,"base":0,"count":2,"runs":[[0,1,0,2]],"pid":7,"epoch":0,"seq":0}` + "\n"

func seal(end int) string {
	return fmt.Sprintf(`{"op":"sealed","process":4,"call":70,"done":70,"outcome":"ok","topic":"t","partition":0,"from":0,"end":%d}`+"\n", end)
}

func closed(lines ...string) string {
	return head + strings.Join(lines, "") + fmt.Sprintf("{\"end\":%d}\n", len(lines))
}

func change(line, from, to string) string {
	if !strings.Contains(line, from) {
		panic("the line has no " + from)
	}
	return strings.Replace(line, from, to, 1)
}

func TestReaderRefuses(t *testing.T) {
	good := closed(aSend, aPoll)
	cases := []struct{ name, text, why string }{
		{"nothing", "", "empty"},
		{"no history", "hello\n", "a history begins with"},
		{"another format", change(good, "karst-history", "jepsen"), "a history begins with"},
		{"a newer version", change(good, `"version":1`, `"version":2`), "format version 2; this build knows version 1"},
		{"no version", change(good, `,"version":1`, ``), "format version 0"},
		{"more in the header", change(good, `"recorder"`, `"mode":"lax","recorder"`), "the first line holds more"},
		{"an unknown field", change(good, `"hw":2`, `"hw":2,"weather":1`), `line 3: unknown field "weather"`},
		{"a field of another kind", change(good, `"hw":2`, `"hw":2,"token":"x"`), "fetch has no field token"},
		{"a field in capitals", change(good, `"hw"`, `"HW"`), `unknown field "HW"`},
		{"a field twice", change(good, `"hw":2`, `"hw":2,"hw":3`), "stands twice"},
		{"a field too few", change(good, `,"hw":2`, ``), "fetch ok lacks hw"},
		{"no outcome", change(good, `"outcome":"ok",`, ``), `"op" and "outcome"`},
		{"an unknown op", change(good, `"op":"fetch"`, `"op":"snooze"`), `unknown op "snooze"`},
		{"an unknown outcome", change(good, `"outcome":"ok"`, `"outcome":"fine"`), `unknown outcome "fine"`},
		{"a fraction", change(good, `"hw":2`, `"hw":2.5`), "is missing"},
		{"an exponent", change(good, `"hw":2`, `"hw":2e3`), "is missing"},
		{"a leading zero", change(good, `"hw":2`, `"hw":02`), "no whole number"},
		{"a number as text", change(good, `"hw":2`, `"hw":"2"`), "no whole number"},
		{"a number above all", change(good, `"hw":2`, `"hw":99999999999999999999`), "no whole number"},
		{"no count", change(good, `"count":2`, `"count":0`), "0 is not between 1 and"},
		{"a run of three", change(good, `[[0,1,0,2]]`, `[[0,1,0]]`), "3 numbers, not 4"},
		{"an empty run", change(good, `[[0,1,0,2]]`, `[[0,1,0,0]]`), "is no run of records"},
		{"a line without its end", strings.TrimSuffix(good, "\n"), "the last line is cut off"},
		{"half a line", good[:len(good)-40], "the last line is cut off"},
		{"no last line", head + aSend + aPoll, "cut off after 2 operations"},
		{"a line is missing", head + aSend + "{\"end\":2}\n", "counts 2 operations, 1 were read"},
		{"something after the end", good + aPoll, "something follows"},
		{"an end with more", change(good, `{"end":2}`, `{"end":2,"ok":true}`), "and nothing else"},
		{"lines in another order", closed(aPoll, aSend), "in the order in which they ended"},
		{"an end before its beginning", change(good, `"call":30`, `"call":41`), "before it begins"},
		{"a process that does two things at once", closed(aSend, aPoll, change(aPoll, `"done":40`, `"done":50`)), "process 2 begins a fetch at 30"},
		{"junk after an operation", change(good, "\"hw\":2}\n", "\"hw\":2}}\n"), "something follows the operation"},
		{"an empty line", change(good, aPoll, "\n"+aPoll), "is missing"},
		{"a text without an end", change(good, `"t"`, `"t`), "line 2"},
		{"sums for fewer", change(good, `"hw":2`, `"hw":2,"sums":[1]`), "1 sums for 2 records"},
		{"a counter far ahead", change(good, `[[0,1,0,2]]`, `[[0,1,3000000,2]]`), "ahead of all that is known"},
		{"an empty final read that is sealed", closed(aSend, seal(2)), "sealed from 0 to 2, and its final read reached 0"},
		{"a final read that is sealed too early", closed(aSend, aScan, seal(1)), "sealed from 0 to 1, and its final read reached 2"},
		{"sealed twice", closed(aSend, aScan, seal(2), seal(2)), "sealed from"},
		{"a scan after the seal", closed(aSend, aScan, seal(2), change(aScan, `"call":50,"done":60`, `"call":90,"done":90`)), "sealed already"},
		{"a seal that failed", closed(aSend, aScan, change(seal(2), `"ok"`, `"fail"`)), "sealed from"},
		{"a scan without its base", closed(aSend, change(aScan, `"base":0`, `"base":-1`)), "not ok"},
		{"a batch that shows fewer records", closed(aSend, change(aScan, `[[0,1,0,2]]`, `[[0,1,0,1]]`)), "a batch of 2 records shows 1"},
		{"a record before its batch", closed(aSend, change(aScan, `"base":0`, `"base":1`)), "lies outside of its batch"},
		{"a record after its batch", closed(aSend, change(aScan, `[[0,1,0,2]]`, `[[1,1,0,2]]`)), "lies outside of its batch"},
		{"times for fewer", closed(aSend, change(aScan, `"seq":0`, `"seq":0,"times":[5]`)), "1 times for 2 records"},
		{"times with a hole", closed(aSend, change(aScan, `"seq":0`, `"seq":0,"times":[5,6]`),
			change(change(change(change(aScan, `"call":50`, `"call":60`), `"base":0`, `"base":3`), `[[0,1`, `[[3,1`), `"seq":0`, `"seq":0,"times":[7,8]`)), "the times of the log go on at offset 3 after 1"},
		{"sums of a send for fewer", closed(change(aSend, `"base":0`, `"base":0,"sums":[1]`)), "1 sums for 2 records"},
		{"a send far ahead", closed(change(aSend, `"first":0`, `"first":2000000`)), "ahead of all that is known"},
		{"a list without commas", change(good, `[[0,1,0,2]]`, `[[0 1 0 2]]`), "is missing"},
		{"tuples without commas", change(good, `[[0,1,0,2]]`, `[[0,1,0,1][1,1,1,1]]`), "is missing"},
		{"a list that is none", change(good, `[[0,1,0,2]]`, `7`), "is missing"},
		{"a run of a producer that cannot be", change(good, `[[0,1,0,2]]`, `[[0,70000,0,2]]`), "is no run of records"},
		{"a bare truth", change(good, `"base":0`, `"base":0,"whole":1`), "it is true or false"},
		{"a text with a wrong escape", change(good, `"topic":"t"`, `"topic":"\q"`), "no JSON text"},
		{"no final read", good, "never read to its end"},
	}
	for _, c := range cases {
		v, _, err := JudgeHistory(strings.NewReader(c.text), Limits{})
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: verdict %+v, error %v; want one with %q", c.name, v, err, c.why)
		}
		if err != nil && !errors.Is(err, ErrHistory) && !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v is not of the two kinds", c.name, err)
		}
	}
}

// TestSpacesAndOrderOfFields: what JSON allows and means nothing is read.
func TestSpacesAndOrderOfFields(t *testing.T) {
	odd := `{ "hw" : 2 ,"runs": [ [0, 1,0 ,2] , [2,1,2,1]],"outcome":"ok", "done":40,"bad":[ ],"call":30,"process":2,"from":0,"partition":0,"topic":"\u0074","op":"fetch" }` + "\n"
	v, _, err := JudgeHistory(strings.NewReader(closed(aSend, odd, aScan, seal(2))), Limits{})
	if err != nil || v.Records != 5 || v.Partitions != 1 {
		t.Error(v, err)
	}
}

// TestEveryCutIsSeen: a file that ends early, wherever, never gets a verdict.
func TestEveryCutIsSeen(t *testing.T) {
	a := base(t)
	closing(a)
	whole := a.file()
	for n := range whole {
		if _, _, err := JudgeHistory(bytes.NewReader(whole[:n]), Limits{}); !errors.Is(err, ErrHistory) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
	if v, _, err := JudgeHistory(bytes.NewReader(whole), Limits{}); err != nil || !v.Clean() {
		t.Errorf("the whole: %+v, %v", v, err)
	}
}

// TestWrittenAndRead: every kind and field survives the file.
func TestWrittenAndRead(t *testing.T) {
	var ops []Op
	for k := range kinds {
		for _, out := range []Outcome{OK, Fail, Unknown} {
			o := NewOp(k)
			o.Outcome, o.Call, o.Done, o.Process = out, int64(len(ops)), int64(len(ops)), 3
			if out != OK {
				o.Error = "NOT \"GOOD\"\n\\ é"
			}
			for f := fTopic; f < fields; f++ {
				if allowed[k].has(f) && (out == OK || required[k][out].has(f)) {
					fill(f, &o)
				}
			}
			ops = append(ops, o)
		}
	}
	b := AppendHeader(nil, `a "test"`)
	for i := range ops {
		b = AppendOp(b, &ops[i])
	}
	d, err := NewReader(bytes.NewReader(AppendEnd(b, int64(len(ops)))))
	if err != nil || d.Recorder != `a "test"` {
		t.Fatal(d, err)
	}
	var o Op
	for i := range ops {
		if err := d.Next(&o); err != nil {
			t.Fatal(err)
		}
		if got, want := string(AppendOp(nil, &o)), string(AppendOp(nil, &ops[i])); got != want {
			t.Errorf("read %s, written %s", got, want)
		}
	}
	if err := d.Next(&o); err != io.EOF {
		t.Error("after the last:", err)
	}
}

func fill(f field, o *Op) {
	r := &rules[f]
	switch r.shape {
	case number:
		*r.num(o) = r.max
	case text:
		*r.str(o) = "a\tb"
	case truth:
		*r.bit(o) = true
	case numbers:
		*r.list(o) = []int64{1, 2}
	}
	if f == fRuns {
		o.Runs = []Run{{1, 2, 3, 4}, {5, 6, 7, 8}}
	}
	if f == fLeaders {
		o.Leaders = []Leader{{1, 2, 3}, {0, -1, 3}}
	}
}

// TestMemoryIsBounded: a history that needs more than it may is refused.
func TestMemoryIsBounded(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		b := []byte(head)
		for i := range int64(1 << 20) {
			o := NewOp(Fetch)
			o.Call, o.Done, o.Topic, o.HW = i, i, "t", 1<<60
			o.Runs = []Run{{i << 30, 1, i % 1000, 1}} // an offset on a shelf of its own
			b = AppendOp(b, &o)
			if _, err := w.Write(b); err != nil {
				return
			}
			b = b[:0]
		}
		w.Close()
	}()
	_, _, err := JudgeHistory(r, Limits{Bytes: 8 << 20})
	r.Close()
	if !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "more than 8 MiB") {
		t.Error(err)
	}
}

// FuzzReader: whatever the bytes, there is a verdict or an error, and what is clean is read the same
// way again.
func FuzzReader(f *testing.F) {
	a := base(nil)
	closing(a)
	f.Add(a.file())
	f.Add([]byte(closed(aSend, aPoll)))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, _, err := JudgeHistory(bytes.NewReader(b), Limits{Bytes: 64 << 20})
		if err == nil && v.Clean() && v.Sends == 0 && v.Operations == 0 {
			t.Error("nothing happened, and that is clean")
		}
	})
}

// writeLong writes a clean history of some operations: eight producers that send a record each, a poll
// of them, a look at the end; then the final read.
func writeLong(out io.Writer, operations int64) (written int64) {
	w := bufio.NewWriter(out)
	w.WriteString(head)
	var line []byte
	n, at := int64(0), int64(0)
	add := func(o *Op) {
		o.Topic, o.Call, o.Done = "t", n*1000, n*1000+500
		line = AppendOp(line[:0], o)
		w.Write(line)
		n++
	}
	poll, end := NewOp(Fetch), NewOp(ListOffsets)
	for ; n < operations*10/18; at += 8 {
		poll.Runs = poll.Runs[:0]
		for i := range int64(8) {
			o := NewOp(Produce)
			o.Process, o.Producer, o.First, o.Count, o.Acks, o.Base = i, i, at/8, 1, -1, at+i
			o.PID, o.Epoch, o.Seq, o.Whole = i, 0, at/8, true
			add(&o)
			poll.Runs = append(poll.Runs, Run{at + i, i, at / 8, 1})
		}
		poll.Process, poll.From, poll.HW, poll.LeaderEpoch = 9, at, at+8, 1
		add(&poll)
		end.Process, end.At, end.Offset, end.LeaderEpoch = 10, -1, at+8, 1
		add(&end)
	}
	for scan := range at {
		o := NewOp(Scan)
		o.Process, o.Base, o.Count, o.PID, o.Epoch, o.Seq = 11, scan, 1, scan%8, 0, scan/8
		o.Runs = append(poll.Runs[:0], Run{scan, scan % 8, scan / 8, 1})
		add(&o)
	}
	o := NewOp(Sealed)
	o.Process, o.End = 11, at
	add(&o)
	w.Write(AppendEnd(nil, n))
	w.Flush()
	return n
}

var operations = flag.Int64("operations", 100_000, "operations of the long history")

// TestLongHistory: a history is judged as it streams by. -operations 10000000 is the long form; the
// memory that the judges count is what they really hold, or more.
func TestLongHistory(t *testing.T) {
	r, w := io.Pipe()
	done := make(chan int64, 1)
	go func() {
		n := writeLong(w, *operations)
		w.Close()
		done <- n
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v, j, err := JudgeHistory(r, Limits{})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := <-done; err != nil || !v.Clean() || v.Operations != n || n < *operations*9/10 {
		t.Fatalf("%+v, %v; %d operations were written", v, err, n)
	}
	held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	counted := j.held + j.Log.held + j.Groups.held
	t.Logf("%d operations, %d records: %d MiB held, %d counted", v.Operations, v.Records, held>>20, counted>>20)
	if counted > 120*v.Operations || held > 2*counted+(16<<20) {
		t.Errorf("%d operations: %d bytes held, %d counted", v.Operations, held, counted)
	}
	runtime.KeepAlive(j)
}

// BenchmarkJudge judges operations that are in memory already; an iteration is one operation.
func BenchmarkJudge(b *testing.B) {
	var file bytes.Buffer
	writeLong(&file, 300_000)
	d, err := NewReader(&file)
	if err != nil {
		b.Fatal(err)
	}
	var ops []Op
	for {
		var o Op
		if err := d.Next(&o); err == io.EOF {
			break
		} else if err != nil {
			b.Fatal(err)
		}
		ops = append(ops, o)
	}
	b.ResetTimer()
	for done := 0; done < b.N; done += len(ops) {
		j := NewJudge(Limits{})
		for i := range ops {
			if err := j.Tell(&ops[i]); err != nil {
				b.Fatal(err)
			}
		}
		if v, err := j.Finish(); err != nil || !v.Clean() {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "operations/s")
}

// BenchmarkHistory judges from the bytes of a file; an iteration is one operation.
func BenchmarkHistory(b *testing.B) {
	var file bytes.Buffer
	n := int(writeLong(&file, 300_000))
	b.ResetTimer()
	for done := 0; done < b.N; done += n {
		if v, _, err := JudgeHistory(bytes.NewReader(file.Bytes()), Limits{}); err != nil || !v.Clean() {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "operations/s")
}
