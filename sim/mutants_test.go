//go:build mutants

package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/karst-stream/karst/core"
)

// Every seeded bug is found by the standard world within 500 seeds. KARST_MUTANT names one of them.
func TestMutants(t *testing.T) {
	most := uint64(500)
	if n, err := strconv.ParseUint(os.Getenv("KARST_SEEDS"), 10, 64); err == nil {
		most = n
	}
	for _, name := range []string{"M01", "M02", "M04", "M08", "M09", "M11", "M24", "M26"} {
		if only := os.Getenv("KARST_MUTANT"); only != "" && only != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			sum := Sweep(1, most, SweepOptions{Options: Options{For: 60 * core.Second, Mutant: name}})
			if len(sum.Failures) == 0 || sum.Failures[0].Replay == "" {
				t.Fatalf("not found: %v", sum.String())
			}
			f := sum.Failures[0]
			t.Logf("found after %d seeds: %s\n%s", sum.Seeds, f.Why, f.Replay)
		})
	}
}
