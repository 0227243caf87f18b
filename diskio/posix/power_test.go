package posix

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// TestPowerCutKeepsWhatWasSynced compares the disk after random cuts with a model: each file must
// hold what it held after some prefix of its operations that includes every sync that was reported.
// On the build that lies about syncs the same run must lose synced bytes, or the test sees nothing.
func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	lost, undone := 0, 0
	for seed := range uint64(30) {
		m := &model{t: t, dir: t.TempDir(), r: det.New(seed, "power"), files: map[string]*history{}}
		for range 4 {
			m.live()
			m.judge()
		}
		lost, undone = lost+m.lost, undone+m.undone
	}
	switch {
	case syncs && lost > 0:
		t.Errorf("%d files lost what a completed sync covered", lost)
	case !syncs && lost == 0:
		t.Error("the disk lies about syncs and no file lost anything: the test is blind")
	case undone == 0:
		t.Error("no cut undid anything: the test is blind")
	}
}

// history is what a file held after each of its operations; nil: it was not there.
type history struct {
	id     core.FileID
	states [][]byte
	synced int // the latest state that a reported sync covers
}

type model struct {
	t     *testing.T
	dir   string
	r     *det.Rand
	d     *Disk
	files map[string]*history
	ops   uint64

	mu     sync.Mutex
	some   sync.Cond            // completions came
	covers map[core.OpID]func() // what the completion of a synced operation proves

	lost, undone int
}

func (m *model) done(_ core.ShardID, events []core.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		if e.Err != core.OK {
			m.t.Errorf("operation %d: %v", e.Op, e.Err)
		}
		m.covers[e.Op]()
		delete(m.covers, e.Op)
	}
	m.some.Broadcast()
}

// live opens the disk, asks for random operations and cuts the power in the middle of them.
func (m *model) live() {
	d, err := Open(Options{Dir: m.dir, Done: m.done, PowerSwitch: true, MaxOpen: 3})
	if err != nil {
		m.t.Fatal(err)
	}
	m.some.L = &m.mu
	m.d, m.covers = d, map[core.OpID]func(){}
	var names []string
	for i := range 6 {
		name := fmt.Sprintf([]string{"journal/%d", "t-0/%d", "t-1/%d"}[i%3], i)
		if m.files[name] == nil {
			m.files[name] = &history{states: [][]byte{nil}}
		}
		m.create(name)
		names = append(names, name)
	}
	for range 40 + m.r.N(200) {
		m.random(names[m.r.N(int64(len(names)))])
		if m.r.Chance(1, 8) {
			d.Flush(0)
		}
	}
	m.wait(int(m.r.N(60)))
	if err := d.PowerCut(); err != nil {
		m.t.Fatal(err)
	}
	d.Close()
}

// wait returns when at most left operations are outstanding.
func (m *model) wait(left int) {
	m.d.Flush(0)
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.covers) > left {
		m.some.Wait()
	}
}

func (m *model) do(h *history, e core.Effect, synced bool, after []byte, vec ...core.Ref) {
	m.ops++
	e.Op, e.File, e.Sync = core.NewOpID(0, m.ops), h.id, synced
	m.mu.Lock()
	h.states = append(h.states, after)
	at := len(h.states) - 1
	m.covers[e.Op] = func() {
		if synced {
			h.synced = max(h.synced, at)
		}
	}
	m.mu.Unlock()
	m.d.Do(&e, vec)
}

func (m *model) create(name string) {
	h := m.files[name]
	m.ops++
	h.id = core.NewFileID(0, m.ops)
	m.do(h, core.Effect{Kind: core.Create, Path: name}, m.r.Chance(3, 4), append([]byte{}, h.last()...))
}

func (h *history) last() []byte { return h.states[len(h.states)-1] }

