package journal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// modelled is a group as its owner knows it.
type modelled struct {
	id   core.GroupID
	mark core.Index
	ents []core.Term // from mark+1 on
	hard journal.Hard
	gone bool
	born bool // has a checkpoint
}

func (m *modelled) last() core.Index { return m.mark + core.Index(len(m.ents)) }

func (m *modelled) String() string {
	last := core.Term(0)
	if len(m.ents) > 0 {
		last = m.ents[len(m.ents)-1]
	}
	return fmt.Sprintf("%d ents %v last %d hard %+v", m.last(), len(m.ents), last, m.hard)
}

func (m *modelled) toMark() journal.Mark {
	mark := born(m.id)
	mark.Index, mark.Hard, mark.Term = m.mark, m.hard, 1
	return mark
}

func (m *modelled) tail() (ents []journal.Entry) {
	for i, term := range m.ents {
		ents = append(ents, entryOf(m.mark+1+core.Index(i), term))
	}
	return ents
}

// entryOf derives an entry from its place, so that every writing of it is the same.
func entryOf(index core.Index, term core.Term) journal.Entry {
	switch (index + core.Index(term)) % 3 {
	case 0:
		return noop(index, term)
	case 1:
		return direct(index, term, 100)
	}
	return inline(index, term, int(index%7)*200)
}

// world is a node's journals in one start, and what their groups were after each frame.
type world struct {
	t      *testing.T
	rnd    *det.Rand
	disk   *disk
	rigs   []*rig
	groups [][]*modelled // by shard
	states [][]string    // by shard and sequence: all groups of the shard
	past   []core.FileInfo
	stats  *stats
}

type stats struct{ crashes, cut, recycled, adopted int }

// lines is a line a group. The dead and the unborn are left out: recovery may know of them or not.
func lines(groups []*modelled) string {
	var b strings.Builder
	for _, m := range groups {
		if m.born && !m.gone {
			fmt.Fprintf(&b, "  %d: %v\n", m.id, m)
		}
	}
	return b.String()
}

func (w *world) state(s int) string { return lines(w.groups[s]) }

// start gives the groups to shards anew.
func start(t *testing.T, rnd *det.Rand, d *disk, found *journal.Found, old map[core.GroupID]*modelled, st *stats) *world {
	w := &world{t: t, rnd: rnd, disk: d, past: found.Files, stats: st}
	d.reserves = rnd.N(2) == 0
	n := int(rnd.Between(1, 3))
	w.groups, w.states = make([][]*modelled, n), make([][]string, n)
	for s := range n {
		w.rigs = append(w.rigs, newRig(t, d, journal.Config{Shard: core.ShardID(s), Start: found.Start + 1,
			First: found.NextFile, Slot: 20 << 10}))
	}
	for id := core.GroupID(1); id <= 40; id++ {
		if m := old[id]; m != nil {
			s := int(rnd.N(int64(n)))
			w.groups[s] = append(w.groups[s], m)
		}
	}
	for s := range n {
		w.states[s] = []string{w.state(s)}
	}
	return w
}

// run makes the first checkpoints, some at a time, and adopts the past when all are durable.
func (w *world) run(steps int64, next *core.GroupID) {
	founded := map[core.GroupID]bool{}
	adopted := false
	for step := range steps {
		s := int(w.rnd.N(int64(len(w.rigs))))
		r := w.rigs[s]
		if w.rnd.Chance(1, 20) && *next <= 40 {
			w.groups[s] = append(w.groups[s], &modelled{id: *next, mark: 1, hard: journal.Hard{Term: 1}})
			*next++
		}
		all := true
		for _, m := range w.groups[s] {
			switch {
			case m.gone:
			case !founded[m.id]:
				if all = false; w.rnd.Chance(1, 2) {
					r.w.Checkpoint(m.id, m.toMark(), m.tail())
					founded[m.id], m.born = true, true
				}
			case w.rnd.Chance(1, 2):
				w.change(r, m)
			}
		}
		for _, id := range r.w.Needy() {
			w.checkpoint(r, s, id)
		}
		if r.flush() > 0 {
			w.states[s] = append(w.states[s], w.state(s))
		}
		for len(r.ops) > 0 && w.rnd.Chance(2, 3) {
			if _, ok := r.finish(0, core.OK); !ok {
				w.t.Fatal("broken")
			}
		}
		if all && !adopted && step > 10 {
			adopted = w.adopt(founded)
		}
	}
}

// adopt tells the writers once every group of every shard has a durable checkpoint.
func (w *world) adopt(founded map[core.GroupID]bool) bool {
	for s, r := range w.rigs {
		if r.w.Durable() != r.w.Seq() {
			return false
		}
		for _, m := range w.groups[s] {
			if !m.gone && !founded[m.id] {
				return false
			}
		}
	}
	w.stats.adopted++
	for i, r := range w.rigs {
		if i == 0 {
			r.w.Adopt(w.past)
		} else {
			r.w.Adopt(nil)
		}
	}
	return true
}

