package fake

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Sector is what a disk writes or does not write: nothing smaller is torn, but for the one sector in
// which a crash may leave garbage.
const Sector = 512

const pageSize = 4096

type page [pageSize]byte

// undo takes one write to one sector back.
type undo struct {
	prev   int32 // the record of the write before it to the same sector since the last sync, or -1
	lo, hi int16 // the bytes of the sector that the write covered
	sector int64
	seq    uint32        // of the operation, per file
	before *[Sector]byte // nil: zeros
}

var zeros [Sector]byte

// was is what the sector held.
func (u *undo) was() *[Sector]byte {
	if u.before == nil {
		return &zeros
	}
	return u.before
}

// spares are sectors for undo records to use again.
type spares []*[Sector]byte

func (x *spares) take() *[Sector]byte {
	n := len(*x)
	if n == 0 {
		return new([Sector]byte)
	}
	b := (*x)[n-1]
	*x = (*x)[:n-1]
	return b
}

// resize is a change of a file's length that no sync covers yet.
type resize struct {
	seq  uint32
	size int64
	cut  bool // a truncation: what it cut away comes back when it is undone
}

// file is the page cache's view of one file, and how to get from it to the platter's.
type file struct {
	path     string
	pages    []*page // nil: zeros
	lent     []bool  // by page: another file shows it too, so that it is copied before it changes
	size     int64
	seq      uint32 // of the last operation
	entry    bool   // the directory entry is on the platter
	unlinked bool
	failed   bool // a sync failed: nothing works on it until the next start

	last    []int32 // by sector: 1 + its last undo record, 0: it is clean
	dirty   int     // sectors that are not clean
	undos   []undo
	spare   *spares
	durable int64 // the length on the platter
	resizes []resize
	dropped map[int64][Sector]byte // what is on the platter of sectors whose write-back failed
	young   map[int64]core.Mono    // those that a lost or stray write damaged, and when
	synced  core.Mono              // when the last sync ended
	aged    [2]int64               // earlier lengths on the platter: the second at agedAt, the first Unsaid or more before
	agedAt  core.Mono
	proof   proof
}

func newFile(path string, spare *spares) *file { return &file{path: path, spare: spare} }

// lastUndo is the last undo record of a sector, or -1.
func (f *file) lastUndo(s int64) int32 {
	if s >= int64(len(f.last)) {
		return -1
	}
	return f.last[s] - 1
}

// setUndo makes i, or none, the last undo record of a sector.
func (f *file) setUndo(s int64, i int32) {
	if n := s + 1 - int64(len(f.last)); n > 0 {
		f.last = append(f.last, make([]int32, n)...)
	}
	if f.last[s] == 0 {
		f.dirty++
	}
	if i < 0 {
		f.dirty--
	}
	f.last[s] = i + 1
}

// page is a page of the file: to change it, or to look at it, and then nil when there is none.
func (f *file) page(i int64, change bool) *page {
	if i < int64(len(f.pages)) && f.pages[i] != nil {
		if change && i < int64(len(f.lent)) && f.lent[i] {
			q := *f.pages[i]
			f.pages[i], f.lent[i] = &q, false
		}
		return f.pages[i]
	}
	if !change {
		return nil
	}
	for int64(len(f.pages)) <= i {
		f.pages = append(f.pages, nil)
	}
	f.pages[i] = new(page)
	return f.pages[i]
}

// read copies what the page cache holds, without a look at the length.
func (f *file) read(off int64, b []byte) {
	for len(b) > 0 {
		at := off % pageSize
		n := min(int64(len(b)), pageSize-at)
		if p := f.page(off/pageSize, false); p != nil {
			copy(b[:n], p[at:])
		} else {
			clear(b[:n])
		}
		b, off = b[n:], off+n
	}
}

// remember keeps what the sectors of [off, off+n) hold, before operation f.seq changes them.
func (f *file) remember(off, n int64) {
	for s := off / Sector; s*Sector < off+n; s++ {
		u := undo{prev: f.lastUndo(s), sector: s, seq: f.seq,
			lo: int16(max(off-s*Sector, 0)), hi: int16(min(off+n-s*Sector, Sector))}
		if p := f.page(s*Sector/pageSize, false); p != nil {
			u.before = f.spare.take()
			copy(u.before[:], p[s*Sector%pageSize:])
		}
		f.undos = append(f.undos, u)
		f.setUndo(s, int32(len(f.undos)-1))
	}
}

