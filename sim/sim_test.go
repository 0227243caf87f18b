package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/karst-stream/karst/core"
)

// TestOne replays one seed: KARST_SEED=7 go test ./sim -run TestOne -v
func TestOne(t *testing.T) {
	seed := uint64(1)
	if s := os.Getenv("KARST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	opts := Options{For: 10 * core.Second}
	if os.Getenv("KARST_TRACE") != "" {
		opts.Trace = os.Stdout
	}
	r := Run(seed, opts)
	t.Log(r.Plan.String())
	t.Log(r.String())
	t.Logf("%+v", r.Clients)
	if r.Violation != nil {
		t.Errorf("%v\n%s", r.Violation, r.Replay(opts))
	}
}

func TestMany(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("KARST_N"))
	for s := uint64(1); s <= uint64(n); s++ {
		opts := Options{For: 10 * core.Second}
		r := Run(s, opts)
		v := ""
		if r.Violation != nil {
			v = r.Violation.String()
			if len(v) > 330 {
				v = v[:330]
			}
		}
		t.Logf("seed %d: acked %d %s | %s", s, r.Acked, v, formatCounters(r.counters()))
	}
}

func TestSpeed(t *testing.T) {
	sum := Sweep(1, 12, SweepOptions{Options: Options{For: 20 * core.Second}, Keep: 100, Workers: 1})
	sum.Failures = nil
	t.Log(sum.String())
}
