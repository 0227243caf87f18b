package journal

import (
	"fmt"
	"slices"

	"github.com/karst-stream/karst/core"
)

// Head is what a journal file is used for.
type Head struct {
	Start    uint32 // of the node
	Ordinal  uint32 // of the file in that start and shard
	Shard    core.ShardID
	FirstSeq uint64
}

// Frame is one frame of a file, as tools show it.
type Frame struct {
	At, Size     int64
	Seq          uint64
	Durable      uint64 // the highest sequence that was known durable
	Floor        uint64 // frames below are not needed by a recovery
	Skipped      int64  // bytes before it that are no frame of this use of the file
	Bad          string // why its records are not believed; "" when they are
	Records      []Record
	PayloadBytes int64
}

// Record is what a frame says of a group.
type Record struct {
	Group     core.GroupID
	Chain     uint64 // running number of the group's records in this start
	Mark      *Mark  // of a checkpoint
	Gone      bool   // the group was deleted
	Hard      *Hard  // when it changed
	Completed core.Index
	Entries   []Logged
}

// Logged is an entry in a frame.
type Logged struct {
	Index  core.Index
	Term   core.Term
	Type   uint8
	Stub   *Stub // of a batch
	Inline int64 // bytes of the batch that ride in the frame, at
	At     int64
	Rotten bool // they are not what the stub says
}

// Inspect walks over the frames of one file, valid or not, until visit answers false. What it gives is the
// visitor's to keep. behind is how many bytes lie behind the last frame: zeroes, or frames of an earlier use.
// ok is false for a file that was never written.
func Inspect(boot core.Boot, info core.FileInfo, visit func(Frame) bool) (h Head, behind int64, ok bool, err error) {
	r := recovery{boot: boot, w: window{boot: boot}}
	r.w.open(info.Path, info.Size)
	f := file{path: info.Path, size: info.Size}
	for _, at := range []int64{0, headAgain} {
		x, version, valid := parseHead(r.w.at(at, headerSize))
		if valid && version != Version {
			return h, 0, false, fmt.Errorf("%s has format %d, this build reads %d", info.Path, version, Version)
		}
		if valid && (!ok || x.generation() > f.head.generation()) {
			f.head, ok = x, true
		}
	}
	if !ok {
		return h, info.Size, false, nil
	}
	h = Head{f.head.start, f.head.ordinal, f.head.shard, f.head.firstSeq}
	at := int64(firstFrame)
	for {
		x, found := r.next(&f, at, f.size)
		if !found {
			break
		}
		fr := r.inspect(&x)
		fr.Skipped = x.at - at
		at = align(x.at + x.size())
		if !visit(fr) {
			break
		}
	}
	if r.w.sick {
		return h, 0, true, fmt.Errorf("%s cannot be read at %d", info.Path, at)
	}
	return h, max(info.Size-at, 0), true, nil
}

// inspect reads what a frame says.
func (r *recovery) inspect(h *header) Frame {
	fr := Frame{At: h.at, Size: h.size(), Seq: h.seq, Durable: h.durable, Floor: h.floor, PayloadBytes: int64(h.payloadLen)}
	meta := slices.Clone(r.meta(h))
	if meta == nil && h.metaLen > 0 {
		fr.Bad = "the checksum of its records is wrong"
		return fr
	}
	at := h.at + headerSize + int64(h.metaLen)
	whole := r.at.walk(meta, func(c *rec) {
		x := Record{Group: c.group, Chain: c.chain, Gone: c.kind == recGone, Completed: c.completed}
		if c.kind != recAppend {
			m := c.mark
			x.Mark = &m
		}
		if c.kind == recAppend && c.hasHard {
			hard := c.hard
			x.Hard = &hard
		}
		fr.Records = append(fr.Records, x)
	}, func(e *ent) {
		x := Logged{Index: e.index, Term: e.term, Type: e.typ, Inline: e.body, At: at}
		if stub, ok := DecodeStub(e.data); ok && e.typ == 0 {
			x.Stub = &stub
		}
		if e.body > 0 {
			x.Rotten = !r.intact(at, e)
		}
		at += e.body
		last := &fr.Records[len(fr.Records)-1]
		last.Entries = append(last.Entries, x)
	})
	switch {
	case !whole:
		fr.Bad = "its records make no sense"
	case at != h.at+h.size():
		fr.Bad = "its batches are not as long as its records say"
	}
	return fr
}
