package shard

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/seg"
)

// indexed is a topic of one partition whose batches have times that jump about.
type indexed struct {
	*trimmed
	rnd   *det.Rand
	times []core.Wall // of each record
}

func newIndexed(t *testing.T, nodes int, configs ...config.KV) *indexed {
	return &indexed{newTrimmed(t, nodes, configs...), det.New(5, "indexed"), nil}
}

func (x *indexed) grow(n int) {
	x.t.Helper()
	l := x.led("events", 0)
	for range n {
		var w record.Builder
		for range x.rnd.Between(1, 4) {
			at := core.Wall(1_000_000 + 20*len(x.times) - int(x.rnd.N(3000)))
			w.Append(record.Record{Value: bytes.Repeat([]byte{byte(len(x.times))}, int(x.rnd.N(5000))), Timestamp: at})
			x.times = append(x.times, at)
		}
		if _, err := x.produce(l, 10, "events", 0, w.Build()); err != 0 {
			x.t.Fatal(err)
		}
	}
	x.run(core.Second)
}

// right compares answers at the leader with what was written.
func (x *indexed) right(asks int) {
	x.t.Helper()
	l := x.led("events", 0)
	x.until("the leader is ready", 5*core.Second, func() bool { return x.leads(l, "events", 0) })
	newest := 0
	for i, at := range x.times {
		if at > x.times[newest] {
			newest = i
		}
	}
	if got, err := x.listed(l, -3); got != int64(newest) || err != 0 {
		x.t.Fatalf("the newest record is %d, %v; want %d", got, err, newest)
	}
	for special, want := range map[int64]int64{-1: int64(len(x.times)), -2: 0} {
		if got, err := x.listed(l, special); got != want || err != 0 {
			x.t.Fatalf("time %d: %d, %v; want %d", special, got, err, want)
		}
	}
	for range asks {
		ts := core.Wall(1_000_000 - 3000 + x.rnd.N(int64(20*len(x.times)+4000)))
		want := int64(-1)
		for i, at := range x.times {
			if at >= ts {
				want = int64(i)
				break
			}
		}
		if got, err := x.listed(l, int64(ts)); got != want || err != 0 {
			x.t.Fatalf("time %d: offset %d, %v; want %d", ts, got, err, want)
		}
		off := x.rnd.N(int64(len(x.times)))
		p := x.fetch(l, off)
		b, _, err := record.Next(p.Records.Bytes())
		if p.ErrorCode != 0 || err != nil || int64(b.BaseOffset()) > off || int64(b.LastOffset()) < off || !b.CRCValid() {
			x.t.Fatalf("offset %d: %v %v", off, p.ErrorCode, err)
		}
	}
}

// indexes are the index files of closed segments on a node, by path.
func (x *indexed) indexes(n *rigNode) map[string][]byte {
	logs := x.segments(n)
	out := map[string][]byte{}
	for _, p := range logs[:len(logs)-1] {
		dir, base, _ := seg.ParsePath(p)
		for k := range seg.Kinds {
			b, ok := n.disk[seg.IndexPath(dir, base, k)]
			if !ok {
				x.t.Fatalf("%s has no index of kind %d", p, k)
			}
			out[seg.IndexPath(dir, base, k)] = bytes.Clone(b)
		}
		c := seg.NewCheck(base, out[seg.IndexPath(dir, base, 0)], out[seg.IndexPath(dir, base, 1)])
		seg.Scan(n.disk[p], base, 0, c.Batch)
		if err := c.End(true); err != nil {
			x.t.Fatalf("%s: %v", p, err)
		}
	}
	return out
}

