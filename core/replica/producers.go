package replica

import (
	"encoding/binary"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
)

// remembered is how many batches of a producer can be recognised when they come again: as many as a
// Kafka client may have in flight (KIP-98).
const remembered = 5

// sent is one batch of a producer, newest last in producer.sent.
type sent struct {
	seq  int32 // of its first record
	base core.Offset
	n    int32
}

// producer is what idempotence needs to know of one producer id in one partition.
type producer struct {
	epoch int16
	time  core.Wall
	sent  [remembered]sent
	n     int8
	hash  det.Hash // of epoch and sent
}

func (p *producer) last() *sent { return &p.sent[p.n-1] }

// nextSeq wraps at 2^31-1 to 0, as Kafka's sequences do.
func nextSeq(seq, n int32) int32 { return int32((int64(seq) + int64(n)) & 0x7fffffff) }

func (p *producer) add(s *journal.Stub) {
	if s.PEpoch != p.epoch {
		*p = producer{epoch: s.PEpoch}
	}
	if p.n == remembered {
		copy(p.sent[:], p.sent[1:])
		p.n--
	}
	if mut.On("M11") { // the window of one batch: a retry of any but the last is not recognised
		p.n = 0
	}
	p.sent[p.n] = sent{s.Seq, s.Base, s.Count}
	p.n++
	p.time = s.MaxTime
	p.hash = 0
}

// digest is worked out when it is asked for: production never does.
func (p *producer) digest() det.Hash {
	if p.hash == 0 {
		p.hash = p.hash.I64(int64(p.epoch))
		for _, s := range p.sent[:p.n] {
			p.hash = p.hash.I64(int64(s.seq)).I64(int64(s.base)).I64(int64(s.n))
		}
	}
	return p.hash
}

// find looks for a batch with this first sequence and count.
func (p *producer) find(seq, n int32) (core.Offset, bool) {
	for i := p.n - 1; i >= 0; i-- {
		if p.sent[i].seq == seq && p.sent[i].n == n {
			return p.sent[i].base, true
		}
	}
	return 0, false
}

// producers is the fold of applied stubs, and over it what the uncommitted tail adds.
type producers struct {
	folded det.Map[int64, *producer] // of applied entries
	tip    map[int64]*producer       //det:ok looked up, never ranged: folded plus tail, for ids in the tail
}

func (ps *producers) fold(s *journal.Stub) {
	if s.PID < 0 {
		return
	}
	p, ok := ps.folded.Get(s.PID)
	if !ok {
		p = &producer{epoch: s.PEpoch}
		ps.folded.Set(s.PID, p)
	}
	p.add(s)
	if t, ok := ps.tip[s.PID]; ok && t.epoch == p.epoch && t.last().base == s.Base {
		delete(ps.tip, s.PID) // the tail holds nothing newer of it
	}
}

// extend adds an entry of the tail.
func (ps *producers) extend(s *journal.Stub) {
	if s.PID < 0 {
		return
	}
	t, ok := ps.tip[s.PID]
	if !ok {
		t = &producer{epoch: s.PEpoch}
		if p, ok := ps.folded.Get(s.PID); ok {
			*t = *p
		}
		if ps.tip == nil {
			ps.tip = map[int64]*producer{}
		}
		ps.tip[s.PID] = t
	}
	t.add(s)
}

func (ps *producers) get(pid int64) *producer {
	if t, ok := ps.tip[pid]; ok {
		return t
	}
	return ps.folded.At(pid)
}

// verdict of an idempotent batch against what the log holds.
type verdict uint8

const (
	fresh verdict = iota
	duplicate
	outOfOrder
	fenced
)

// judge is Kafka's ProducerStateManager/ProducerAppendInfo: which batch may follow.
func (ps *producers) judge(s *journal.Stub) (verdict, core.Offset) {
	p := ps.get(s.PID)
	if p == nil {
		// Kafka takes any first sequence of a producer that it does not know. When a leader changes, a
		// producer's second batch may come before its first: stored, it would shut the first out.
		if s.Seq != 0 {
			return outOfOrder, 0
		}
		return fresh, 0
	}
	switch {
	case s.PEpoch < p.epoch:
		return fenced, 0
	case s.PEpoch > p.epoch:
		if s.Seq != 0 {
			return outOfOrder, 0
		}
		return fresh, 0
	}
	if base, ok := p.find(s.Seq, s.Count); ok {
		return duplicate, base
	}
	last := p.last()
	if s.Seq == nextSeq(last.seq, last.n) {
		return fresh, 0
	}
	if mut.On("M11") {
		return fresh, 0
	}
	return outOfOrder, 0
}

// digest is equal on all replicas at equal applied index (I12).
func (ps *producers) digest() (h det.Hash) {
	ps.folded.Each(func(pid int64, p *producer) {
		h = h.I64(pid).U64(uint64(p.digest()))
	})
	return h
}

const producerVersion = 1

// encode is the fold, for checkpoints and snapshots.
func (ps *producers) encode() []byte {
	if ps.folded.Len() == 0 {
		return nil
	}
	b := []byte{producerVersion}
	b = binary.AppendUvarint(b, uint64(ps.folded.Len()))
	ps.folded.Each(func(pid int64, p *producer) {
		b = binary.AppendVarint(b, pid)
		b = binary.AppendVarint(b, int64(p.epoch))
		b = binary.AppendVarint(b, int64(p.time))
		b = append(b, byte(p.n))
		for _, s := range p.sent[:p.n] {
			b = binary.AppendVarint(b, int64(s.seq))
			b = binary.AppendVarint(b, int64(s.base))
			b = binary.AppendVarint(b, int64(s.n))
		}
	})
	return b
}

// decode replaces the fold; false when b is not what encode makes.
func (ps *producers) decode(b []byte) bool {
	*ps = producers{}
	if len(b) == 0 {
		return true
	}
	if b[0] != producerVersion {
		return false
	}
	b = b[1:]
	ok := true
	num := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return false
	}
	b = b[n:]
	for ; count > 0 && ok; count-- {
		pid := num()
		p := &producer{epoch: int16(num()), time: core.Wall(num())}
		if len(b) == 0 || b[0] > remembered || b[0] == 0 {
			return false
		}
		p.n = int8(b[0])
		b = b[1:]
		for i := range p.sent[:p.n] {
			p.sent[i] = sent{int32(num()), core.Offset(num()), int32(num())}
		}
		ps.folded.Set(pid, p)
	}
	return ok && len(b) == 0
}
