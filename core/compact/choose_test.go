package compact_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/compact"
	"github.com/karst-stream/karst/core/det"
)

// tens are segments of 100 bytes and ten offsets, one each ten ms from 1000 on; the active one begins behind them.
func tens(n int) compact.Log {
	l := compact.Log{Clean: -1, Active: core.Offset(n * 10), End: core.Offset(n*10 + 5)}
	l.Stable = l.End
	for i := range n {
		l.Sealed = append(l.Sealed, compact.Sealed{Base: core.Offset(i * 10), Size: 100, First: core.Wall(1000 + i*10), Newest: core.Wall(1009 + i*10)})
	}
	return l
}

func TestChoose(t *testing.T) {
	lazy := compact.Policy{MaxLag: math.MaxInt64, MinDirty: compact.Million / 2}
	with := func(f func(*compact.Policy)) compact.Policy { p := lazy; f(&p); return p }
	log := func(f func(*compact.Log)) compact.Log { l := tens(4); f(&l); return l }
	for _, x := range []struct {
		name string
		log  compact.Log
		pol  compact.Policy
		now  core.Wall
		want compact.Choice
		ok   bool
	}{
		{"a new log", tens(4), lazy, 5000, compact.Choice{To: 40, Dirty: 400}, true},
		{"nothing sealed", tens(0), lazy, 5000, compact.Choice{}, false},
		{"half of it is clean: not more than half is dirty", log(func(l *compact.Log) { l.Clean = 20 }), lazy, 5000,
			compact.Choice{From: 20, To: 40, Dirty: 200, Clean: 200}, false},
		{"a ratio of 0 takes any", log(func(l *compact.Log) { l.Clean = 30 }), with(func(p *compact.Policy) { p.MinDirty = 0 }), 5000,
			compact.Choice{From: 30, To: 40, Dirty: 100, Clean: 300}, true},
		{"but not none", log(func(l *compact.Log) { l.Clean = 40 }), with(func(p *compact.Policy) { p.MinDirty = 0 }), 5000,
			compact.Choice{From: 40, To: 40, Clean: 400}, false},
		{"a ratio of 1 takes nothing", tens(4), with(func(p *compact.Policy) { p.MinDirty = compact.Million }), 5000,
			compact.Choice{To: 40, Dirty: 400}, false},
		{"a segment that is half clean counts for both, as in Kafka", log(func(l *compact.Log) { l.Clean = 15 }), lazy, 5000,
			compact.Choice{From: 15, To: 40, Dirty: 300, Clean: 200}, true},
		{"the segment of an open transaction is left", log(func(l *compact.Log) { l.Stable = 25 }), lazy, 5000,
			compact.Choice{To: 20, Dirty: 200}, true},
		{"stable up to a segment's end", log(func(l *compact.Log) { l.Stable = 20 }), lazy, 5000, compact.Choice{To: 20, Dirty: 200}, true},
		{"nothing is stable", log(func(l *compact.Log) { l.Stable = 3 }), lazy, 5000, compact.Choice{}, false},
		{"stable below what is clean", log(func(l *compact.Log) { l.Clean, l.Stable = 30, 12 }), lazy, 5000,
			compact.Choice{From: 30, To: 30, Clean: 300}, false},
		{"without a lag what comes from the future is taken", tens(4), lazy, 1, compact.Choice{To: 40, Dirty: 400}, true},
		{"records are too young", tens(4), with(func(p *compact.Policy) { p.MinLag = 25 }), 1044, compact.Choice{To: 20, Dirty: 200}, true},
		{"the youngest is just old enough", tens(4), with(func(p *compact.Policy) { p.MinLag = 25 }), 1064, compact.Choice{To: 40, Dirty: 400}, true},
		{"for ever too young", tens(4), with(func(p *compact.Policy) { p.MinLag = math.MaxInt64 }), 5000, compact.Choice{}, false},
		{"young records in what is clean do not matter", log(func(l *compact.Log) { l.Clean = 10; l.Sealed[0].Newest = 9999 }),
			with(func(p *compact.Policy) { p.MinLag = 25 }), 5000, compact.Choice{From: 10, To: 40, Dirty: 300, Clean: 100}, true},
		{"overdue, whatever the ratio", log(func(l *compact.Log) { l.Clean = 30 }), with(func(p *compact.Policy) { p.MaxLag = 100 }), 1131,
			compact.Choice{From: 30, To: 40, Dirty: 100, Clean: 300, Overdue: 1}, true},
		{"not yet overdue", log(func(l *compact.Log) { l.Clean = 30 }), with(func(p *compact.Policy) { p.MaxLag = 100 }), 1130,
			compact.Choice{From: 30, To: 40, Dirty: 100, Clean: 300}, false},
		{"without times nothing is overdue", log(func(l *compact.Log) { l.Clean = 30; l.Sealed[3].First = 0 }),
			with(func(p *compact.Policy) { p.MaxLag = 1 }), 5000, compact.Choice{From: 30, To: 40, Dirty: 100, Clean: 300}, false},
		{"overdue, but not stable", log(func(l *compact.Log) { l.Stable = 3 }), with(func(p *compact.Policy) { p.MaxLag = 1 }), 1002,
			compact.Choice{Overdue: 1}, false},
		{"the log start passed what was clean", log(func(l *compact.Log) { l.Clean, l.Start = 10, 25; l.Sealed = l.Sealed[2:] }), lazy, 5000,
			compact.Choice{From: 25, To: 40, Dirty: 200, Clean: 100}, true},
		{"the log was cut below what was clean", log(func(l *compact.Log) { l.Clean = 46 }), lazy, 5000, compact.Choice{To: 40, Dirty: 400}, true},
	} {
		got, ok := compact.Choose(x.log, x.pol, x.now)
		if got != x.want || ok != x.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", x.name, got, ok, x.want, x.ok)
		}
	}
}

