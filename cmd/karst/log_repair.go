package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/seg"
	"github.com/karst-stream/karst/core/shard"
)

const repairHelp = `Says what the next start of a node would do to its data directory: which bytes it cuts because a crash tore them,
which files it removes, what it writes from the journal into segments, what it fetches from other replicas
before it takes part, and which partitions stay offline.

The code of a start decides, without its effects, and every byte of the segments is read as log verify does.
Changes nothing. Stop the node first. Ends with status 6 when something is lost, here or for good.

There is no repair without --dry-run: what may be repaired without the other replicas, a start repairs.`

func newLogRepair() *cobra.Command {
	var out output
	var dry bool
	c := &cobra.Command{
		Use:     "repair DATA-DIRECTORY[,DATA-DIRECTORY] --dry-run",
		Short:   "Say what a start would cut, fetch again or refuse",
		Long:    repairHelp,
		Example: "  karst log repair .karst/dev/n1 --dry-run",
		Args:    exactly(1, "the data directory of one node, or all of them as --data names them"),
		RunE: func(c *cobra.Command, args []string) error {
			if !dry {
				return catalogue.NoRepair.New("%s: nothing may be repaired here without the other replicas", args[0]).
					Try("karst log repair "+args[0]+" --dry-run        to see what a start would do", catalogue.NoRepair.Try[1])
			}
			p, err := planRepair(args[0])
			if err != nil {
				return err
			}
			if err := out.print(c, p, p.write); err != nil {
				return err
			}
			if p.Lost > 0 {
				return catalogue.Damaged.New("%s: %s", args[0], count(p.Lost, "loss"))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	out.register(c)
	return c
}

// deed is one thing that a start would do, or leave undone.
type deed struct {
	Partition string `json:"partition"`
	Deed      string `json:"deed"` // cut, remove, refill, fetch, offline; scrub: fetched when the scrubber comes by
	File      string `json:"file,omitempty"`
	From      int64  `json:"from"`
	To        int64  `json:"to"` // behind the last byte; -1: not known here
	Why       string `json:"why"`
}

type repairPlan struct {
	Dir        string   `json:"directory"`
	Node       int32    `json:"node"`
	Starts     uint32   `json:"starts"`
	Partitions int      `json:"partitions"`
	Deeds      []deed   `json:"deeds"`
	Lost       int      `json:"lost"`                    // deeds that tell of a loss: fetch, offline, scrub
	Strangers  []string `json:"unknown_files,omitempty"` // left alone until the cluster says whose they are
}

// planRepair has a shard recover the directory, or all those of a node, and writes down what it asks for.
func planRepair(named string) (*repairPlan, error) {
	roots := []string{named}
	if _, err := os.Stat(named); err != nil {
		roots = list(named)
	}
	p := &repairPlan{Dir: named, Deeds: []deed{}}
	var dirs []*stillDir
	var more []shard.Dir
	var seen []verifiedPartition
	for k, root := range roots {
		v, err := verifyDir(root)
		if err != nil {
			return nil, err
		}
		dir, err := openStillDir(root)
		if err != nil {
			return nil, err
		}
		p.Partitions += len(v.Partitions)
		p.Strangers = append(p.Strangers, v.Strangers...)
		seen, dirs = append(seen, v.Partitions...), append(dirs, dir)
		if k > 0 {
			more = append(more, shard.Dir{Path: root, Boot: dir})
		}
	}
	node := core.NodeID(0)
	for _, id := range shard.Slots(dirs[0]) {
		if id != nil {
			node = id.Node
		}
	}
	rec, err := shard.Recover(dirs[0], node, more...)
	if err != nil {
		return nil, catalogue.Damaged.New("%s: a start would refuse: %v", named, err).Wrap(err)
	}
	p.Node, p.Starts = int32(node), rec.Identity.Start
	s := shard.New(shard.Config{Node: node, Shards: 1, Seed: 1, Peers: peersOf(&rec.Identity)}, rec)
	var fx core.Effects
	s.Step(core.Now{}, []core.Event{{Kind: core.Tick}}, &fx)
	p.effects(dirs, &fx)
	sick := map[string]bool{}
	for _, x := range s.Sick() {
		sick[x.Partition] = true
		p.sick(x)
	}
	s.Abandon()
	for _, x := range seen {
		if x.Damage != "" && !sick[x.Partition] {
			p.Deeds = append(p.Deeds, deed{x.Partition, "scrub", "", 0, -1, x.Damage})
		}
	}
	slices.SortStableFunc(p.Deeds, func(a, b deed) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.File, b.File), cmp.Compare(a.Deed, b.Deed), cmp.Compare(a.From, b.From))
	})
	p.Deeds = joinDeeds(p.Deeds)
	for i := range p.Deeds {
		switch p.Deeds[i].Deed {
		case "fetch", "offline", "scrub":
			p.Lost++
		}
	}
	return p, nil
}

