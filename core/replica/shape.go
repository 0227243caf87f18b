package replica

import (
	"encoding/binary"
	"sort"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
)

// shape is what compaction has made of a log: the last decision that was carried out, and the files that this left. It
// is a function of the log and of that decision's index, so leaders that name the same one offer the same files.
type shape struct {
	done    uint64      // index of the last decision that was carried out; 0: there was none
	clean   core.Offset // what it covered; -1
	decided []decision  // that are applied and wait
	files   []file      // of the log, in order
}

// file is a segment as another replica names it: what has the same base and generation holds the same bytes, as far
// as it goes.
type file struct {
	base core.Offset
	gen  uint64
	size int64
}

// shape is that of this log up to entry i, which is applied. What lies below the log start is not in it.
func (r *Replica) shape(i uint64) *shape {
	c, at := &r.compacting, r.log.after(i)
	g := &shape{done: c.done, clean: c.clean, decided: c.decided}
	for k, s := range r.segs {
		switch {
		case s.base > at.seg || k+1 < len(r.segs) && s.base < at.seg && r.segs[k+1].base <= r.floor:
		case s.base == at.seg:
			g.files = append(g.files, file{s.base, s.gen, at.pos})
		default:
			g.files = append(g.files, file{s.base, s.gen, s.size})
		}
	}
	return g
}

// changingShape says that what the shape names is about to go.
func (r *Replica) changingShape() bool {
	c := &r.compacting
	return len(c.decided) > 0 && !c.stuck
}

// index names the shape; that of a log that was never compacted is 0.
func (g *shape) index() uint64 {
	if g == nil {
		return 0
	}
	return g.done
}

// at is the file at base, or nil.
func (g *shape) at(base core.Offset) *file {
	k := sort.Search(len(g.files), func(k int) bool { return g.files[k].base >= base })
	if k == len(g.files) || g.files[k].base != base {
		return nil
	}
	return &g.files[k]
}

// after is the base of the file that follows the one at base; -1: none.
func (g *shape) after(base core.Offset) core.Offset {
	k := sort.Search(len(g.files), func(k int) bool { return g.files[k].base > base })
	if k == len(g.files) {
		return -1
	}
	return g.files[k].base
}

// fits says that a log of this shape ends at a place.
func (g *shape) fits(at place) bool {
	last := g.files[len(g.files)-1]
	return last.base == at.seg && last.size == at.pos
}

// has says that s is a sound copy of what the shape has there.
func (g *shape) has(s *segment) bool {
	f := g.at(s.base)
	return f != nil && f.gen == s.gen && !s.damaged
}

// agreesAhead says of segments that an earlier catch-up has brought, behind the one in which the log ends, that they
// are the first ones of the shape there.
func (g *shape) agreesAhead(segs []*segment, end core.Offset, a *ahead) bool {
	n := 0
	for _, s := range segs {
		if s.base <= end {
			continue
		}
		if g == nil && s.gen > 0 || g != nil && !g.has(s) {
			return false
		}
		n++
	}
	if g == nil {
		return true
	}
	for _, f := range g.files {
		if f.base > end && f.base <= a.at.seg {
			n--
		}
	}
	return n == 0 && (a.low == 0 || a.low == g.files[0].base)
}

func (g *shape) encode(b []byte) []byte {
	b = encodeDecisions(b, g.clean, g.done, g.decided)
	b = binary.AppendUvarint(b, uint64(len(g.files)))
	for _, f := range g.files {
		b = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.base)), f.gen), uint64(f.size))
	}
	return b
}

// decodeShape reads what encode wrote; rest follows it. What it answers has a file.
func decodeShape(b []byte) (g *shape, rest []byte, ok bool) {
	g = new(shape)
	if g.clean, g.done, g.decided, b, ok = decodeDecisions(b, stateVersion, 0); !ok {
		return nil, nil, false
	}
	bad := false
	number := func() uint64 {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > 1<<63-1 {
			bad, n = true, len(b)
		}
		b = b[n:]
		return x
	}
	for count := number(); count > 0 && !bad; count-- {
		f := file{core.Offset(number()), number(), int64(number())}
		bad = bad || len(g.files) > 0 && f.base <= g.files[len(g.files)-1].base || f.gen > g.done
		g.files = append(g.files, f)
	}
	return g, b, !bad && len(g.files) > 0
}

