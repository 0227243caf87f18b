package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{"uncompressed": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

var codecNames = []string{"uncompressed", "gzip", "snappy", "lz4", "zstd"} // by Kafka's number

// topicWith makes a topic of one partition; settings are KEY=VALUE.
func topicWith(ctx context.Context, t *testing.T, c *kgo.Client, name string, settings ...string) {
	t.Helper()
	configs := map[string]*string{}
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		configs[k] = &v
	}
	res, err := kadm.NewClient(c).CreateTopic(ctx, 1, -1, configs, name)
	if err != nil || res.Err != nil {
		t.Fatal(name, err, res.Err)
	}
}

// readAll reads n records of a topic from its start.
func readAll(ctx context.Context, t *testing.T, seeds []string, topic string, n int) (out []*kgo.Record) {
	t.Helper()
	c := dial(t, seeds, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for len(out) < n {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%s: %d of %d records: %v", topic, len(out), n, err)
		}
		out = append(out, f.Records()...)
	}
	return out
}

// From each codec to each compression.type, through pipelined batches of an idempotent producer: the codec on
// disk is the topic's, and each record is whole and in its place.
func TestRecompression(t *testing.T) {
	_, seeds := cluster(t, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	const each = 300
	admin := dial(t, seeds)
	began := time.Now().Truncate(time.Millisecond)
	for _, to := range append([]string{"producer"}, codecNames...) {
		topic := "to-" + to
		topicWith(ctx, t, admin, topic, "compression.type="+to, "compression.gzip.level=4", "compression.lz4.level=12",
			"compression.zstd.level=7")
		var want []*kgo.Record
		for _, from := range codecNames {
			c := dial(t, seeds, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[from]),
				kgo.ProducerBatchMaxBytes(2<<10))
			var batch []*kgo.Record
			for i := range each {
				r := kgo.KeyStringRecord(fmt.Sprint(from, i), strings.Repeat(fmt.Sprint(i), 50))
				r.Timestamp = began.Add(-time.Duration(i*i) * time.Millisecond)
				r.Headers = []kgo.RecordHeader{{Key: "from", Value: []byte(from)}}
				if i%50 == 0 {
					r.Value = nil
				}
				batch = append(batch, r)
			}
			if err := c.ProduceSync(ctx, batch...).FirstErr(); err != nil {
				t.Fatalf("%s to %s: %v", from, to, err)
			}
			want = append(want, batch...)
		}
		for i, r := range readAll(ctx, t, seeds, topic, len(want)) {
			w, from := want[i], codecNames[i/each]
			stored := to
			if to == "producer" {
				stored = from
			}
			if codecNames[r.Attrs.CompressionType()] != stored {
				t.Fatalf("%s to %s: offset %d is stored as %s", from, to, r.Offset, codecNames[r.Attrs.CompressionType()])
			}
			if r.Offset != int64(i) || !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || (r.Value == nil) != (w.Value == nil) ||
				!r.Timestamp.Equal(w.Timestamp) || len(r.Headers) != 1 || string(r.Headers[0].Value) != from ||
				r.ProducerID != w.ProducerID || r.ProducerID < 0 {
				t.Fatalf("%s to %s: %d: got %+v, want %+v", from, to, i, r, w)
			}
		}
	}
}

// A change of compression.type and of message.timestamp.type binds the next batch.
func TestTopicSettingsChangeLive(t *testing.T) {
	_, seeds := cluster(t, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := dial(t, seeds, kgo.DefaultProduceTopic("live"), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	topicWith(ctx, t, c, "live")
	alter := func(op kadm.IncrementalOp, key, value string) {
		t.Helper()
		res, err := kadm.NewClient(c).AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: op, Name: key, Value: &value}}, "live")
		if err != nil || res[0].Err != nil {
			t.Fatal(err, res)
		}
	}
	old := time.UnixMilli(1_600_000_000_000)
	put := func() {
		t.Helper()
		r := &kgo.Record{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 1000), Timestamp: old}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	put()
	alter(kadm.SetConfig, "compression.type", "zstd")
	put()
	alter(kadm.SetConfig, "message.timestamp.type", "LogAppendTime")
	put()
	alter(kadm.DeleteConfig, "compression.type", "")
	put()
	alter(kadm.DeleteConfig, "message.timestamp.type", "")
	put()
	want := []struct {
		codec   uint8
		stamped bool
	}{{1, false}, {4, false}, {4, true}, {1, true}, {1, false}}
	for i, r := range readAll(ctx, t, seeds, "live", len(want)) {
		if r.Attrs.CompressionType() != want[i].codec || (r.Attrs.TimestampType() == 1) != want[i].stamped ||
			r.Timestamp.Equal(old) == want[i].stamped {
			t.Errorf("%d: codec %d, timestamp type %d, %v", i, r.Attrs.CompressionType(), r.Attrs.TimestampType(), r.Timestamp)
		}
		if want[i].stamped && time.Since(r.Timestamp).Abs() > time.Minute {
			t.Errorf("%d: stamped %v", i, r.Timestamp)
		}
	}
}

// Records are judged one by one, whatever they are compressed with.
func TestRecordsAreJudged(t *testing.T) {
	_, seeds := cluster(t, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	admin := dial(t, seeds)
	topicWith(ctx, t, admin, "compacted", "cleanup.policy=compact")
	topicWith(ctx, t, admin, "bounded", "message.timestamp.before.max.ms=1000")
	for name, codec := range codecs {
		c := dial(t, seeds, kgo.ProducerBatchCompression(codec))
		try := func(bad *kgo.Record, want error) {
			t.Helper()
			good := &kgo.Record{Topic: bad.Topic, Key: []byte("k"), Value: bytes.Repeat([]byte("x"), 500)}
			err := c.ProduceSync(ctx, good, bad).FirstErr()
			if !errors.Is(err, want) {
				t.Errorf("%s, %s: %v, want %v", bad.Topic, name, err, want)
			}
		}
		try(&kgo.Record{Topic: "compacted", Value: []byte("no key")}, kerr.InvalidRecord)
		try(&kgo.Record{Topic: "bounded", Timestamp: time.Now().Add(-time.Minute)}, kerr.InvalidTimestamp)
		try(&kgo.Record{Topic: "bounded", Timestamp: time.Now().Add(2 * time.Hour)}, kerr.InvalidTimestamp)
	}
}
