package det

import (
	"slices"
	"testing"
)

func TestARandIsItsSeedAndName(t *testing.T) {
	a, b, c := New(7, "disk"), New(7, "disk"), New(7, "net")
	same, differs := true, false
	for range 100 {
		x := a.Uint64()
		same = same && x == b.Uint64()
		differs = differs || x != c.Uint64()
	}
	if !same || !differs {
		t.Fatalf("same seed and name: %v; another name differs: %v", same, differs)
	}
	for range 10000 {
		if n := a.Between(3, 5); n < 3 || n > 5 {
			t.Fatalf("Between(3, 5) gave %d", n)
		}
	}
}

func TestHashTellsPartsApart(t *testing.T) {
	if Hash(0).Str("ab").Str("c") == Hash(0).Str("a").Str("bc") {
		t.Error("where one string ends is part of the digest")
	}
	long := make([]byte, 100)
	h := Hash(0).Bytes(long)
	for i := range long {
		long[i] = 1
		if Hash(0).Bytes(long) == h {
			t.Errorf("byte %d does not count", i)
		}
		long[i] = 0
	}
}

func TestAMapIsVisitedInOrder(t *testing.T) {
	var m Map[int, string]
	r := New(1, "map")
	want := map[int]string{} //det:ok sorted before it is compared
	for range 2000 {
		k := int(r.N(200))
		if r.Chance(1, 3) {
			m.Delete(k)
			delete(want, k)
		} else {
			m.Set(k, "x")
			want[k] = "x"
		}
	}
	var got []int
	m.Each(func(k int, _ string) { got = append(got, k) })
	if !slices.IsSorted(got) || len(got) != len(want) || len(got) != m.Len() {
		t.Fatalf("%d keys in order %v, want %d", len(got), slices.IsSorted(got), len(want))
	}
	m.Each(func(k int, _ string) { m.Delete(k) })
	if m.Len() != 0 {
		t.Errorf("deleting what is visited leaves %d", m.Len())
	}
}

func TestTimersFireByDeadlineThenByArming(t *testing.T) {
	var q Timers
	var fired []int
	at := []int64{30, 10, 20, 10, 30}
	ts := make([]*Timer, len(at))
	for i := range at {
		ts[i] = &Timer{Fire: func(int64) { fired = append(fired, i) }}
		q.Arm(ts[i], at[i])
	}
	q.Stop(ts[2])
	q.Arm(ts[0], 5)
	if q.Next(-1) != 5 {
		t.Errorf("the next deadline is %d", q.Next(-1))
	}
	q.Run(10)
	q.Run(29)
	if !slices.Equal(fired, []int{0, 1, 3}) {
		t.Errorf("fired %v", fired)
	}
	q.Run(30)
	if !slices.Equal(fired, []int{0, 1, 3, 4}) || q.Next(-1) != -1 {
		t.Errorf("fired %v, next %d", fired, q.Next(-1))
	}
}

func TestTimersAgainstASortedList(t *testing.T) {
	r := New(3, "timers")
	var q Timers
	armed := map[int]int64{} //det:ok only looked up
	var ts [50]Timer
	now, late := int64(0), 0
	for i := range ts {
		ts[i].Fire = func(n int64) {
			if armed[i] > n || armed[i] == 0 {
				late++
			}
			delete(armed, i)
		}
	}
	for range 5000 {
		i := int(r.N(50))
		switch {
		case r.Chance(1, 4):
			q.Stop(&ts[i])
			delete(armed, i)
		case r.Chance(1, 4):
			now += r.N(20)
			q.Run(now)
			for k := range ts {
				if at, ok := armed[k]; ok && at <= now {
					t.Fatalf("timer %d was due at %d and did not fire at %d", k, at, now)
				}
			}
		default:
			armed[i] = now + 1 + r.N(50)
			q.Arm(&ts[i], armed[i])
		}
	}
	if late > 0 {
		t.Errorf("%d timers fired before their time", late)
	}
}
