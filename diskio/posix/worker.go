package posix

import (
	"errors"
	"sync"

	"github.com/karst-stream/karst/core"
)

// op is one effect in a queue, then its outcome.
type op struct {
	kind   core.EffectKind
	sync   bool
	bare   bool
	err    core.Errno
	f      *file
	off    int64
	n      int64
	id     core.OpID
	body   core.Ref
	lo, hi int32 // its Refs in batch.refs
	next   int32 // the next of the same file in this batch; -1: none
}

// batch is what a worker takes at once. Two of them alternate, so that asking allocates nothing.
type batch struct {
	ops  []op
	refs []core.Ref
}

// worker carries out the effects of some files of one shard, in order.
type worker struct {
	d     *Disk
	shard core.ShardID

	mu      sync.Mutex
	more    sync.Cond
	queue   batch
	dirty   bool // asked since the last flush; owned by the shard's goroutine
	closing bool

	// Owned by the worker's goroutine.
	taken  batch
	files  []*file // of this batch, in order of appearance
	synced []syncedDir
	iov    [][]byte
	events []core.Event
}

func newWorker(d *Disk, s core.ShardID) *worker {
	w := &worker{d: d, shard: s}
	w.more.L = &w.mu
	return w
}

// add queues an effect; flush wakes the worker.
func (w *worker) add(e *core.Effect, f *file, vec []core.Ref) {
	w.dirty = true
	w.mu.Lock()
	q := &w.queue
	lo := int32(len(q.refs))
	q.refs = append(q.refs, vec...)
	q.ops = append(q.ops, op{kind: e.Kind, sync: e.Sync, bare: e.Bare, f: f, off: e.Off, n: e.N, id: e.Op,
		lo: lo, hi: int32(len(q.refs)), next: -1})
	w.mu.Unlock()
}

func (w *worker) flush() {
	if w.dirty {
		w.dirty = false
		w.more.Signal()
	}
}

func (w *worker) close() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.more.Signal()
}

var errCut = errors.New("posix: the power is cut")

func (w *worker) run() {
	for {
		w.mu.Lock()
		for len(w.queue.ops) == 0 && !w.closing {
			w.more.Wait()
		}
		w.queue, w.taken = w.taken, w.queue
		w.mu.Unlock()
		if len(w.taken.ops) == 0 {
			return
		}
		w.turn()
		clear(w.taken.ops)
		clear(w.taken.refs)
		w.taken.ops, w.taken.refs = w.taken.ops[:0], w.taken.refs[:0]
		if w.d.dev.isCut() {
			w.drown()
			return
		}
	}
}

// drown is the end after a power cut: nothing completes any more, but buffers go home.
func (w *worker) drown() {
	for {
		w.mu.Lock()
		for len(w.queue.ops) == 0 && !w.closing {
			w.more.Wait()
		}
		for _, r := range w.queue.refs {
			r.Release()
		}
		w.queue = batch{}
		closing := w.closing
		w.mu.Unlock()
		if closing {
			return
		}
	}
}

// turn carries out one batch: first every file's writes, then the syncs, each followed by the
// completions of its file.
func (w *worker) turn() {
	w.group()
	for _, f := range w.files {
		w.write(f)
	}
	for _, r := range w.taken.refs {
		r.Release()
	}
	for syncing := range 2 { // files that wait for no sync do not wait for those that do
		for _, f := range w.files {
			if f.wants() == (syncing == 1) {
				w.finish(f)
			}
		}
	}
	for _, f := range w.files {
		f.first, f.last, f.want, f.wantDir, f.wantAll, f.syncFrom, f.lo, f.hi = 0, 0, false, nil, false, 0, 0, 0
		if f.held {
			f.held = false
			w.d.handles.release(f)
		}
	}
	w.files, w.synced = w.files[:0], w.synced[:0]
}

// syncDir makes the entries of dir durable, once a batch: the names changed before the first sync.
func (w *worker) syncDir(dir string) core.Errno {
	for _, s := range w.synced {
		if s.dir == dir {
			return s.err
		}
	}
	err := syncErrno(w.d.syncDir(dir))
	w.synced = append(w.synced, syncedDir{dir, err})
	return err
}

type syncedDir struct {
	dir string
	err core.Errno
}

// group links the operations of each file, in order.
func (w *worker) group() {
	ops := w.taken.ops
	for i := range ops {
		f := ops[i].f
		if f == nil {
			f = &file{id: 0, fd: -1, worker: w, broken: core.ErrGone}
			ops[i].f = f
		}
		if f.last == 0 { // stored plus one: zero is none
			f.first = int32(i) + 1
			w.files = append(w.files, f)
		} else {
			ops[f.last-1].next = int32(i)
		}
		f.last = int32(i) + 1
		f.syncFrom = -1
	}
}

