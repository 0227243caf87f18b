package node

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/karst-stream/karst/core"
)

// jobWorkers is how many jobs of a kind run at once: they are for the gaps between steps, not in their way.
const jobWorkers = 2

// jobs runs what is too long for a step.
type jobs struct {
	n      *node
	mu     sync.Mutex
	more   sync.Cond
	queue  []task
	closed bool
}

type task struct {
	l   *loop
	op  core.OpID
	job *core.Job
	vec []core.Ref
}

func newJobs(n *node) *jobs {
	j := &jobs{n: n}
	j.more.L = &j.mu
	return j
}

func (j *jobs) start(all *sync.WaitGroup) {
	for range jobWorkers {
		all.Go(j.work)
	}
}

// add takes a Run effect.
func (j *jobs) add(l *loop, e *core.Effect, vec []core.Ref) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		releaseAll(e.Job.In)
		releaseAll(vec)
		return
	}
	j.queue = append(j.queue, task{l, e.Op, e.Job, append([]core.Ref(nil), vec...)})
	j.more.Signal()
}

// space has a worker ask how large the volume is: a network file system may take its time.
func (j *jobs) space(l *loop, op core.OpID, f core.FileID) {
	ask := &core.Job{Name: "space", Do: func([][]byte) ([]byte, core.Errno) {
		total, usable, err := j.n.disks.space(f)
		return core.SpaceBytes(total, usable), err
	}}
	j.add(l, &core.Effect{Kind: core.Run, Op: op, Job: ask}, nil)
}

func (j *jobs) work() {
	for {
		j.mu.Lock()
		for len(j.queue) == 0 && !j.closed {
			j.more.Wait()
		}
		if j.closed {
			j.mu.Unlock()
			return
		}
		t := j.queue[0]
		j.queue = j.queue[:copy(j.queue, j.queue[1:])]
		j.mu.Unlock()
		out, err := j.run(t.job)
		releaseAll(t.job.In)
		releaseAll(t.vec)
		e := core.Event{Kind: core.JobDone, Op: t.op, Err: err}
		if len(out) > 0 {
			e.Body = core.RefOf(out)
		}
		t.l.post([]core.Event{e})
	}
}

// run is one job. One that panics has failed; nobody else notices.
func (j *jobs) run(job *core.Job) (out []byte, err core.Errno) {
	defer func() {
		if p := recover(); p != nil {
			j.n.log.Error("a job panicked", "job", job.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			out, err = nil, core.ErrIO
		}
	}()
	in := make([][]byte, len(job.In))
	for i, r := range job.In {
		if r.Len == 0 || r.InMemory() {
			in[i] = r.Bytes()
			continue
		}
		if in[i], err = j.load(r); err != core.OK {
			return nil, err
		}
	}
	return job.Do(in)
}

// load reads a region of a file for a job.
func (j *jobs) load(r core.Ref) ([]byte, core.Errno) {
	reg, ok := j.n.region(r.File)
	if !ok {
		return nil, core.ErrGone
	}
	defer reg.Release()
	b := make([]byte, r.Len)
	if n, err := reg.ReadAt(b, r.Off); n < len(b) {
		if err != nil {
			return nil, core.ErrShort
		}
		return nil, core.ErrIO
	}
	return b, core.OK
}

func (j *jobs) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	for _, t := range j.queue {
		releaseAll(t.job.In)
		releaseAll(t.vec)
	}
	j.queue = nil
	j.more.Broadcast()
}

func releaseAll(vec []core.Ref) {
	for _, r := range vec {
		r.Release()
	}
}
