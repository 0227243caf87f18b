package meta

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// An incarnation is given to one mark only, whoever asks how often, and however late a command comes.
func TestIncarnationsAreGivenOnce(t *testing.T) {
	s, number := New("c"), uint64(0)
	do := func(c Command) Result {
		number++
		r, err := s.Apply(Encode(Origin{Node: 9, Start: NewStart(1, 1), Number: number}, c))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := do(&Rejoin{Node: 1, Mark: 5}); r.Code != UnknownBroker {
		t.Fatalf("a node that nobody knows: %v", r)
	}
	register := func(inc uint32) Result {
		return do(&RegisterBroker{Broker{ID: 1, Incarnation: inc, Listeners: []Listener{{Name: "P"}}}})
	}
	register(1)
	given := map[uint32]uint64{}
	rng := det.New(1, "marks")
	for range 200 {
		mark := uint64(rng.Between(1, 20))
		before := s.View()
		if r := before.Check(&Rejoin{Node: 1, Mark: mark}); r.Code != Done {
			t.Fatal(r)
		}
		do(&Rejoin{Node: 1, Mark: mark})
		inc := s.View().Granted(1, mark)
		if was, ok := given[inc]; inc < 2 || ok && was != mark {
			t.Fatalf("mark %d got incarnation %d, which mark %d had", mark, inc, was)
		}
		if before.Granted(1, mark) != 0 && before.Granted(1, mark) != inc {
			t.Fatal("the same mark got another one")
		}
		given[inc] = mark
		if rng.Chance(1, 5) {
			register(inc)
		}
		if s.View().Granted(2, mark) != 0 || s.View().Granted(1, 99) != 0 {
			t.Fatal("others got one, too")
		}
	}
	top := s.View().Broker(1).Incarnation
	if r := register(top - 1); r.Code != OldIncarnation {
		t.Errorf("the disk that is gone may register: %v", r)
	}
	if s.View().Broker(1).RaftID() != core.NewRaftID(top, 1) {
		t.Error("new partitions are not placed on the new disk")
	}
}

func TestRejoinIsPartOfTheDigest(t *testing.T) {
	a, b := New("c"), New("c")
	for k, s := range []*State{a, b} {
		for i, c := range []Command{&RegisterBroker{Broker{ID: 1, Incarnation: 1, Listeners: []Listener{{Name: "P"}}}}, &Rejoin{Node: 1, Mark: uint64(7 + k)}} {
			if _, err := s.Apply(Encode(Origin{Node: 1, Start: 1, Number: uint64(i + 1)}, c)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a.Digest() == b.Digest() {
		t.Error("two states that gave to different marks look equal")
	}
}