func (x *indexed) same(n *rigNode, want map[string][]byte) error {
	got := x.indexes(n)
	for p, b := range want {
		if !bytes.Equal(got[p], b) {
			return fmt.Errorf("%s is not what it was: %d bytes, want %d", p, len(got[p]), len(b))
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d index files, want %d", len(got), len(want))
	}
	return nil
}

func TestIndexFilesAreAFunctionOfTheLog(t *testing.T) {
	cases := []struct {
		name  string
		found bool // by the first search only: the lengths are right
		hurt  func(x *indexed, files map[string][]byte)
	}{
		{"nothing happens", false, func(*indexed, map[string][]byte) {}},
		{"all are deleted", false, func(x *indexed, _ map[string][]byte) {
			for _, f := range x.nodes[0].disk.List() {
				if strings.HasSuffix(f.Path, "index") {
					delete(x.nodes[0].disk, f.Path)
				}
			}
		}},
		{"all are truncated", false, func(x *indexed, files map[string][]byte) {
			for p, b := range files {
				x.nodes[0].disk[p] = bytes.Clone(b[:x.rnd.N(int64(len(b)))])
			}
		}},
		{"all are longer", false, func(x *indexed, files map[string][]byte) {
			for p, b := range files {
				x.nodes[0].disk[p] = append(bytes.Clone(b), make([]byte, 24)...)
			}
		}},
		{"a bit of each rots", true, func(x *indexed, files map[string][]byte) {
			for p, b := range files {
				b = bytes.Clone(b)
				b[x.rnd.N(int64(len(b)))] ^= 1 << x.rnd.N(8)
				x.nodes[0].disk[p] = b
			}
		}},
		{"all are zeros", true, func(x *indexed, files map[string][]byte) {
			for p, b := range files {
				x.nodes[0].disk[p] = make([]byte, len(b))
			}
		}},
		{"all are those of the first segment", true, func(x *indexed, files map[string][]byte) {
			for p, b := range files {
				_, _, k, _ := seg.ParseIndexPath(p)
				first := bytes.Clone(files[seg.IndexPath("events-0", 0, k)])
				x.nodes[0].disk[p] = append(first, make([]byte, len(b))...)[:len(b)]
			}
		}},
	}
	for _, interval := range []string{"0", "4096"} {
		x := newIndexed(t, 1, config.KV{Key: "index.interval.bytes", Value: interval})
		n := x.nodes[0]
		for _, c := range cases {
			x.grow(200)
			x.right(20)
			want := x.indexes(n)
			if len(want) == 0 {
				t.Fatalf("%s: %d index files", c.name, len(want))
			}
			x.kill(n)
			c.hurt(x, want)
			x.start(n)
			x.open()
			x.right(20)
			x.run(core.Second)
			if err := x.same(n, want); err != nil && !c.found {
				t.Fatalf("interval %s, %s: %v", interval, c.name, err)
			}
			x.everywhere(n)
			x.right(20)
			if err := x.same(n, want); err != nil {
				t.Fatalf("interval %s, %s, when all was asked for: %v", interval, c.name, err)
			}
		}
	}
}

// everywhere asks each segment for something.
func (x *indexed) everywhere(n *rigNode) {
	for off := int64(0); off < int64(len(x.times)); off += 5 {
		x.fetch(n, off)
	}
	x.run(core.Second)
}

func TestAFullIndexClosesItsSegmentOnEveryReplica(t *testing.T) {
	x := newIndexed(t, 3, config.KV{Key: "index.interval.bytes", Value: "0"}, config.KV{Key: "segment.index.bytes", Value: "240"})
	x.grow(100)
	x.run(core.Second)
	first := x.indexes(x.nodes[0])
	if len(first) < 6 {
		t.Fatalf("%d index files", len(first))
	}
	for p, b := range first {
		if len(b) > 240 {
			t.Errorf("%s has %d bytes", p, len(b))
		}
	}
	for _, n := range x.nodes[1:] {
		if err := x.same(n, first); err != nil {
			t.Errorf("node %d: %v", n.id, err)
		}
	}
	for _, p := range x.segments(x.nodes[0]) {
		for _, n := range x.nodes[1:] {
			if !bytes.Equal(n.disk[p], x.nodes[0].disk[p]) {
				t.Errorf("%s differs on node %d", p, n.id)
			}
		}
	}
	x.right(50)
}

func TestCatchUpMakesTheSameIndexes(t *testing.T) {
	x := newIndexed(t, 3, config.KV{Key: "index.interval.bytes", Value: "0"})
	l := x.led("events", 0)
	for _, n := range x.nodes {
		if n != l {
			x.sick = n
		}
	}
	x.kill(x.sick)
	x.grow(500)
	x.run(11 * core.Second) // it is out of the in-sync set
	x.start(x.sick)
	x.until("the follower has caught up", 20*core.Second, func() bool {
		r := x.replica(x.sick)
		return r.Began() && int(r.End()) == len(x.times)
	})
	x.grow(5)
	x.run(2 * core.Second)
	if err := x.same(x.sick, x.indexes(l)); err != nil {
		t.Error(err)
	}
}
