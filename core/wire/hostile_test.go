package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// footprint is how many bytes of memory a decoded message holds outside of itself, records excepted.
func footprint(v reflect.Value) (n int64) {
	if v.Type() == refType {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		n = int64(v.Len())
	case reflect.Pointer:
		if !v.IsNil() {
			n = int64(v.Type().Elem().Size()) + footprint(v.Elem())
		}
	case reflect.Slice:
		n = int64(v.Cap()) * int64(v.Type().Elem().Size())
		for i := 0; i < v.Len(); i++ {
			n += footprint(v.Index(i))
		}
	case reflect.Struct:
		for i := 0; i < v.NumField(); i++ {
			n += footprint(v.Field(i))
		}
	}
	return n
}

// bound is what a body of n bytes may make Decode allocate.
func bound(n int) int64 { return budgetFactor*int64(n) + budgetBase }

// attempt decodes b as m and fails the test when that took too much memory, error or not.
func attempt(t testing.TB, m Message, v int16, frame core.Ref) error {
	r := NewReader(frame)
	m.Decode(r, v)
	if got := footprint(reflect.ValueOf(m).Elem()); got > bound(int(frame.Len)) {
		t.Fatalf("%T version %d: %d bytes made %d", m, v, frame.Len, got)
	}
	return r.Finish()
}

// eachBody calls visit with a random body of every message in every version.
func eachBody(stream string, visit func(name string, v int16, fresh func() Message, b []byte)) {
	for i := range APIs {
		a := &APIs[i]
		for v := a.Min; v <= a.Max; v++ {
			for _, fresh := range []func() Message{a.NewRequest, a.NewResponse} {
				f := &filler{Rand: det.New(uint64(v), stream+a.Name)}
				m := fresh()
				f.fill(reflect.ValueOf(m).Elem())
				visit(fmt.Sprintf("%T version %d", m, v), v, fresh, written(m, v))
				f.release()
			}
		}
	}
}

// TestTruncated: no message can be read from less than all of its bytes.
func TestTruncated(t *testing.T) {
	cuts := 0
	eachBody("truncated", func(name string, v int16, fresh func() Message, b []byte) {
		for n := 0; n < len(b); n += 1 + len(b)/200 {
			frame := core.RefOf(b[:n])
			if attempt(t, fresh(), v, frame) == nil {
				t.Errorf("%s: read from %d of %d bytes", name, n, len(b))
			}
			frame.Release()
			cuts++
		}
		frame := core.RefOf(append(b, 0))
		if attempt(t, fresh(), v, frame) == nil {
			t.Errorf("%s: took a byte too many", name)
		}
		frame.Release()
	})
	if cuts < 10_000 {
		t.Errorf("only %d cuts", cuts)
	}
}

// TestLies puts the numbers that hurt at every place of every message: whatever stands there, a length,
// a count or a value, Decode neither panics nor exceeds its budget.
func TestLies(t *testing.T) {
	lies := [][]byte{{0x7f, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff, 0x0f}, {0xff, 0xff, 0x03},
		{0x80, 0}, {0x00, 0x0f, 0x42, 0x40}, {0x80, 0x80, 0x80, 0x80, 0x10}, {0}}
	refused := 0
	eachBody("lies", func(name string, v int16, fresh func() Message, b []byte) {
		frame := core.RefOf(b)
		defer frame.Release()
		for at := 0; at < len(b); at += 1 + len(b)/120 {
			for _, lie := range lies {
				copy(frame.Bytes()[at:], lie)
				if attempt(t, fresh(), v, frame) != nil {
					refused++
				}
				copy(frame.Bytes()[at:], b[at:])
			}
		}
	})
	if refused < 10_000 {
		t.Errorf("only %d lies were noticed", refused)
	}
}

// TestDenseArrays sends the most elements a body can hold and measures what the allocator really gave.
func TestDenseArrays(t *testing.T) {
	refused := 0
	for i := range APIs {
		a := &APIs[i]
		for v := a.Min; v <= a.Max; v++ {
			m := a.NewRequest()
			stuff(reflect.ValueOf(m).Elem(), 30_000)
			frame := core.RefOf(written(m, v))
			back, r := a.NewRequest(), NewReader(frame)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			back.Decode(r, v)
			runtime.ReadMemStats(&after)
			got := int64(after.TotalAlloc - before.TotalAlloc)
			if got > bound(int(frame.Len))+1<<10 { // the error itself, and rounding
				t.Errorf("%s version %d: %d bytes made %d (%v)", a.Name, v, frame.Len, got, r.Err())
			}
			if errors.Is(r.Err(), ErrBudget) {
				refused++
			} else if r.Err() != nil {
				t.Errorf("%s version %d: %v", a.Name, v, r.Err())
			}
			frame.Release()
		}
	}
	if refused < 10 {
		t.Errorf("only %d bodies were too dense", refused)
	}
}

