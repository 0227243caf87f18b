package replica

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// A new leader does not know the high watermark. What it is asked to delete meanwhile is of what there was when it was
// asked: whoever is told that time is up must not lose what he appends after that.
func TestATrimIsOfWhatThereWas(t *testing.T) {
	for _, c := range []struct {
		to, high, want core.Offset
		err            Outcome
	}{
		{-1, 9, 6, OK}, // 6 is where the log ended when it was asked, 9 where it ends now
		{-1, 5, 5, OK}, // not all of it is committed yet
		{4, 9, 4, OK},
		{6, 9, 6, OK},
		{7, 9, 0, OutOfRange}, // it was not there
		{6, 5, 0, OutOfRange},
	} {
		r := &Replica{h: &neighbours{}, leads: true, log: &window{first: 1, end0: 6}}
		r.cfg.Settings.Deletes = true
		told := []Trimmed{}
		r.Trim(c.to, func(x Trimmed) { told = append(told, x) })
		r.pumpTrims()
		if len(told) > 0 || r.cutting > 0 {
			t.Fatalf("trim to %d: it does not know the high watermark, and answers %v", c.to, told)
		}
		r.log.end0, r.high, r.ready = 9, c.high, true
		r.pumpTrims()
		if r.cutting != c.want {
			t.Errorf("trim to %d, high watermark %d: it cuts at %d, want %d", c.to, c.high, r.cutting, c.want)
		}
		if c.err != OK && (len(told) != 1 || told[0].Err != c.err) {
			t.Errorf("trim to %d, high watermark %d: %v, want %v", c.to, c.high, told, c.err)
		}
	}
}
