package compact

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
	"strconv"
	"testing"

	"github.com/pierrec/lz4/v4"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// The first vectors of the reference implementation's vectors_sip128.
func TestHashIsSipHash(t *testing.T) {
	in := make([]byte, 16)
	for i := range in {
		in[i] = byte(i)
	}
	k0, k1 := binary.LittleEndian.Uint64(in), binary.LittleEndian.Uint64(in[8:])
	for n, want := range []string{"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45"} {
		h1, h2 := hash(k0, k1, in[:n])
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, h1), h2)
		if hex.EncodeToString(got) != want {
			t.Errorf("%d bytes: %x, want %s", n, got, want)
		}
	}
	seen := map[[2]uint64]int{}
	for n := range 64 {
		h1, h2 := hash(1, 2, bytes.Repeat([]byte{'x'}, n))
		if was, ok := seen[[2]uint64{h1, h2}]; ok {
			t.Errorf("%d bytes and %d bytes have one hash", n, was)
		}
		seen[[2]uint64{h1, h2}] = n
	}
}

func TestKeysAreAMapOfBoundedMemory(t *testing.T) {
	const limit = 120_000
	rnd := det.New(1, "keys")
	m := keys{k0: 1, k1: 2, limit: limit}
	model := map[string]core.Offset{}
	for offset := core.Offset(0); offset < 300_000; offset++ {
		key := strconv.FormatInt(rnd.N(200_000), 10)
		_, known := model[key]
		ok := m.put([]byte(key), offset)
		if ok != (known || len(model) < limit) {
			t.Fatalf("put of %s: %v with %d keys", key, ok, len(model))
		}
		if ok {
			model[key] = offset
		}
		if n := len(model); n == 1000 || n == 10_000 || n == 50_000 || n == 77_777 || n == limit {
			if per := m.bytes() / int64(n); n > 1000 && per > KeyBytes {
				t.Fatalf("%d keys take %d bytes each", n, per)
			}
		}
	}
	if m.n != limit || len(model) != limit {
		t.Errorf("%d keys, want %d", m.n, limit)
	}
	for i := range 200_000 {
		key := strconv.Itoa(i)
		want, ok := model[key]
		if !ok {
			want = -1
		}
		if got := m.last([]byte(key)); got != want {
			t.Fatalf("%s is at %d, want %d", key, got, want)
		}
	}
}

func samples() (all [][]byte) {
	rnd := det.New(3, "lz4")
	for _, n := range []int{1, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 33, 270, 300, 65535, 65536, 65537, 200_000} {
		zero, noise, text := make([]byte, n), make([]byte, n), make([]byte, 0, n+9)
		for i := range noise {
			noise[i] = byte(rnd.N(256))
		}
		for len(text) < n {
			text = append(text, "{\"id\":"+strconv.FormatInt(rnd.N(50), 10)+"},"...)
		}
		all = append(all, zero, noise, text[:n])
	}
	return all
}

func unlz4(packed []byte) ([]byte, error) { return io.ReadAll(lz4.NewReader(bytes.NewReader(packed))) }

func TestOurLZ4IsReadByAnother(t *testing.T) {
	var z lz4Encoder
	for i, plain := range samples() {
		got, err := unlz4(z.pack(plain))
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("sample %d of %d bytes: %d bytes, %v", i, len(plain), len(got), err)
		}
	}
	text := samples()[59]
	if n := len(z.pack(text)); n > len(text)/3 {
		t.Errorf("%d bytes of text take %d", len(text), n)
	}
}

// Replicas of different builds write the same bytes: a change of this sum is a change of format, and needs
// a decision of another kind in the log.
func TestOurLZ4IsPinned(t *testing.T) {
	var z lz4Encoder
	sum := uint32(0)
	for _, plain := range samples() {
		sum = crc32.Update(sum, crc32.IEEETable, z.pack(plain))
	}
	if sum != 0x149ef2cc {
		t.Errorf("the encoder's bytes have the sum %#x", sum)
	}
}

func FuzzLZ4(f *testing.F) {
	for _, plain := range samples()[:30] {
		f.Add(plain, uint8(1))
	}
	f.Add([]byte("abcdabcdabcdefabcdefabcdabcd"), uint8(200))
	f.Fuzz(func(t *testing.T, plain []byte, times uint8) {
		var z lz4Encoder
		plain = bytes.Repeat(plain, int(times)%20+1)
		if len(plain) == 0 {
			return
		}
		first := bytes.Clone(z.pack(plain))
		if !bytes.Equal(first, z.pack(plain)) {
			t.Fatal("an encoder that was used gives other bytes")
		}
		got, err := unlz4(first)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes became %d: %v", len(plain), len(got), err)
		}
	})
}

func FuzzMark(f *testing.F) {
	m := Mark{next: 5, upto: 9, txns: carry{seen: 4, aborted: []open{{Aborted{7, 1, 8}, true}, {Aborted{9, 2, 1 << 62}, false}}, committed: []int64{0, 3}}}
	f.Add(m.Append(nil))
	f.Add([]byte{1, 0, 0, 1, 0, 0})
	f.Add([]byte{2})
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMark(b)
		if err != nil {
			return
		}
		again, err := DecodeMark(m.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), m.Append(nil)) {
			t.Fatalf("%x does not come back: %v", b, err)
		}
	})
}

func FuzzDecision(f *testing.F) {
	d := Decision{1, 2, 3, 4, 5, 6, 32}
	f.Add(d.Append(nil))
	f.Add([]byte{1, 2, 1, 0, 0, 0, 0, 32})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDecision(b)
		if err != nil {
			return
		}
		if again, err := DecodeDecision(d.Append(nil)); err != nil || again != d || !d.sound() {
			t.Fatalf("%+v became %+v: %v", d, again, err)
		}
	})
}
