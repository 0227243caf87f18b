// pace produces records one at a time at a steady rate, whatever the answers take (an open loop), and prints the
// spread of their latencies as one line of JSON. A latency counts from the moment at which the record was due, so that a
// broker that stalls cannot hide it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	log.SetFlags(0)
	brokers := flag.String("brokers", "127.0.0.1:9092", "comma separated")
	topic := flag.String("topic", "pace", "its name")
	rate := flag.Int("rate", 2000, "records/s")
	size := flag.Int("size", 1024, "bytes of a value")
	length := flag.Duration("for", 30*time.Second, "how long")
	skip := flag.Duration("skip", 2*time.Second, "at the beginning that does not count")
	flag.Parse()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(*brokers, ",")...), kgo.DefaultProduceTopic(*topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	var mu sync.Mutex
	var all []time.Duration
	failed := 0
	value := make([]byte, *size)
	began := time.Now()
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(*rate))
		if due.Sub(began) > *length {
			break
		}
		time.Sleep(time.Until(due))
		cl.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				failed++
			case due.Sub(began) >= *skip:
				all = append(all, took)
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		log.Fatal(err)
	}
	if len(all) == 0 {
		log.Fatalf("nothing was acknowledged, %d failed", failed)
	}
	slices.Sort(all)
	at := func(permille int) float64 { return float64(all[len(all)*permille/1000]) / 1e3 }
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"p50_us": at(500), "p99_us": at(990), "p999_us": at(999),
		"acked": len(all), "failed": failed})
}
