package codec

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/karst-stream/karst/core/record"
)

// Zip implements record.Zip. Levels have Kafka's range (compression.gzip.level and so on) and are mapped to
// the nearest that the library has; zstd has four.
func Zip(dst []byte, codec record.Codec, level int, plain []byte, room int) ([]byte, error) {
	w := &bounded{b: dst, most: len(dst) + room}
	var err error
	switch codec {
	case record.None:
		_, err = w.Write(plain)
	case record.Gzip:
		err = zipGzip(w, level, plain)
	case record.Snappy:
		err = zipSnappy(w, plain)
	case record.LZ4:
		err = zipLZ4(w, level, plain)
	case record.Zstd:
		w.b = zipZstd(w.b, level, plain)
		if len(w.b) > w.most {
			err = record.ErrNoRoom
		}
	default:
		err = errCodec
	}
	return w.b, err
}

// bounded appends to b until that has most bytes.
type bounded struct {
	b    []byte
	most int
}

func (w *bounded) Write(p []byte) (int, error) {
	if len(p) > w.most-len(w.b) {
		return 0, record.ErrNoRoom
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// Encoders are large: they are kept, by level.
var (
	gzips [11]sync.Pool // level + 1
	lz4s  sync.Pool
	zstds [zstd.SpeedBestCompression + 1]sync.Pool
)

func zipGzip(w *bounded, level int, plain []byte) error {
	level = min(max(level, gzip.DefaultCompression), gzip.BestCompression)
	pool := &gzips[level+1]
	z, _ := pool.Get().(*gzip.Writer)
	if z == nil {
		z, _ = gzip.NewWriterLevel(nil, level) // the level is in range
	}
	defer pool.Put(z)
	z.Reset(w)
	if _, err := z.Write(plain); err != nil {
		return err
	}
	return z.Close()
}

// lz4Level follows Kafka, whose level 9, the default, is the fast compressor and all others are slow ones
// (Lz4BlockOutputStream). The library has nine of these.
func lz4Level(level int) lz4.CompressionLevel {
	levels := [...]lz4.CompressionLevel{lz4.Level1, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5,
		lz4.Level6, lz4.Level7, lz4.Level8, lz4.Fast}
	switch {
	case level >= len(levels):
		return lz4.Level9
	case level < 0:
		return lz4.Level1
	}
	return levels[level]
}

// zipLZ4 writes what Kafka's own reader takes: independent blocks of 64 KiB, no checksums.
func zipLZ4(w *bounded, level int, plain []byte) error {
	z, _ := lz4s.Get().(*lz4.Writer)
	if z == nil {
		z = lz4.NewWriter(nil)
	}
	defer lz4s.Put(z)
	z.Reset(w)
	err := z.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1),
		lz4.CompressionLevelOption(lz4Level(level)))
	if err != nil {
		return err
	}
	if _, err := z.Write(plain); err != nil {
		return err
	}
	return z.Close()
}

func zipSnappy(w *bounded, plain []byte) error {
	head := binary.BigEndian.AppendUint32(append([]byte(nil), xerialMagic...), 1)
	if _, err := w.Write(binary.BigEndian.AppendUint32(head, 1)); err != nil {
		return err
	}
	block := make([]byte, 4+snappy.MaxEncodedLen(xerialBlock))
	for len(plain) > 0 {
		n := min(len(plain), xerialBlock)
		packed := snappy.Encode(block[4:], plain[:n])
		binary.BigEndian.PutUint32(block, uint32(len(packed)))
		if _, err := w.Write(block[:4+len(packed)]); err != nil {
			return err
		}
		plain = plain[n:]
	}
	return nil
}

func zipZstd(dst []byte, level int, plain []byte) []byte {
	speed := zstd.EncoderLevelFromZstd(level)
	pool := &zstds[speed]
	z, _ := pool.Get().(*zstd.Encoder)
	if z == nil {
		z, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(speed),
			zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true)) // the options are valid
	}
	defer pool.Put(z)
	return z.EncodeAll(plain, dst)
}
