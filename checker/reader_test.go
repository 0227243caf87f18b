package checker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
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

// refused is a text that gets no verdict, and what the error says.
type refused struct{ name, text, why string }

var goodPair = closed(aSend, aPoll)

var refusedHeads = []refused{
	{"nothing", "", "empty"},
	{"no history", "hello\n", "a history begins with"},
	{"another format", change(goodPair, "karst-history", "jepsen"), "a history begins with"},
	{"a newer version", change(goodPair, `"version":1`, `"version":2`), "format version 2; this build knows version 1"},
	{"no version", change(goodPair, `,"version":1`, ``), "format version 0"},
	{"more in the header", change(goodPair, `"recorder"`, `"mode":"lax","recorder"`), "the first line holds more"},
	{"a header in capitals", change(goodPair, `"version"`, `"VERSION"`), `unknown field "VERSION"`},
	{"two versions", change(goodPair, `"version":1`, `"version":7,"version":1`), `"version" stands twice`},
	{"junk after the header", change(goodPair, `"me"}`, `"me"} 1`), "something follows"},
	{"a header that is a list", change(goodPair, `{"format":"karst-history","version":1,"recorder":"me"}`, `[]`), "a history begins with"},
	{"a byte order mark", "\xef\xbb\xbf" + goodPair, "a history begins with"},
}

var refusedFields = []refused{
	{"an unknown field", change(goodPair, `"hw":2`, `"hw":2,"weather":1`), `line 3: unknown field "weather"`},
	{"a field of another kind", change(goodPair, `"hw":2`, `"hw":2,"token":"x"`), "fetch ok has no field token"},
	{"a field in capitals", change(goodPair, `"hw"`, `"HW"`), `unknown field "HW"`},
	{"a field twice", change(goodPair, `"hw":2`, `"hw":2,"hw":3`), "stands twice"},
	{"a field too few", change(goodPair, `,"hw":2`, ``), "fetch ok lacks hw"},
	{"no outcome", change(goodPair, `"outcome":"ok",`, ``), `"op" and "outcome"`},
	{"an unknown op", change(goodPair, `"op":"fetch"`, `"op":"snooze"`), `unknown op "snooze"`},
	{"an unknown outcome", change(goodPair, `"outcome":"ok"`, `"outcome":"fine"`), `unknown outcome "fine"`},
	{"a fraction", change(goodPair, `"hw":2`, `"hw":2.5`), "is missing"},
	{"an exponent", change(goodPair, `"hw":2`, `"hw":2e3`), "is missing"},
	{"a leading zero", change(goodPair, `"hw":2`, `"hw":02`), "no whole number"},
	{"a number as text", change(goodPair, `"hw":2`, `"hw":"2"`), "no whole number"},
	{"a number above all", change(goodPair, `"hw":2`, `"hw":99999999999999999999`), "no whole number"},
	{"no count", change(goodPair, `"count":2`, `"count":0`), "0 is not between 1 and"},
	{"a run of three", change(goodPair, `[[0,1,0,2]]`, `[[0,1,0]]`), "3 numbers, not 4"},
	{"an empty run", change(goodPair, `[[0,1,0,2]]`, `[[0,1,0,0]]`), "is no run of records"},
	{"no call", change(goodPair, `"call":30,`, ``), "fetch ok lacks call"},
	{"no return", change(goodPair, `"done":40,`, ``), "fetch ok lacks done"},
	{"a negative partition", change(goodPair, `"partition":0`, `"partition":-1`), "-1 is not between 0 and"},
	{"records in an answer that was none", change(goodPair, `"done":40,"outcome":"ok"`, `"done":40,"outcome":"unknown"`), "fetch unknown has no field runs, hw"},
	{"bad bytes in an answer that was none", closed(aSend, `{"op":"fetch","process":2,"call":30,"done":40,"outcome":"fail","topic":"t","partition":0,"from":0,"bad":[1]}`+"\n"), "fetch fail has no field bad"},
	{"an offset of a send that failed", change(goodPair, `"done":20,"outcome":"ok"`, `"done":20,"outcome":"fail"`), "produce fail has no field base"},
	{"more records than can be", change(goodPair, `[[0,1,0,2]]`, `[[0,1,0,1048576],[0,1,0,1]]`), "more than 1048576 records"},
	{"a name without end", change(goodPair, `"topic":"t"`, `"topic":"`+strings.Repeat("t", maxText+1)+`"`), "longer than 65536 bytes"},
	{"a list without commas", change(goodPair, `[[0,1,0,2]]`, `[[0 1 0 2]]`), "is missing"},
	{"tuples without commas", change(goodPair, `[[0,1,0,2]]`, `[[0,1,0,1][1,1,1,1]]`), "is missing"},
	{"a list that is none", change(goodPair, `[[0,1,0,2]]`, `7`), "is missing"},
	{"a run of a producer that cannot be", change(goodPair, `[[0,1,0,2]]`, `[[0,70000,0,2]]`), "is no run of records"},
	{"a bare truth", change(goodPair, `"base":0`, `"base":0,"whole":1`), "it is true or false"},
	{"a text with a wrong escape", change(goodPair, `"topic":"t"`, `"topic":"\q"`), "no JSON text"},
}

