//go:build !nosync

package posix

import (
	"errors"
	"sync"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/diskio"
	"github.com/karst-stream/karst/diskio/disktest"
)

func TestConformance(t *testing.T) {
	core.Poison = true
	disktest.Run(t, func(t *testing.T) disktest.World { return &world{dir: t.TempDir()} })
}

type world struct {
	dir  string
	mu   sync.Mutex
	fail string
}

func (w *world) Open(t testing.TB, done diskio.Done) diskio.Disk {
	d, err := Open(Options{Dir: w.dir, Done: done, PowerSwitch: true, MaxOpen: 8, BeforeSync: w.before})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) before(path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if path == w.fail {
		w.fail = ""
		return errors.New("planted")
	}
	return nil
}

func (w *world) Advance() bool { return false }

func (w *world) Cut(t testing.TB, d diskio.Disk) {
	if err := d.(*Disk).PowerCut(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) FailSync(path string) {
	w.mu.Lock()
	w.fail = path
	w.mu.Unlock()
}
