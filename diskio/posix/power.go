package posix

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// powerSwitch knows what no completed sync covers and can take it back. SIGKILL alone proves nothing
// about fdatasync, because the page cache survives the process.
//
// It keeps two undo logs. Of each file: for every write and truncation since the last sync, the size
// before it and the bytes that it replaced (appended bytes replace none, so a growing segment costs
// one entry). Of the directories: every entry made or removed since the directory's last sync; a
// removed file lives on under a hidden name until its removal is durable. A sync notes the number of
// the latest change when it begins and drops those up to it when it has succeeded. cut undoes what is
// left, latest first.
type powerSwitch struct {
	root string
	gate sync.RWMutex // held for reading by every change
	dead bool

	mu     sync.Mutex
	seq    uint64
	shadow map[inode]*shadow
	dirs   []change
	spill  spill
}

type inode struct{ dev, ino uint64 }

// shadow is the undo log of one file's content.
type shadow struct {
	id     inode
	path   string
	size   int64
	log    []undo
	synced uint64 // the number at which the latest sync began: entries up to it no longer grow
}

type undo struct {
	seq  uint64
	size int64 // of the file before
	off  int64
	old  stored // the bytes from off on before
	tail bool   // an append: whatever follows it can join it
}

type changeKind uint8

const (
	madeFile changeKind = iota
	removedFile
	madeDir
	removedDir
)

// change is one entry of a directory, made or removed.
type change struct {
	kind changeKind
	seq  uint64
	path string
	id   inode  // of the file
	kept string // removedFile: the hidden name
}

const powerDir = ".power"

func newPowerSwitch(root string) (*powerSwitch, error) {
	if err := os.Mkdir(filepath.Join(root, powerDir), 0o755); err != nil {
		return nil, err
	}
	p := &powerSwitch{root: root, shadow: map[inode]*shadow{}}
	p.spill.path = filepath.Join(root, powerDir, "undo")
	return p, nil
}

func (p *powerSwitch) abs(path string) string { return filepath.Join(p.root, filepath.FromSlash(path)) }

func (p *powerSwitch) isCut() bool {
	p.gate.RLock()
	defer p.gate.RUnlock()
	return p.dead
}

func (p *powerSwitch) enter() error {
	p.gate.RLock()
	if p.dead {
		p.gate.RUnlock()
		return errCut
	}
	return nil
}

func (p *powerSwitch) leave() { p.gate.RUnlock() }

// now is the number of the latest change.
func (p *powerSwitch) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq
}

func (p *powerSwitch) changed(c change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	c.seq = p.seq
	p.dirs = append(p.dirs, c)
}

// opened takes note of a file that Create made or found.
func (p *powerSwitch) opened(f *file, fd int, made bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	id := inode{uint64(st.Dev), st.Ino}
	p.mu.Lock()
	s := p.shadow[id]
	if s == nil || made {
		s = &shadow{id: id, path: f.path, size: st.Size}
		p.shadow[id] = s
	}
	f.shadow = s
	p.mu.Unlock()
	if made {
		p.changed(change{kind: madeFile, path: f.path, id: id})
	}
	return nil
}

// willWrite keeps what the write at off of n bytes replaces.
func (p *powerSwitch) willWrite(f *file, off, n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := f.shadow
	u := undo{size: s.size, off: off, tail: off >= s.size}
	if last := len(s.log) - 1; u.tail && last >= 0 && s.log[last].tail && s.log[last].seq > s.synced {
		s.size = max(s.size, off+n)
		return nil
	}
	if err := p.keep(f.fd, &u, min(n, s.size-off)); err != nil {
		return err
	}
	p.push(s, u)
	s.size = max(s.size, off+n)
	return nil
}

// resized looks at the size again after a write that failed on the way.
func (p *powerSwitch) resized(f *file) error {
	var st unix.Stat_t
	err := unix.Fstat(f.fd, &st)
	if err == nil {
		p.mu.Lock()
		f.shadow.size = st.Size
		p.mu.Unlock()
	}
	return err
}

func (p *powerSwitch) willTruncate(f *file, size int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := f.shadow
	u := undo{size: s.size, off: size}
	if err := p.keep(f.fd, &u, s.size-size); err != nil {
		return err
	}
	p.push(s, u)
	s.size = size
	return nil
}

func (p *powerSwitch) push(s *shadow, u undo) {
	p.seq++
	u.seq = p.seq
	s.log = append(s.log, u)
}

func (p *powerSwitch) keep(fd int, u *undo, n int64) error {
	if n <= 0 {
		return nil
	}
	b := make([]byte, n)
	m, err := preadFull(fd, b, u.off)
	if err != nil {
		return err
	}
	u.old, err = p.spill.put(b[:m])
	return err
}

func (p *powerSwitch) willSync(f *file) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.shadow.synced = p.seq
	return p.seq
}

// synced drops what a completed sync covers: the changes up to mark.
func (p *powerSwitch) synced(f *file, mark uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := f.shadow
	n := 0
	for n < len(s.log) && s.log[n].seq <= mark {
		p.spill.drop(s.log[n].old)
		n++
	}
	s.log = s.log[:copy(s.log, s.log[n:])]
}