func encodeDecisions(b []byte, clean core.Offset, done uint64, decided []decision) []byte {
	b = binary.AppendVarint(b, int64(clean))
	b = binary.AppendUvarint(b, done)
	b = binary.AppendUvarint(b, uint64(len(decided)))
	for i := range decided {
		d := decided[i].Append(nil)
		b = binary.AppendUvarint(b, decided[i].index)
		b = binary.AppendUvarint(b, uint64(decided[i].floor))
		b = append(binary.AppendUvarint(b, uint64(len(d))), d...)
	}
	return b
}

// decodeDecisions reads what encodeDecisions wrote, of the version of a checkpoint's state. Version 5, where partitions
// had one replica, said neither which decision was carried out nor where the log began when one was made.
func decodeDecisions(b []byte, version byte, floor core.Offset) (clean core.Offset, done uint64, all []decision, rest []byte, ok bool) {
	x, n := binary.Varint(b)
	if n <= 0 || x < -1 {
		return 0, 0, nil, nil, false
	}
	b = b[n:]
	bad := false
	number := func() uint64 {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > 1<<63-1 {
			bad, n, x = true, len(b), 0
		}
		b = b[n:]
		return x
	}
	if version >= 6 {
		done = number()
	}
	for count := number(); count > 0 && !bad; count-- {
		e := decision{index: number(), floor: floor}
		if version >= 6 {
			e.floor = core.Offset(number())
		}
		size := number()
		if bad || size > uint64(len(b)) {
			return 0, 0, nil, nil, false
		}
		d, err := compact.DecodeDecision(b[:size])
		if err != nil {
			return 0, 0, nil, nil, false
		}
		e.Decision, b = d, b[size:]
		all = append(all, e)
	}
	return core.Offset(x), done, all, b, !bad
}

// hasFiles says that all files of a shape are here, beside the log or in it, but for the last.
func (r *Replica) hasFiles(g *shape) bool {
	if g == nil {
		return true
	}
next:
	for _, f := range g.files[:len(g.files)-1] {
		if s := r.segment(f.base); s != nil && g.has(s) {
			continue
		}
		for _, x := range r.refit.side {
			if x.s.base == f.base && x.s.gen == f.gen && x.s.size == f.size && x.synced {
				continue next
			}
		}
		return false
	}
	return true
}

// cutOthers remembers what was not committed of segments that a snapshot leaves out, as cutBelow does.
func (r *Replica) cutOthers(g *shape) {
	at := r.log.after(r.commit)
	for _, s := range r.segs {
		if s.base >= at.seg && !g.has(s) {
			if s.cuts = true; s.base == at.seg {
				s.ends = at.pos
			}
		}
	}
}

// regroup makes the files below base the shape's; what of these was not here was fetched (refit.go). What the log had in
// their place goes once a checkpoint says so. Files below the shape's first one lie below the log start, and stay.
func (r *Replica) regroup(g *shape, base core.Offset) {
	var segs []*segment
	kept := map[*segment]bool{} //det:ok looked up, never ranged
	for _, s := range r.segs {
		if s.base < g.files[0].base {
			s.damaged = false // nobody will ask for it
			segs, kept[s] = append(segs, s), true
		}
	}
	for _, f := range g.files {
		if f.base >= base {
			break
		}
		s := r.segment(f.base)
		if s == nil || !g.has(s) {
			s = r.takeFetched(f)
		}
		segs, kept[s] = append(segs, s), true
	}
	for _, s := range r.segs {
		switch {
		case kept[s]:
		case s.base >= base:
			segs = append(segs, s)
		default:
			s.old = true
			r.shed.files = append(r.shed.files, s)
		}
	}
	r.segs, r.behind = segs, true
	r.dropFetched()
	r.scrubFrom(segs[0].base, 0, segs[0].base)
}
