// Command kafka makes kafka.zip: it drives one broker of Apache Kafka on this machine through four rounds of its log
// cleaner and copies what is on its disk before and after each.
//
//	go run ./core/compact/testdata/kafka 127.0.0.1:PORT DATA-DIRECTORY-OF-THE-BROKER OUT
//	cd OUT && zip -X -r ../kafka.zip .
//
// The broker needs log.cleaner.backoff.ms=300 and one partition for __transaction_state.
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
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20 * time.Millisecond)}, opts...)...)
	must(err)
	return c
}

func ptr(s string) *string { return &s }

func alter(adm *kadm.Client, topic, k, v string) {
	rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: k, Value: &v}}, topic)
	must(err)
	for _, r := range rs {
		must(r.Err)
	}
}

// snap copies the partition's files.
func snap(data, topic, to string) {
	src := filepath.Join(data, topic+"-0")
	must(os.MkdirAll(to, 0o755))
	ents, err := os.ReadDir(src)
	must(err)
	for _, e := range ents {
		if n := e.Name(); strings.HasSuffix(n, ".log") || strings.HasSuffix(n, ".txnindex") {
			b, err := os.ReadFile(filepath.Join(src, n))
			must(err)
			if strings.HasSuffix(n, ".txnindex") && len(b) == 0 {
				continue
			}
			must(os.WriteFile(filepath.Join(to, n), b, 0o644))
		}
	}
}

// cleaned is the cleaner's checkpoint of a topic.
func cleaned(data, topic string) string {
	b, _ := os.ReadFile(filepath.Join(data, "cleaner-offset-checkpoint"))
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) == 3 && f[0] == topic {
			return f[2]
		}
	}
	return "0"
}

// active is where the active segment begins.
func active(data, topic string) string {
	ents, _ := os.ReadDir(filepath.Join(data, topic+"-0"))
	last := ""
	for _, e := range ents {
		if strings.HasSuffix(e.Name(), ".log") {
			last = strings.TrimLeft(strings.TrimSuffix(e.Name(), ".log"), "0")
		}
	}
	return last
}

// maker writes a topic, with times of its own: they decide where segments end.
type maker struct {
	topic string
	at    time.Time
	codec kgo.CompressionCodec
}

// recs are records of the form KEY=VALUE; KEY alone is a delete marker, the key "-" is null.
func (m *maker) recs(kv ...string) (rs []*kgo.Record) {
	for i, x := range kv {
		k, v, ok := strings.Cut(x, "=")
		r := &kgo.Record{Topic: m.topic, Key: []byte(k), Timestamp: m.at.Add(time.Duration(i) * time.Millisecond)}
		if ok {
			r.Value = []byte(v + strings.Repeat("."+k, 20))
		}
		if k == "-" {
			r.Key = nil
		}
		if i%3 == 1 {
			r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte(v)}, {Key: "", Value: nil}}
		}
		rs = append(rs, r)
	}
	return rs
}

func (m *maker) put(c *kgo.Client, kv ...string) {
	must(c.ProduceSync(ctx, m.recs(kv...)...).FirstErr())
	m.at = m.at.Add(time.Second)
}

func (m *maker) roll() { m.at = m.at.Add(time.Minute) }

func (m *maker) txn(c *kgo.Client, commit bool, sets ...[]string) {
	must(c.BeginTransaction())
	for _, kv := range sets {
		m.put(c, kv...)
	}
	must(c.EndTransaction(ctx, kgo.TransactionEndTry(commit)))
}

// makers are the clients that write a topic.
type makers struct {
	*maker
	a, b, c, loose, t1, t2, t3 *kgo.Client
}

func (m *maker) clients() *makers {
	z := kgo.ProducerBatchCompression(m.codec)
	txn := func(n string) *kgo.Client { return client(z, kgo.TransactionalID(m.topic+n)) }
	return &makers{m, client(z), client(z), client(z), client(z, kgo.DisableIdempotentWrite()), txn("1"), txn("2"), txn("3")}
}

func (m *makers) close() {
	for _, c := range []*kgo.Client{m.a, m.b, m.c, m.loose, m.t1, m.t2, m.t3} {
		c.Close()
	}
}

