package checker

import (
	"cmp"
	"math"
	"slices"
)

// Access is an operation on a register: a write of a value that nobody else writes, or a read of one.
// Value 0 is what the register holds before all writes. Ret of a write with an unknown outcome is
// Forever; a write that nobody reads then says nothing.
type Access struct {
	Value uint64
	Read  bool
	Span
}

// cluster is a write and its reads: what must be together in any order.
type cluster struct {
	write            Span
	has              bool
	firstEnd         int64 // the earliest end of any of them
	lastStart        int64 // the latest start
	firstRead        int64 // the earliest end of a read
	firstReadPresent bool
}

// zone is the time that a cluster claims for itself.
type zone struct{ from, to int64 }

// CheckRegister says whether reads and writes of unique values can be put in one order that agrees
// with their times, and if not the value where they cannot. It is the algorithm of Gibbons and Korach
// (Testing Shared Memories, 1997): a cluster whose first end lies before its last start claims the
// whole time between (no other may claim a part of it), any other needs one instant that no claim
// covers. Exact, O(n log n).
func CheckRegister(ops []Access) (ok bool, value uint64, why string) {
	clusters := map[uint64]*cluster{0: {write: Span{math.MinInt64, math.MinInt64}, has: true, firstEnd: math.MinInt64, lastStart: math.MinInt64}}
	order := []uint64{0}
	for _, a := range ops {
		c := clusters[a.Value]
		if c == nil {
			c = &cluster{firstEnd: Forever, lastStart: math.MinInt64}
			clusters[a.Value] = c
			order = append(order, a.Value)
		}
		if !a.Read && c.has {
			return false, a.Value, "it was written twice"
		}
		if !a.Read {
			c.write, c.has = a.Span, true
		} else if !c.firstReadPresent || a.Ret < c.firstRead {
			c.firstRead, c.firstReadPresent = a.Ret, true
		}
		c.firstEnd, c.lastStart = min(c.firstEnd, a.Ret), max(c.lastStart, a.Call)
	}
	var claims []zone
	var points []zone // need one instant of theirs
	var values []uint64
	for _, v := range order {
		c := clusters[v]
		if !c.has {
			return false, v, "it was read, and nobody wrote it"
		}
		if c.firstReadPresent && c.firstRead < c.write.Call {
			return false, v, "it was read before it was written"
		}
		if c.write.Ret == Forever && !c.firstReadPresent {
			continue
		}
		if c.firstEnd < c.lastStart {
			claims = append(claims, zone{c.firstEnd, c.lastStart})
			values = append(values, v)
		} else {
			points = append(points, zone{c.lastStart, c.firstEnd})
		}
	}
	return disjoint(claims, points, values)
}

// disjoint: no two claims overlap, and every point has an instant outside of all of them.
func disjoint(claims, points []zone, values []uint64) (bool, uint64, string) {
	index := make([]int, len(claims))
	for i := range index {
		index[i] = i
	}
	slices.SortFunc(index, func(a, b int) int {
		return cmp.Or(cmp.Compare(claims[a].from, claims[b].from), cmp.Compare(claims[a].to, claims[b].to))
	})
	for i := 1; i < len(index); i++ {
		if a, b := index[i-1], index[i]; claims[b].from < claims[a].to {
			return false, values[b], "it was read again after another value, or another was in force while it had to be"
		}
	}
	for _, p := range points {
		// the last claim that begins before the point does
		i, _ := slices.BinarySearchFunc(index, p.from, func(c int, t int64) int { return cmp.Compare(claims[c].from, t) })
		if i > 0 && p.to < claims[index[i-1]].to {
			return false, values[index[i-1]], "another value was written while it had to be in force"
		}
	}
	return true, 0, ""
}