// write does everything but the syncs of one file's operations.
func (w *worker) write(f *file) {
	ops := w.taken.ops
	for i := f.first - 1; i >= 0; {
		o := &ops[i]
		if f.broken != core.OK {
			o.err = f.broken
			i = o.next
			continue
		}
		if o.kind == core.Create {
			o.err = w.d.create(f, o)
		} else if o.err = w.hold(f); o.err == core.OK {
			if o.kind == core.Write {
				i = w.writeRun(f, i)
				continue
			}
			w.other(f, o)
		}
		f.note(o, i)
		i = o.next
	}
}

// hold keeps the file's descriptor open for the batch.
func (w *worker) hold(f *file) core.Errno {
	switch {
	case !f.made || f.gone:
		return core.ErrGone
	case f.held:
		return core.OK
	}
	if err := w.d.handles.acquire(f); err != nil {
		return errno(err)
	}
	f.held = true
	return core.OK
}

// other is Truncate, Read, SyncFile and Remove.
func (w *worker) other(f *file, o *op) {
	switch o.kind {
	case core.Truncate:
		o.err = errno(w.d.dev.truncate(f, o.off))
		f.wantAll = f.wantAll || o.sync
	case core.SyncFile:
		o.sync = true
	case core.Read:
		o.body, o.err = w.d.dev.read(f, o.off, o.n, o.bare)
		o.n, o.sync = int64(o.body.Len), false
	case core.Remove:
		o.err = w.d.remove(f)
		o.sync = false
	default:
		o.err = core.ErrRefuse
	}
}

// note remembers from which operation on a sync decides about the outcome.
func (f *file) note(o *op, i int32) {
	if o.sync && o.err == core.OK && f.syncFrom < 0 {
		f.syncFrom = i
	}
	if o.sync && o.err == core.OK && o.kind != core.Create {
		f.want = true
		if !f.entry && !f.gone { // what cannot be found again is not durable
			f.wantDirs(dirOf(f.path))
		}
	}
}

// writeRun merges the writes from i on that continue one another into as few system calls as there
// may be, and gives the next operation's place.
func (w *worker) writeRun(f *file, i int32) int32 {
	ops := w.taken.ops
	start, end := ops[i].off, ops[i].off
	w.iov = w.iov[:0]
	stop := i
	for ; stop >= 0 && ops[stop].kind == core.Write && ops[stop].off == end; stop = ops[stop].next {
		for _, r := range w.taken.refs[ops[stop].lo:ops[stop].hi] {
			if r.Len > 0 {
				w.iov = append(w.iov, r.Bytes())
				end += int64(r.Len)
			}
		}
	}
	n, err := w.d.dev.write(f, w.iov, start)
	clear(w.iov)
	reached := start + n
	if n > 0 && f.hi == 0 {
		f.lo = start
	}
	f.lo, f.hi = min(f.lo, start), max(f.hi, reached)
	for j := i; j != stop; j = ops[j].next {
		o := &ops[j]
		if o.off+core.Size(w.taken.refs[o.lo:o.hi]) > reached {
			// This one failed; those after it are tried on their own, as if never merged.
			o.err = errno(err)
			f.note(o, j)
			return o.next
		}
		f.note(o, j)
	}
	return stop
}

// finish syncs what the file's operations asked for and completes them.
func (w *worker) finish(f *file) {
	err := core.OK
	if f.want {
		err = syncErrno(w.d.dev.sync(f, f.wantAll))
	} else if f.hi > f.lo {
		w.d.dev.begin(f, f.lo, f.hi-f.lo)
	}
	if len(f.wantDir) > 0 && err == core.OK {
		for _, dir := range f.wantDir {
			err = max(err, w.syncDir(dir))
		}
		f.entry = err == core.OK
	}
	if w.d.dev.isCut() {
		for i := f.first - 1; i >= 0; i = w.taken.ops[i].next {
			w.taken.ops[i].body.Release()
		}
		return
	}
	if err != core.OK {
		f.broken = err
		w.d.breakPath(f.path, err)
	}
	w.events = w.events[:0]
	failed := false
	for i := f.first - 1; i >= 0; i = w.taken.ops[i].next {
		o := &w.taken.ops[i]
		failed = failed || err != core.OK && (i == f.syncFrom || o.kind == core.Remove)
		if failed {
			o.err = err
		}
		if o.err != core.OK && o.err != core.ErrShort {
			o.body.Release()
			o.body, o.n = core.Ref{}, 0
		}
		if o.id == 0 {
			o.body.Release()
			continue
		}
		e := core.Event{Kind: core.DiskDone, Op: o.id, Err: o.err}
		if o.kind == core.Read {
			e.Body, e.N = o.body, o.n
		}
		w.events = append(w.events, e)
	}
	if f.gone && f.broken == core.OK {
		w.d.forget(f)
	}
	if len(w.events) > 0 {
		w.d.o.Done(w.shard, w.events)
		clear(w.events)
	}
}
