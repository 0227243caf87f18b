package node

import (
	"bytes"
	"encoding/binary"
	"errors"
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
		got, err := unzip(codec, packed)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%v: %d bytes of %d: %v", codec, len(got), len(text), err)
		}
		for cut := range 40 { // hostile bytes end in an error or in bytes, never in a panic
			_, _ = unzip(codec, packed[:min(cut, len(packed))])
			torn := bytes.Clone(packed)
			torn[cut*len(torn)/40] ^= 0x55
			_, _ = unzip(codec, torn)
		}
	}
	if got, err := unzip(record.None, text); err != nil || !bytes.Equal(got, text) {
		t.Errorf("uncompressed: %v", err)
	}
	if _, err := unzip(7, text); !errors.Is(err, errCodec) {
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
	got, err := unzip(record.Snappy, stream)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
	}
	for cut := 17; cut < len(stream); cut++ {
		if b, err := unzip(record.Snappy, stream[:cut]); err == nil && bytes.Equal(b, want) {
			t.Errorf("all came out of %d bytes of %d", cut, len(stream))
		}
	}
}

func TestUnzipIsBounded(t *testing.T) {
	zeros := make([]byte, maxUnzipped+1)
	for codec, k := range map[record.Codec]kgo.CompressionCodec{record.Gzip: kgo.GzipCompression(),
		record.Snappy: kgo.SnappyCompression(), record.LZ4: kgo.Lz4Compression(), record.Zstd: kgo.ZstdCompression()} {
		c, err := kgo.DefaultCompressor(k)
		if err != nil {
			t.Fatal(err)
		}
		bomb, _ := c.Compress(new(bytes.Buffer), zeros)
		if got, err := unzip(codec, bomb); err == nil {
			t.Errorf("%v: %d bytes became %d", codec, len(bomb), len(got))
		}
	}
}