// A choice is a plan: its bounds are edges of segments, it never reaches what is active, unstable or young.
func TestAChoiceKeepsItsDistance(t *testing.T) {
	rnd, taken := det.New(1, "choose"), 0
	for range 20_000 {
		l := tens(int(rnd.N(6)))
		for i := range l.Sealed {
			l.Sealed[i].Size = rnd.Between(1, 1000)
			l.Sealed[i].Newest += core.Wall(rnd.N(100))
		}
		l.Clean, l.Stable, l.Start = core.Offset(rnd.Between(-1, 70)), core.Offset(rnd.N(int64(l.End)+1)), core.Offset(rnd.N(20))
		p := compact.Policy{MinLag: rnd.N(50), MaxLag: rnd.Between(1, 200), MinDirty: rnd.N(compact.Million + 1)}
		now := core.Wall(rnd.Between(1000, 1300))
		c, ok := compact.Choose(l, p, now)
		if !ok {
			continue
		}
		taken++
		if c.From >= c.To || c.To > l.Stable || c.To > l.Active || c.From < l.Start || l.Clean >= l.Start && l.Clean <= l.End && c.From != l.Clean {
			t.Fatalf("%+v of %+v", c, l)
		}
		edge := c.To == l.Active
		for _, s := range l.Sealed {
			edge = edge || s.Base == c.To
			if p.MinLag > 0 && s.Base >= c.From && s.Base < c.To && s.Newest > now-core.Wall(p.MinLag) {
				t.Fatalf("%+v takes %+v at %d with %+v", c, s, now, p)
			}
		}
		ratio := new(big.Rat).SetFrac64(c.Dirty, c.Dirty+c.Clean)
		if !edge || c.Overdue <= 0 && ratio.Cmp(big.NewRat(p.MinDirty, compact.Million)) <= 0 {
			t.Fatalf("%+v of %+v with %+v", c, l, p)
		}
	}
	if taken < 2000 {
		t.Errorf("%d choices in all", taken)
	}
}

func TestTheDirtiestComesFirst(t *testing.T) {
	const tb = 1 << 40
	for _, x := range [][4]int64{{1, 1, 1, 2}, {tb + 1, tb, tb, tb}, {5, 0, tb, 1}, {3 * tb, 7 * tb, 2 * tb, 5 * tb}} {
		a, b := compact.Choice{Dirty: x[0], Clean: x[1]}, compact.Choice{Dirty: x[2], Clean: x[3]}
		if !a.Dirtier(&b) || b.Dirtier(&a) || a.Dirtier(&a) {
			t.Errorf("%v", x)
		}
	}
}
