package wire

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/karst-stream/karst/core"
)

// selector is what stands in front of a body in the corpus of FuzzRequests: the place of the key in
// APIs (the highest bit chooses the response instead of the request), and the version above the least.
func selector(b []byte) (fresh func() Message, v int16, body []byte) {
	if len(b) < 2 {
		return nil, 0, nil
	}
	a := &APIs[int(b[0]&0x7f)%len(APIs)]
	v = a.Min + int16(b[1])%(a.Max-a.Min+1)
	if b[0]&0x80 != 0 {
		return a.NewResponse, v, b[2:]
	}
	return a.NewRequest, v, b[2:]
}

// FuzzRequests decodes anything as any body: no panic, no more memory than the bound, and what was
// read writes the same bytes for ever after.
func FuzzRequests(f *testing.F) {
	for i := range APIs {
		f.Add([]byte{byte(i), 0})
	}
	i, last := -1, ""
	eachBody("fuzz", func(_ string, v int16, fresh func() Message, b []byte) {
		m := fresh()
		name := reflect.TypeOf(m).Elem().Name()
		isResponse := name[len(name)-8:] == "Response"
		if !isResponse && name != last {
			i, last = i+1, name
		}
		head := []byte{byte(i), byte(v - APIs[i].Min)}
		if isResponse {
			head[0] |= 0x80
		}
		f.Add(append(head, b...))
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		fresh, v, body := selector(b)
		if fresh == nil {
			return
		}
		frame := core.RefOf(body)
		defer frame.Release()
		m := fresh()
		if attempt(t, m, v, frame) != nil {
			return
		}
		first := written(m, v)
		again := core.RefOf(first)
		defer again.Release()
		r := NewReader(again)
		r.SetBudget(1 << 40)
		back := fresh()
		back.Decode(r, v)
		if err := r.Finish(); err != nil {
			t.Fatalf("%T version %d: we cannot read %x, which we wrote for %x: %v", m, v, first, body, err)
		}
		if second := written(back, v); !bytes.Equal(first, second) {
			t.Fatalf("%T version %d: %x, then %x", m, v, first, second)
		}
	})
}
