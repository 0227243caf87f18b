package journal_test

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/journal"
)

// BenchmarkOneEntryAFrame is the journal's share of a produce request of one small batch.
func BenchmarkOneEntryAFrame(b *testing.B) {
	ids := uint64(0)
	w := journal.NewWriter(journal.Config{Start: 1, First: 1,
		NewFile: func() core.FileID { ids++; return core.FileID(ids) },
		NewOp:   func() core.OpID { ids++; return core.OpID(ids) }})
	w.Checkpoint(1, born(1), nil)
	body := batch(0, 1, 100, 'x')
	ents := []journal.Entry{{Term: 1, Data: journal.StubOf(body).Append(nil)}}
	var fx core.Effects
	b.ReportAllocs()
	for index := core.Index(2); b.Loop(); index++ {
		fx.Reset()
		ents[0].Index, ents[0].Body = index, core.RefOf(body)
		w.Append(1, nil, ents, index-1)
		w.Flush(&fx)
		for i := range fx.List {
			e := &fx.List[i]
			for _, ref := range fx.Vec(e) {
				ref.Release()
			}
			w.Done(e.Op, core.OK)
		}
		if len(w.Needy()) > 0 {
			m := born(1)
			m.Index = index
			w.Checkpoint(1, m, nil)
		}
	}
}
