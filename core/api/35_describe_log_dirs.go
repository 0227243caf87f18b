package api

import "github.com/karst-stream/karst/core/wire"

// DescribeLogDirs: v1-4
//
// Behaviour (ReplicaManager.describeLogDirs):
//   - What each data directory of this node holds: each partition of which it has a working copy, or those of them
//     that the request names. Clients ask every node. What is not here is left out, without an error; so is a
//     topic of which nothing is left, and the metadata log, which Kafka's brokers do not count as theirs.
//   - The size counts whole batches up to the end of the log, also those that the journal still holds, but
//     not the files that wait for their removal.
//   - A directory that failed is KAFKA_STORAGE_ERROR, and its partitions, which do not work, are left out.
//   - The lag is what the end of the log lacks to the high watermark: nothing.
//
// Version notes:
//   - v2: flexible. v3: an error of the whole answer, which only access rules would need. v4: bytes of the
//     volume, -1 when they cannot be told.
//
// Left out: access rules. No copy moves between directories: is_future is false.
func describeLogDirs(r *request, body wire.Message) {
	q := body.(*wire.DescribeLogDirsRequest)
	var asked map[partKey]bool //det:ok looked up, never ranged
	if q.Topics != nil {
		asked = map[partKey]bool{}
		for i := range q.Topics {
			for _, p := range q.Topics[i].Partitions {
				asked[partKey{name: q.Topics[i].Topic, index: p}] = true
			}
		}
	}
	r.h().LogDirs(func(ds []LogDir) {
		if !r.acting() {
			return
		}
		var results []wire.DescribeLogDirsResponseResult
		for k := range ds {
			d := &ds[k]
			out := wire.NewDescribeLogDirsResponseResult()
			out.LogDir, out.TotalBytes, out.UsableBytes = d.Path, d.Total, d.Usable
			out.Topics = []wire.DescribeLogDirsResponseTopic{}
			if d.Failed {
				out.ErrorCode = wire.KafkaStorageError
			}
			for i := range d.Held {
				if h := &d.Held[i]; asked == nil || asked[partKey{name: h.Topic.Name, index: h.Index}] {
					addHeld(&out, h)
				}
			}
			results = append(results, out)
		}
		r.answer(&wire.DescribeLogDirsResponse{Results: results})
	})
}

// addHeld adds a partition; those of a topic come one after the other.
func addHeld(out *wire.DescribeLogDirsResponseResult, h *Held) {
	n := len(out.Topics)
	if n == 0 || out.Topics[n-1].Name != h.Topic.Name {
		out.Topics = append(out.Topics, wire.DescribeLogDirsResponseTopic{Name: h.Topic.Name})
		n++
	}
	t := &out.Topics[n-1]
	t.Partitions = append(t.Partitions, wire.DescribeLogDirsResponsePartition{PartitionIndex: h.Index,
		PartitionSize: h.Bytes, OffsetLag: int64(h.Lag)})
}
