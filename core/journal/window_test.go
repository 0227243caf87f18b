package journal

import (
	"bytes"
	"testing"

	"github.com/karst-stream/karst/core"
)

// shortDisk has less of each file than it says.
type shortDisk struct {
	core.Boot
	b   []byte
	err core.Errno
}

func (d *shortDisk) ReadAt(_ string, off int64, b []byte) (int, core.Errno) {
	if off > int64(len(d.b)) {
		return 0, d.err
	}
	if n := copy(b, d.b[off:]); n < len(b) {
		return n, d.err
	}
	return len(b), core.OK
}

// What a read did not bring is not there, whatever the buffer held before.
func TestAWindowShowsOnlyWhatWasRead(t *testing.T) {
	whole := bytes.Repeat([]byte{7}, 100)
	for _, err := range []core.Errno{core.ErrShort, core.ErrIO} {
		d := &shortDisk{b: whole, err: err}
		w := window{boot: d}
		w.open("a", 100)
		if got := w.at(0, 100); !bytes.Equal(got, whole) || w.sick {
			t.Fatalf("%d bytes of 100, sick %v", len(got), w.sick)
		}
		d.b = whole[:40]
		w.open("b", 100)
		if got := w.at(0, 41); got != nil {
			t.Errorf("%v: %d bytes are shown, 40 were read", err, len(got))
		}
		if got := w.at(0, 40); len(got) != 40 {
			t.Errorf("%v: %d bytes are shown, 40 were read", err, len(got))
		}
		if w.sick != (err == core.ErrIO) {
			t.Errorf("%v: sick %v", err, w.sick)
		}
	}
}
