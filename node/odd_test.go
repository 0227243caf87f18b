package node

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// put sends one batch as it is.
func put(ctx context.Context, c *kgo.Client, topic string, b record.Batch) (offset int64, err error) {
	d, err := kadm.NewClient(c).ListTopics(ctx, topic)
	if err != nil {
		return -1, err
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = b
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID, rt.Partitions = topic, d[topic].ID, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	kr, err := c.Request(ctx, req)
	if err != nil {
		return -1, err
	}
	r := kr.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return r.BaseOffset, kerr.ErrorForCode(r.ErrorCode)
}

func batchWith(rs ...record.Record) record.Batch {
	var b record.Builder
	for _, r := range rs {
		b.Append(r)
	}
	return b.Build()
}

// listed asks for the offset of a time.
func listed(ctx context.Context, c *kgo.Client, topic string, ts int64) (offset, at int64, err error) {
	req := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = ts
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	kr, err := c.Request(ctx, req)
	if err != nil {
		return 0, 0, err
	}
	r := kr.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return r.Offset, r.Timestamp, kerr.ErrorForCode(r.ErrorCode)
}

// Timestamps at the very end of time are refused, unless the topic takes them; then lookups, rolls, retention,
// and the index files of a real disk live with them, across a restart that finds those files gone.
func TestTimestampsOfLongMax(t *testing.T) {
	const ever = math.MaxInt64
	r := newRough(t, 1, func(o *Options) { o.Configs = map[string]string{"log.retention.check.interval.ms": "50"} })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := dial(t, r.seeds)
	topicWith(ctx, t, c, "strict")
	topicWith(ctx, t, c, "ever", "message.timestamp.after.max.ms=9223372036854775807", "segment.bytes=1048576",
		"index.interval.bytes=0", "retention.ms=1000", "segment.ms=3600000")
	last := batchWith(record.Record{Value: []byte("the end"), Timestamp: ever})
	if _, err := put(ctx, c, "strict", last); !errors.Is(err, kerr.InvalidTimestamp) {
		t.Errorf("a record of Long.MAX: %v", err)
	}
	big := make([]byte, 400<<10)
	want := map[int64]int64{}
	for i, ts := range []core.Wall{ever - 1, ever, 5, ever, ever, 7, ever, ever} {
		at, err := put(ctx, c, "ever", batchWith(record.Record{Value: big, Timestamp: ts}, record.Record{Value: []byte("x"), Timestamp: ts}))
		if err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		want[at] = int64(ts)
	}
	ask := func() {
		t.Helper()
		for _, x := range []struct{ ts, offset, at int64 }{{ever, 2, ever}, {ever - 1, 0, ever - 1}, {0, 0, ever - 1}, {6, 0, ever - 1},
			{-3, 2, ever}, {-2, 0, -1}, {-1, 16, -1}} {
			offset, at, err := listed(ctx, c, "ever", x.ts)
			if err != nil || offset != x.offset || at != x.at {
				t.Errorf("time %d: offset %d at %d, %v; want %d at %d", x.ts, offset, at, err, x.offset, x.at)
			}
		}
		for i, x := range readAll(ctx, t, r.seeds, "ever", 16) {
			if x.Offset != int64(i) {
				t.Fatalf("record %d has offset %d", i, x.Offset)
			}
		}
	}
	ask()
	r.restart(t, 0, func() {
		files, err := filepath.Glob(filepath.Join(r.disks[0].dir, "ever-0", "*index"))
		if err != nil || len(files) < 4 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	})
	ask()
	r.alive(t, 0)
}

// 100,000 records without key, value or header in one batch, 7 bytes each: as they came, and compressed by the broker.
func TestAHundredThousandEmptyRecords(t *testing.T) {
	const n = 100_000
	r := newRough(t, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := dial(t, r.seeds)
	topicWith(ctx, t, c, "empty")
	topicWith(ctx, t, c, "packed", "compression.type=zstd")
	var b record.Builder
	for range n {
		b.Append(record.Record{Timestamp: 1})
	}
	batch := b.Build()
	for _, topic := range []string{"empty", "packed"} {
		for k := range int64(2) {
			if at, err := put(ctx, c, topic, batch); err != nil || at != k*n {
				t.Fatalf("%s: at %d, %v", topic, at, err)
			}
		}
	}
	r.restart(t, 0, nil)
	for _, topic := range []string{"empty", "packed"} {
		for i, x := range readAll(ctx, t, r.seeds, topic, 2*n) {
			if x.Offset != int64(i) || x.Key != nil || x.Value != nil || len(x.Headers) > 0 {
				t.Fatalf("%s: record %d is %+v", topic, i, x)
			}
		}
		if o, at, err := listed(ctx, c, topic, -3); o != 0 || at != 1 || err != nil {
			t.Errorf("%s: the newest is %d at %d, %v", topic, o, at, err)
		}
	}
}

// Offsets near 2^63 are asked for, and are not there.
func TestOffsetsNearTheEndOfNumbers(t *testing.T) {
	r := newRough(t, 1, nil)
	produce(t, r.seeds, 0, 10)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := dial(t, r.seeds)
	adm := kadm.NewClient(c)
	topics, err := adm.ListTopics(ctx, "numbers")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []int64{math.MaxInt64, math.MaxInt64 - 1, 1 << 62, 1 << 32, math.MinInt64, -2} {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes = 1 << 20
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes = o, 1<<20
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.TopicID, ft.Partitions = "numbers", topics["numbers"].ID, append(ft.Partitions, p)
		req.Topics = append(req.Topics, ft)
		kr, err := c.Request(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if code := kr.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode; code != kerr.OffsetOutOfRange.Code {
			t.Errorf("fetch from %d: %v", o, kerr.ErrorForCode(code))
		}
		var del kadm.Offsets
		del.Add(kadm.Offset{Topic: "numbers", Partition: 0, At: o})
		if res, err := adm.DeleteRecords(ctx, del); err != nil || !errors.Is(res["numbers"][0].Err, kerr.OffsetOutOfRange) {
			t.Errorf("delete up to %d: %v %v", o, err, res["numbers"][0].Err)
		}
	}
	var far kadm.Offsets
	far.Add(kadm.Offset{Topic: "numbers", Partition: 0, At: math.MaxInt64, LeaderEpoch: -1})
	if res, err := adm.CommitOffsets(ctx, "far", far); err != nil || res.Error() != nil {
		t.Fatalf("commit: %v %v", err, res.Error())
	}
	if got, err := adm.FetchOffsets(ctx, "far"); err != nil || got["numbers"][0].At != math.MaxInt64 {
		t.Errorf("a committed offset of 2^63-1 is read as %d, %v", got["numbers"][0].At, err)
	}
	r.alive(t, 0)
	consume(t, r.seeds, 10)
}