func (f *file) put(off int64, b []byte) {
	for len(b) > 0 {
		at := off % pageSize
		n := copy(f.page(off/pageSize, true)[at:], b)
		b, off = b[n:], off+int64(n)
	}
}

func (f *file) write(off int64, b []byte) {
	f.seq++
	f.remember(off, int64(len(b)))
	f.put(off, b)
	if end := off + int64(len(b)); end > f.size {
		f.size = end
		f.resizes = append(f.resizes, resize{f.seq, end, false})
	}
}

func (f *file) truncate(to int64) {
	if to == f.size {
		return
	}
	f.seq++
	for off := to; off < f.size; { // nil pages hold zeros already
		end := min(f.size, (off/pageSize+1)*pageSize)
		if f.page(off/pageSize, false) != nil {
			f.remember(off, end-off)
			clear(f.page(off/pageSize, true)[off%pageSize : off%pageSize+end-off])
		}
		off = end
	}
	f.resizes = append(f.resizes, resize{f.seq, to, to < f.size})
	f.size = to
}

// sync makes the platter equal to the page cache.
func (f *file) sync() {
	for i := range f.undos {
		u := &f.undos[i]
		f.last[u.sector] = 0
		if u.before != nil {
			*f.spare = append(*f.spare, u.before)
			u.before = nil
		}
	}
	f.dirty = 0
	f.undos = f.undos[:0]
	f.resizes = f.resizes[:0]
	f.durable = f.size
}

// failSync is a write-back that met a bad device: some pages reached the platter, the others are
// dropped and marked clean, and no later sync will say so.
func (f *file) failSync(rng *det.Rand) {
	f.failed = true
	if f.dropped == nil {
		f.dropped = map[int64][Sector]byte{}
	}
	for _, s := range f.dirtySectors() {
		if rng.Chance(1, 2) {
			continue
		}
		if _, ok := f.dropped[s]; !ok {
			f.dropped[s] = f.oldest(s)
		}
	}
	f.sync()
}

// oldest is what the platter holds of a dirty sector.
func (f *file) oldest(s int64) [Sector]byte {
	u := &f.undos[f.lastUndo(s)]
	for u.prev >= 0 {
		u = &f.undos[u.prev]
	}
	return *u.was()
}