func (w *world) checkpoint(r *rig, s int, id core.GroupID) {
	for _, m := range w.groups[s] {
		if m.id == id && !m.gone {
			cut := w.rnd.N(int64(len(m.ents)) + 1)
			m.mark, m.ents = m.mark+core.Index(cut), m.ents[cut:]
			r.w.Checkpoint(id, m.toMark(), m.tail())
			w.stats.recycled++
		}
	}
}

func (w *world) change(r *rig, m *modelled) {
	if w.rnd.Chance(1, 60) {
		m.gone = true
		r.w.Gone(m.id)
		return
	}
	if w.rnd.Chance(1, 4) {
		m.hard.Term++
	}
	m.hard.Vote = core.RaftID(w.rnd.N(100))
	m.hard.Commit = m.mark
	from := m.last() + 1
	if len(m.ents) > 0 && w.rnd.Chance(1, 5) {
		from = m.mark + 1 + core.Index(w.rnd.N(int64(len(m.ents))))
		m.ents = m.ents[:from-m.mark-1]
	}
	var ents []journal.Entry
	for i := range core.Index(w.rnd.N(4)) {
		ents = append(ents, entryOf(from+i, m.hard.Term))
		m.ents = append(m.ents, m.hard.Term)
	}
	if len(ents) == 0 { // an append cuts only from its first entry on
		m.ents = append(m.ents, m.hard.Term)
		ents = append(ents, entryOf(from, m.hard.Term))
	}
	r.w.Append(m.id, &m.hard, ents, m.mark)
}

// crash keeps each sector of the unsynced writes with a coin, and holds recovery to the states that
// the shards went through: all groups of a shard are as they were after one and the same frame, which
// is not before the durable one.
func (w *world) crash() (*journal.Found, map[core.GroupID]*modelled) {
	for _, r := range w.rigs {
		for _, o := range r.ops {
			for i := 0; i < len(o.data); i += 512 {
				if w.rnd.Chance(3, 4) {
					w.disk.write(o.path, o.off+int64(i), o.data[i:min(i+512, len(o.data))])
				}
			}
		}
	}
	found := recovered(w.t, w.disk)
	w.stats.crashes++
	if found.Lost != "" {
		w.t.Fatal(found.Lost)
	}
	back := map[core.GroupID]*modelled{}
	for s, r := range w.rigs {
		var now []*modelled
		for _, m := range w.groups[s] {
			if b := w.back(find(found, m.id), m); b != nil {
				now = append(now, b)
				if !b.gone {
					back[m.id] = b
				}
			}
		}
		got, matched := lines(now), false
		for seq := int(r.w.Durable()); seq < len(w.states[s]); seq++ {
			matched = matched || w.states[s][seq] == got
		}
		if !matched {
			w.t.Fatalf("shard %d recovered\n%s\ndurable %d of %d, where it was\n%s", s, got, r.w.Durable(), r.w.Seq(),
				w.states[s][r.w.Durable()])
		}
		if got != w.state(s) {
			w.stats.cut++
		}
	}
	return found, back
}

func (w *world) back(g *journal.Group, m *modelled) *modelled {
	if g == nil {
		return nil
	}
	if g.Damaged != "" {
		w.t.Fatalf("group %d: %s", g.ID, g.Damaged)
	}
	b := &modelled{id: g.ID, mark: g.Mark.Index, hard: g.Hard, gone: g.Gone, born: true}
	for i := range g.Tail {
		e := &g.Tail[i]
		b.ents = append(b.ents, e.Term)
		if want := entryOf(e.Index, e.Term); e.Inline != (want.Body.Len > 0) || e.Inline && !bodyMatches(w.disk, e) {
			w.t.Fatalf("group %d: entry %d came back otherwise", g.ID, e.Index)
		} else {
			want.Body.Release()
		}
	}
	return b
}

func TestRandomLivesOfANodeAreRecovered(t *testing.T) {
	st := &stats{}
	for seed := range uint64(60) {
		rnd := det.New(seed, "journal lives")
		d, found := &disk{}, &journal.Found{NextFile: 1}
		groups, next := map[core.GroupID]*modelled{}, core.GroupID(1)
		for range 6 {
			w := start(t, rnd, d, found, groups, st)
			w.run(rnd.Between(1, 120), &next)
			found, groups = w.crash()
		}
	}
	if st.crashes != 360 || st.cut < 100 || st.recycled < 1000 || st.adopted < 100 {
		t.Errorf("too little happened: %+v", *st)
	}
	if core.Live.Load() != 0 {
		t.Errorf("%d buffers live", core.Live.Load())
	}
}
