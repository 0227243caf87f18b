package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/shard"
	"github.com/karst-stream/karst/diskio/posix"
)

// hostile is the disk of a real node: it does what rule says.
type hostile struct {
	dir     string
	mu      sync.Mutex
	rule    func(posix.Call) (int64, error)
	refused int
	some    sync.Cond // refused grew, or nothing will be refused any more
	over    bool
}

func newHostile(dir string) *hostile {
	h := &hostile{dir: dir}
	h.some.L = &h.mu
	return h
}

func (h *hostile) fault(c posix.Call) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rule == nil {
		return c.N, nil
	}
	n, err := h.rule(c)
	if err != nil {
		h.refused++
		h.some.Broadcast()
	}
	return n, err
}

// set gives the disk another rule; nil: it is well.
func (h *hostile) set(rule func(posix.Call) (int64, error)) {
	h.mu.Lock()
	h.rule = rule
	h.mu.Unlock()
}

// refusals waits until n calls were refused; false: there will not be so many.
func (h *hostile) refusals(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.refused < n && !h.over {
		h.some.Wait()
	}
	return h.refused >= n
}

func (h *hostile) end() {
	h.mu.Lock()
	h.over = true
	h.some.Broadcast()
	h.mu.Unlock()
}

// full is a volume without a free block: what needs none goes on, of a write the first half arrives.
func (h *hostile) full(c posix.Call) (int64, error) {
	if h.needsRoom(c) {
		return c.N / 2, syscall.ENOSPC
	}
	return c.N, nil
}

func (h *hostile) needsRoom(c posix.Call) bool {
	size := int64(-1)
	if st, err := os.Stat(filepath.Join(h.dir, c.Path)); err == nil {
		size = st.Size()
	}
	switch c.Kind {
	case posix.MakeDir, posix.CreateNew:
		return size < 0
	case posix.WriteAt:
		return c.Off+c.N > size
	case posix.SetSize:
		return c.Off > size
	case posix.Reserve:
		return true
	}
	return false
}

// watched is a log in which one can wait for words.
type watched struct {
	mu   sync.Mutex
	some sync.Cond
	b    bytes.Buffer
	late bool
}

func newWatched() *watched {
	w := &watched{}
	w.some.L = &w.mu
	return w
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.some.Broadcast()
	return w.b.Write(p)
}

// line waits for a line that holds all words.
func (w *watched) line(t *testing.T, words ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	late := time.AfterFunc(20*time.Second, func() {
		w.mu.Lock()
		w.late = true
		w.some.Broadcast()
		w.mu.Unlock()
	})
	defer late.Stop()
	for {
		for line := range strings.Lines(w.b.String()) {
			found := 0
			for _, x := range words {
				if strings.Contains(line, x) {
					found++
				}
			}
			if found == len(words) {
				return
			}
		}
		if w.late {
			t.Fatalf("the log has no line with %q:\n%.4000s", words, w.b.String())
		}
		w.some.Wait()
	}
}

// rough is a cluster whose disks are hostile when they are told to be.
type rough struct {
	all   []*member
	seeds []string
	disks []*hostile
	logs  []*watched
}

func newRough(t *testing.T, size int, change func(*Options)) *rough {
	t.Helper()
	r := &rough{}
	r.all, r.seeds = cluster(t, size, func(o *Options) {
		h, l := newHostile(o.Dir), newWatched()
		r.disks, r.logs = append(r.disks, h), append(r.logs, l)
		o.Fault, o.Log = h.fault, slog.New(slog.NewTextHandler(l, nil))
		if change != nil {
			change(o)
		}
	})
	return r
}

// restart ends node i in peace and starts it again.
func (r *rough) restart(t *testing.T, i int, between func()) {
	t.Helper()
	m := r.all[i]
	r.end(t, i)
	if between != nil {
		between()
	}
	m.start(t)
	m.up(t)
}

