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

// short is a topic of one partition on one node that keeps records for half a second, and a client of it.
type short struct {
	t    *testing.T
	ctx  context.Context
	n    *member
	c    *kgo.Client
	adm  *kadm.Client
	next int64 // offset of the next record, which is its number too
}

func newShort(t *testing.T, n *member, seeds []string) *short {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("short"), kgo.ConsumeTopics("short"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	s := &short{t: t, ctx: ctx, n: n, c: c, adm: kadm.NewClient(c)}
	set := func(s string) *string { return &s }
	if _, err := s.adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": set("500"), "segment.ms": set("100"),
		"file.delete.delay.ms": set("0"), "segment.jitter.ms": set("20")}, "short"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *short) put() {
	s.t.Helper()
	if err := s.c.ProduceSync(s.ctx, kgo.StringRecord(fmt.Sprintf("record %d", s.next))).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	s.next++
}

// read gives the offset of the next record that the consumer is given, -1 if there is none for now.
func (s *short) read() (offset int64) {
	s.t.Helper()
	f := s.c.PollRecords(s.ctx, 1)
	if err := f.Err(); err != nil {
		s.t.Fatal(err)
	}
	offset = -1
	f.EachRecord(func(r *kgo.Record) {
		if offset = r.Offset; string(r.Value) != fmt.Sprintf("record %d", offset) {
			s.t.Fatalf("offset %d holds %q", offset, r.Value)
		}
	})
	return offset
}

func (s *short) start() int64 {
	s.t.Helper()
	l, err := s.adm.ListStartOffsets(s.ctx, "short")
	if err != nil {
		s.t.Fatal(err)
	}
	o, _ := l.Lookup("short", 0)
	return o.Offset
}

// TestRetentionRemovesFiles has a real process keep records for half a second: files go from its disk, the log
// start moves, a consumer whose position is gone carries on at the new one, and what changes while the node
// runs counts.
func TestRetentionRemovesFiles(t *testing.T) {
	all, seeds := cluster(t, 1, func(o *Options) {
		o.Configs = map[string]string{"log.retention.check.interval.ms": "50"}
	})
	s := newShort(t, all[0], seeds)
	s.untilTheFirstFileIsGone()
	s.aConsumerWhosePositionIsGone(seeds)
	s.untilNothingIsLeft()
	s.keepsFromNowOn()
}

func (s *short) untilTheFirstFileIsGone() {
	s.t.Helper()
	s.put()
	for s.read() < 0 {
	}
	first := filepath.Join(s.n.o.Dir, "short-0", fmt.Sprintf("%020d.log", 0))
	if _, err := os.Stat(first); err != nil {
		s.t.Fatal(err)
	}
	for s.start() < 20 {
		s.put()
	}
	for gone := false; !gone; {
		s.put()
		_, err := os.Stat(first)
		gone = os.IsNotExist(err)
	}
	for last := s.next - 1; s.read() < last; { // the consumer goes on, whatever was removed before its eyes
	}
}

func (s *short) aConsumerWhosePositionIsGone(seeds []string) {
	s.t.Helper()
	late, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"short": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer late.Close()
	for got := int64(-1); got < 0; {
		s.put() // or nothing is left when it comes
		soon, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
		late.PollRecords(soon, 1).EachRecord(func(r *kgo.Record) { got = r.Offset })
		cancel()
		if got >= 0 && got < 20 || s.ctx.Err() != nil {
			s.t.Fatalf("a consumer at offset 0, which is gone, reads offset %d", got)
		}
	}
}

// untilNothingIsLeft produces nothing any more: all of the log goes, its last segment too.
func (s *short) untilNothingIsLeft() {
	s.t.Helper()
	for s.start() < s.next {
		if s.ctx.Err() != nil {
			s.t.Fatalf("the log begins at %d of %d", s.start(), s.next)
		}
	}
	for {
		files, err := filepath.Glob(filepath.Join(s.n.o.Dir, "short-0", "*.log"))
		if err != nil || s.ctx.Err() != nil {
			s.t.Fatal(files, err)
		}
		if info, err := os.Stat(files[0]); len(files) == 1 && err == nil && info.Size() == 0 {
			return
		}
	}
}

// keepsFromNowOn lets retention.ms be without an end: what comes then is there after a restart.
func (s *short) keepsFromNowOn() {
	s.t.Helper()
	forever := "-1"
	if _, err := s.adm.AlterTopicConfigs(s.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &forever}}, "short"); err != nil {
		s.t.Fatal(err)
	}
	kept := s.next
	s.put()
	s.n.stop()
	if err := <-s.n.done; err != nil {
		s.t.Fatal(err)
	}
	s.n.start(s.t)
	s.n.up(s.t)
	for s.read() < kept {
	}
	s.put()
	if got := s.start(); got != kept {
		s.t.Errorf("the log begins at %d, want %d", got, kept)
	}
}