// willUnlink keeps the file under a hidden name.
func (p *powerSwitch) willUnlink(f *file) error {
	p.mu.Lock()
	p.seq++
	c := change{kind: removedFile, seq: p.seq, path: f.path, id: f.shadow.id,
		kept: powerDir + "/" + strconv.FormatUint(p.seq, 10)}
	p.mu.Unlock()
	if err := os.Link(p.abs(c.path), p.abs(c.kept)); err != nil {
		return err
	}
	p.mu.Lock()
	p.dirs = append(p.dirs, c)
	p.mu.Unlock()
	return nil
}

// syncedDir drops the changes of dir's entries up to mark: those since dir itself was last made.
func (p *powerSwitch) syncedDir(dir string, mark uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	born := uint64(0)
	for _, c := range p.dirs {
		if c.kind == madeDir && c.path == dir && c.seq <= mark {
			born = c.seq
		}
	}
	p.forget(func(c change) bool { return dirOf(c.path) == dir && born < c.seq && c.seq <= mark })
}

// forget drops the changes that are durable. With a removed directory go all changes inside it.
func (p *powerSwitch) forget(durable func(change) bool) {
	var dropped []change
	left := p.dirs[:0]
	for _, c := range p.dirs {
		if !durable(c) {
			left = append(left, c)
			continue
		}
		if c.kind == removedFile {
			_ = os.Remove(p.abs(c.kept))
			if s := p.shadow[c.id]; s != nil {
				for _, u := range s.log {
					p.spill.drop(u.old)
				}
				delete(p.shadow, c.id)
			}
		}
		if c.kind == removedDir {
			dropped = append(dropped, c)
		}
	}
	clear(p.dirs[len(left):])
	p.dirs = left
	for _, d := range dropped {
		p.forget(func(c change) bool { return dirOf(c.path) == d.path && c.seq < d.seq })
	}
}

// cut stops every change and undoes what is not durable: entries first, so that each content log
// finds its file, then contents.
func (p *powerSwitch) cut() error {
	p.gate.Lock()
	defer p.gate.Unlock()
	p.dead = true
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for i := len(p.dirs) - 1; i >= 0; i-- {
		errs = append(errs, p.revert(p.dirs[i]))
	}
	for _, s := range p.shadow {
		errs = append(errs, p.restore(s))
	}
	return errors.Join(errs...)
}

func (p *powerSwitch) revert(c change) (err error) {
	path := p.abs(c.path)
	switch c.kind {
	case madeFile:
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && (inode{uint64(st.Dev), st.Ino}) == c.id {
			err = os.Remove(path)
		}
	case removedFile:
		err = os.Rename(p.abs(c.kept), path)
	case madeDir:
		err = os.RemoveAll(path)
	case removedDir:
		err = os.Mkdir(path, 0o755)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // its directory is durably gone
	}
	return err
}

func (p *powerSwitch) restore(s *shadow) error {
	if len(s.log) == 0 {
		return nil
	}
	fd, err := openFd(p.abs(s.path), unix.O_RDWR, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // it was never durable
	}
	if err != nil {
		return err
	}
	defer closeFd(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || (inode{uint64(st.Dev), st.Ino}) != s.id {
		return err
	}
	for i := len(s.log) - 1; i >= 0; i-- {
		u := s.log[i]
		if err := unix.Ftruncate(fd, u.size); err != nil {
			return err
		}
		b, err := p.spill.get(u.old)
		if err != nil {
			return err
		}
		if _, err := pwritev(fd, [][]byte{b}, u.off); len(b) > 0 && err != nil {
			return err
		}
	}
	return nil
}

func (p *powerSwitch) close() { p.spill.close() }

// spill keeps replaced bytes: in memory up to a bound, beyond it in a file, so that a disk that never
// syncs (nosync) costs disk and not memory.
type spill struct {
	path   string
	file   *os.File
	end    int64
	inside int64
}

// stored is where replaced bytes are: in mem, or n of them at off of the file.
type stored struct {
	mem []byte
	off int64
	n   int64
}

const maxKept = 64 << 20 // bytes in memory

func (s *spill) put(b []byte) (stored, error) {
	if s.inside+int64(len(b)) <= maxKept {
		s.inside += int64(len(b))
		return stored{mem: b, n: int64(len(b))}, nil
	}
	if s.file == nil {
		f, err := os.Create(s.path)
		if err != nil {
			return stored{}, err
		}
		s.file = f
	}
	if _, err := s.file.WriteAt(b, s.end); err != nil {
		return stored{}, err
	}
	at := stored{off: s.end, n: int64(len(b))}
	s.end += at.n
	return at, nil
}

func (s *spill) get(at stored) ([]byte, error) {
	if at.mem != nil || at.n == 0 {
		return at.mem, nil
	}
	b := make([]byte, at.n)
	_, err := s.file.ReadAt(b, at.off)
	return b, err
}

func (s *spill) drop(at stored) { s.inside -= int64(len(at.mem)) }

func (s *spill) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
