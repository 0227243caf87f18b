package sim

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/karst-stream/karst/core"
)

// FaultKind is what befalls a node, a link, a disk, a clock or the clients. Each has its spec in the
// file of its family: fault_process.go, fault_net.go, fault_disk.go, fault_clock.go, fault_load.go.
type FaultKind uint8

const (
	Kill        FaultKind = iota // the process dies, the page cache stays
	Power                        // the machine loses power
	PowerAll                     // so do all
	Cut                          // a node and the others cannot reach each other
	CutOneWay                    // what one node sends to another does not arrive
	CutClients                   // a node and all clients cannot reach each other
	Pause                        // the process does not run, and then goes on
	SlowDisk                     // a disk takes N times as long
	SyncError                    // the next sync of a disk fails, once, and its pages are dropped
	Delay                        // every frame of the network takes up to N microseconds
	Aimed                        // a crash that waits for its moment: the next vote, append or election
	Boundary                     // a crash between two effects: the N-th from now on is not carried out
	CrashLoop                    // the process dies N times, soon after each start
	Rolling                      // every process is killed, one after the other
	Bridge                       // the others cannot reach each other, only this node
	Isolate                      // who leads the N-th group cannot reach the others
	IsolateHalf                  // ... nor can clients reach it
	Flap                         // a node is cut off and back, every N milliseconds
	Swizzle                      // nodes are cut off one by one and come back in another order
	SlowLink                     // one directed link is N milliseconds longer
	NarrowLink                   // one directed link carries N frames at a time
	ThinLink                     // one directed link carries N bytes a millisecond
	LossyLink                    // one directed link loses N frames of a million
	EchoLink                     // one directed link repeats N frames of a million, at once or much later
	NoisyLink                    // one directed link flips a bit of N frames of a million
	Stall                        // a disk does nothing for a while
	DiskFull                     // nothing on a disk can grow
	Rot                          // N bits of what is durable in a disk's segments flip
	LostWrite                    // a disk acknowledges a write that it does not store
	StrayWrite                   // a disk stores a sector elsewhere
	Wipe                         // an empty disk takes the place of a disk, for good
	OldDisk                      // a copy of a disk takes its place, from before the last start
	WrongDisk                    // a node starts on a copy of another node's disk, and then on its own
	ClockSkew                    // a wall clock is N milliseconds off
	ClockJump                    // a wall clock jumps by N milliseconds, for good
	ClockDrift                   // a wall clock goes N parts of a million too fast
	ClockFreeze                  // a wall clock stands
	LoadBurst                    // clients offer N times as much
	Reconnect                    // all clients lose their connections to a node
	RotJournal                   // N bits of journals and identity flip
	RotSealed                    // N bits of journals flip, in frames that later ones tell of
	Rejoin                       // an empty disk takes the place of a disk, and the node starts with --rejoin
	DirError                     // every sync in a node's last data directory fails
	DirFull                      // nothing in a node's last data directory can grow
	DirAway                      // a node runs without its last data directory
	faultKinds
)

// spec is one kind of fault: how a plan writes it, what it costs, and what begins and ends it.
type spec struct {
	name   string
	node   bool   // a plan names a node
	peer   bool   // and another one
	span   bool   // it lasts
	n      string // what N is; "": nothing
	lo, hi int64  // of N
	harm   bool   // it destroys what was durable on a disk: at most a minority of a plan's nodes may meet one

	// begin makes it happen; false: it makes no sense at present, and is not counted. It may change
	// the fault, for end to see.
	begin func(w *World, f *Fault) bool
	end   func(w *World, f *Fault) // nil: it ends by itself
}

var specs [faultKinds]spec

func (k FaultKind) String() string { return specs[k].name }

// form is how a plan writes a kind.
func (s *spec) form(k FaultKind) string {
	t := "TIME " + s.name
	if s.node {
		t += " nNODE"
	}
	if s.peer {
		t += " nNODE"
	}
	if s.span {
		t += " for TIME"
	}
	if s.n != "" {
		t += fmt.Sprintf(" x N (%s, %d to %d)", s.n, s.lo, s.hi)
	}
	return t
}

// AboutFaults lists how a plan writes each kind of fault, a line each.
func AboutFaults() string {
	var b strings.Builder
	for k := range specs {
		b.WriteString(specs[k].form(FaultKind(k)) + "\n")
	}
	return b.String()
}

