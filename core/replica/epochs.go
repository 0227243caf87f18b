package replica

import (
	"encoding/binary"
	"sort"

	"github.com/karst-stream/karst/core"
)

// epochStart says at which offset the first batch of a leader epoch lies.
type epochStart struct {
	epoch core.Epoch
	base  core.Offset
}

// epochs is the history of a log's leader epochs, both columns growing (LeaderEpochFileCache.java). It is
// a function of the log's batches; uncommitted ones count, and leave with them.
type epochs []epochStart

// add notes a batch at the end of the log.
func (es *epochs) add(e core.Epoch, base core.Offset) {
	if k := len(*es); k == 0 || (*es)[k-1].epoch < e {
		*es = append(*es, epochStart{e, base})
	}
}

// cut forgets what begins at end or after.
func (es *epochs) cut(end core.Offset) {
	k := len(*es)
	for k > 0 && (*es)[k-1].base >= end {
		k--
	}
	*es = (*es)[:k]
}

// trim forgets what lies below the log start. The epoch that holds it begins there now
// (LeaderEpochFileCache.truncateFromStartAsyncFlush).
func (es *epochs) trim(start core.Offset) {
	k := 0
	for k < len(*es) && (*es)[k].base <= start {
		k++
	}
	if k > 0 {
		*es = append(epochs(nil), (*es)[k-1:]...)
		(*es)[0].base = start
	}
}

// EpochEnd is the newest epoch of the log that is not above e, and the offset at which the next begins;
// the high watermark for the epoch of this leader. -1 and -1 for an epoch that the log has not seen.
func (r *Replica) EpochEnd(e core.Epoch) (core.Epoch, core.Offset) {
	now := r.term.Epoch()
	switch {
	case e < 0 || e > now:
		return -1, -1
	case e == now:
		return e, r.high
	}
	es := r.epochs
	i := sort.Search(len(es), func(i int) bool { return es[i].epoch > e })
	end := r.high
	if i < len(es) {
		end = min(end, es[i].base)
	}
	if i == 0 {
		return e, end
	}
	return es[i-1].epoch, end
}

func (es epochs) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(es)))
	for _, x := range es {
		b = binary.AppendUvarint(b, uint64(x.epoch))
		b = binary.AppendUvarint(b, uint64(x.base))
	}
	return b
}

// decodeEpochs reads what encode wrote; rest follows it.
func decodeEpochs(b []byte) (es epochs, rest []byte, ok bool) {
	num := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	ok = true
	for k := num(); k > 0 && ok; k-- {
		es = append(es, epochStart{core.Epoch(num()), core.Offset(num())})
	}
	return es, b, ok
}
