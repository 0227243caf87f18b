package workload

import (
	"bytes"
	"testing"
)

func val(p, q uint16, c uint32) Value { return Value{Producer: p, Partition: q, Counter: c} }

func TestValues(t *testing.T) {
	a := appendValue(nil, val(3, 5, 70000), 100)
	b := appendValue([]byte("before"), val(1, 2, 9), minValue)[6:]
	if len(a) != 100 || len(b) != minValue {
		t.Fatalf("values of %d and %d bytes", len(a), len(b))
	}
	if v, ok := ParseValue(a); !ok || v != (val(3, 5, 70000)) {
		t.Errorf("parsed %v %v", v, ok)
	}
	for i := range a {
		c := bytes.Clone(a)
		c[i] ^= 4
		if _, ok := ParseValue(c); ok {
			t.Errorf("a flip at byte %d goes unseen", i)
		}
	}
	if !SameHead(a[:ValueHead], val(3, 5, 70000)) || SameHead(a[:ValueHead], val(3, 5, 70001)) {
		t.Error("SameHead")
	}
}

func TestFindValues(t *testing.T) {
	text := append([]byte("noise"), appendValue(nil, val(1, 2, 3), 64)...)
	text = append(text, "more"...)
	at2 := len(text)
	text = append(text, appendValue(nil, val(4, 5, 6), 300)...)
	var found []Value
	var places []int
	FindValues(text, func(v Value, at, n int, whole bool) {
		if !whole {
			t.Error("a whole value is called damaged")
		}
		found, places = append(found, v), append(places, at)
	})
	if len(found) != 2 || found[0] != (val(1, 2, 3)) || found[1] != (val(4, 5, 6)) || places[0] != 5 || places[1] != at2 {
		t.Errorf("found %v at %v", found, places)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"a flip":   func(b []byte) []byte { b[at2+200] ^= 1; return b },
		"a cut":    func(b []byte) []byte { return b[:len(b)-5] },
		"its head": func(b []byte) []byte { b[at2+17] ^= 0x80; return b },
	} {
		bad := 0
		FindValues(damage(bytes.Clone(text)), func(_ Value, _, _ int, whole bool) {
			if !whole {
				bad++
			}
		})
		if bad != 1 {
			t.Errorf("%s: %d damaged values", name, bad)
		}
	}
}
