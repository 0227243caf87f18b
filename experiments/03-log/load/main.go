// load is the load generator of experiments/03-log: it fills a partition, reads it as fast as a reader that decodes
// nothing can, asks for it by time, and waits for a restarted broker. It prints one line of JSON, owns no
// broker, and judges nothing: limits are report.py's business.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

// flags of all modes; which mode needs which is said in the usage.
type flags struct {
	broker     string
	topic      string
	partition  int
	partitions int
	size       int
	batch      int
	bytes      int64
	from       int64
	lap        int64
	count      int
	keys       int
	twice      bool
	file       string
	since      int64
	patience   time.Duration
}

const usage = `load MODE FLAGS
  fill      writes -bytes of values of -size to -partition, or to each of -partitions in turn, in batches of -batch
  fetch     one connection reads -bytes of -partition from offset -from on, counts them and decodes nothing; -lap: and
            begins anew there after so many
  cat       the same reader at the other end of "cat -file"; -from -1: of "tail -f -file", up to -bytes
  ends      the first and the next offset of -partition
  single    -count records, each when the one before is acknowledged
  random    -count fetches of one batch at random offsets
  times     -count times: the offset of a random time, and a fetch there; -twice: each again, when the pages that it
            needs have been read, and only that counts
  answered  waits until each of -partitions has answered a fetch and a produce; -since is when the clock began, Unix ns;
            -file keeps the offsets that were produced, which the next one fetches
`

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var f flags
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	fs.StringVar(&f.broker, "broker", "127.0.0.1:9092", "HOST:PORT")
	fs.StringVar(&f.topic, "topic", "log", "its name")
	fs.IntVar(&f.partition, "partition", 0, "its number")
	fs.IntVar(&f.partitions, "partitions", 0, "so many, from 0 on, instead of -partition")
	fs.IntVar(&f.size, "size", 1024, "bytes of a value")
	fs.IntVar(&f.batch, "batch", 1<<20, "largest batch in bytes")
	fs.Int64Var(&f.bytes, "bytes", 1<<30, "how much")
	fs.Int64Var(&f.from, "from", 0, "offset; -1: the one that comes next, while somebody writes")
	fs.Int64Var(&f.lap, "lap", 0, "bytes; 0: no laps")
	fs.IntVar(&f.count, "count", 1000, "how often")
	fs.IntVar(&f.keys, "keys", 0, "so many keys are drawn from; 0: records have none")
	fs.BoolVar(&f.twice, "twice", false, "of times: count the second time")
	fs.StringVar(&f.file, "file", "", "path")
	fs.Int64Var(&f.since, "since", 0, "Unix ns; 0: now")
	fs.DurationVar(&f.patience, "patience", 60*time.Second, "for whatever must happen")
	_ = fs.Parse(os.Args[2:])
	modes := map[string]func(context.Context, *flags) (any, error){"fill": fill, "fetch": fetch, "cat": cat, "ends": bounds,
		"single": single, "random": random, "times": times, "answered": answered}
	mode, ok := modes[os.Args[1]]
	if !ok || f.size < 8 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	out, err := mode(context.Background(), &f)
	if err != nil {
		log.Fatalf("load %s: %v", os.Args[1], err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(out)
}
