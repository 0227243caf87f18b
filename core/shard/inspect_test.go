package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// A tool that has a shard recover a disk learns what the node would fetch, with its bytes, and changes nothing.
func TestAToolSeesWhatABootWouldFetch(t *testing.T) {
	h := newHurt(t)
	slots := Slots(h.sick.disk)
	if slots[0] == nil || slots[1] == nil || slots[0].Node != h.sick.id || slots[0].Writes == slots[1].Writes {
		t.Fatalf("%+v", slots)
	}
	dry := func() []Sick {
		t.Helper()
		rec, err := Recover(h.sick.disk, h.sick.id)
		if err != nil {
			t.Fatal(err)
		}
		s := New(Config{Node: h.sick.id, Shards: 1, Peers: h.peers()}, rec)
		var fx core.Effects
		s.Step(core.Now{}, []core.Event{{Kind: core.Tick}}, &fx)
		for i := range fx.List {
			for _, r := range fx.Vec(&fx.List[i]) {
				r.Release()
			}
		}
		list := s.Sick()
		s.Abandon()
		return list
	}
	if list := dry(); len(list) != 0 {
		t.Errorf("a disk that is well: %+v", list)
	}
	was := h.sick.disk[hurtFirst]
	h.sick.disk[hurtFirst] = was[:100_000]
	list := dry()
	if len(list) != 1 || list[0].Partition != "events-0" || list[0].Offline != "" || len(list[0].Lost) == 0 || list[0].Why == "" {
		t.Fatalf("with a short segment: %+v", list)
	}
	lost := list[0].Lost
	for _, l := range lost {
		if l.Path != hurtFirst || l.To <= 100_000 {
			t.Errorf("%v is not lost", l)
		}
	}
	if lost[0].From > 100_000 || lost[len(lost)-1].To > int64(len(was)) || lost[len(lost)-1].To < int64(len(was))-1000 {
		t.Errorf("of %d bytes 100,000 are left: %v", len(was), lost)
	}
	if len(h.sick.disk[hurtFirst]) != 100_000 {
		t.Error("the disk was changed")
	}
	h.sick.disk[hurtFirst] = was
	for _, f := range h.sick.disk.List() {
		if len(f.Path) > 8 && f.Path[:8] == "journal/" {
			b := h.sick.disk[f.Path]
			for i := 5000; i < len(b)-3; i++ {
				if string(b[i:i+3]) == "KJL" {
					b[i+9] ^= 1
					break
				}
			}
		}
	}
	offline := 0
	for _, x := range dry() {
		if x.Offline != "" {
			offline++
		}
	}
	if offline == 0 {
		t.Error("a journal that lost a frame takes nobody offline")
	}
}