func (f *file) dirtySectors() []int64 {
	all := make([]int64, 0, f.dirty)
	for i := range f.undos {
		if s := f.undos[i].sector; f.last[s] == int32(i)+1 {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return all
}

// forgetDropped lets the page cache show what is on the platter, as after eviction or a reboot. What a
// lost or stray write damaged just now, or before the disk was late, is spared: see Unsaid.
func (f *file) forgetDropped(now, late core.Mono) {
	for s, b := range f.dropped { // disjoint sectors: any order gives the same file
		if at, ok := f.young[s]; ok && !f.failed && now < max(at, late)+Unsaid {
			continue
		}
		f.put(s*Sector, b[:])
	}
	f.dropped, f.young, f.failed = nil, nil, false
}

// age is called before a sync ends. It keeps lengths of the past.
func (f *file) age(now core.Mono) {
	if now >= f.agedAt+Unsaid {
		f.aged[0], f.aged[1], f.agedAt = f.aged[1], f.durable, now
	}
	f.synced = now
}

// said is how much of the file was on the platter when whoever wrote it had time to write that down elsewhere.
func (f *file) said(now core.Mono) int64 {
	switch {
	case now >= f.synced+Unsaid:
		return f.durable
	case now >= f.agedAt+Unsaid:
		return min(f.aged[1], f.durable)
	}
	return min(f.aged[0], f.durable)
}

// onPlatter says whether a power loss now would leave [off, off+n) as it is.
func (f *file) onPlatter(off, n int64) bool {
	if f.unlinked || !f.entry || off+n > f.durable {
		return false
	}
	for s := off / Sector; s*Sector < off+n; s++ {
		if d, ok := f.dropped[s]; ok && !f.same(s, &d, off, n) {
			return false
		}
		for i := f.lastUndo(s); i >= 0; i = f.undos[i].prev {
			if u := &f.undos[i]; s*Sector+int64(u.lo) < off+n && s*Sector+int64(u.hi) > off {
				return false
			}
		}
	}
	for _, r := range f.resizes { // a truncation on its way would take it back
		if r.size < off+n {
			return false
		}
	}
	return true
}

// same says whether the page cache and b agree on the part of [off, off+n) that lies in sector s.
func (f *file) same(s int64, b *[Sector]byte, off, n int64) bool {
	var now [Sector]byte
	f.read(s*Sector, now[:])
	lo, hi := max(off-s*Sector, 0), min(off+n-s*Sector, Sector)
	return bytes.Equal(now[lo:hi], b[lo:hi])
}

// loss is how a power loss treats what was not synced.
type loss uint8

const (
	lossAll    loss = iota // nothing reached the platter
	lossNone               // everything did
	lossPrefix             // operations up to some moment did
	lossMixed              // each sector has a fate of its own: writes are reordered and torn
)

// powerLoss rolls sectors back as drawn, and leaves the rest for what the platter then holds.
func (f *file) powerLoss(rng *det.Rand, how loss, now, late core.Mono) {
	f.forgetDropped(now, late)
	keep := uint32(0) // operations after it are undone
	switch how {
	case lossNone:
		keep = f.seq
	case lossPrefix, lossMixed:
		first := f.seq
		if len(f.undos) > 0 {
			first = min(first, f.undos[0].seq)
		}
		if len(f.resizes) > 0 {
			first = min(first, f.resizes[0].seq)
		}
		keep = first - 1 + uint32(rng.N(int64(f.seq-first)+2))
	}
	size, undoneCut := f.durable, uint32(1<<32-1)
	for _, r := range f.resizes {
		if r.seq <= keep {
			size = r.size
		} else if r.cut {
			undoneCut = min(undoneCut, r.seq)
		}
	}
	for _, s := range f.dirtySectors() {
		upTo := keep
		if how == lossMixed {
			upTo = f.seq - uint32(rng.N(int64(f.seq-f.undos[f.lastUndo(s)].seq)+8)/2)
			if rng.Chance(1, 2) {
				upTo = 0
			}
		}
		f.undo(s, min(upTo, undoneCut-1))
	}
	if how == lossMixed && rng.Chance(1, 3) {
		f.garbage(rng)
	}
	f.zeroFrom(size)
	f.size = size
	f.sync()
}

// undo takes back the writes to sector s after operation upTo.
func (f *file) undo(s int64, upTo uint32) {
	i := f.lastUndo(s)
	for i >= 0 && f.undos[i].seq > upTo {
		f.put(s*Sector, f.undos[i].was()[:])
		i = f.undos[i].prev
	}
	f.setUndo(s, i)
}

// garbage spoils the second half of what one write put into one sector.
func (f *file) garbage(rng *det.Rand) {
	kept := f.dirtySectors()
	if len(kept) == 0 {
		return
	}
	s := kept[rng.N(int64(len(kept)))]
	u := &f.undos[f.lastUndo(s)]
	b := make([]byte, int64(u.hi-u.lo)-int64(u.hi-u.lo)/2)
	for i := range b {
		b[i] = byte(rng.Uint64())
	}
	f.put(s*Sector+int64(u.hi)-int64(len(b)), b)
}

func (f *file) zeroFrom(size int64) {
	for off := size; off < int64(len(f.pages))*pageSize; {
		end := (off/pageSize + 1) * pageSize
		if at := off % pageSize; at == 0 {
			f.pages[off/pageSize] = nil
		} else if f.page(off/pageSize, false) != nil {
			clear(f.page(off/pageSize, true)[at:])
		}
		off = end
	}
}

// platter is a copy of the file as a power loss that keeps nothing would leave it.
func (f *file) platter() *file {
	c := newFile(f.path, f.spare)
	c.size, c.durable, c.entry = f.durable, f.durable, true
	c.pages = slices.Clone(f.pages)
	f.lent = slices.Repeat([]bool{true}, len(f.pages))
	c.lent = slices.Clone(f.lent)
	for _, s := range f.dirtySectors() {
		b := f.oldest(s)
		c.put(s*Sector, b[:])
	}
	for s, b := range f.dropped {
		c.put(s*Sector, b[:])
	}
	c.zeroFrom(c.size)
	return c
}

func byPath(a, b *file) int { return cmp.Compare(a.path, b.path) }

func (f *file) info() core.FileInfo { return core.FileInfo{Path: f.path, Size: f.size} }
