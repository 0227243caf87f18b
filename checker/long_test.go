package checker

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

var (
	operations = flag.Int64("operations", 100_000, "operations of the long history")
	keep       = flag.String("keep", "", "a file for the long history, to be judged by `karst check`")
)

// long writes a clean history of every kind of operation that the format has. Every operation begins
// some ticks before it ends and takes effect at its end, so that the order of the lines is an order
// that fits, and some operations are always open.
type long struct {
	emit  func(*Op)
	op    Op
	n     int64
	parts [longParts]longPart
	sides [3]side
	gens  [longGroups]int64
	epoch map[int64]int64 // by producer id that init_producer gave
	value string          // of the configuration key
}

const (
	longParts, longGroups = 32, 4
	tick                  = 1000
)

// The processes of a long history: producers are 0 to 7.
const (
	longReaders = 20
	longClients = 40 // and one for each kind
	longLast    = 90
)

type longPart struct {
	end       int64
	counters  [8]int64
	seqs      [8]int64
	batches   []longBatch
	token     string
	committed int64
}

type longBatch struct{ base, count, producer, first, seq int64 }

// side is a topic that comes and goes.
type side struct{ number int64 }

func (l *long) add(k Kind, process int64, set func(*Op)) {
	o := &l.op
	runs, sums, times, leaders, partitions := o.Runs[:0], o.Sums[:0], o.Times[:0], o.Leaders[:0], o.Partitions[:0]
	*o = NewOp(k)
	o.Runs, o.Sums, o.Times, o.Leaders, o.Partitions = runs, sums, times, leaders, partitions
	o.Process, o.Done, o.Call = process, (l.n+4)*tick, l.n*tick
	set(o)
	l.emit(o)
	l.n++
}

var longTopics = [4]string{"t0", "t1", "t2", "t3"}

func (l *long) in(o *Op, p int64) { o.Topic, o.Partition = longTopics[p%4], p/4 }

func longSum(producer, counter int64) int64 { return int64(uint32(counter*2654435761 + producer)) }

// send is a batch of one or two records. Of one producer some are refused, of another the outcome is
// sometimes unknown, and a third has neither idempotence nor acks=all.
func (l *long) send(p, producer, round int64) {
	part := &l.parts[p]
	b := longBatch{part.end, 1 + (round+producer)%2, producer, part.counters[producer], part.seqs[producer]}
	lands := true
	l.add(Produce, producer, func(o *Op) {
		l.in(o, p)
		o.Producer, o.First, o.Count, o.Acks, o.Base = producer, b.first, b.count, -1, b.base
		o.PID, o.Epoch, o.Seq, o.Whole = 100*p+producer, 0, b.seq, true
		for c := range b.count * (p % 2) {
			o.Sums = append(o.Sums, longSum(producer, b.first+c))
		}
		switch {
		case producer == 5 && round%8 == 0:
			o.Outcome, o.Error, o.Base, lands = Fail, "NOT_LEADER_OR_FOLLOWER", -1, false
		case producer == 6 && round%4 == 0:
			o.Outcome, o.Error, o.Base, lands = Unknown, "REQUEST_TIMED_OUT", -1, round%8 == 0
		case producer == 7:
			o.Acks, o.PID, o.Epoch, o.Seq = 1, -1, -1, -1
		}
	})
	part.counters[producer] += b.count
	if lands {
		part.seqs[producer] += b.count
		part.end += b.count
		part.batches = append(part.batches, b)
	}
}

// poll gives a reader what was appended since a batch.
func (l *long) poll(reader, p, since, epoch int64) {
	part := &l.parts[p]
	l.add(Fetch, reader, func(o *Op) {
		l.in(o, p)
		o.HW, o.LeaderEpoch, o.From = part.end, epoch, part.batches[since].base
		for _, b := range part.batches[since:] {
			o.Runs = append(o.Runs, Run{b.base, b.producer, b.first, b.count})
			for c := range b.count * (p % 2) {
				o.Sums = append(o.Sums, longSum(b.producer, b.first+c))
			}
		}
	})
}

