package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
)

// The queue of the budget names what is in memory, not all that ever was: topics of small batches that
// come and go, and entries that leave the window by their number, must leave nothing behind.
func TestBudgetForgetsWhatLeftTheWindow(t *testing.T) {
	const many, inMemory = 10000, 2000
	b := &Budget{MaxBytes: 1 << 40, MaxEntries: 1 << 20}
	for range 20 {
		r := &Replica{log: &window{first: 1}}
		for i := uint64(1); i <= many; i++ {
			r.log.ents = append(r.log.ents, raftpb.Entry{Index: i, Term: 1})
			r.log.notes = append(r.log.notes, note{batch: true, body: core.RefOf([]byte("batch"))})
			b.Entries++
			b.push(r, core.Index(i), 1)
			if k := len(r.log.ents) - inMemory; k > 0 {
				r.log.drop(k)
				b.Entries -= k
			}
			if len(b.queue) > 2*(inMemory+1)+1024+1 {
				t.Fatalf("%d batches are in memory, the queue names %d", inMemory, len(b.queue))
			}
		}
		r.offline = "deleted"
		b.Entries -= len(r.log.ents)
	}
}
