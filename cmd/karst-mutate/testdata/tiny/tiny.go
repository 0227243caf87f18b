// Package tiny is what the tests of karst-mutate plant bugs into.
package tiny

// limit is how large Clamp lets a number be.
const limit = 10

// Clamp is n between 0 and limit.
func Clamp(n int) int {
	if n < 0 || n > limit {
		n = max(0, min(n, limit))
	}
	return n
}

// Sum adds up to the first negative number.
func Sum(ns []int) (sum int) {
	for _, n := range ns {
		if n < 0 {
			return sum
		}
		sum += n
	}
	return sum
}

// Count is how often x is in ns.
func Count(ns []int, x int) int {
	n := 0
	for i := 0; i < len(ns); i++ {
		if ns[i] == x {
			n++
		}
	}
	return n
}

// Both says whether a and b.
func Both(a, b bool) bool { return a && b }

func sub(a, b int) int { return a - b }

// Span is how far b lies beyond a.
func Span(a, b int) int { return sub(b, a) }

// Unseen is called by no test.
func Unseen(n int) int { return n * 3 }

var calls int

func assert(bool) {}

// Guarded has an assertion, which the tests tell karst-mutate to leave alone.
func Guarded(n int) int {
	assert(n >= 0 || n < 0)
	calls++
	return n + 1
}

// Next needs what it asserts: without the assertion it does not compile.
func Next(n int) {
	next := n + 1
	assert(next > n)
}
