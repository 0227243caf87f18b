package fake

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// damage is what a disk does beside losing power: what is wrong with it, and what waits to happen to
// the next sync.
type damage struct {
	Full       bool   // nothing grows: writes beyond a file's end, new files and reservations fail with ErrNoSpac
	FullDirs   uint32 // the same in these directories only, as bits
	DeadDirs   uint32 // every sync in these directories fails
	stalled    core.Mono
	loseNext   bool
	strayNext  bool
	harmedOnce bool

	// Harms says which files a lost or stray write may meet; nil: any. A write lost at the very end of a
	// journal cannot be told from one that a loss of power tore, by nobody: such a disk lies.
	Harms func(path string) bool

	// Spares says which bytes of a file do not rot; nil: none.
	Spares func(path string, at int64) bool
}

func (d *Disk) full(name string) bool { return d.Full || within(d.FullDirs, name) }

// Sick says whether something is wrong in some directory now.
func (d *Disk) Sick() bool { return d.Full || d.FullDirs|d.DeadDirs != 0 }

// Stall makes every operation asked for from now on wait until an instant.
func (d *Disk) Stall(until core.Mono) { d.stalled = max(d.stalled, until) }

// Stalled says whether operations asked for now would wait.
func (d *Disk) Stalled(now core.Mono) bool { return d.stalled > now }

// Disarm forgets what waited to happen, and ends a stall for what is asked for from now on.
func (d *Disk) Disarm() {
	d.loseNext, d.strayNext, d.fail, d.stalled = false, false, false, 0
	d.Full, d.FullDirs, d.DeadDirs = false, 0, 0
}

// Unsaid is how long bytes are spared by damage (rot, and lost or stray writes as a crash shows them) after
// their sync. A node that finds its newest write gone cannot tell that from a torn one before something that
// it wrote later says that it was whole (docs/found.md).
// On a slow disk that takes longer: then the time begins when its last slow operation has ended.
const Unsaid = 3 * core.Second

// LoseNextWrite lets the device acknowledge the sectors of the next sync and store all but one of them.
func (d *Disk) LoseNextWrite() { d.loseNext = true }

// MisdirectNextWrite lets the device store one sector of the next sync elsewhere in its file.
func (d *Disk) MisdirectNextWrite() { d.strayNext = true }

// Harmed says whether the disk ever stored something else than it acknowledged, or let it rot.
func (d *Disk) Harmed() bool { return d.harmedOnce }

// harm is what happens to a sync before it reports success.
func (d *Disk) harm(f *file) {
	if len(f.dropped) > 0 {
		for _, s := range f.dirtySectors() { // what is written anew arrives
			delete(f.dropped, s)
		}
	}
	if !d.loseNext && !d.strayNext || f.dirty == 0 || d.Harms != nil && !d.Harms(f.path) {
		return
	}
	stray := d.strayNext
	d.loseNext, d.strayNext, d.harmedOnce = false, false, true
	all := f.dirtySectors()
	s := all[d.rng.N(int64(len(all)))]
	if f.dropped == nil {
		f.dropped = map[int64][Sector]byte{}
	}
	if _, ok := f.dropped[s]; !ok {
		f.dropped[s] = f.oldest(s)
	}
	if f.young == nil {
		f.young = map[int64]core.Mono{}
	}
	f.young[s] = d.now
	if !stray {
		d.Faults.LostWrites++
		return
	}
	d.Faults.Misdirected++
	other := d.rng.N(f.size/Sector + 1)
	if _, ok := f.dropped[other]; !ok && other != s {
		var b [Sector]byte
		f.read(s*Sector, b[:])
		f.dropped[other], f.young[other] = b, d.now
	}
}

// Rot flips n bits of what has been durable for some time (Unsaid), each in a file drawn by its size, but for files whose name
// keep accepts and bytes that Spares names. The page cache loses the sectors with them, so that a
// reader sees it. It returns how many it flipped: an empty disk has nothing to rot.
func (d *Disk) Rot(n int64, keep func(path string) bool) (flipped int64) {
	return d.rot(n, func(f *file) (int64, int64) {
		if keep(f.path) {
			return 0, 0
		}
		if d.broken || d.now < d.late+Unsaid {
			return 0, 0
		}
		return 0, f.said(d.now)
	})
}

// RotSealed is Rot for files in which what was synced later tells of what was synced before: it spares
// the first head bytes of a file, and all that nothing later can tell of. That the newest of it is gone
// looks like a torn write, to anybody.
func (d *Disk) RotSealed(n, head int64, keep func(path string) bool) (flipped int64) {
	return d.rot(n, func(f *file) (int64, int64) {
		if keep(f.path) {
			return 0, 0
		}
		return head, min(f.proof.sealed, f.durable)
	})
}

// rot flips n bits of the parts, from and to, that files are asked for.
func (d *Disk) rot(n int64, part func(*file) (from, to int64)) (flipped int64) {
	type piece struct {
		f       *file
		from, n int64
	}
	var all []piece
	total := int64(0)
	for _, f := range d.sorted() {
		if from, to := part(f); to > from && !f.failed {
			all = append(all, piece{f, from, to - from})
			total += to - from
		}
	}
	for range n {
		if total == 0 {
			return flipped
		}
		at := d.rng.N(total)
		for _, p := range all {
			if at < p.n {
				if at += p.from; (d.Spares == nil || !d.Spares(p.f.path, at)) && p.f.flip(at, d.rng) {
					flipped++
					d.Faults.Rotten++
					d.harmedOnce = true
				}
				break
			}
			at -= p.n
		}
	}
	return flipped
}

// proof is how far synced writes tell of earlier ones, in a file that is written from front to back.
type proof struct {
	synced int64 // the end of the last synced write
	told   int64 // how much was synced before that one was asked for
	sealed int64 // the same of the one before it: who wrote the last had certainly heard of it
}

// wrote is a synced write that ended. One before the end of the last begins the file anew.
func (p *proof) wrote(o *op, n int64) {
	if o.off < p.synced {
		*p = proof{synced: o.off + n}
		return
	}
	p.sealed, p.told, p.synced = p.told, min(o.over, p.synced), o.off+n
}

// flip changes a bit of a byte that no write since the last sync covers.
func (f *file) flip(at int64, rng *det.Rand) bool {
	if f.lastUndo(at/Sector) >= 0 || at >= f.size {
		return false
	}
	if _, bad := f.dropped[at/Sector]; bad {
		return false
	}
	var b [1]byte
	f.read(at, b[:])
	b[0] ^= 1 << rng.N(8)
	f.put(at, b[:])
	return true
}

// Image is a copy of all that is durable.
type Image struct{ files map[string]*file }

// Image copies the platter.
func (d *Disk) Image() *Image {
	m := &Image{files: map[string]*file{}}
	for _, f := range d.sorted() {
		if f.entry {
			m.files[f.path] = f.platter()
		}
	}
	return m
}

// Restore puts a disk with the content of an image in the place of this one, whose process is gone. The
// image is used up.
func (d *Disk) Restore(m *Image) {
	d.Wipe()
	d.files, m.files = m.files, nil
}

// Swap exchanges the contents of two disks whose processes are gone.
func (d *Disk) Swap(o *Disk) {
	d.files, o.files = o.files, d.files
	d.fresh, o.fresh = o.fresh, d.fresh
}
