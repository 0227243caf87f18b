// Package posix is the disk of a machine. It owns the data directory while it is open (a lock keeps
// every other node out), the goroutines that write and sync, and a bounded set of descriptors. It
// promises the contract of diskio with natural group commit: whatever was asked for while a sync ran
// is written together and covered by the next one, with no timer anywhere. It refuses to interpret
// what it writes, and holds no bytes back in memory.
//
//	Do ──▶ queue ──▶ worker: take everything ─▶ write each file's run with one pwritev
//	                   ▲                        ─▶ one fdatasync per file that asked
//	                   └────────────────────────── complete in order, again
//
// A shard has one worker for files below "journal/" and a few for the others; files below one
// top-level directory share a worker, so that creating and removing there is ordered too.
package posix

import (
	"hash/crc32"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/diskio"
)

// Options of a disk; the zero value of each but Dir and Done is a good choice.
type Options struct {
	Dir         string      // the data directory, made when absent
	Shards      int         // how many shards will ask; at least 1
	Done        diskio.Done // hears completions
	Workers     int         // per shard for files other than the journal's; default 2
	MaxOpen     int         // descriptors kept open; default 512
	MinFree     int64       // bytes that Open wants free; default 8 MiB, negative: none
	PowerSwitch bool        // keep what PowerCut needs

	// BeforeSync runs before each sync of a file or directory (relative path) and may delay it, as a
	// slow disk would, or fail it. Nil: nothing.
	BeforeSync func(path string) error
	// Fault makes the disk hostile, for tests. Nil: it is not.
	Fault Fault
	// OnSync hears how long each successful sync took. Nil: nobody does.
	OnSync func(time.Duration)
}

// Disk implements diskio.Disk.
type Disk struct {
	o       Options
	dev     *device
	lock    int // descriptor of DIR/lock
	handles handles
	shards  []*lane
	ended   sync.WaitGroup

	names   sync.Mutex      // creating and removing entries, and:
	durable map[string]bool // directories whose own entries are durable
	brokens map[string]core.Errno
}

// lane is what one shard asked for.
type lane struct {
	mu      sync.RWMutex // files: written by the shard, read by Region
	files   map[core.FileID]*file
	workers []*worker // the first is the journal's
}

var _ diskio.Disk = (*Disk)(nil)

// Open locks the directory, syncs what a killed process may have left unsynced, and starts the
// workers. The error says what to do; nothing was touched when the directory is another's or full.
func Open(o Options) (*Disk, error) {
	o.Shards, o.Workers, o.MaxOpen = max(o.Shards, 1), defaulted(o.Workers, 2), defaulted(o.MaxOpen, 512)
	o.MinFree = defaulted(o.MinFree, 8<<20)
	lock, err := takeDir(o.Dir, o.MinFree)
	if err != nil {
		return nil, err
	}
	d := &Disk{o: o, lock: lock, durable: map[string]bool{".": true}, brokens: map[string]core.Errno{}}
	d.dev = &device{root: o.Dir, before: o.BeforeSync, on: o.OnSync, fault: o.Fault.in(o.Dir), blocks: reserve}
	d.handles.init(d.dev, o.MaxOpen)
	if err := d.settle(); err != nil {
		closeFd(lock)
		return nil, err
	}
	if o.PowerSwitch {
		if d.dev.power, err = newPowerSwitch(o.Dir); err != nil {
			closeFd(lock)
			return nil, err
		}
	}
	for s := range o.Shards {
		l := &lane{files: map[core.FileID]*file{}}
		for range 1 + o.Workers {
			w := newWorker(d, core.ShardID(s))
			l.workers = append(l.workers, w)
			d.ended.Go(w.run)
		}
		d.shards = append(d.shards, l)
	}
	return d, nil
}

func defaulted[T int | int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Do implements diskio.Disk.
func (d *Disk) Do(e *core.Effect, vec []core.Ref) {
	l := d.shards[e.File.Shard()]
	l.mu.RLock()
	f := l.files[e.File]
	l.mu.RUnlock()
	if e.Kind == core.Create && f == nil {
		f = &file{id: e.File, path: e.Path, worker: l.pick(e.Path), fd: -1}
		l.mu.Lock()
		l.files[e.File] = f
		l.mu.Unlock()
	}
	w := l.workers[0]
	if f != nil {
		w = f.worker
	}
	w.add(e, f, vec)
}

// pick chooses the worker of a path: the same for all below one top-level directory.
func (l *lane) pick(path string) *worker {
	top, _, below := strings.Cut(path, "/")
	if below && top == "journal" {
		return l.workers[0]
	}
	if !below {
		top = "."
	}
	return l.workers[1+crc32.ChecksumIEEE([]byte(top))%uint32(len(l.workers)-1)]
}

// Flush implements diskio.Disk.
func (d *Disk) Flush(s core.ShardID) {
	for _, w := range d.shards[s].workers {
		w.flush()
	}
}

// Region implements diskio.Disk.
func (d *Disk) Region(id core.FileID) (diskio.Region, bool) {
	if int(id.Shard()) >= len(d.shards) {
		return nil, false
	}
	l := d.shards[id.Shard()]
	l.mu.RLock()
	f := l.files[id]
	l.mu.RUnlock()
	if f == nil || d.handles.acquire(f) != nil {
		return nil, false
	}
	return (*region)(f), true
}

func (d *Disk) forget(f *file) {
	l := d.shards[f.id.Shard()]
	l.mu.Lock()
	delete(l.files, f.id)
	l.mu.Unlock()
}

// Close implements diskio.Disk. After PowerCut it only gives up what the process holds.
func (d *Disk) Close() {
	for _, l := range d.shards {
		for _, w := range l.workers {
			w.close()
		}
	}
	d.ended.Wait()
	d.handles.closeAll()
	if d.dev.power != nil {
		d.dev.power.close()
	}
	closeFd(d.lock)
}

// PowerCut acts as if the machine lost power: no operation begun after it has any effect or ever
// completes; those inside the kernel end first, as a device ends a sector; then whatever no completed
// sync covers is undone. The caller then ends the process. Without Options.PowerSwitch it panics.
func (d *Disk) PowerCut() error {
	if d.dev.power == nil {
		panic("posix: the power switch was not asked for")
	}
	return d.dev.power.cut()
}

// abs is the path in the file system.
func (d *device) abs(path string) string { return filepath.Join(d.root, filepath.FromSlash(path)) }