// alive fails when a node has ended by itself.
func (r *rough) alive(t *testing.T, i int) {
	t.Helper()
	select {
	case err := <-r.all[i].done:
		t.Fatalf("node %d has ended: %v", i, err)
	default:
	}
}

func dial(t *testing.T, seeds []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// once produces one record to a partition and tries it for a second.
func once(t *testing.T, seeds []string, topic string, p int32, value string) error {
	t.Helper()
	c := dial(t, seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(time.Second),
		kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
		kgo.ProduceRequestTimeout(time.Second), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: p, Key: []byte("once"), Value: []byte(value)}).FirstErr()
}

// large is too much for the journal: it goes to its segment, which is synced itself.
var large = strings.Repeat("large ", 10_000)

// Whichever call of a node's life finds no room, from its first start on: the node waits, tries again by
// itself, and goes on when there is room. What it acknowledged is there after a restart.
func TestANodeWithoutRoomAtEveryCall(t *testing.T) {
	t.Parallel()
	const most = 200
	hits := 0
	for k := 1; ; k++ {
		if k == most {
			t.Fatalf("%d calls and no end", k)
		}
		var h *hostile
		one := func(o *Options) {
			o.Topics, o.Shards = []TopicSpec{{"numbers", 1}}, 1
			h = newHostile(o.Dir)
			left := k
			h.rule = func(c posix.Call) (int64, error) {
				if left > 0 && h.needsRoom(c) {
					left--
				}
				if left > 0 {
					return c.N, nil
				}
				return h.full(c)
			}
			o.Fault = h.fault
			go func() { // room returns after it was looked for in vain
				h.refusals(2)
				h.set(nil)
			}()
		}
		all, seeds := cluster(t, 1, one)
		produce(t, seeds, 0, 20)
		if err := once(t, seeds, "numbers", 0, large); err != nil {
			c := dial(t, seeds, kgo.DefaultProduceTopic("numbers"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err := c.ProduceSync(t.Context(), &kgo.Record{Value: []byte(large)}).FirstErr(); err != nil {
				t.Fatalf("call %d: with room: %v", k, err)
			}
		}
		all[0].stop()
		if err := <-all[0].done; err != nil {
			t.Fatalf("call %d: the node ends with %v", k, err)
		}
		h.set(nil)
		h.end()
		all[0].start(t)
		all[0].up(t)
		atLeast(t, seeds, 21)
		all[0].stop()
		<-all[0].done
		if h.refused == 0 {
			break
		}
		hits++
	}
	if hits < 8 {
		t.Errorf("only %d calls found no room: too little happened", hits)
	}
	t.Logf("%d calls", hits)
}

// atLeast reads n records of the topic numbers.
func atLeast(t *testing.T, seeds []string, n int) {
	t.Helper()
	c := dial(t, seeds, kgo.ConsumeTopics("numbers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for seen := 0; seen < n; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", seen, n, err)
		}
		seen += f.NumRecords()
	}
}

// A full disk makes a node read-only: it says so and what helps, serves what it has, lets topics go, and takes
// records again when there is room.
func TestAFullDiskIsReadOnly(t *testing.T) {
	t.Parallel()
	r := newRough(t, 1, func(o *Options) { o.Topics = append(o.Topics, TopicSpec{"spare", 1}) })
	produce(t, r.seeds, 0, 500)
	r.disks[0].set(r.disks[0].full)
	if err := once(t, r.seeds, "numbers", 1, large); err == nil {
		t.Error("a full disk takes a large record")
	}
	r.logs[0].line(t, "level=ERROR", "the disk is full", "dir=", r.disks[0].dir, "free space on its volume", "goes on by itself")
	if err := once(t, r.seeds, "numbers", 0, "small"); err == nil {
		t.Error("a full disk takes a small record")
	}
	consume(t, r.seeds, 500)
	adm := kadm.NewClient(dial(t, r.seeds))
	if resp, err := adm.DeleteTopic(t.Context(), "spare"); err != nil {
		t.Errorf("deleting a topic: %v, %v", resp, err)
	}
	r.alive(t, 0)
	r.disks[0].set(nil)
	r.logs[0].line(t, "the disk has room again")
	produce(t, r.seeds, 500, 600)
	r.restart(t, 0, nil)
	atLeast(t, r.seeds, 600)
}

// A segment whose sync fails takes its partition offline, and nothing else; a start on a disk that is well
// brings it back, with everything that was acknowledged.
func TestAFailedSyncOfASegment(t *testing.T) {
	t.Parallel()
	r := newRough(t, 1, nil)
	produce(t, r.seeds, 0, 400)
	r.disks[0].set(func(c posix.Call) (int64, error) {
		if c.Kind == posix.SyncData && strings.HasPrefix(c.Path, "numbers-0/") {
			return 0, syscall.EIO
		}
		return c.N, nil
	})
	if err := once(t, r.seeds, "numbers", 0, large); err == nil {
		t.Error("a record is acknowledged whose sync failed")
	}
	r.logs[0].line(t, "level=ERROR", "partition offline", "partition=numbers-0", "err=", "karst log verify")
	for p := range int32(3) {
		if err := once(t, r.seeds, "numbers", p+1, large); err != nil {
			t.Errorf("partition %d, which is well: %v", p+1, err)
		}
	}
	r.disks[0].set(nil)
	if err := once(t, r.seeds, "numbers", 0, "small"); !errors.Is(err, kerr.KafkaStorageError) && !errors.Is(err, kgo.ErrRecordTimeout) && err == nil {
		t.Errorf("after a failed sync the file is believed again: %v", err)
	}
	r.alive(t, 0)
	r.restart(t, 0, nil)
	if err := once(t, r.seeds, "numbers", 0, large); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	atLeast(t, r.seeds, 404)
}

// A journal whose sync fails takes its shard's partitions offline on that node: the others lead them, and the
// node says what happened. After a restart on a disk that is well it is in sync again.
func TestAFailedSyncOfAJournal(t *testing.T) {
	t.Parallel()
	r := newRough(t, 3, nil)
	produce(t, r.seeds, 0, 400)
	r.disks[1].set(func(c posix.Call) (int64, error) {
		if c.Kind == posix.SyncData && strings.HasPrefix(c.Path, "journal/") {
			return 0, syscall.EIO
		}
		return c.N, nil
	})
	produce(t, r.seeds, 400, 800)
	r.logs[1].line(t, "level=ERROR", "the journal of a shard failed", "dir=", "restart the node")
	consume(t, r.seeds, 800)
	r.alive(t, 1)
	r.disks[1].set(nil)
	produce(t, r.seeds, 800, 900)
	r.restart(t, 1, nil)
	produce(t, r.seeds, 900, 1000)
	consume(t, r.seeds, 1000)
	r.inSync(t, 3)
}

// inSync waits until every partition of numbers has n replicas in sync.
func (r *rough) inSync(t *testing.T, n int) {
	t.Helper()
	adm := kadm.NewClient(dial(t, r.seeds, kgo.MetadataMinAge(20*time.Millisecond)))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); ; {
		md, err := adm.ListTopics(t.Context(), "numbers")
		whole := err == nil
		for _, p := range md["numbers"].Partitions {
			whole = whole && len(p.ISR) == n
		}
		if whole {
			return
		}
		select {
		case <-late:
			t.Fatalf("not in sync: %v %+v", err, md["numbers"].Partitions)
		case <-tick.C:
		}
	}
}

