package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/mut"
)

// chunk is what recovery reads at a time.
const chunk = 512 << 10

// Recover reads every journal file of the node. It fails only on what an operator must see to: a file
// of a newer format, or one that may not be read. Everything else that is wrong is a torn tail, or
// the damage of some groups. Memory: a chunk, the largest meta section, and the tails.
func Recover(boot core.Boot) (*Found, error) {
	found := &Found{NextFile: 1}
	r := recovery{boot: boot, w: window{boot: boot}}
	for _, info := range boot.List() {
		n, ok := parsePath(info.Path)
		if !ok {
			continue
		}
		found.NextFile = max(found.NextFile, n+1)
		blank, err := r.survey(info)
		if err != nil {
			return nil, err
		}
		if blank {
			markBlank.Hit()
			found.Blank = append(found.Blank, info)
		} else {
			found.Files = append(found.Files, info)
		}
	}
	for _, key := range r.streams.Keys() {
		s := r.streams.At(key)
		found.Start = max(found.Start, s.start)
		if s.start >= r.alive {
			r.replay(s)
		}
	}
	found.Lost = r.lost
	r.groups.Each(func(id core.GroupID, g *tracked) { found.Groups = append(found.Groups, g.verdict()) })
	return found, nil
}

// stream is what one shard wrote in one start.
type stream struct {
	start   uint32
	shard   core.ShardID
	files   []file // in the order of their writing
	durable uint64 // some frame names it: frames up to here were certainly on disk
	floor   uint64 // frames below are not needed
	ailing  bool   // a part could not be read: nothing missing is taken for torn
}

type file struct {
	path string
	size int64
	end  int64 // behind the last frame whose header is good
	head head
}

type recovery struct {
	boot    core.Boot
	w       window
	streams det.Map[uint64, *stream]
	alive   uint32 // frames of starts below are obsolete
	groups  det.Map[core.GroupID, *tracked]
	lost    string
	at      walker
}

// window shows parts of a file through one buffer.
type window struct {
	boot core.Boot
	path string
	size int64
	off  int64
	buf  []byte
	sick bool // a read failed since open
}

func (w *window) open(path string, size int64) {
	w.path, w.size, w.off, w.buf, w.sick = path, size, 0, w.buf[:0], false
}

// at shows n bytes at off, nil when the file ends before or cannot be read there. They are valid until
// the next call.
func (w *window) at(off, n int64) []byte {
	if off < 0 || n < 0 || off > w.size || n > w.size-off {
		return nil
	}
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		want := int(min(max(n, chunk), w.size-off))
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.off, w.buf = off, w.buf[:want]
		got, err := w.boot.ReadAt(w.path, off, w.buf)
		w.buf = w.buf[:max(0, min(got, want))]
		w.sick = w.sick || err != core.OK && err != core.ErrShort
		if n > int64(len(w.buf)) {
			return nil
		}
	}
	return w.buf[off-w.off:][:n:n]
}

// hop is the first position from at on, which is aligned, at which a frame may begin, as far as the
// buffer shows: most of a file can be nothing but zeroes.
func (w *window) hop(at int64) int64 {
	for end := w.off + int64(len(w.buf)); at >= w.off && at < end; {
		i := bytes.IndexByte(w.buf[at-w.off:], frameMagic[0])
		if i < 0 {
			return align(end)
		}
		if next := align(at + int64(i)); next == at+int64(i) {
			return next
		} else {
			at = next
		}
	}
	return at
}