var refusedWholes = []refused{
	{"a line without its end", strings.TrimSuffix(goodPair, "\n"), "the last line is cut off"},
	{"half a line", goodPair[:len(goodPair)-40], "the last line is cut off"},
	{"no last line", head + aSend + aPoll, "cut off after 2 operations"},
	{"a line is missing", head + aSend + "{\"end\":2}\n", "counts 2 operations, 1 were read"},
	{"something after the end", goodPair + aPoll, "something follows"},
	{"an end with more", change(goodPair, `{"end":2}`, `{"end":2,"ok":true}`), "and nothing else"},
	{"lines in another order", closed(aPoll, aSend), "in the order in which they ended"},
	{"an end before its beginning", change(goodPair, `"call":30`, `"call":41`), "before it begins"},
	{"a process that does two things at once", closed(aSend, aPoll, change(aPoll, `"done":40`, `"done":50`)), "process 2 begins a fetch at 30"},
	{"an end that counts more", change(goodPair, `{"end":2}`, `{"end":3}`), "counts 3 operations, 2 were read"},
	{"two ends", goodPair + "{\"end\":2}\n", "something follows"},
	{"an end in the middle", closed(aSend, "{\"end\":1}\n", aPoll), "something follows"},
	{"lines that end as on other systems", strings.ReplaceAll(goodPair, "\n", "\r\n"), "something follows"},
	{"a line that is longer than any", head + strings.Repeat(" ", maxLine+1) + goodPair, "longer than 16777216 bytes"},
	{"junk after an operation", change(goodPair, "\"hw\":2}\n", "\"hw\":2}}\n"), "something follows"},
	{"an empty line", change(goodPair, aPoll, "\n"+aPoll), "is missing"},
	{"a text without an end", change(goodPair, `"t"`, `"t`), "line 2"},
}

var refusedReadings = []refused{
	{"sums for fewer", change(goodPair, `"hw":2`, `"hw":2,"sums":[1]`), "1 sums for 2 records"},
	{"a counter far ahead", change(goodPair, `[[0,1,0,2]]`, `[[0,1,3000000,2]]`), "ahead of all that is known"},
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
	{"a reader that did not choose its position", closed(aSend, `{"op":"assign","process":2,"call":25,"done":26,"outcome":"fail","topic":"t","partition":0,"from":0}`+"\n"), "an assign is ok"},
	{"a final read that began late", closed(aSend, change(change(aScan, `"base":0`, `"base":5`), `[[0,`, `[[5,`), seal(7)), "sealed from 0, and its final read began at 5"},
	{"a batch without its sequence", closed(aSend, change(aScan, `,"epoch":0,"seq":0`, ``)), "without its epoch and sequence"},
	{"no final read", goodPair, "never read to its end"},
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range slices.Concat(refusedHeads, refusedFields, refusedWholes, refusedReadings) {
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
				if allowed[k][out].has(f) {
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