func (m *model) random(name string) {
	h, synced := m.files[name], m.r.Chance(1, 6)
	now := h.last()
	switch k := m.r.N(20); {
	case k == 0:
		m.do(h, core.Effect{Kind: core.Remove}, true, nil)
		m.wait(0)
		m.create(name)
	case k == 1:
		size := m.r.N(int64(len(now)) + 1)
		m.do(h, core.Effect{Kind: core.Truncate, Off: size}, synced, append([]byte{}, now[:size]...))
	case k == 2:
		m.do(h, core.Effect{Kind: core.SyncFile}, true, now)
	default:
		off := int64(len(now))
		if m.r.Chance(1, 2) {
			off = m.r.N(int64(len(now)) + 20)
		}
		b := bytes.Repeat([]byte{byte('a' + m.r.N(26))}, int(1+m.r.N(30)))
		next := make([]byte, max(int64(len(now)), off+int64(len(b))))
		copy(next, now)
		copy(next[off:], b)
		m.do(h, core.Effect{Kind: core.Write, Off: off}, synced, next, core.RefOf(b))
	}
}

// judge reads the files after a cut and starts their histories again from what is there.
func (m *model) judge() {
	for name, h := range m.files {
		got, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			got = nil
		}
		ok := false
		for _, s := range h.states[h.synced:] {
			ok = ok || (s == nil) == (got == nil) && bytes.Equal(s, got)
		}
		if !ok {
			m.lost++
		}
		if !bytes.Equal(h.last(), got) {
			m.undone++
		}
		*h = history{states: [][]byte{got}}
	}
}

// TestPowerCutRestoresUnsyncedRemove holds the directory sync of a Remove back until the cut.
func TestPowerCutRestoresUnsyncedRemove(t *testing.T) {
	dir := t.TempDir()
	ops := make(chan core.Event, 10)
	reached, release := make(chan struct{}), make(chan struct{})
	hold := false
	d, err := Open(Options{Dir: dir, PowerSwitch: true,
		Done: func(_ core.ShardID, es []core.Event) {
			for _, e := range es {
				ops <- e
			}
		},
		BeforeSync: func(string) error {
			if hold {
				close(reached)
				<-release
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	f := core.NewFileID(0, 1)
	d.Do(&core.Effect{Kind: core.Create, File: f, Path: "t-0/a", Sync: true, Op: 1}, nil)
	d.Do(&core.Effect{Kind: core.Write, File: f, Sync: true, Op: 2}, []core.Ref{core.RefOf([]byte("alive"))})
	d.Flush(0)
	<-ops
	<-ops
	hold = true
	d.Do(&core.Effect{Kind: core.Remove, File: f, Op: 3}, nil)
	d.Flush(0)
	<-reached
	if _, err := os.Stat(filepath.Join(dir, "t-0")); err == nil {
		t.Error("the directory is still there before the sync")
	}
	if err := d.PowerCut(); err != nil {
		t.Fatal(err)
	}
	close(release)
	d.Close()
	b, err := os.ReadFile(filepath.Join(dir, "t-0", "a"))
	if syncs && (err != nil || string(b) != "alive") {
		t.Errorf("the removed file holds %q, %v: its removal was never synced", b, err)
	}
	if len(ops) != 0 {
		t.Error("an operation completed after the cut")
	}
}

func TestReplacedBytesSpill(t *testing.T) {
	s := spill{path: filepath.Join(t.TempDir(), "undo"), inside: maxKept - 4}
	defer s.close()
	a, err1 := s.put([]byte("abcd"))
	b, err2 := s.put([]byte("efgh"))
	c, err3 := s.put([]byte("ij"))
	if err1 != nil || err2 != nil || err3 != nil || a.mem == nil || b.mem != nil || c.mem != nil {
		t.Fatalf("%v %v %v: %v %v %v", err1, err2, err3, a, b, c)
	}
	for at, want := range map[*stored]string{&a: "abcd", &b: "efgh", &c: "ij"} {
		if got, err := s.get(*at); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}
