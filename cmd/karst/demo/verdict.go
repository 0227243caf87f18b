package demo

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// audit is what reading the whole log back showed.
type audit struct {
	stored    int64
	lost      int64 // acknowledged, not in the log
	twice     int64 // in the log more than once
	altered   int64 // a value that was not sent
	disorder  int64 // rows of a key not in the order of sending
	strange   int64 // records without a row number
	delays    map[string]*delay
	seen      []uint8
	positions [partitions]int64

	unreadable string // partitions that could not be read to their end
}

type delay struct {
	flights int64
	minutes int64
}

// read reads every partition from its start to end, and judges each record.
func (a *audit) read(ctx context.Context, seeds []string, ends [partitions]int64, l *load) error {
	places := map[int32]kgo.Offset{}
	for p := range ends {
		places[int32(p)] = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(append(eager(seeds), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: places}),
		kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	last := map[string]int{} // by key: the row before
	a.seen, a.delays = make([]uint8, l.rows.total), map[string]*delay{}
	for moved := time.Now(); !a.complete(ends); {
		poll, cancel := context.WithTimeout(ctx, time.Second)
		fetches := cl.PollRecords(poll, 20_000)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fetches.NumRecords() > 0 {
			moved = time.Now()
		}
		if time.Since(moved) > standstill {
			a.unreadable = a.open(ends)
			break
		}
		fetches.EachRecord(func(r *kgo.Record) { a.record(r, l, last) })
	}
	a.close(l)
	return nil
}

// close compares what was seen with what was acknowledged.
func (a *audit) close(l *load) {
	for n, ok := range l.ok {
		if ok && a.seen[n] == 0 {
			a.lost++
		}
		if a.seen[n] > 1 {
			a.twice += int64(a.seen[n]) - 1
		}
	}
}

// standstill is how long nothing may move before it counts as broken.
const standstill = 15 * time.Second

func (a *audit) complete(ends [partitions]int64) bool { return a.open(ends) == "" }

// open names the partitions that were not read to their end.
func (a *audit) open(ends [partitions]int64) string {
	var parts []string
	for p, end := range ends {
		if a.positions[p] < end {
			parts = append(parts, fmt.Sprintf("%s-%d stands at %d of %d", topic, p, a.positions[p], end))
		}
	}
	return strings.Join(parts, ", ")
}

// record judges one record. Within a partition records come in order of offset, and a key has one
// partition, so the rows of a key must ascend.
func (a *audit) record(r *kgo.Record, l *load, last map[string]int) {
	a.positions[r.Partition] = r.Offset + 1
	a.stored++
	n, ok := rowOf(r)
	if !ok || n >= len(a.seen) {
		a.strange++
		return
	}
	if a.seen[n] < 255 {
		a.seen[n]++
	}
	if crc32.ChecksumIEEE(r.Value) != l.sum[n] {
		a.altered++
	}
	key := string(r.Key)
	if before, there := last[key]; there && before >= n {
		a.disorder++
	}
	last[key] = n
	minutes, ok := field(r.Value, 1)
	if !ok {
		return
	}
	m, err := strconv.ParseInt(string(bytes.TrimSpace(minutes)), 10, 64)
	if err != nil {
		return
	}
	d := a.delays[key]
	if d == nil {
		d = &delay{}
		a.delays[key] = d
	}
	d.flights++
	d.minutes += m
}

// airports is one line: the mean delay at the busiest ones.
func (a *audit) airports() string {
	var names []string
	for name := range a.delays {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int {
		if d := a.delays[y].flights - a.delays[x].flights; d != 0 {
			return int(d)
		}
		return strings.Compare(x, y)
	})
	var parts []string
	for _, name := range names[:min(5, len(names))] {
		d := a.delays[name]
		parts = append(parts, fmt.Sprintf("%s %.1f", name, float64(d.minutes)/float64(d.flights)))
	}
	return "mean delay in minutes: " + strings.Join(parts, ", ")
}

// sceneVerdict asks the log, the cluster and the files.
func (r *run) sceneVerdict(ctx context.Context) error {
	r.scene("f", "the verdict, read back from the log and the files")
	for _, b := range r.bad {
		r.say("%s  %s", r.judged(false, "BAD"), b)
	}
	if err := r.cluster.whole(ctx, 15*time.Second); err != nil && ctx.Err() != nil {
		return err
	}
	ends, err := r.cluster.ends(ctx)
	if err != nil {
		return err
	}
	var a audit
	if err := a.read(ctx, r.cluster.seeds(), ends, r.load); err != nil {
		return catalogue.DemoFailed.New("%v", err).Wrap(err)
	}
	d, err := r.cluster.describe(ctx)
	if err != nil {
		return catalogue.DemoFailed.New("cannot look at the topic: %v", err).Wrap(err)
	}
	files, filesErr := compareSegments(ctx, r.dirs(), ends)
	acked, redelivered := r.load.acked.Load(), r.readers.redelivered()
	unread := acked - r.readers.distinct.Load()
	r.check(acked == int64(r.rows.total), "rows acknowledged", thousands(acked), "of "+thousands(int64(r.rows.total)))
	if a.unreadable != "" {
		r.bad = append(r.bad, "unreadable: "+a.unreadable)
		r.say("%s  unreadable: %s", r.judged(false, "BAD"), a.unreadable)
	}
	r.check(a.lost == 0, "lost", thousands(a.lost), "by row number in the log")
	r.check(a.twice == 0, "stored twice", thousands(a.twice), "by row number in the log")
	r.check(a.altered+a.strange == 0, "altered", thousands(a.altered+a.strange), "by checksum")
	r.check(a.disorder == 0, "out of order", thousands(a.disorder), "within a key")
	r.check(unread <= 0, "not delivered to the group", thousands(max(unread, 0)), "")
	r.fact("redelivered to the group", thousands(redelivered), "allowed, and counted")
	r.check(inSync(d) == partitions, "partitions with every copy in sync", fmt.Sprint(inSync(d)), fmt.Sprintf("of %d", partitions))
	if filesErr != nil {
		r.check(false, "segment bytes equal on all nodes", "no", filesErr.Error())
	} else {
		r.check(files > 0 || a.stored == 0, "segment bytes equal on all nodes", thousands(files), "up to the high watermark")
	}
	r.say("")
	r.say("%s", a.airports())
	r.next()
	if len(r.bad) > 0 {
		return catalogue.DemoRed.New("the demo ended red: %s", strings.Join(r.bad, "; "))
	}
	return nil
}

func (r *run) dirs() (out []string) {
	for _, n := range r.cluster.nodes {
		out = append(out, n.Data)
	}
	return out
}

// check shows a line of the verdict, and remembers a bad one.
func (r *run) check(ok bool, what, value, note string) {
	mark := r.judged(true, "ok ")
	if !ok {
		mark = r.judged(false, "BAD")
		r.bad = append(r.bad, what+" "+value)
	}
	r.say("%s  %-34s %11s  %s", mark, what, value, r.faint(note))
}

// fact shows a line that cannot be bad.
func (r *run) fact(what, value, note string) {
	r.say("     %-34s %11s  %s", what, value, r.faint(note))
}

// next says what to type.
func (r *run) next() {
	seed := r.cluster.seeds()[0]
	if !r.Keep {
		r.say("")
		r.say("next: %s leaves the cluster running for", r.strong("karst demo --keep"))
	} else {
		r.say("")
		r.say("the cluster runs on; its data are in %s", r.Dir)
		r.say("process %d supervises it: kill %d stops it. Next:", r.cluster.cmd.Process.Pid, r.cluster.cmd.Process.Pid)
	}
	r.say("  kcat -b %s -t %s -o -5 -e -f '%%k %%s\\n'", seed, topic)
	r.say("  python3 -c 'import kafka; [print(m.value) for m in kafka.KafkaConsumer(")
	r.say("    \"%s\", bootstrap_servers=\"%s\",", topic, seed)
	r.say("    auto_offset_reset=\"earliest\", consumer_timeout_ms=3000)]' | head")
}