// A disk that takes every write in pieces of some bytes is slow, and that is all.
func TestShortWrites(t *testing.T) {
	t.Parallel()
	short := 0
	r := newRough(t, 1, func(o *Options) {
		inner := o.Fault
		o.Fault = func(c posix.Call) (int64, error) {
			if n, err := inner(c); err != nil || c.Kind != posix.WriteAt {
				return n, err
			}
			return max(c.N/2, 1), nil
		}
	})
	r.disks[0].set(func(c posix.Call) (int64, error) {
		if c.Kind == posix.WriteAt && c.N > 1 {
			short++
		}
		return c.N, nil
	})
	produce(t, r.seeds, 0, 400)
	if err := once(t, r.seeds, "numbers", 2, large); err != nil {
		t.Error(err)
	}
	r.restart(t, 0, nil)
	atLeast(t, r.seeds, 401)
	if short < 100 {
		t.Errorf("only %d short writes: too little happened", short)
	}
}

// flip changes one bit of a file, to which a node may be writing elsewhere.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatalf("%s at %d: %v", path, at, err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// grown waits until a file is n bytes long.
func grown(t *testing.T, path string, n int64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); ; {
		info, err := os.Stat(path)
		if err == nil && info.Size() >= n {
			return
		}
		select {
		case <-late:
			t.Fatalf("%s does not grow to %d bytes: %v %v", path, n, info, err)
		case <-tick.C:
		}
	}
}

