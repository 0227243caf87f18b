package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/local"
)

const (
	rejoinWithin = 2 * time.Minute
	rejoinLook   = 50 * time.Millisecond
)

// untilTaken waits until every partition that has a replica on a node which took a new incarnation counts it: only
// then can the cluster miss another one. Partitions without a leader are not waited for.
func untilTaken(ctx context.Context, nodes []local.Node, id int32) error {
	var seeds []string
	for _, n := range nodes {
		if n.State == local.Ready {
			seeds = append(seeds, n.Address)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, rejoinWithin)
	defer cancel()
	for {
		missing := -1
		if m, err := kadm.NewClient(cl).Metadata(ctx); err == nil {
			missing = 0
			m.Topics.EachPartition(func(p kadm.PartitionDetail) {
				if p.Err == nil && p.Leader >= 0 && slices.Contains(p.Replicas, id) && !slices.Contains(p.ISR, id) {
					missing++
				}
			})
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return catalogue.DevNotReady.New("node %d runs, but %d partitions do not count its copies yet", id, missing).
				Try("karst topic describe --help; the others must not be stopped before n" + strconv.Itoa(int(id)) + " is in every ISR")
		case <-time.After(rejoinLook):
		}
	}
}