// stuff gives the first array of v n empty elements.
func stuff(v reflect.Value, n int) bool {
	for i := 0; i < v.NumField(); i++ {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.Set(reflect.MakeSlice(f.Type(), n, n))
			return true
		}
	}
	return false
}

// TestTagFlood is the 23 bytes that occupy a careless server for minutes (DESIGN.md section 7).
func TestTagFlood(t *testing.T) {
	b := []byte{0, 18, 0, 3, 0, 0, 0, 1, 0, 4, 'e', 'v', 'i', 'l', 0, // header, its tags
		2, 'n', 1, 0xff, 0xff, 0xff, 0xff, 0x0f} // software name, version, 2^32-1 tagged fields
	if len(b) != 23 {
		t.Fatalf("%d bytes", len(b))
	}
	r := NewBytesReader(b)
	var h RequestHeader
	h.Decode(r)
	var m ApiVersionsRequest
	m.Decode(r, h.ApiVersion)
	if !errors.Is(r.Err(), ErrTags) || r.UnknownTags() != 0 {
		t.Fatalf("%v after %d tags", r.Err(), r.UnknownTags())
	}
}

// tagBytes is the end of a structure without known tagged fields that has n of them, with ids from first on.
func tagBytes(n, first int) []byte {
	b := binary.AppendUvarint(nil, uint64(n))
	for i := range n {
		b = append(binary.AppendUvarint(b, uint64(first+i)), 1, 'x')
	}
	return b
}

func TestTags(t *testing.T) {
	body := []byte{1, 1} // ApiVersionsRequest: two empty strings
	for _, c := range []struct {
		name    string
		tags    []byte
		want    error
		unknown int
	}{
		{"none", []byte{0}, nil, 0},
		{"two unknown", []byte{2, 0, 1, 'x', 7, 0}, nil, 2},
		{"as many as may be", tagBytes(maxTags, 0), nil, maxTags},
		{"one too many", tagBytes(maxTags+1, 0), ErrTags, 0},
		{"repeated", []byte{2, 4, 0, 4, 0}, ErrTags, 1},
		{"out of order", []byte{2, 4, 0, 3, 0}, ErrTags, 1},
		{"the last id there is", []byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, nil, 1},
		{"more than there are", []byte{2, 1, 0}, ErrTags, 0},
		{"too long", []byte{1, 1, 200, 1, 'x'}, ErrTruncated, 0},
		{"count is not minimal", []byte{0x81, 0x00, 1, 0}, ErrVarint, 0},
		{"cut", []byte{1, 1}, ErrTags, 0},
	} {
		r := NewBytesReader(append(body[:2:2], c.tags...))
		new(ApiVersionsRequest).Decode(r, 3)
		if err := r.Finish(); !errors.Is(err, c.want) || r.UnknownTags() != c.unknown {
			t.Errorf("%s: %v, %d unknown", c.name, err, r.UnknownTags())
		}
	}
}

// TestKnownTagLies: a tagged field that we know ends where its size says.
func TestKnownTagLies(t *testing.T) {
	good := written(&FetchRequest{ReplicaState: &FetchRequestReplica{ReplicaId: 3, ReplicaEpoch: 4}}, 15)
	at := strings.Index(string(good), string([]byte{1, 1, 13})) // one field, tag 1, 4+8 bytes and no tags
	if at < 0 {
		t.Fatalf("no tag in %x", good)
	}
	for _, c := range []struct {
		size byte
		want error
	}{{13, nil}, {12, ErrTruncated}, {11, ErrTruncated}, {0, ErrTruncated}, {14, ErrTags}} {
		b := append([]byte{}, good...)
		b[at+2] = c.size
		if c.size == 14 {
			b = append(b, 0)
		}
		r := NewBytesReader(b)
		new(FetchRequest).Decode(r, 15)
		if err := r.Finish(); !errors.Is(err, c.want) {
			t.Errorf("size %d: %v, want %v", c.size, err, c.want)
		}
	}
	r := NewBytesReader(good)
	new(FetchRequest).Decode(r, 14)
	if r.UnknownTags() != 0 || r.Finish() == nil {
		t.Errorf("version 14 of version 15's bytes: %v", r.Err())
	}
}