// round is some 20 operations, most of them on one partition.
func (l *long) round(i int64) {
	p, round := i%longParts, i/longParts
	part, since := &l.parts[p], int64(len(l.parts[p].batches))
	for producer := range int64(8) {
		l.send(p, producer, round)
	}
	for r := range int64(3) {
		l.poll(longReaders+r, p, since, round/100)
	}
	client := longClients + i%2*20
	l.add(ListOffsets, client, func(o *Op) { l.in(o, p); o.At, o.Offset, o.LeaderEpoch = -1, part.end, round/100 })
	l.add(ListOffsets, client+1, func(o *Op) { l.in(o, p); o.At, o.Offset = part.end/2*10, part.end/2 })
	l.offsets(p, i, client)
	l.add(Metadata, client+5, func(o *Op) {
		o.Topic, o.TopicID, o.Node, o.Exists, o.Count = longTopics[p%4], "of "+longTopics[p%4], i%3, true, longParts/4
		o.Leaders = append(o.Leaders, Leader{p / 4, round / 100 % 3, round / 100})
	})
	l.add(DescribeConfig, client+6, func(o *Op) { o.Resource, o.Key, o.Value = "topic t0", "retention.ms", l.value })
	l.rare(i, client)
}

func (l *long) offsets(p, i, client int64) {
	part, g := &l.parts[p], i%longGroups
	group := [longGroups]string{"g0", "g1", "g2", "g3"}[g]
	for c := range int64(2) {
		l.add(Commit, client+2+c, func(o *Op) {
			l.in(o, p)
			o.Group, o.Offset, o.Token, o.Generation = group, part.end, fmt.Sprintf("%d/%d", i, c), l.gens[g]
			part.token, part.committed = o.Token, part.end
		})
	}
	l.add(FetchOffset, client+4, func(o *Op) {
		l.in(o, p)
		o.Group, o.Offset, o.Token = group, part.committed, part.token
	})
	if i%8 == g {
		l.gens[g]++
		l.add(Own, client+7, func(o *Op) {
			o.Group, o.Member, o.Generation, o.Topic = group, "m", l.gens[g], longTopics[p%4]
			o.Partitions = append(o.Partitions, p/4)
		})
	}
}

// rare is one operation of those that come seldom.
func (l *long) rare(i, client int64) {
	s := &l.sides[i%int64(len(l.sides))]
	name, id := fmt.Sprintf("s%d", s.number), fmt.Sprintf("id%d.%d", i%int64(len(l.sides)), s.number)
	name += []string{"a", "b", "c"}[i%int64(len(l.sides))]
	switch i / int64(len(l.sides)) % 7 {
	case 0:
		l.add(CreateTopic, client+8, func(o *Op) { o.Topic, o.TopicID, o.Count = name, id, 3 })
	case 1:
		l.add(Metadata, client+9, func(o *Op) { o.Topic, o.TopicID, o.Count, o.Exists = name, id, 3, true })
	case 2:
		l.add(GrowTopic, client+10, func(o *Op) { o.Topic, o.Count = name, 5 })
	case 3:
		l.add(DeleteTopic, client+11, func(o *Op) { o.Topic = name })
		s.number++
	case 4:
		pid := 100_000 + i/63*16 + i%3
		l.add(InitProducer, client+12+i%3, func(o *Op) { o.PID, o.Epoch = pid+client*1_000_000_000, l.epoch[pid] })
		l.epoch[pid]++
	case 5:
		l.value = fmt.Sprint(i)
		l.add(AlterConfig, client+15, func(o *Op) { o.Resource, o.Key, o.Value = "topic t0", "retention.ms", l.value })
	case 6:
		p := i % longParts
		l.add(Assign, longReaders+4, func(o *Op) { l.in(o, p); o.From = l.parts[p].end / 2 })
	}
}

// last is the final read.
func (l *long) last() {
	for p := range int64(longParts) {
		for _, b := range l.parts[p].batches {
			l.add(Scan, longLast, func(o *Op) {
				l.in(o, p)
				o.Call, o.Base, o.Count, o.PID, o.Epoch, o.Seq = o.Done, b.base, b.count, 100*p+b.producer, 0, b.seq
				o.Runs = append(o.Runs, Run{b.base, b.producer, b.first, b.count})
				for c := range b.count {
					o.Times = append(o.Times, 10*(b.base+c))
					if p%2 == 1 {
						o.Sums = append(o.Sums, longSum(b.producer, b.first+c))
					}
				}
				if b.producer == 7 {
					o.PID, o.Epoch, o.Seq = -1, -1, -1
				}
			})
		}
		l.add(Sealed, longLast, func(o *Op) { l.in(o, p); o.Call, o.End = o.Done, l.parts[p].end })
	}
}