func parseKind(name string) (FaultKind, error) {
	var all []string
	for k := range specs {
		if specs[k].name == name {
			return FaultKind(k), nil
		}
		all = append(all, specs[k].name)
	}
	return 0, fmt.Errorf("%q is no kind of fault; there are %s", name, strings.Join(all, ", "))
}

// over marks the end of a fault.
const over = 1 << 32

// fault lets one line of the plan happen, or end.
func (w *World) fault(i int) {
	if w.stage != loading {
		return // calm has ended everything
	}
	if i&over != 0 {
		i &^= over
		f := w.todo[i]
		w.line("end "+f.Kind.String(), f.Node, 0, 0, 0, nil)
		w.fleet.Counts.Met.End(f.Kind.String())
		if s := &specs[f.Kind]; s.end != nil {
			s.end(w, &f)
		}
		return
	}
	f := w.todo[i]
	w.line(f.Kind.String(), f.Node, 0, uint64(f.Peer), uint64(f.N), nil)
	s := &specs[f.Kind]
	if s.harm && !w.mayHarm(f.Node) || !s.begin(w, &f) {
		w.note("it makes no sense now")
		return
	}
	w.todo[i] = f // begin may have made others, too
	if f.Kind != Aimed && f.Kind != Boundary {
		w.result.Faults[f.Kind]++ // those count when their moment has come
	}
	w.fleet.Counts.Met.Begin(f.Kind.String())
	w.after(w.now+f.For, dueFault, nil, 0, uint64(i|over))
}

// also lets another fault happen, as a part of one.
func (w *World) also(in core.Mono, f Fault) {
	w.todo = append(w.todo, f)
	w.after(w.now+in, dueFault, nil, 0, uint64(len(w.todo)-1))
}

// calm ends every fault as far as the plan's core goes: those nodes run on healthy disks and reach
// each other and their clients. The faults of the others last, and what they do must not matter. One
// that is cut off from a part of the core is cut off from all of it, in one direction or both: else it
// could rightly lead with the other part for ever.
func (w *World) calm() {
	w.aimed = nil
	w.fleet.Burst(1)
	var outcasts []*node
	for _, n := range w.nodes {
		if !w.inCore(n.id) && w.cutSomewhere(n) {
			outcasts = append(outcasts, n)
		}
	}
	w.net.Heal(w.now)
	for _, n := range outcasts {
		w.exile(n)
	}
	for _, n := range w.nodes {
		if n.foreign {
			w.stop(n, true)
			n.disk, n.spare, n.foreign = n.spare, nil, false
		}
		n.fuse = 0
		n.disk.Disarm()
		if !w.inCore(n.id) {
			continue
		}
		if n.away {
			w.stop(n, false)
			n.away = false
		}
		if n.alive && n.disk.Broken() { // what a failed sync took offline comes back with another process only
			w.stop(n, false)
			w.start(n)
		}
		n.disk.Latency.Slow = 1
		n.clock = clock{}
		w.resume(n)
		if !n.alive {
			w.start(n)
		}
	}
}

func (w *World) cutSomewhere(n *node) bool {
	for _, o := range w.nodes {
		if o != n && !w.net.Reach(n.id, o.id) {
			return true
		}
	}
	return false
}

// exile cuts a node off for good: what it says, what it hears or both. Clients still reach it: it may
// have stood for election in a term that nobody leads, and must not make them believe in it.
func (w *World) exile(n *node) {
	how := w.faults.N(3)
	for _, o := range w.nodes {
		if o != n && how != 0 {
			w.net.Cut(n.id, o.id)
		}
		if o != n && how != 1 {
			w.net.Cut(o.id, n.id)
		}
	}
}

// heals are the nodes that must converge in the end: the plan's core without those whose disks are
// lost, and with as many others as that needs. A plan within its budget leaves a majority. While groups replace a
// voter whose disk is gone they can miss no other, so all nodes heal where that has happened.
func (w *World) heals() uint64 {
	if w.healing != 0 {
		return w.healing
	}
	set := w.plan.Core
	if slices.ContainsFunc(w.nodes, func(n *node) bool { return n.emptied > 0 }) {
		set = 1<<len(w.nodes) - 1
	}
	for _, n := range w.nodes {
		if w.lossy(n) {
			set &^= 1 << n.id
		}
	}
	for _, n := range w.nodes {
		if bits.OnesCount64(set) <= len(w.nodes)/2 && !w.lossy(n) {
			set |= 1 << n.id
		}
	}
	w.healing = set
	return set
}

func (w *World) inCore(n core.NodeID) bool { return w.heals()>>n&1 != 0 }
