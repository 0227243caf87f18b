package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRetentionRemovesFiles has a real process keep records for half a second: files go from its disk, the log
// start moves, a consumer whose position is gone carries on at the new one, and what changes while the node
// runs counts.
func TestRetentionRemovesFiles(t *testing.T) {
	all, seeds := cluster(t, 1, func(o *Options) {
		o.Configs = map[string]string{"log.retention.check.interval.ms": "50"}
	})
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("short"), kgo.ConsumeTopics("short"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	adm := kadm.NewClient(c)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	set := func(s string) *string { return &s }
	if _, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": set("500"), "segment.ms": set("100"),
		"file.delete.delay.ms": set("0"), "segment.jitter.ms": set("20")}, "short"); err != nil {
		t.Fatal(err)
	}
	next := 0
	put := func() {
		t.Helper()
		if err := c.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf("record %d", next))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		next++
	}
	read := func() (offset int64) {
		t.Helper()
		f := c.PollRecords(ctx, 1)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		offset = -1
		f.EachRecord(func(r *kgo.Record) {
			if offset = r.Offset; string(r.Value) != fmt.Sprintf("record %d", offset) {
				t.Fatalf("offset %d holds %q", offset, r.Value)
			}
		})
		return offset
	}
	start := func() int64 {
		t.Helper()
		l, err := adm.ListStartOffsets(ctx, "short")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := l.Lookup("short", 0)
		return o.Offset
	}
	put()
	for read() < 0 {
	}
	first := filepath.Join(all[0].o.Dir, "short-0", fmt.Sprintf("%020d.log", 0))
	if _, err := os.Stat(first); err != nil {
		t.Fatal(err)
	}
	for start() < 20 {
		put()
	}
	for gone := false; !gone; {
		put()
		_, err := os.Stat(first)
		gone = os.IsNotExist(err)
	}
	for last := int64(next - 1); read() < last; { // the consumer goes on, whatever was removed before its eyes
	}
	late, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"short": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	for got := int64(-1); got < 0; {
		put() // or nothing is left when it comes
		soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		late.PollRecords(soon, 1).EachRecord(func(r *kgo.Record) { got = r.Offset })
		cancel()
		if got >= 0 && got < 20 || ctx.Err() != nil {
			t.Fatalf("a consumer at offset 0, which is gone, reads offset %d", got)
		}
	}
	// Nothing is produced any more: all of the log goes, its last segment too.
	for start() < int64(next) {
		if ctx.Err() != nil {
			t.Fatalf("the log begins at %d of %d", start(), next)
		}
	}
	for {
		files, err := filepath.Glob(filepath.Join(all[0].o.Dir, "short-0", "*.log"))
		if err != nil || ctx.Err() != nil {
			t.Fatal(files, err)
		}
		if info, err := os.Stat(files[0]); len(files) == 1 && err == nil && info.Size() == 0 {
			break
		}
	}
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: set("-1")}}, "short"); err != nil {
		t.Fatal(err)
	}
	kept := int64(next)
	put()
	all[0].stop()
	if err := <-all[0].done; err != nil {
		t.Fatal(err)
	}
	all[0].start(t)
	all[0].up(t)
	for read() < kept {
	}
	put()
	if got := start(); got != kept {
		t.Errorf("the log begins at %d, want %d", got, kept)
	}
}
