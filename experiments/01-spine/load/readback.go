package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// found is what reading everything back came to.
type found struct {
	Acked   int64  `json:"acked"`
	Errors  int64  `json:"client_errors"`
	First   string `json:"first_error,omitempty"`
	Stored  int64  `json:"stored"`
	Lost    int64  `json:"lost"`
	Twice   int64  `json:"stored_twice"`
	Foreign int64  `json:"foreign"` // records of nobody: there must be none
}

// readBack reads all partitions up to their ends and holds them against the ledgers.
func readBack(f *flags, ledgers []*ledger, errs int64) (found, error) {
	out := found{Errors: errs}
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	cl, err := f.eager(kgo.FetchMaxBytes(32<<20), kgo.FetchMaxPartitionBytes(8<<20))
	if err != nil {
		return out, err
	}
	defer cl.Close()
	ends, err := endOffsets(ctx, kadm.NewClient(cl), f.topic)
	if err != nil {
		return out, err
	}
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	seen := make([]*ledger, len(ledgers))
	for i := range seen {
		seen[i] = &ledger{}
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: from})
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return out, fmt.Errorf("reading back takes more than %v", f.patience)
		}
		fs.EachRecord(func(r *kgo.Record) {
			out.Stored++
			if w, i := binary.BigEndian.Uint64(r.Value), binary.BigEndian.Uint64(r.Value[8:]); w >= uint64(len(seen)) {
				out.Foreign++
			} else if seen[w].has(i) {
				out.Twice++
			} else {
				seen[w].add(i)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	for w, l := range ledgers {
		out.Acked += l.n
		for i := range uint64(len(l.acked)) * 64 {
			if l.has(i) && !seen[w].has(i) {
				out.Lost++
			}
		}
	}
	return out, nil
}

// endOffsets asks until every partition tells its end: a leader that was elected a moment ago does not yet.
func endOffsets(ctx context.Context, adm *kadm.Client, topic string) (kadm.ListedOffsets, error) {
	for {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil {
			return ends, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("end offsets: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *ledger) has(i uint64) bool {
	return i/64 < uint64(len(l.acked)) && l.acked[i/64]&(1<<(i%64)) != 0
}

// topics shows the topic of the flags as Metadata tells it, or nil while it tells nothing.
func (f *flags) topics(ctx context.Context, adm *kadm.Client) []kadm.PartitionDetail {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := adm.Metadata(ctx, f.topic)
	if err != nil || m.Topics[f.topic].Err != nil {
		return nil
	}
	return m.Topics[f.topic].Partitions.Sorted()
}
