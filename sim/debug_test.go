package sim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

func TestDebugDisks(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("KARST_SEED"), 10, 64)
	path := os.Getenv("KARST_PATH")
	core.Poison = true
	opts := Options{For: 10 * core.Second}
	w := newWorld(Swarm(seed, 0, opts.For), opts, karst)
	w.play()
	fmt.Println(w.result.Violation)
	for _, n := range w.nodes {
		for _, f := range n.disk.List() {
			if f.Path != path {
				continue
			}
			b := make([]byte, f.Size)
			n.disk.ReadAt(path, 0, b)
			fmt.Println("node", n.id, "size", f.Size)
			at := 0
			for at < len(b) {
				batch, _, err := record.Next(b[at:])
				if err != nil {
					z := at
					for z < len(b) && b[z] == 0 {
						z++
					}
					fmt.Println("  at", at, err, "zeros to", z)
					break
				}
				if at > len(b)-4000 || os.Getenv("KARST_ALL") != "" {
					fmt.Println("  at", at, "base", batch.BaseOffset(), "count", batch.Count(), "epoch", batch.LeaderEpoch(), "size", len(batch), "crc", batch.CRCValid(), "pid", batch.ProducerID(), "seq", batch.BaseSequence())
				}
				at += len(batch)
			}
		}
	}
}

func TestDebugDiff(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("KARST_SEED"), 10, 64)
	core.Poison = true
	opts := Options{For: 10 * core.Second}
	w := newWorld(Swarm(seed, 0, opts.For), opts, karst)
	w.play()
	fmt.Println(w.result.Violation)
	for p := range 8 {
		path := fmt.Sprintf("t-%d/00000000000000000000.log", p)
		var bs [3][]byte
		m := int64(1 << 60)
		for i, n := range w.nodes {
			for _, f := range n.disk.List() {
				if f.Path == path {
					bs[i] = make([]byte, f.Size)
					n.disk.ReadAt(path, 0, bs[i])
					m = min(m, f.Size)
				}
			}
		}
		for i := int64(0); i < m; {
			if bs[0][i] == bs[1][i] && bs[1][i] == bs[2][i] {
				i++
				continue
			}
			j := i
			eq := 0
			for j < m && eq < 300 {
				if bs[0][j] == bs[1][j] && bs[1][j] == bs[2][j] {
					eq++
				} else {
					eq = 0
				}
				j++
			}
			fmt.Println(path, "differs", i, "to", j-int64(eq), "of", m)
			for k := range bs {
				fmt.Printf("   n%d %x\n", k, bs[k][i:min(i+48, m)])
			}
			i = j
		}
	}
}

func TestDebugShift(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("KARST_SEED"), 10, 64)
	core.Poison = true
	opts := Options{For: 10 * core.Second}
	w := newWorld(Swarm(seed, 0, opts.For), opts, karst)
	w.play()
	fmt.Println(w.result.Violation)
	path := os.Getenv("KARST_PATH")
	at, _ := strconv.Atoi(os.Getenv("KARST_AT"))
	bad, _ := strconv.Atoi(os.Getenv("KARST_BAD"))
	good := (bad + 1) % 3
	var bs [3][]byte
	for i, n := range w.nodes {
		for _, f := range n.disk.List() {
			if f.Path == path {
				bs[i] = make([]byte, f.Size)
				n.disk.ReadAt(path, 0, bs[i])
			}
		}
	}
	for k := 0; k < 34000; k += 512 {
		x := bs[bad][at+k : at+k+24]
		fmt.Println(k, bytes.Index(bs[good], x))
	}
}

func init() {
	if p := os.Getenv("KARST_WATCH"); p != "" {
		node, _ := strconv.Atoi(os.Getenv("KARST_BAD"))
		at, _ := strconv.Atoi(os.Getenv("KARST_AT"))
		debugEffect = func(w *World, n *node_, e *core.Effect, vec []core.Ref) {
			if int(n.id) == node && n.disk.Path(e.File) == p && (e.Kind != core.Write || e.Off <= int64(at)+40000 && e.Off+core.Size(vec) > int64(at)) {
				fmt.Printf("%.6f %v off %d size %d op %d sync %v", seconds(w.now), e.Kind, e.Off, core.Size(vec), e.Op, e.Sync)
				for _, r := range vec {
					b, _ := n.disk.Gather(nil, []core.Ref{r})
					fmt.Printf(" [%v %d+%d %x]", r.InMemory(), r.Off, r.Len, b[:16])
				}
				fmt.Println()
			}
		}
	}
}
