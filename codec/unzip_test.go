package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/core/record"
)

func TestUnzip(t *testing.T) {
	text := []byte(strings.Repeat("records, and more records; ", 5000))
	for codec, k := range map[record.Codec]kgo.CompressionCodec{record.Gzip: kgo.GzipCompression(),
		record.Snappy: kgo.SnappyCompression(), record.LZ4: kgo.Lz4Compression(), record.Zstd: kgo.ZstdCompression()} {
		c, err := kgo.DefaultCompressor(k)
		if err != nil {
			t.Fatal(err)
		}
		packed, _ := c.Compress(new(bytes.Buffer), text)
		got, err := Unzip(codec, packed)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%v: %d bytes of %d: %v", codec, len(got), len(text), err)
		}
		ours, err := Zip([]byte("head"), codec, 3, text, len(text))
		if err != nil {
			t.Fatal(codec, err)
		}
		theirs, err := kgo.DefaultDecompressor().Decompress(ours[4:], kgo.CompressionCodecType(codec))
		if err != nil || !bytes.Equal(theirs, text) || string(ours[:4]) != "head" {
			t.Errorf("%v: franz-go reads %d bytes of %d: %v", codec, len(theirs), len(text), err)
		}
		for cut := range 40 { // hostile bytes end in an error or in bytes, never in a panic
			_, _ = Unzip(codec, packed[:min(cut, len(packed))])
			torn := bytes.Clone(packed)
			torn[cut*len(torn)/40] ^= 0x55
			_, _ = Unzip(codec, torn)
		}
	}
	if got, err := Unzip(record.None, text); err != nil || !bytes.Equal(got, text) {
		t.Errorf("uncompressed: %v", err)
	}
	if _, err := Unzip(7, text); !errors.Is(err, errCodec) {
		t.Errorf("an unknown codec: %v", err)
	}
}

// TestUnzipJavaSnappy reads the framing of the Java client.
func TestUnzipJavaSnappy(t *testing.T) {
	stream := append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 1, 0, 0, 0, 1)
	var want []byte
	for _, part := range []string{"first block ", "", strings.Repeat("second ", 1000)} {
		block := snappy.Encode(nil, []byte(part))
		stream = append(binary.BigEndian.AppendUint32(stream, uint32(len(block))), block...)
		want = append(want, part...)
	}
	got, err := Unzip(record.Snappy, stream)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
	}
	for cut := 17; cut < len(stream); cut++ {
		if b, err := Unzip(record.Snappy, stream[:cut]); err == nil && bytes.Equal(b, want) {
			t.Errorf("all came out of %d bytes of %d", cut, len(stream))
		}
	}
}

// bombs are what the codecs make of n zeros.
func bombs(t testing.TB, n int) map[record.Codec][]byte {
	out := map[record.Codec][]byte{}
	for codec, k := range map[record.Codec]kgo.CompressionCodec{record.Gzip: kgo.GzipCompression(),
		record.Snappy: kgo.SnappyCompression(), record.LZ4: kgo.Lz4Compression(), record.Zstd: kgo.ZstdCompression()} {
		c, err := kgo.DefaultCompressor(k)
		if err != nil {
			t.Fatal(err)
		}
		bomb, _ := c.Compress(new(bytes.Buffer), make([]byte, n))
		out[codec] = bytes.Clone(bomb)
	}
	return out
}

func TestUnzipRefusesBombs(t *testing.T) {
	for codec, bomb := range bombs(t, 65<<20) {
		before := allocated()
		got, err := Unzip(codec, bomb)
		if !errors.Is(err, record.ErrBomb) {
			t.Errorf("%v: %d bytes became %d: %v", codec, len(bomb), len(got), err)
		}
		if used, most := allocated()-before, uint64(3*record.PlainLimit(len(bomb))+16<<20); used > most {
			t.Errorf("%v: a bomb of %d bytes took %d bytes, %d are allowed", codec, len(bomb), used, most)
		}
	}
}

// What a batch of the usual size may hold is let through, however well it packs.
func TestUnzipTakesWhatPacksWell(t *testing.T) {
	for codec, packed := range bombs(t, 4<<20) {
		if got, err := Unzip(codec, packed); err != nil || len(got) != 4<<20 {
			t.Errorf("%v: %d bytes: %v", codec, len(got), err)
		}
	}
}

// A length that a block only claims is not believed.
func TestUnzipSnappyDoesNotAllocateForClaims(t *testing.T) {
	claim := binary.AppendUvarint(nil, 60<<20)
	before := allocated()
	if _, err := Unzip(record.Snappy, append(claim, make([]byte, 400<<10)...)); err == nil {
		t.Error("400 KiB of nothing were read")
	}
	if used := allocated() - before; used > 2<<20 {
		t.Errorf("a claim took %d bytes", used)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