func firstFile(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

// A bit that flips in a segment while the node runs is found by the scrubber, said, and mended from another replica.
func TestAFlippedBitInASegment(t *testing.T) {
	t.Parallel()
	r := newRough(t, 3, nil)
	produce(t, r.seeds, 0, 400)
	for p := range int32(4) {
		if err := once(t, r.seeds, "numbers", p, large); err != nil {
			t.Fatal(err)
		}
	}
	produce(t, r.seeds, 400, 500)
	r.inSync(t, 3)
	const where = "numbers-2/00000000000000000000.log"
	for i := range 2 { // in sync means to hold it, which a journal may do for a while
		grown(t, filepath.Join(r.disks[i].dir, where), int64(len(large)))
	}
	flip(t, filepath.Join(r.disks[1].dir, where), 20_000)
	r.logs[1].line(t, "level=ERROR", "holds rotten bytes", where, "pos=")
	r.logs[1].line(t, "fetching what is lost from its leader", "partition=numbers-2")
	r.logs[1].line(t, "partition is whole again", "partition=numbers-2")
	a, err1 := os.ReadFile(filepath.Join(r.disks[0].dir, where))
	b, err2 := os.ReadFile(filepath.Join(r.disks[1].dir, where))
	if n := min(len(a), len(b)); err1 != nil || err2 != nil || n < len(large) || !bytes.Equal(a[:n], b[:n]) {
		at := 0
		for at < n && a[at] == b[at] {
			at++
		}
		t.Errorf("the segment is not mended: %v %v, %d and %d bytes, differ at %d", err1, err2, len(a), len(b), at)
	}
	r.alive(t, 1)
	atLeast(t, r.seeds, 504)
}

// The file that says whose disk it is has two slots. With one of them a node starts, unless it does not know of
// the newest start: then it is refused as an old disk, because that is what it looks like. With none it is
// refused as well. Both errors say what helps.
func TestAFlippedBitInTheIdentity(t *testing.T) {
	t.Parallel()
	r := newRough(t, 3, nil)
	produce(t, r.seeds, 0, 300)
	r.end(t, 1)
	path := filepath.Join(r.disks[1].dir, "node")
	try := func(want string, slots func(newer int64) []int64) {
		t.Helper()
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		newer, same := newerSlot(t, whole)
		at := slots(newer)
		for _, x := range at {
			flip(t, path, x+20)
		}
		if want == "?" {
			if want = "bring the newer disk back"; same {
				want = ""
			}
		}
		switch err = r.briefly(t, 1); {
		case want == "" && err != nil:
			t.Errorf("without the slots at %v: %v", at, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("without the slots at %v: %v, want %q", at, err, want)
		}
		if err != nil {
			if err := os.WriteFile(path, whole, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	try("names no node: restore that file", func(int64) []int64 { return []int64{0, 4096} })
	try("", func(newer int64) []int64 { return []int64{4096 - newer} })
	try("?", func(newer int64) []int64 { return []int64{newer} })
	consume(t, r.seeds, 300)
}

// briefly starts node i until it is ready, or ends by itself.
func (r *rough) briefly(t *testing.T, i int) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var ready atomic.Bool
	o := r.all[i].o
	o.bound = nil
	o.Ready = func() { ready.Store(true); stop() }
	if err := Run(ctx, o); err != nil || ready.Load() {
		return err
	}
	return errors.New("the node is not ready and does not say why")
}

// end stops node i in peace.
func (r *rough) end(t *testing.T, i int) {
	t.Helper()
	r.all[i].stop()
	if err := <-r.all[i].done; err != nil {
		t.Fatalf("node %d ends with %v", i, err)
	}
}

// lone is a disk with nothing but the file "node".
type lone []byte

func (l lone) List() []core.FileInfo { return []core.FileInfo{{Path: "node", Size: int64(len(l))}} }

func (l lone) ReadAt(_ string, off int64, b []byte) (int, core.Errno) {
	if n := copy(b, l[min(off, int64(len(l))):]); n < len(b) {
		return n, core.ErrShort
	}
	return len(b), core.OK
}

// newerSlot is where the newer of the two identities begins, and whether the older one knows of as many starts.
func newerSlot(t *testing.T, whole []byte) (newer int64, same bool) {
	t.Helper()
	found := map[int64]shard.Identity{}
	for _, at := range []int64{0, 4096} {
		b := bytes.Clone(whole)
		clear(b[4096-at : min(8192-at, int64(len(b)))])
		rec, err := shard.Recover(lone(b), 1)
		if err != nil {
			t.Fatal(err)
		}
		found[at] = rec.Identity
	}
	if found[4096].Writes > found[0].Writes {
		newer = 4096
	}
	return newer, found[0].Start == found[4096].Start
}

// largestFrame is where the longest frame of a journal file begins, before the last ones.
func largestFrame(t *testing.T, b []byte) (at int64) {
	t.Helper()
	var starts []int
	for i := 4608; i+3 < len(b); i += 64 {
		if string(b[i:i+3]) == "KJL" {
			starts = append(starts, i)
		}
	}
	if len(starts) < 10 {
		t.Fatalf("%d frames: too little happened", len(starts))
	}
	longest := 0
	for i, s := range starts[:len(starts)-5] {
		if n := starts[i+1] - s; n > longest {
			longest, at = n, int64(s)
		}
	}
	return at
}

// A bit that flips in a journal may be a vote, or an acknowledged record: the partitions that it may have
// belonged to stay offline on this node, which says so. The process stays up, other shards serve, and so do the
// other nodes.
func TestAFlippedBitInAJournal(t *testing.T) {
	t.Parallel()
	r := newRough(t, 3, nil)
	for i := range 20 { // each is acknowledged before the next: frames of their own
		produce(t, r.seeds, i*150, (i+1)*150)
	}
	r.end(t, 1)
	path := firstFile(t, filepath.Join(r.disks[1].dir, "journal", "01-*"))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, path, largestFrame(t, b)+9)
	r.all[1].start(t)
	r.all[1].up(t)
	r.logs[1].line(t, "level=ERROR", "partition offline", "partition=numbers-", "journal", "karst log verify")
	produce(t, r.seeds, 3000, 3200)
	consume(t, r.seeds, 3200)
	adm := kadm.NewClient(dial(t, r.seeds))
	dirs, err := adm.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	works := 0
	for p := range int32(4) {
		if _, ok := dirs[1].LookupPartition("numbers", p); ok {
			works++
		}
	}
	if works == 0 || works == 4 {
		t.Errorf("%d of 4 partitions work on the node with half a journal", works)
	}
	r.alive(t, 1)
}
