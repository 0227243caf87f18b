// Package fake is the disk of a simulated node. It owns the bytes of its files, once as the page
// cache shows them and once as the platter holds them, the directory entries, and the order and
// latency of operations. It promises what core.Effect promises of the disk and not a bit more: what
// no finished sync covers may be lost, torn or reordered by PowerLoss, an entry that was not synced
// may be missing, a sync may fail once. It refuses to know who uses it: a world submits effects,
// learns when each is due, and asks for its completion then.
package fake

import (
	"path"
	"slices"
	"strings"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Latency is how long one operation takes, drawn evenly from [Min, Max], times Slow (0: once).
type Latency struct {
	Min, Max core.Mono
	Slow     int64
}

// Faults counts what the disk did to its owner.
type Faults struct {
	SyncErrors, LostSectors, TornFiles, LostEntries, Lies int64
	NoRoom, LostWrites, Misdirected, Rotten               int64
}

type op struct {
	kind core.EffectKind
	sync bool
	file core.FileID
	off  int64
	n    int64
	over int64     // how far its file was synced when it was asked for
	from core.Mono // when it begins
	due  core.Mono
	id   core.OpID
	path string
	refs []core.Ref
}

// handle is an open file: the queue of operations on it.
type handle struct {
	f     *file
	path  string
	queue []*op
	due   core.Mono
}

// Disk is one node's. It is not safe for several goroutines.
type Disk struct {
	Latency Latency
	Lies    bool // syncs report success at once; what is written reaches the platter now and then
	Faults  Faults

	rng     *det.Rand
	files   map[string]*file
	fresh   []*file // their directory entries are not durable yet
	open    map[core.FileID]*handle
	fail    bool // the next sync fails
	broken  bool // one failed since the last start
	now     core.Mono
	late    core.Mono // when the last operation that took long ends
	flushed core.Mono // when a lying disk last emptied its cache
	spare   []*op
	scratch []byte
	undone  spares
	damage
}

// New is an empty disk. It draws latencies and the outcome of crashes from rng.
func New(rng *det.Rand) *Disk {
	return &Disk{rng: rng, files: map[string]*file{}, open: map[core.FileID]*handle{},
		Latency: Latency{Min: 60 * core.Microsecond, Max: 600 * core.Microsecond}}
}

// FailNextSync arms one EIO.
func (d *Disk) FailNextSync() { d.fail = true }

// Submit takes a disk effect with its Refs and says when it is due: the world then calls Complete of
// its file. Operations on one file are due in the order of submission.
func (d *Disk) Submit(now core.Mono, e *core.Effect, vec []core.Ref) core.Mono {
	d.now = now
	o := d.take()
	o.kind, o.sync, o.file, o.off, o.n, o.id, o.path = e.Kind, e.Sync, e.File, e.Off, e.N, e.Op, e.Path
	o.refs = append(o.refs[:0], vec...)
	h := d.open[e.File]
	if h == nil {
		h = &handle{}
		d.open[e.File] = h
	}
	if o.kind == core.Create {
		o.path = nameIn(o.file.Dir(), o.path)
		h.path = o.path
	}
	if o.over = 0; h.f != nil {
		o.over = h.f.proof.synced
	}
	took := core.Mono(d.rng.Between(int64(d.Latency.Min), int64(d.Latency.Max)))
	if !o.sync && o.kind == core.Write {
		took /= 16 // the page cache
	}
	o.from = max(h.due, now, d.stalled)
	if n := len(h.queue); n > 0 && o.joins(h.queue[n-1], now) {
		o.from, took = h.queue[n-1].from, 0
	}
	h.queue = append(h.queue, o)
	h.due = max(o.from, h.due) + took*core.Mono(max(d.Latency.Slow, 1))
	o.due = h.due
	if o.due-now >= Unsaid/8 {
		d.late = max(d.late, o.due)
	}
	return h.due
}

// joins says whether o shares the sync of the operation before it: that one has not begun, and a driver
// writes all that waits, then syncs once. Without it a disk that was slow for a while would stay behind
// by as many syncs as were asked for meanwhile.
func (o *op) joins(last *op, now core.Mono) bool {
	return o.syncs() && last.syncs() && last.from > now
}

func (o *op) syncs() bool { return o.kind == core.SyncFile || o.kind == core.Write && o.sync }

func (d *Disk) take() *op {
	if n := len(d.spare); n > 0 {
		o := d.spare[n-1]
		d.spare = d.spare[:n-1]
		return o
	}
	return new(op)
}

func (d *Disk) free(o *op) {
	for _, r := range o.refs {
		r.Release()
	}
	clear(o.refs)
	o.refs = o.refs[:0]
	d.spare = append(d.spare, o)
}

// Complete carries the oldest operation on a file out. answer is false when nobody asked to hear.
func (d *Disk) Complete(id core.FileID) (ev core.Event, answer bool) {
	h := d.open[id]
	o := h.queue[0]
	h.queue = slices.Delete(h.queue, 0, 1)
	d.now = max(d.now, o.due)
	ev = core.Event{Kind: core.DiskDone, Op: o.id, Shard: o.id.Shard()}
	ev.Err = d.do(h, o, &ev)
	answer = o.id != 0
	d.free(o)
	return ev, answer
}

func (d *Disk) do(h *handle, o *op, ev *core.Event) core.Errno {
	if o.kind == core.Create {
		return d.create(h, o)
	}
	if h.f == nil || h.f.unlinked {
		return core.ErrGone
	}
	if h.f.failed {
		return core.ErrIO
	}
	size := int64(0)
	switch o.kind {
	case core.Write:
		b, errno := d.gatherWrite(o.refs)
		if errno != core.OK {
			return errno
		}
		if room := h.f.size - o.off; d.full(h.f.path) && int64(len(b)) > room {
			d.Faults.NoRoom++
			if room > 0 {
				h.f.write(o.off, b[:d.rng.N(room)])
			}
			return core.ErrNoSpac
		}
		h.f.write(o.off, b)
		size = int64(len(b))
	case core.Truncate:
		if d.full(h.f.path) && o.off > h.f.size {
			d.Faults.NoRoom++
			return core.ErrNoSpac
		}
		h.f.truncate(o.off)
	case core.Read:
		n := max(0, min(o.n, h.f.size-o.off))
		ev.Body = core.NewRef(int(n))
		h.f.read(o.off, ev.Body.Buf.B[:n])
		ev.N = n
		if n < o.n {
			return core.ErrShort
		}
	case core.Remove:
		d.unlink(h.f)
	}
	if o.sync || o.kind == core.SyncFile {
		errno := d.sync(h.f)
		if errno == core.OK && o.kind == core.Write {
			h.f.proof.wrote(o, size)
		}
		return errno
	}
	return core.OK
}

func (d *Disk) sync(f *file) core.Errno {
	if d.fail || within(d.DeadDirs, f.path) {
		d.fail, d.broken = false, true
		d.Faults.SyncErrors++
		f.failSync(d.rng)
		return core.ErrIO
	}
	if d.Lies {
		d.lie()
		return core.OK
	}
	d.harm(f)
	f.age(d.now)
	f.sync()
	return core.OK
}

// lie reports success. The device empties its cache as a whole, every second or so.
func (d *Disk) lie() {
	d.Faults.Lies++
	if d.now < d.flushed {
		return
	}
	d.flushed = d.now + core.Mono(d.rng.Between(int64(core.Second)/5, 2*int64(core.Second)))
	d.flush()
}

func (d *Disk) flush() {
	for _, f := range d.files { // each by itself: any order gives the same
		f.sync()
		f.entry = true
	}
	d.fresh = nil
}

func (d *Disk) gatherWrite(refs []core.Ref) ([]byte, core.Errno) {
	if len(refs) == 1 && refs[0].InMemory() {
		return refs[0].Bytes(), core.OK
	}
	b, ok := d.Gather(d.scratch[:0], refs)
	d.scratch = b
	if !ok {
		return nil, core.ErrShort
	}
	return b, core.OK
}

func (d *Disk) create(h *handle, o *op) core.Errno {
	f := d.files[o.path]
	if f == nil && d.full(o.path) {
		d.Faults.NoRoom++
		return core.ErrNoSpac
	}
	if f == nil {
		f = newFile(o.path, &d.undone)
		d.files[o.path] = f
		d.fresh = append(d.fresh, f)
	}
	h.f = f
	if f.failed {
		return core.ErrIO
	}
	if o.sync && !d.Lies {
		d.syncDir(path.Dir(o.path))
	}
	return core.OK
}

// syncDir makes the entries of a directory durable, and the directory itself.
func (d *Disk) syncDir(dir string) {
	d.fresh = slices.DeleteFunc(d.fresh, func(f *file) bool {
		f.entry = f.entry || path.Dir(f.path) == dir
		return f.entry
	})
}

func (d *Disk) unlink(f *file) {
	f.unlinked = true
	if d.files[f.path] == f {
		delete(d.files, f.path)
	}
	d.syncDir(path.Dir(f.path))
}

// Gather appends what a vector names to b, regions of files as the page cache shows them now. whole
// is false when a region leaves its file: then zeros stand for what is missing.
func (d *Disk) Gather(b []byte, vec []core.Ref) (_ []byte, whole bool) {
	whole = true
	for _, r := range vec {
		if r.Len == 0 {
			continue
		}
		if r.InMemory() {
			b = append(b, r.Bytes()...)
			continue
		}
		at := len(b)
		b = slices.Grow(b, int(r.Len))[:at+int(r.Len)]
		h := d.open[r.File]
		if h == nil || h.f == nil {
			clear(b[at:])
			whole = false
			continue
		}
		h.f.read(r.Off, b[at:])
		whole = whole && r.Off+int64(r.Len) <= h.f.size
	}
	return b, whole
}

// OnPlatter says whether [off, off+n) of a file would survive a power loss now, as ReadAt shows it.
func (d *Disk) OnPlatter(name string, off, n int64) bool {
	f := d.files[name]
	return f != nil && f.onPlatter(off, n)
}

// Path is the name of a file that was, or is about to be, created.
func (d *Disk) Path(id core.FileID) string {
	if h := d.open[id]; h != nil {
		return h.path
	}
	return ""
}

// Broken says whether a sync failed since the last start.
func (d *Disk) Broken() bool { return d.broken }

// Kill is the end of the process: what it had asked for and what was not begun is lost, the page
// cache survives, but for pages that a failed sync dropped.
func (d *Disk) Kill() {
	d.finishSome(true)
	for _, f := range d.sorted() {
		f.forgetDropped(d.now, d.late)
	}
}

// Start is what a driver does before it shows the disk to a new process: whatever the page cache
// still holds of a killed one is synced, because the process will count it as its own.
func (d *Disk) Start() {
	if d.broken { // a journal that failed has said nothing of what was durable just before
		d.broken, d.late = false, max(d.late, d.now)
	}
	if !d.Lies {
		d.flush()
	}
}

// PowerLoss is the end of the machine: the platter survives, and as much else as is drawn.
func (d *Disk) PowerLoss() {
	d.finishSome(false)
	how := loss(d.rng.N(4))
	if d.Lies {
		how = lossAll // its cache is memory
	}
	for _, f := range d.sorted() {
		dirty := f.dirty
		if !f.entry && (how == lossAll || how != lossNone && d.rng.Chance(1, 2)) {
			delete(d.files, f.path)
			d.Faults.LostEntries++
			continue
		}
		f.entry = true
		f.powerLoss(d.rng, how, d.now, d.late)
		if how != lossNone && dirty > 0 {
			d.Faults.LostSectors += int64(dirty)
		}
		if how == lossMixed && dirty > 0 {
			d.Faults.TornFiles++
		}
	}
	d.fresh = nil
}

// finishSome lets a drawn number of the operations on each open file happen, since the kernel may
// have begun them, and forgets the others. Nothing of it is synced when the power goes.
func (d *Disk) finishSome(synced bool) {
	ids := make([]core.FileID, 0, len(d.open))
	for id := range d.open {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		h := d.open[id]
		begun := d.rng.N(int64(len(h.queue)) + 1)
		for i, o := range h.queue {
			if int64(i) < begun {
				o.sync = o.sync && synced && (o.kind == core.Create || o.kind == core.Remove)
				if o.kind == core.SyncFile || o.kind == core.Read {
					o.kind = 0 // nothing
				}
				var ev core.Event
				d.do(h, o, &ev)
			}
			d.free(o)
		}
	}
	clear(d.open)
	d.fail, d.stalled = false, 0
}

func (d *Disk) sorted() []*file {
	all := make([]*file, 0, len(d.files))
	for _, f := range d.files {
		all = append(all, f)
	}
	slices.SortFunc(all, byPath)
	return all
}

// Wipe is a new, empty disk in the place of the old one.
func (d *Disk) Wipe() {
	d.finishSome(false)
	clear(d.files)
	d.fresh = nil
	d.harmedOnce = false
}

// List is core.Boot's: the files as a fresh process finds them.
func (d *Disk) List() []core.FileInfo {
	var all []core.FileInfo
	for _, f := range d.sorted() {
		all = append(all, f.info())
	}
	return all
}

// ReadAt is core.Boot's.
func (d *Disk) ReadAt(name string, off int64, b []byte) (int, core.Errno) {
	f := d.files[name]
	if f == nil {
		f = d.files[strings.TrimPrefix(path.Clean(name), "/")]
	}
	if f == nil {
		return 0, core.ErrGone
	}
	n := max(0, min(int64(len(b)), f.size-off))
	f.read(off, b[:n])
	if n < int64(len(b)) {
		return int(n), core.ErrShort
	}
	return int(n), core.OK
}

// Platter is the disk as a power loss now would leave it at worst, for checkers to open.
func (d *Disk) Platter() *Disk {
	p := New(det.New(0, "platter"))
	for _, f := range d.sorted() {
		if f.entry {
			p.files[f.path] = f.platter()
		}
	}
	return p
}
