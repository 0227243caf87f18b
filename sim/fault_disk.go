package sim

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/shard"
	diskfake "github.com/karst-stream/karst/diskio/fake"
)

func init() {
	onDisk := func(f func(w *World, n *node, x *Fault)) func(*World, *Fault) bool {
		return func(w *World, x *Fault) bool {
			f(w, w.nodes[x.Node], x)
			return true
		}
	}
	specs[SlowDisk] = spec{name: "slow-disk", node: true, span: true, n: "times", lo: 2, hi: 100000,
		begin: onDisk(func(_ *World, n *node, x *Fault) { n.disk.Latency.Slow = x.N }),
		end:   func(w *World, f *Fault) { w.nodes[f.Node].disk.Latency.Slow = 1 }}
	specs[Stall] = spec{name: "stall", node: true, span: true,
		begin: onDisk(func(w *World, n *node, x *Fault) { n.disk.Stall(w.now + x.For) })}
	specs[SyncError] = spec{name: "sync-error", node: true, span: true,
		begin: onDisk(func(_ *World, n *node, _ *Fault) { n.disk.FailNextSync() }),
		end: func(w *World, f *Fault) { // whoever looks after the machine replaces the process
			if n := w.nodes[f.Node]; n.alive {
				w.stop(n, false)
				w.start(n)
			}
		}}
	specs[DiskFull] = spec{name: "disk-full", node: true, span: true,
		begin: onDisk(func(_ *World, n *node, _ *Fault) { n.disk.Full = true }),
		end:   func(w *World, f *Fault) { w.nodes[f.Node].disk.Full = false }}
	rot := func(name string, segments bool) spec {
		return spec{name: name, node: true, n: "bits", lo: 1, hi: 1000, harm: true,
			begin: func(w *World, f *Fault) bool {
				return w.nodes[f.Node].disk.Rot(f.N, func(path string) bool { return (isSegment(path) || isIndex(path)) != segments }) > 0
			}}
	}
	specs[Rot], specs[RotJournal] = rot("rot", true), rot("rot-journal", false)
	specs[RotSealed] = spec{name: "rot-sealed", node: true, n: "bits", lo: 1, hi: 1000, harm: true,
		begin: func(w *World, f *Fault) bool {
			return w.nodes[f.Node].disk.RotSealed(f.N, journalHead, func(path string) bool { return !isJournal(path) }) > 0
		}}
	specs[LostWrite] = spec{name: "lost-write", node: true, harm: true,
		begin: onDisk(func(_ *World, n *node, _ *Fault) { n.disk.LoseNextWrite() })}
	specs[StrayWrite] = spec{name: "stray-write", node: true, harm: true,
		begin: onDisk(func(_ *World, n *node, _ *Fault) { n.disk.MisdirectNextWrite() })}
	specs[Wipe] = spec{name: "wipe", node: true, harm: true,
		begin: func(w *World, f *Fault) bool {
			n := w.nodes[f.Node]
			if n.foreign {
				return false // its own disk comes back
			}
			w.stop(n, true)
			n.disk.Wipe()
			n.lost, n.gone, n.told = true, false, 0
			n.rejoin, n.joining, n.replaced = false, false, false
			w.start(n)
			return true
		}}
	specs[Rejoin] = spec{name: "rejoin", node: true, n: "1: the old disk is put back in the end", hi: 1, harm: true, begin: rejoin}
	specs[OldDisk] = spec{name: "old-disk", node: true, span: true, harm: true, begin: copyDisk, end: putBack}
	specs[DirError] = spec{name: "dir-error", node: true, span: true, begin: onLastDir(func(n *node, last uint32) { n.disk.DeadDirs = last }),
		end: func(w *World, f *Fault) { // its disk is replaced by a good one with what was synced
			n := w.nodes[f.Node]
			n.disk.DeadDirs = 0
			if n.alive {
				w.stop(n, false)
				w.start(n)
			}
		}}
	specs[DirFull] = spec{name: "dir-full", node: true, span: true, begin: onLastDir(func(n *node, last uint32) { n.disk.FullDirs = last }),
		end: func(w *World, f *Fault) { w.nodes[f.Node].disk.FullDirs = 0 }}
	specs[DirAway] = spec{name: "dir-away", node: true, span: true,
		begin: func(w *World, f *Fault) bool {
			n := w.nodes[f.Node]
			if w.plan.Dirs < 2 || n.foreign || n.away {
				return false
			}
			w.stop(n, false)
			n.away = true
			w.start(n)
			return true
		},
		end: func(w *World, f *Fault) {
			if n := w.nodes[f.Node]; n.away {
				w.stop(n, false)
				n.away = false
				w.start(n)
			}
		}}
	specs[WrongDisk] = spec{name: "wrong-disk", node: true, peer: true, span: true, begin: mountOther,
		end: func(w *World, f *Fault) {
			n := w.nodes[f.Node]
			w.stop(n, true)
			n.disk, n.spare, n.foreign = n.spare, nil, false
			w.start(n)
		}}
}

// onLastDir is the beginning of what befalls the last of several data directories.
func onLastDir(f func(n *node, last uint32)) func(*World, *Fault) bool {
	return func(w *World, x *Fault) bool {
		if w.plan.Dirs < 2 {
			return false
		}
		f(w.nodes[x.Node], 1<<(w.plan.Dirs-1))
		return true
	}
}

// others are the data directories beside the first, as a start finds them.
func (n *node) others(dirs int) (list []shard.Dir) {
	for k := 1; k < dirs; k++ {
		d := shard.Dir{Path: "dir" + strconv.Itoa(k), Boot: n.disk.Dir(k)}
		if n.away && k == dirs-1 {
			d.Boot, d.Err = nil, "it is not mounted"
		}
		list = append(list, d)
	}
	return list
}

