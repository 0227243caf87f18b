// Command txn makes kafka.zip: it drives one broker of Apache Kafka on this machine through transactions that
// lie across each other and over several segments, then copies the files of the partition, and writes down what
// the broker answers to fetches that read what is committed.
//
//	go run ./core/seg/testdata/txn 127.0.0.1:PORT DATA-DIRECTORY-OF-THE-BROKER OUT
//	cd OUT && zip -X -r ../kafka.zip .
//
// A line of "answers" is: the offset and the bytes that were asked for; the high watermark, the last stable offset and
// how many bytes came; then each aborted transaction as PRODUCER:FIRST.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	addr = os.Args[1]
	ctx  = context.Background()
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	must(err)
	return c
}

const topic = "ledger"

// put is one batch of n records.
func put(c *kgo.Client, n int) {
	var rs []*kgo.Record
	for i := range n {
		rs = append(rs, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i), Value: []byte(strings.Repeat("v", 40))})
	}
	must(c.ProduceSync(ctx, rs...).FirstErr())
}

func end(c *kgo.Client, commit bool) { must(c.EndTransaction(ctx, kgo.TransactionEndTry(commit))) }

// fill writes the log: transactions of a to d, and records of nobody's between them.
func fill() (open []*kgo.Client) {
	loose := client()
	defer loose.Close()
	var t []*kgo.Client
	for _, id := range []string{"a", "b", "c", "d"} {
		t = append(t, client(kgo.TransactionalID(id)))
	}
	begin := func(c *kgo.Client) { must(c.BeginTransaction()) }
	a, b, c, d := t[0], t[1], t[2], t[3]
	put(loose, 3)
	begin(a)
	put(a, 2)
	begin(b)
	put(b, 1)
	end(a, false) // while b is open
	end(b, true)
	begin(c) // over several segments
	put(c, 2)
	for i := range 12 {
		begin(a)
		put(a, 3)
		put(loose, 4)
		end(a, i%3 != 0)
		begin(b)
		put(b, 2)
		end(b, i%2 == 0)
	}
	end(c, false) // long after it began, in another segment
	begin(d)
	end(d, false) // of which nothing is in the log
	for range 10 {
		put(loose, 9)
	}
	begin(a)
	put(a, 1)
	begin(b)
	put(b, 5)
	put(a, 1)
	end(b, false)
	begin(c)
	put(c, 1) // stays open, as a does
	put(loose, 2)
	time.Sleep(500 * time.Millisecond)
	loose.Close()
	return t
}

// ask fetches as one who reads what is committed.
func ask(c *kgo.Client, id [16]byte, from int64, most int32) string {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MaxBytes, req.IsolationLevel = 0, 1<<20, 1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = from, most, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID, ft.Partitions = topic, id, append(ft.Partitions, p)
	req.Topics = append(req.Topics, ft)
	kr, err := c.Request(ctx, req)
	must(err)
	r := kr.(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if r.ErrorCode != 0 {
		panic(r.ErrorCode)
	}
	line := fmt.Sprintf("%d %d %d %d %d", from, most, r.HighWatermark, r.LastStableOffset, len(r.RecordBatches))
	for _, x := range r.AbortedTransactions {
		line += fmt.Sprintf(" %d:%d", x.ProducerID, x.FirstOffset)
	}
	return line + "\n"
}

func main() {
	data, out := os.Args[2], os.Args[3]
	base := client()
	defer base.Close()
	adm := kadm.NewClient(base)
	v := func(s string) *string { return &s }
	made, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"internal.segment.bytes": v("2500"), "index.interval.bytes": v("300"),
		"message.timestamp.type": v("CreateTime")}, topic)
	must(err)
	open := fill()
	ends, err := adm.ListEndOffsets(ctx, topic)
	must(err)
	last, _ := ends.Lookup(topic, 0)
	var answers strings.Builder
	for from := int64(0); from <= last.Offset; from += 3 {
		for _, most := range []int32{1, 700, 4000} {
			answers.WriteString(ask(base, made.ID, from, most))
		}
	}
	must(os.MkdirAll(out, 0o755))
	src := filepath.Join(data, topic+"-0")
	ents, err := os.ReadDir(src)
	must(err)
	for _, e := range ents {
		switch filepath.Ext(e.Name()) {
		case ".log", ".txnindex", ".index", ".snapshot":
			b, err := os.ReadFile(filepath.Join(src, e.Name()))
			must(err)
			if filepath.Ext(e.Name()) == ".index" {
				for len(b) >= 8 && strings.Trim(string(b[len(b)-8:]), "\x00") == "" {
					b = b[:len(b)-8]
				}
			}
			must(os.WriteFile(filepath.Join(out, e.Name()), b, 0o644))
		}
	}
	must(os.WriteFile(filepath.Join(out, "answers"), []byte(answers.String()), 0o644))
	for _, c := range open {
		c.Close()
	}
}