// tellLong emits a long history of about so many operations. It returns how many there were, by kind.
func tellLong(operations int64, emit func(*Op)) (n int64, by [kinds]int64) {
	l := &long{epoch: map[int64]int64{}}
	l.emit = func(o *Op) { by[o.Kind]++; emit(o) }
	for i := int64(0); l.n < operations*18/25; i++ {
		l.round(i)
	}
	l.last()
	return l.n, by
}

// writeLong writes one as a file.
func writeLong(out io.Writer, operations int64) (n int64, by [kinds]int64) {
	w := bufio.NewWriterSize(out, 1<<20)
	var line []byte
	w.Write(AppendHeader(nil, "a long test"))
	n, by = tellLong(operations, func(o *Op) {
		line = AppendOp(line[:0], o)
		w.Write(line)
	})
	w.Write(AppendEnd(nil, n))
	w.Flush()
	return n, by
}

// TestLongHistory: a history is judged as it streams by. The memory that the judges count is what they
// really hold, or more. -operations 10000000 is the long form; -keep FILE only writes it.
func TestLongHistory(t *testing.T) {
	if *keep != "" {
		f, err := os.Create(*keep)
		if err != nil {
			t.Fatal(err)
		}
		n, by := writeLong(f, *operations)
		t.Log(n, "operations:", by)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	r, w := io.Pipe()
	var n int64
	var by [kinds]int64
	done := make(chan bool)
	go func() {
		n, by = writeLong(w, *operations)
		w.Close()
		close(done)
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v, j, err := JudgeHistory(r, Limits{})
	<-done
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || !v.Clean() || v.Operations != n || n < *operations {
		t.Fatalf("%+v, %v; %d operations were written", v, err, n)
	}
	for k, m := range by {
		if m == 0 {
			t.Errorf("no %v", Kind(k))
		}
	}
	held, counted := int64(after.HeapAlloc)-int64(before.HeapAlloc), j.heldBytes()
	t.Logf("%d operations, %d records: %d MiB held, %d counted, %d bytes an operation", v.Operations, v.Records,
		held>>20, counted>>20, counted/v.Operations)
	if counted > 120*v.Operations || held > counted*5/4+(8<<20) {
		t.Errorf("%d operations: %d bytes held, %d counted", v.Operations, held, counted)
	}
	runtime.KeepAlive(j)
}

// BenchmarkJudge judges 1,000,000 operations that are in memory already; an iteration is all of them.
func BenchmarkJudge(b *testing.B) {
	var ops []Op
	tellLong(1_000_000, func(o *Op) {
		c := *o
		c.Runs, c.Sums, c.Times = slices.Clone(o.Runs), slices.Clone(o.Sums), slices.Clone(o.Times)
		c.Leaders, c.Partitions = slices.Clone(o.Leaders), slices.Clone(o.Partitions)
		ops = append(ops, c)
	})
	runtime.GC()
	var state int64
	began := processor()
	for b.Loop() {
		j := NewJudge(Limits{})
		for i := range ops {
			if err := j.Tell(&ops[i]); err != nil {
				b.Fatal(err)
			}
		}
		if v, err := j.Finish(); err != nil || !v.Clean() {
			b.Fatal(v, err)
		}
		state = j.heldBytes()
	}
	rates(b, len(ops), processor()-began)
	b.ReportMetric(float64(state)/float64(len(ops)), "state-B/operation")
}

// BenchmarkHistory judges the same from the bytes of a file.
func BenchmarkHistory(b *testing.B) {
	var file bytes.Buffer
	n, _ := writeLong(&file, 1_000_000)
	b.SetBytes(int64(file.Len()))
	runtime.GC()
	began := processor()
	for b.Loop() {
		if v, _, err := JudgeHistory(bytes.NewReader(file.Bytes()), Limits{}); err != nil || !v.Clean() {
			b.Fatal(v, err)
		}
	}
	rates(b, int(n), processor()-began)
}

// rates reports operations per second, and per second of processor time, which says more on a machine
// that has other work.
func rates(b *testing.B, operations int, spent time.Duration) {
	all := float64(operations * b.N)
	b.ReportMetric(all/b.Elapsed().Seconds(), "operations/s")
	b.ReportMetric(all/spent.Seconds(), "operations/cpu-s")
}

// processor is the time that all threads of this process have computed.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
