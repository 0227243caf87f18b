package checker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// repeatable are the operations that may be told twice and mean the same.
var repeatable = map[Kind]bool{ListOffsets: true, Assign: true}

// TestRepeatedLines: an operation that stands in a file twice is refused or found.
func TestRepeatedLines(t *testing.T) {
	for _, instant := range []bool{false, true} {
		a := base(t)
		a.assign(8, 8)
		closing(a)
		for i := range a.ops {
			ops := append(append(append([]Op(nil), a.ops[:i+1]...), a.ops[i]), a.ops[i+1:]...)
			for k := range ops {
				if instant {
					ops[k].Call = ops[k].Done // so that a process may do both
				}
			}
			again := &tale{t: t, ops: ops}
			v, _, err := JudgeHistory(bytes.NewReader(again.file()), Limits{})
			if err == nil && v.Clean() && !(instant && repeatable[a.ops[i].Kind]) {
				t.Errorf("instant %v: a second %s", instant, AppendOp(nil, &a.ops[i]))
			}
		}
	}
}

// TestSwappedLines: two lines that stand in the wrong order are seen.
func TestSwappedLines(t *testing.T) {
	a := base(t)
	closing(a)
	for i := 1; i < len(a.ops); i++ {
		ops := append([]Op(nil), a.ops...)
		ops[i-1], ops[i] = ops[i], ops[i-1]
		swapped := &tale{t: t, ops: ops}
		if _, _, err := JudgeHistory(bytes.NewReader(swapped.file()), Limits{}); !errors.Is(err, ErrHistory) {
			t.Errorf("lines %d and %d: %v", i-1, i, err)
		}
	}
}

// TestEmptyFiles: neither an empty file nor one in which all was refused is clean.
func TestEmptyFiles(t *testing.T) {
	for name, tell := range map[string]func(a *tale){
		"no operations": func(*tale) {},
		"all refused":   func(a *tale) { commit(a, 1, "x", Fail); commit(a, 2, "y", Unknown) },
	} {
		a := &tale{t: t}
		tell(a)
		if ids := a.ids(); len(ids) != 1 || ids[0] != "empty" {
			t.Errorf("%s: %v", name, ids)
		}
	}
}

// hogs tell operations each of which makes a judge remember something of another sort.
var hogs = map[string]func(o *Op, i int64){
	"offsets far from each other": func(o *Op, i int64) {
		o.Kind, o.Topic, o.HW = Fetch, "t", 1<<60
		o.Runs = []Run{{i << 30, 1, i % 1000, 1}}
	},
	"offsets far from each other, in one poll": func(o *Op, i int64) {
		o.Kind, o.Topic, o.HW = Fetch, "t", 1<<60
		for at := range int64(200_000) {
			o.Runs = append(o.Runs, Run{(i<<18 + at) << 20, 1, 0, 1})
		}
	},
	"many readers": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Process, o.Partition = Assign, "t", i%60_000, i/60_000
	},
	"many clients that ask for the end": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Process, o.At, o.LeaderEpoch = ListOffsets, "t", i%60_000, -1, 1
	},
	"many producers": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Producer, o.Partition, o.Count, o.Acks = Produce, "t", i%60_000, i/60_000, 1, -1
	},
	"long topic names": func(o *Op, i int64) {
		o.Kind, o.Topic = Metadata, fmt.Sprint(strings.Repeat("t", 50_000), i)
	},
	"a topic with many lives": func(o *Op, i int64) {
		o.Kind, o.Topic, o.TopicID, o.Exists, o.Count = Metadata, "t", fmt.Sprint(i), true, 1
	},
	"many leader epochs": func(o *Op, i int64) {
		o.Kind, o.Topic, o.TopicID, o.Exists, o.Count, o.Leaders = Metadata, "t", "id", true, 1, []Leader{{0, i % 3, i}}
	},
	"many groups": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Group, o.Token = FetchOffset, "t", fmt.Sprint(i), fmt.Sprint(i)
	},
	"many tokens": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Group, o.Token = Commit, "t", "g", fmt.Sprint(i)
	},
	"many generations": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Group, o.Generation = Own, "t", "g", i
		o.Partitions = []int64{i % 60_000}
	},
	"long values": func(o *Op, i int64) {
		o.Kind, o.Resource, o.Key, o.Value = AlterConfig, "r", "k", fmt.Sprint(strings.Repeat("v", 50_000), i)
	},
	"many producer ids": func(o *Op, i int64) { o.Kind, o.PID, o.Epoch = InitProducer, i, 0 },
	"many producer ids in the log": func(o *Op, i int64) {
		o.Kind, o.Topic, o.Base, o.Count, o.Bad, o.PID, o.Epoch, o.Seq = Scan, "t", i, 1, []int64{i}, i, 0, 0
	},
}

// TestMemoryIsBounded: a history that needs more than it may is refused, and then the judges hold not
// much more than they may.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 16 << 20
	for name, hog := range hogs {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		j := NewJudge(Limits{Bytes: limit})
		var err error
		for i := int64(0); err == nil && i < 2_000_000; i++ {
			o := NewOp(Produce)
			o.Call, o.Done = i, i
			hog(&o, i)
			err = j.Tell(&o)
		}
		if !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "more than 16 MiB") {
			t.Errorf("%s: %v", name, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 2*limit {
			t.Errorf("%s: %d MiB are held, %d may be", name, held>>20, limit>>20)
		}
		runtime.KeepAlive(j)
	}
}

// TestNamesAreBounded: texts that are used once are not kept for ever.
func TestNamesAreBounded(t *testing.T) {
	r, w := io.Pipe()
	const lines = 1500 // of 60 kB: 90 MB
	go func() {
		b := AppendHeader(nil, "me")
		long := strings.Repeat("e", 60_000)
		for i := range int64(lines) {
			o := NewOp(DeleteTopic)
			o.Call, o.Done, o.Topic, o.Outcome, o.Error = i, i, "t", Fail, fmt.Sprint(long, i)
			if _, err := w.Write(AppendOp(b, &o)); err != nil {
				return
			}
			b = b[:0]
		}
		w.Write(AppendEnd(nil, lines))
		w.Close()
	}()
	d, err := NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	var o Op
	most := 0
	for err == nil {
		err = d.Next(&o)
		held := 0
		if d.Read%100 == 0 {
			for s := range d.names {
				held += len(s)
			}
		}
		most = max(most, held)
	}
	if err != io.EOF || d.Read != lines || most > maxNames+maxText || most < maxNames/2 {
		t.Errorf("%v after %d operations; %d bytes of names", err, d.Read, most)
	}
}
