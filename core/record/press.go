package record

import (
	"encoding/binary"
	"errors"

	"github.com/karst-stream/karst/core"
)

// Unzip decompresses the records of a batch. It is pure, refuses to make more than PlainLimit bytes
// (ErrBomb), and uses memory in proportion to that.
type Unzip func(codec Codec, payload []byte) ([]byte, error)

// Zip compresses plain and appends that to dst: at most room bytes, else ErrNoRoom. It is pure. Levels are
// those of Kafka's settings; codecs without one ignore it.
type Zip func(dst []byte, codec Codec, level int, plain []byte, room int) ([]byte, error)

var (
	// ErrBomb says that records would become larger than their compressed size allows.
	ErrBomb = errors.New("record: decompressed records are larger than a batch of this size may hold")
	// ErrNoRoom says that compressed records are larger than they may be.
	ErrNoRoom = errors.New("record: compressed records are larger than allowed")
)

// Bounds of what compressed records may become: clients choose what is inside. A small batch may hold
// plainFloor (zstd's window is 8 MiB at its higher levels), a larger one plainRatio times its size on top, none
// more than plainMost.
const (
	plainFloor = 8 << 20
	plainRatio = 200
	plainMost  = 64 << 20
)

// PlainLimit is how many bytes n bytes of compressed records may become.
func PlainLimit(n int) int {
	if n > plainMost/plainRatio {
		return plainMost
	}
	return min(plainMost, plainFloor+plainRatio*n)
}

// Press is the work that a leader has with the records of a batch before it can take it: judge them, and
// compress them in another way. It is a Job's: too long for a step.
type Press struct {
	Unzip Unzip
	Zip   Zip
	Codec Codec // what the records shall be compressed with
	Level int
	Room  int // bytes that the batch may have, header included
	Terms Terms
}

// Verdict is how a Press ended.
type Verdict uint8

const (
	Kept     Verdict = iota + 1 // the batch as it came will do
	Repacked                    // there is another one, without other than its records' compression changed
	Flawful                     // records do not meet the terms
	Garbled                     // the records cannot be read
	Bomb                        // the records are too large to be read
	TooLarge                    // the new batch has no room
)

// Pressed is what became of a batch. Its encoding is that of JobDone's body.
type Pressed struct {
	Verdict Verdict
	Last    core.Wall // Kept, Repacked: the latest time of a record
	Flawed  Flawed    // Flawful
	Batch   []byte    // Repacked
}

const (
	pressedHead = 1 + 8
	flawSize    = 1 + 4 + 8
)

// Do does the work on b, which Check has passed, and gives what Read understands. It changes nothing.
func (p *Press) Do(b Batch) []byte {
	plain := b.Payload()
	if b.Codec() != None {
		var err error
		if plain, err = p.Unzip(b.Codec(), plain); errors.Is(err, ErrBomb) {
			return pressed(Bomb, 0)
		} else if err != nil {
			return pressed(Garbled, 0)
		}
	}
	bad, facts, err := b.Flaws(plain, &p.Terms)
	switch {
	case err != nil:
		return pressed(Garbled, 0)
	case bad.Total > 0:
		return bad.encode()
	case p.Codec == b.Codec():
		return pressed(Kept, facts.Last)
	}
	out := pressed(Repacked, facts.Last)
	room := p.Room - HeaderSize
	if p.Codec == None {
		if len(plain) > room {
			return pressed(TooLarge, 0)
		}
		out = append(append(make([]byte, 0, pressedHead+HeaderSize+len(plain)), out...), b[:HeaderSize]...)
		out = append(out, plain...)
	} else if out, err = p.Zip(append(out, b[:HeaderSize]...), p.Codec, p.Level, plain, room); err != nil {
		return pressed(TooLarge, 0)
	}
	Batch(out[pressedHead:]).repack(p.Codec)
	return out
}

// repack makes the header that of another batch true for one with the records behind it.
func (b Batch) repack(c Codec) {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-sizeEnd))
	b[atAttr+1] = b[atAttr+1]&^attrCodec | byte(c)
	b.seal()
}

func pressed(v Verdict, last core.Wall) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(v)}, uint64(last))
}

func (f *Flawed) encode() []byte {
	timed := core.Wall(0)
	if f.Timed {
		timed = 1
	}
	out := binary.BigEndian.AppendUint32(pressed(Flawful, timed), uint32(f.Total))
	for _, x := range f.List {
		out = append(out, byte(x.Kind))
		out = binary.BigEndian.AppendUint32(out, uint32(x.Index))
		out = binary.BigEndian.AppendUint64(out, uint64(x.Time))
	}
	return out
}

// ReadPressed reads what Do gave; Batch points into it. It trusts it: both run in one process.
func ReadPressed(b []byte) Pressed {
	p := Pressed{Verdict: Verdict(b[0]), Last: core.Wall(binary.BigEndian.Uint64(b[1:]))}
	switch rest := b[pressedHead:]; p.Verdict {
	case Repacked:
		p.Batch = rest
	case Flawful:
		p.Flawed.Timed, p.Last = p.Last == 1, 0
		p.Flawed.Total = int(binary.BigEndian.Uint32(rest))
		for rest = rest[4:]; len(rest) >= flawSize; rest = rest[flawSize:] {
			p.Flawed.List = append(p.Flawed.List, Flaw{FlawKind(rest[0]), int32(binary.BigEndian.Uint32(rest[1:])),
				core.Wall(binary.BigEndian.Uint64(rest[5:]))})
		}
	}
	return p
}

// PressedAt is where the batch begins in what Do gave, if there is one.
const PressedAt = pressedHead
