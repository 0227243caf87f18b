package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nearestFlag is the flag of c that differs least from name, when it differs little.
func nearestFlag(c *cobra.Command, name string) string {
	best, limit := "", max(1, len(name)/3)+1
	consider := func(f *pflag.Flag) {
		if d := distance(name, f.Name); !f.Hidden && d < limit {
			best, limit = f.Name, d
		}
	}
	c.Flags().VisitAll(consider)
	c.InheritedFlags().VisitAll(consider)
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
