// load is the load generator of experiments/01-spine: it writes numbered records, remembers which of
// them were acknowledged, does things to the cluster meanwhile, reads everything back, and prints one
// line of JSON. It owns no cluster: what happens to nodes are shell commands that it is given. It
// counts and never judges; limits are report.py's business.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
)

// flags of all modes; which mode needs which is said in the usage.
type flags struct {
	brokers    string
	topic      string
	partitions int
	clients    int           // connections that write under full load
	size       int           // bytes of a value
	batch      int           // largest batch in bytes
	inflight   int           // records of a client that wait for their acknowledgement
	length     time.Duration // how long to write
	bytes      int64         // how much to write; 0: only length counts
	rate       int           // records/s of all clients together; 0: as fast as they go
	cut        string
	revive     string
	each       string
	nodes      int
	patience   time.Duration
}

const usage = `load MODE FLAGS
  write    writes for -for or -bytes, reads back
  cut      writes, runs -cut, stops, runs -revive, waits for an acknowledgement of every partition, reads back
  rolling  one probing producer a partition, a reader in a group and -clients at -rate; for each node in turn
           runs -each with N set to its id and waits until the in-sync sets are whole; reads back
  steady   writes one record a batch for -for; counts the changes of leader epoch; no reading back
  isr      waits until every partition of -topic has all replicas in sync
  leaders  the number of partitions of -topic that each node leads
  delete   deletes -topic
`

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var f flags
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	fs.StringVar(&f.brokers, "brokers", "127.0.0.1:9092", "comma separated")
	fs.StringVar(&f.topic, "topic", "load", "an empty topic")
	fs.IntVar(&f.partitions, "partitions", 6, "of the topic")
	fs.IntVar(&f.clients, "clients", 4, "writing connections")
	fs.IntVar(&f.size, "size", 1024, "bytes of a value, at least 16")
	fs.IntVar(&f.batch, "batch", 1<<20, "largest batch, bytes")
	fs.IntVar(&f.inflight, "inflight", 20_000, "unacknowledged records of a client")
	fs.DurationVar(&f.length, "for", 10*time.Second, "how long to write")
	fs.Int64Var(&f.bytes, "bytes", 0, "how many bytes of values to write; 0: no limit")
	fs.IntVar(&f.rate, "rate", 0, "records/s of all clients; 0: no limit")
	fs.StringVar(&f.cut, "cut", "", "shell command")
	fs.StringVar(&f.revive, "revive", "", "shell command")
	fs.StringVar(&f.each, "each", "", "shell command, with N in its environment")
	fs.IntVar(&f.nodes, "nodes", 3, "nodes, with ids from 1")
	fs.DurationVar(&f.patience, "patience", 60*time.Second, "for whatever must happen")
	fs.Parse(os.Args[2:])
	modes := map[string]func(*flags) (any, error){"write": write, "cut": cut, "rolling": rolling,
		"steady": steady, "isr": isr, "leaders": leaders, "delete": remove}
	mode, ok := modes[os.Args[1]]
	if !ok || f.size < 16 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	out, err := mode(&f)
	if err != nil {
		log.Fatalf("load %s: %v", os.Args[1], err)
	}
	json.NewEncoder(os.Stdout).Encode(out)
}

func (f *flags) seeds() []string { return strings.Split(f.brokers, ",") }