// peersOf is who a start of this disk would speak to; a dry one speaks to nobody.
func peersOf(id *shard.Identity) []core.NodeID {
	peers := []core.NodeID{id.Node}
	for _, x := range id.Seen {
		peers = append(peers, x.Node)
	}
	slices.Sort(peers)
	return slices.Compact(peers)
}

// effects notes what is asked of segment files; journal and identity are rewritten by every start.
func (p *repairPlan) effects(dirs []*stillDir, fx *core.Effects) {
	paths := map[core.FileID]string{}
	for i := range fx.List {
		e := &fx.List[i]
		var body []byte
		for _, r := range fx.Vec(e) {
			body = append(body, r.Bytes()...)
			r.Release()
		}
		if e.Kind == core.Create {
			paths[e.File] = e.Path
		}
		path := paths[e.File]
		partition, _, ok := seg.ParsePath(path)
		if !ok {
			continue
		}
		dir, size := dirs[e.File.Dir()], int64(0)
		if st, err := os.Stat(filepath.Join(dir.root, filepath.FromSlash(path))); err == nil {
			size = st.Size()
		}
		switch e.Kind {
		case core.Truncate:
			if e.Off < size {
				p.Deeds = append(p.Deeds, deed{partition, "cut", path, e.Off, size, "torn, or behind the end of the log"})
			}
		case core.Remove:
			p.Deeds = append(p.Deeds, deed{partition, "remove", path, 0, size, "not a segment of the log"})
		case core.Write:
			there := make([]byte, len(body))
			if _, err := dir.ReadAt(path, e.Off, there); err == core.OK && bytes.Equal(there, body) {
				continue // a start writes again what the journal holds; here it changes nothing
			}
			p.Deeds = append(p.Deeds, deed{partition, "refill", path, e.Off, e.Off + int64(len(body)), "from the journal"})
		}
	}
}

// joinDeeds makes one deed of writes, or of fetches, that continue one another: there is one for each batch.
func joinDeeds(in []deed) []deed {
	out := []deed{}
	for _, d := range in {
		n := len(out)
		if joins := d.Deed == "refill" || d.Deed == "fetch"; joins && n > 0 && out[n-1].Deed == d.Deed && out[n-1].File == d.File && out[n-1].To == d.From {
			out[n-1].To = d.To
			continue
		}
		out = append(out, d)
	}
	return out
}

// sick notes what a partition has lost.
func (p *repairPlan) sick(x shard.Sick) {
	if x.Offline != "" {
		p.Deeds = append(p.Deeds, deed{x.Partition, "offline", "", 0, -1, x.Offline})
		return
	}
	for _, l := range x.Lost {
		p.Deeds = append(p.Deeds, deed{x.Partition, "fetch", l.Path, l.From, l.To, x.Why})
	}
}

func (p *repairPlan) write(w io.Writer) {
	counts := map[string]int{}
	var tb table
	tb.row("PARTITION", "DEED", "FILE", "BYTES", "WHY")
	for _, d := range p.Deeds {
		counts[d.Deed]++
		file, at := "-", "-"
		if d.File != "" {
			file = strings.TrimPrefix(d.File, d.Partition+"/")
			to := ""
			if d.To >= 0 {
				to = strconv.FormatInt(d.To, 10)
			}
			at = fmt.Sprintf("%d..%s", d.From, to)
		}
		tb.row(d.Partition, d.Deed, file, at, d.Why)
	}
	if len(p.Deeds) > 0 {
		tb.write(w)
	}
	for _, f := range p.Strangers {
		fmt.Fprintf(w, "%s: no partition of the journal owns it; left alone\n", f)
	}
	said := []string{}
	for _, k := range sortedKeys(counts) {
		said = append(said, fmt.Sprintf("%d %s", counts[k], k))
	}
	if len(said) == 0 {
		said = append(said, "nothing to do")
	}
	fmt.Fprintf(w, "node %d, %s: %s\n", p.Node, count(p.Partitions, "partition"), strings.Join(said, ", "))
}