func TestRefused(t *testing.T) {
	long := strings.Repeat("x", maxString+1)
	for _, c := range []struct {
		name string
		key  Key
		v    int16
		body []byte
		want error
	}{
		{"a version before the first", KeyProduce, 2, make([]byte, 99), ErrVersion},
		{"a version after the last", KeyFetch, 19, make([]byte, 99), ErrVersion},
		{"a negative version", KeyMetadata, -1, make([]byte, 99), ErrVersion},
		{"a null string", KeyHeartbeat, 0, []byte{0xff, 0xff}, ErrNull},
		{"a null compact string", KeyHeartbeat, 4, []byte{0}, ErrNull},
		{"a null array", KeyMetadata, 0, []byte{0xff, 0xff, 0xff, 0xff}, ErrNull},
		{"null before null was allowed", KeyMetadata, 9, []byte{2, 0, 0, 0, 0, 0, 0}, ErrNull},
		{"a length of -2", KeyHeartbeat, 0, []byte{0xff, 0xfe}, ErrLength},
		{"a count of -2", KeyMetadata, 1, []byte{0xff, 0xff, 0xff, 0xfe}, ErrLength},
		{"a count beyond int32", KeyMetadata, 9, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0}, ErrLength},
		{"a count beyond the body", KeyMetadata, 4, append([]byte{0, 0, 0, 4}, make([]byte, 7)...), ErrCount},
		{"a long string", KeyHeartbeat, 4, append(binary.AppendUvarint(nil, uint64(len(long)+1)), long...), ErrLength},
		{"a varint of six bytes", KeyHeartbeat, 4, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 1}, ErrVarint},
		{"a varint of 33 bits", KeyHeartbeat, 4, []byte{0xff, 0xff, 0xff, 0xff, 0x1f}, ErrVarint},
		{"a varint with a zero too many", KeyHeartbeat, 4, []byte{0x82, 0x00, 'g'}, ErrVarint},
		{"too many elements", KeyListGroups, 4, append([]byte{0xc2, 0x84, 0x3d}, make([]byte, 2_000_000)...), ErrCount},
	} {
		m := Lookup(c.key).NewRequest()
		r := NewBytesReader(c.body)
		m.Decode(r, c.v)
		var where *DecodeError
		if err := r.Finish(); !errors.Is(err, c.want) || !errors.As(err, &where) || where.At > len(c.body) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFrameLengths(t *testing.T) {
	for _, c := range []struct {
		head [4]byte
		want int32 // 0: refused
	}{{}, {[4]byte{0, 0, 0, 3}, 0}, {[4]byte{0, 0, 0, 4}, 4}, {[4]byte{0, 0, 1, 0}, 256}, {[4]byte{0, 0, 1, 1}, 0},
		{[4]byte{0x80}, 0}, {[4]byte{0xff, 0xff, 0xff, 0xff}, 0}, {[4]byte{'G', 'E', 'T', ' '}, 0}} {
		n, err := FrameLength(c.head, 256)
		if n != c.want || (c.want == 0) != errors.Is(err, ErrLength) {
			t.Errorf("%x: %d, %v", c.head, n, err)
		}
	}
	b := []byte{0, 0, 0, 5, 1, 2, 3, 4, 5, 9}
	for n := range b {
		frame, rest, need, ok, err := SplitFrame(b[:n], 256)
		switch {
		case err != nil:
			t.Errorf("%d bytes: %v", n, err)
		case ok != (n >= 9) || ok && (len(frame) != 5 || len(rest) != n-9):
			t.Errorf("%d bytes: frame %x, rest %x", n, frame, rest)
		case !ok && (need < 1 || n+need > 9):
			t.Errorf("%d bytes: needs %d", n, need)
		}
	}
}

// TestMemorySizes holds karst-gen's arithmetic against the compiler's.
func TestMemorySizes(t *testing.T) {
	if len(declaredSizes) < 50 {
		t.Fatalf("only %d sizes", len(declaredSizes))
	}
	for _, s := range declaredSizes {
		if int(s.typ.Size()) != s.size {
			t.Errorf("%s has %d bytes, not %d", s.typ, s.typ.Size(), s.size)
		}
	}
}
