package compact_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

// benchLog has 256 MiB of records of 1 KiB in batches of 1,000, whose keys are drawn from so many.
func benchLog(keys int) *history {
	rng := det.New(1, "bench")
	value := make([]byte, 1024)
	for i := range value {
		value[i] = byte(rng.Uint64())
	}
	h := &history{}
	for range 8 {
		f := file{base: h.next}
		for range 32 {
			var w record.Builder
			w.At(h.next, 1)
			for range 1000 {
				key := binary.BigEndian.AppendUint64([]byte("key-"), rng.Uint64()%uint64(keys))
				w.Append(record.Record{Key: key, Value: value})
			}
			f.data = append(f.data, w.Build()...)
			h.next += 1000
		}
		h.sealed = append(h.sealed, f)
	}
	return h
}

// BenchmarkRun is a whole compaction on one core, without a disk: bytes of the log that it takes up.
func BenchmarkRun(b *testing.B) {
	for _, keys := range []int{10_000, 100_000, 100_000_000} {
		h := benchLog(keys)
		size := int64(0)
		for _, f := range h.sealed {
			size += int64(len(f.data))
		}
		p := h.plan(0, 1)
		p.Memory, p.SegmentBytes, p.IndexBytes = 128<<20, 1<<30, 10<<20
		b.Run(fmt.Sprintf("%d-keys", keys), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				r, err := compact.New(p)
				if err != nil {
					b.Fatal(err)
				}
				taken := int64(0)
				for {
					base, pos, n := r.Want()
					if n == 0 {
						break
					}
					f := h.sealed[base/core.Offset(32_000)]
					end := min(pos+max(int64(n), 1<<20), int64(len(f.data)))
					out, _, err := r.Feed(f.data[pos:end])
					if err != nil {
						b.Fatal(err)
					}
					taken += int64(len(out))
				}
				if taken == 0 || r.Upto() != h.next {
					b.Fatalf("%d bytes up to %d", taken, r.Upto())
				}
				b.ReportMetric(float64(r.Memory())/float64(r.Stats().Keys), "memory-B/key")
			}
		})
	}
}