// fill is the log of the first round.
func (m *makers) fill(adm *kadm.Client) {
	m.put(m.loose, "-=nokey", "k1=a", "-=nokey2", "k2=a")
	alter(adm, m.topic, "cleanup.policy", "compact")
	m.put(m.a, "k1=b", "k3=a", "k4=a", "k5=a", "k6=a")
	m.put(m.b, "k2=b", "k3=b")
	m.put(m.a, "k4", "k5=b")
	m.txn(m.t1, true, []string{"x1=1", "x2=1", "k6=t"}, []string{"x3=1"})
	m.roll()
	m.txn(m.t1, false, []string{"x1=bad", "k1=bad"}, []string{"x9=bad"})
	m.put(m.c, "only=c", "k7=c")
	m.txn(m.t2, true, []string{"y1=1", "y2=1"})
	must(m.t3.BeginTransaction()) // over several segments, and aborted
	m.put(m.t3, "z1=bad", "k2=bad")
	m.roll()
	m.put(m.loose, "k7=d", "k8=a", "k9", "k8=b")
	m.put(m.t3, "z2=bad")
	must(m.t3.EndTransaction(ctx, kgo.TryAbort))
	m.txn(m.t2, true, []string{"y1=2", "y2=2"})
	for i := range 30 {
		m.put(m.loose, fmt.Sprintf("r%d=%d", i%7, i), fmt.Sprintf("s%d=%d", i%5, i), fmt.Sprintf("one%d=1", i))
	}
	m.roll()
	m.put(m.b, "k1=e", "y1=e")
	m.txn(m.t1, true, []string{"x2=3"})
	alter(adm, m.topic, "message.timestamp.type", "LogAppendTime")
	time.Sleep(time.Second)
	m.put(m.loose, "l1=1", "l2=1", "l1=2", "l3")
	alter(adm, m.topic, "message.timestamp.type", "CreateTime")
	m.at = time.Now().Add(10 * time.Minute)
	m.put(m.loose, "act=1")
}

// more is what round n finds beyond what was there.
func (m *makers) more(n int) {
	switch n {
	case 2:
		m.put(m.a, "k3", "x1", "y2=9")
		m.txn(m.t2, true, []string{"x3=7", "y1=7"})
	case 3:
		m.put(m.loose, "x2=9", "only=z", "k8=q")
		m.txn(m.t3, false, []string{"x2=no"})
		m.put(m.b, "k7=9")
	case 4:
		m.put(m.loose, "act=2")
	}
	m.roll()
	m.put(m.loose, fmt.Sprintf("act=%d", n))
}

// round lets the cleaner go over the topic once.
func round(adm *kadm.Client, topic string, n int, data, dir string) {
	from := cleaned(data, topic)
	before := filepath.Join(dir, fmt.Sprintf("%d-before", n))
	snap(data, topic, before)
	alter(adm, topic, "min.cleanable.dirty.ratio", "0.0")
	for cleaned(data, topic) != active(data, topic) {
		time.Sleep(50 * time.Millisecond)
	}
	alter(adm, topic, "min.cleanable.dirty.ratio", "1.0")
	time.Sleep(2 * time.Second)
	snap(data, topic, filepath.Join(dir, fmt.Sprintf("%d-after", n)))
	must(os.WriteFile(filepath.Join(before, "range"), []byte(from+" "+active(data, topic)+"\n"), 0o644))
}

func main() {
	data, out := os.Args[2], os.Args[3]
	base := client()
	defer base.Close()
	adm := kadm.NewClient(base)
	for _, m := range []*maker{{topic: "plain", codec: kgo.NoCompression()}, {topic: "packed", codec: kgo.ZstdCompression()}} {
		m.at = time.UnixMilli(time.Now().Add(-30 * time.Minute).UnixMilli())
		_, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": ptr("delete"), "retention.ms": ptr("-1"),
			"min.cleanable.dirty.ratio": ptr("1.0"), "segment.ms": ptr("30000"), "delete.retention.ms": ptr("2000"),
			"internal.segment.bytes": ptr("6000"), "file.delete.delay.ms": ptr("100")}, m.topic)
		must(err)
		w := m.clients()
		w.fill(adm)
		round(adm, m.topic, 1, data, filepath.Join(out, m.topic))
		for n := 2; n <= 4; n++ {
			time.Sleep(3 * time.Second) // longer than delete.retention.ms
			w.more(n)
			round(adm, m.topic, n, data, filepath.Join(out, m.topic))
		}
		w.close()
	}
}
