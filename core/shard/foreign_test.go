package shard

import (
	"bytes"
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
)

// Files that are whole in themselves, and not those of their log. Each comes right again, from the other replicas,
// at the start or once the scrubber has read it.
func TestSegmentFilesThatAreNotTheirOwn(t *testing.T) {
	other := func(h *hurt, size int) (b []byte) { // batches of another partition, no less than size bytes
		for i := 0; len(b) < size; i++ {
			x := record.Batch(batchOf("of another", string(make([]byte, min(40<<10, max(1, size-len(b)-100))))))
			x.Patch(core.Offset(2*i), 0)
			b = append(b, x...)
		}
		return b
	}
	for _, c := range []struct {
		name string
		hurt func(h *hurt, first, last string)
	}{
		{"zeros behind the first segment", func(h *hurt, first, _ string) {
			h.sick.disk[first] = append(h.sick.disk[first], make([]byte, 5000)...)
		}},
		{"a batch twice behind the first segment", func(h *hurt, first, _ string) {
			b, _, _ := record.Next(h.sick.disk[first])
			h.sick.disk[first] = append(h.sick.disk[first], b...)
		}},
		{"zeros behind the last segment", func(h *hurt, _, last string) {
			h.sick.disk[last] = append(h.sick.disk[last], make([]byte, 5000)...)
		}},
		{"the next batch twice behind the last segment", func(h *hurt, _, last string) {
			b, _, _ := record.Next(h.sick.disk[last])
			h.sick.disk[last] = append(h.sick.disk[last], b...)
		}},
		{"segments swapped", func(h *hurt, first, last string) {
			h.sick.disk[first], h.sick.disk[last] = h.sick.disk[last], h.sick.disk[first]
		}},
		{"the first segment of another partition, longer", func(h *hurt, first, _ string) {
			h.sick.disk[first] = other(h, len(h.sick.disk[first])+1)
		}},
		{"the first segment of another partition, shorter", func(h *hurt, first, _ string) {
			h.sick.disk[first] = other(h, 100_000)
		}},
		{"the first segment of another partition, as long", func(h *hurt, first, _ string) {
			b := bytes.Clone(h.sick.disk[first])
			for at := 0; at < len(b); {
				x, _, err := record.Next(b[at:])
				if err != nil {
					t.Fatal(err)
				}
				at += len(x)
				x.Stamp(x.MaxTimestamp() + 1) // its checksum is right, its time is not
			}
			h.sick.disk[first] = b
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHurt(t)
			h.heal()
			h.kill(h.sick)
			want := map[string][]byte{}
			paths := h.segments(h.sick)
			for _, p := range paths {
				want[p] = slices.Clone(h.sick.disk[p])
			}
			if len(paths) < 2 {
				t.Fatalf("only %d segments", len(paths))
			}
			c.hurt(h, paths[0], paths[len(paths)-1])
			h.start(h.sick)
			h.until("all files are as they were", 120*core.Second, func() bool {
				x := h.replica(h.sick)
				if x.Offline() != "" {
					t.Fatalf("%s", x.Describe())
				}
				for p, b := range want {
					if !bytes.Equal(h.sick.disk[p], b) {
						return false
					}
				}
				return !x.Opening() && x.Began()
			})
			h.useful()
		})
	}
}

// A directory with files of nobody's: they are left alone or removed, and harm nothing.
func TestADirectoryWithForeignFiles(t *testing.T) {
	h := newHurt(t)
	h.heal()
	h.kill(h.sick)
	want := slices.Clone(h.sick.disk[hurtFirst])
	strange := []string{"events-0/leader-epoch-checkpoint", "events-0/partition.metadata", "events-0/core", "lost+found", ".DS_Store",
		"events-0/00000000000000000000.snapshot", "events-0/00000000000000000000.txnindex", "events-0/00000000000000000000.log.deleted", "events-0/0.log", "else-0/.keep"}
	for _, p := range strange {
		h.sick.disk[p] = []byte("of somebody else")
	}
	stray := []string{"events-0/00000000000000009999.log", "events-0/09223372036854775807.log", "events-0/00000000000000009999.index",
		"events-0/00000000000000009999.txnindex",
		"nobody-7/00000000000000000000.log", "nobody-7/00000000000000000000.timeindex"}
	for _, p := range stray {
		h.sick.disk[p] = []byte("not a log")
	}
	h.heal()
	h.useful()
	if !bytes.Equal(h.sick.disk[hurtFirst], want) {
		t.Error("the log is not what it was")
	}
	for _, p := range strange {
		if string(h.sick.disk[p]) != "of somebody else" {
			t.Errorf("%s holds %q", p, h.sick.disk[p])
		}
	}
	for _, p := range stray[:4] { // within the directory of a partition, named like its own, and not of its log
		if b, ok := h.sick.disk[p]; ok {
			t.Errorf("%s is left, with %q", p, b)
		}
	}
}

// The scrubber reads index files too: one that rots is made again from the log though nobody asks it anything.
func TestTheScrubberMakesRottenIndexesAgain(t *testing.T) {
	x := newIndexed(t, 1, config.KV{Key: "index.interval.bytes", Value: "0"})
	n := x.nodes[0]
	x.grow(400)
	want := x.indexes(n)
	if len(want) == 0 {
		t.Fatal("no index files")
	}
	for p, b := range want {
		b = bytes.Clone(b)
		b[x.rnd.N(int64(len(b)))] ^= 1 << x.rnd.N(8)
		n.disk[p] = b
	}
	x.until("all are as they were", 200*core.Second, func() bool {
		for p, b := range want {
			if !bytes.Equal(n.disk[p], b) {
				return false
			}
		}
		return true
	})
	x.right(20)
}

// Everything is read within log.scrub.period.ms, however much that is.
func TestTheScrubberKeepsItsPeriod(t *testing.T) {
	r := &rig{t: t, static: []config.KV{{Key: "log.scrub.period.ms", Value: "4000"}}}
	r.nodes = append(r.nodes, &rigNode{id: 1, disk: rigDisk{}, shards: make([]*Shard, 1)})
	r.start(r.nodes[0])
	x := &indexed{trimmedOn(r, config.KV{Key: "index.interval.bytes", Value: "0"}), det.New(5, "indexed"), nil}
	n := x.nodes[0]
	x.grow(1600)
	if size := x.replica(n).Bytes(); size < 30*replica.ScrubBytes {
		t.Fatalf("only %d bytes", size)
	}
	x.run(10 * core.Second) // by then it has seen how much there is
	for range 3 {
		want := x.indexes(n)
		for p, b := range want {
			n.disk[p] = make([]byte, len(b))
		}
		x.until("all are as they were", 8*core.Second, func() bool {
			for p, b := range want {
				if !bytes.Equal(n.disk[p], b) {
					return false
				}
			}
			return true
		})
	}
}