// rejoin empties a disk and starts the node as somebody who knows that it is empty. Until all groups have taken
// its new incarnation in, the node counts as one that has lost its disk.
func rejoin(w *World, f *Fault) bool {
	n := w.nodes[f.Node]
	if n.foreign || n.old != nil {
		return false
	}
	w.stop(n, true)
	n.before = nil
	if f.N > 0 && !n.lost && !n.joining {
		n.before = n.disk.Image()
	}
	n.disk.Wipe()
	n.lost, n.gone, n.told, n.replaced = false, false, 0, false
	n.rejoin, n.joining, n.joinedAt, n.emptied = true, true, 0, n.life
	w.judge.Wiped(n.id)
	w.start(n)
	return true
}

// joined looks which nodes are members of all groups again, for a while.
func (w *World) joined() {
	for _, n := range w.nodes {
		switch {
		case !n.joining || n.lost:
		case !n.gate || !w.judge.Joined(n.id):
			n.joinedAt = 0
		case n.joinedAt == 0:
			n.joinedAt = w.now
		case w.now-n.joinedAt > core.Second:
			n.joining = false
			if n.before != nil && n.old == nil && w.stage == loading && w.mayHarm(n.id) {
				w.putReplaced(n)
			}
			n.before = nil
		}
	}
}

// putReplaced gives a node the disk that another has taken the place of: it must never serve again.
func (w *World) putReplaced(n *node) {
	w.line("put-back", n.id, 0, 0, 0, nil)
	w.stop(n, true)
	n.disk.Restore(n.before)
	n.lost, n.gone, n.told, n.replaced = true, false, 0, true
	w.start(n)
}

// copyDisk keeps a disk as it is, and begins more starts on it, that the others meet: the copy shows
// the first of them again, and others with the same counters.
func copyDisk(w *World, f *Fault) bool {
	n := w.nodes[f.Node]
	if !n.alive || !n.gate || n.old != nil {
		return false
	}
	w.stop(n, true)
	n.old, n.metAs = n.disk.Image(), n.start+1
	w.start(n)
	w.also(f.For/4, Fault{Kind: Power, Node: n.id, For: min(f.For/8, 100*core.Millisecond)})
	return true
}

// putBack replaces the disk by what it was, when the disks of all others know of a later start. One of them that
// does not could not tell the copy from a crash, and would let it vote: that counts as lost state, for
// which a budget of three nodes has no room beside the node itself.
func putBack(w *World, f *Fault) {
	n := w.nodes[f.Node]
	old := n.old
	n.old = nil
	unknown := func(o *node) bool { return o != n && !w.knows(o, n, n.metAs) }
	if slices.ContainsFunc(w.nodes, unknown) || !w.mayHarm(n.id) {
		return
	}
	w.stop(n, true)
	n.disk.Restore(old)
	n.lost, n.gone, n.told = true, false, 0
	w.start(n)
	if alone := min(f.For, 3*core.Second); w.faults.Chance(2, 3) { // its counter grows where nobody can refuse it
		w.also(0, Fault{Kind: Cut, Node: n.id, For: alone})
		w.also(1, Fault{Kind: CrashLoop, Node: n.id, For: alone, N: w.faults.Between(2, 12)})
	}
}

// mountOther starts a node on a copy of another's disk: it must not begin.
func mountOther(w *World, f *Fault) bool {
	n, o := w.nodes[f.Node], w.nodes[f.Peer]
	if n.foreign || o.foreign || o.lost || n.lost || n.old != nil {
		return false
	}
	other := diskfake.New(w.faults)
	other.Restore(o.disk.Image())
	if !slices.ContainsFunc(other.List(), func(f core.FileInfo) bool { return f.Path == "node" && f.Size > 0 }) {
		return false // it does not say yet whose it is
	}
	w.stop(n, true)
	n.spare, n.disk, n.foreign = n.disk, other, true
	w.start(n)
	if n.alive {
		w.failAt("start", "node %d starts on the disk of node %d", n.id, o.id)
	}
	return true
}

// knows says whether o's disk, as a power loss now would leave it, has met a start of n with that counter or
// a later one.
func (w *World) knows(o, n *node, start uint32) bool {
	var newest *shard.Identity
	for _, id := range shard.Slots(o.own().Platter()) {
		if id != nil && (newest == nil || id.Writes > newest.Writes) {
			newest = id
		}
	}
	return newest != nil && slices.ContainsFunc(newest.Seen, func(x shard.Seen) bool { return x.Node == n.id && x.Start >= start })
}

func isSegment(path string) bool { return strings.HasSuffix(path, ".log") }

func isIndex(path string) bool { return strings.HasSuffix(path, "index") }

func isJournal(name string) bool {
	_, path := diskfake.Split(name)
	return strings.HasPrefix(path, "journal/")
}

// uncovered says whether a byte of a segment is one that no checksum of Kafka's covers: offset, length,
// epoch and magic of a batch. A client that reads them rotten cannot know (docs/found.md).
func (n *node) uncovered(path string, at int64) bool {
	if !isSegment(path) {
		return false
	}
	b := make([]byte, at+1)
	if _, err := n.own().ReadAt(path, 0, b); err != core.OK {
		return true
	}
	for pos := int64(0); ; {
		if at < pos+beforeCRC {
			return true
		}
		if size := int64(binary.BigEndian.Uint32(b[pos+8:])) + 12; size > beforeCRC {
			if pos += size; pos <= at {
				continue
			}
		}
		return false
	}
}

// beforeCRC are the bytes of a batch before its checksum, which does not cover them.
const beforeCRC = 17

// journalHead are the bytes of a journal file before its frames.
const journalHead = 8192