// survey reads the head of a file and all frame headers that can be found in it; or says that it was made
// and never written.
func (r *recovery) survey(info core.FileInfo) (blank bool, err error) {
	r.w.open(info.Path, info.Size)
	f := file{path: info.Path, size: info.Size}
	known := false
	for _, at := range []int64{0, headAgain} {
		h, version, ok := parseHead(r.w.at(at, headerSize))
		if ok && version != Version {
			return false, fmt.Errorf("journal: %s has format %d, this build reads %d: start the newer release "+
				"that wrote it, or restore the data directory from before the upgrade", info.Path, version, Version)
		}
		if ok && (!known || h.generation() > f.head.generation()) {
			f.head, known = h, true
		}
	}
	if r.w.sick && !known {
		return false, fmt.Errorf("journal: %s cannot be read: repair the disk or its permissions, "+
			"or give this node an empty data directory so that it is rebuilt from the others", info.Path)
	}
	if !known {
		return r.blank(info), nil // never written, or torn before its first sync
	}
	key := uint64(f.head.start)<<16 | uint64(f.head.shard)
	s := r.streams.At(key)
	if s == nil {
		s = &stream{start: f.head.start, shard: f.head.shard}
		r.streams.Set(key, s)
	}
	i, _ := slices.BinarySearchFunc(s.files, f, func(a, b file) int {
		return cmp.Compare(a.head.ordinal, b.head.ordinal)
	})
	r.headers(s, &f)
	s.files = slices.Insert(s.files, i, f)
	return false, nil
}

// blank says of a file without a head that nothing was ever written to it. Files that a crash tore in their
// first frame are not meant: they are of no use before the next start is durable, as all others.
func (r *recovery) blank(info core.FileInfo) bool {
	b := r.w.at(0, 2*headAgain)
	if len(b) == 0 {
		return false
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// headers notes what the frame headers of a file claim.
func (r *recovery) headers(s *stream, f *file) {
	for at := int64(firstFrame); ; at = f.end {
		h, ok := r.next(f, at, f.size)
		if !ok {
			break
		}
		s.durable, s.floor = max(s.durable, h.durable), max(s.floor, h.floor)
		if h.flags&flagPastDead != 0 {
			r.alive = max(r.alive, s.start)
		}
		f.end = align(h.at + h.size())
	}
	s.ailing = s.ailing || r.w.sick
}

// next is the frame at at, or, where that is bad, the first good one after it and before end. Its
// payload may hold what looks like a frame, but not with the salt of this use of the file.
func (r *recovery) next(f *file, at, end int64) (header, bool) {
	for ; at+headerSize <= min(end, f.size); at = r.w.hop(at + frameAlign) {
		b := r.w.at(at, headerSize)
		if b == nil && r.w.sick {
			break
		}
		if h, ok := parseHeader(b, f.head, at); ok {
			return h, true
		}
	}
	return header{}, false
}

// replay applies the frames of a stream in order.
func (r *recovery) replay(s *stream) {
	next := max(s.floor, 1)
	for i := range s.files {
		f := &s.files[i]
		r.w.open(f.path, f.size)
		for at := int64(firstFrame); ; {
			h, ok := r.next(f, at, f.end)
			if !ok {
				break
			}
			if meta := r.meta(&h); meta != nil && h.seq >= next {
				if h.seq > next && !r.hole(s, next, h.seq-1) {
					return
				}
				if !r.frame(s, f, &h, meta) {
					return
				}
				next = h.seq + 1
			}
			at = align(h.at + h.size())
		}
		s.ailing = s.ailing || r.w.sick
	}
	if next <= s.durable || s.ailing {
		r.hole(s, next, max(next, s.durable))
	}
}

// meta is the meta section of a frame, nil when it is not what was written.
func (r *recovery) meta(h *header) []byte {
	b := r.w.at(h.at+headerSize, int64(h.metaLen))
	if b == nil || crcOf(b) != h.metaCRC {
		return nil
	}
	return b
}

// hole judges frames first to last, which are bad or absent though later ones are there. Above the
// bound they are torn, and nothing after them counts: false. Else the groups that may have been in
// them are damaged until a later checkpoint, or until their next record shows that nothing of them was there.
func (r *recovery) hole(s *stream, first, last uint64) bool {
	if first > s.durable && !s.ailing || mut.On("M07") { // whatever is bad is taken for torn, and the log ends there
		return false
	}
	why := fmt.Sprintf("journal of shard %d, start %d, lost frame %d, which was durable", s.shard, s.start, first)
	r.lost = cmp.Or(r.lost, why)
	r.groups.Each(func(_ core.GroupID, g *tracked) {
		if !g.out.Gone && (g.start < s.start || g.start == s.start && g.shard == s.shard) {
			g.missed = cmp.Or(g.missed, why)
		}
	})
	return last <= s.durable || s.ailing
}
