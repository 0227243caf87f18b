package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/karst-stream/karst/core/record"
)

// maxUnzipped bounds what the records of one batch may become: clients choose what is inside.
const maxUnzipped = 64 << 20

var (
	errUnzipped = errors.New("the records of a batch are larger than 64 MiB when decompressed")
	errCodec    = errors.New("a batch is compressed in an unknown way")
)

// unzip implements replica.Unzip.
func unzip(codec record.Codec, payload []byte) ([]byte, error) {
	switch codec {
	case record.None:
		return payload, nil
	case record.Gzip:
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		return readBounded(r)
	case record.Snappy:
		return unsnappy(payload)
	case record.LZ4:
		return readBounded(lz4.NewReader(bytes.NewReader(payload)))
	case record.Zstd:
		r, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxUnzipped), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readBounded(r)
	}
	return nil, errCodec
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxUnzipped+1))
	if err == nil && len(b) > maxUnzipped {
		err = errUnzipped
	}
	return b, err
}

// The Java client frames snappy in blocks behind a header of its own (SnappyOutputStream: magic,
// version, compatible version; then a length before each block); others send one bare block.
var xerialMagic = []byte("\x82SNAPPY\x00")

const xerialHead = 16

func unsnappy(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, xerialMagic) || len(b) < xerialHead {
		return snappyBlock(nil, b)
	}
	var out []byte
	for b = b[xerialHead:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = snappyBlock(out, b[:n]); err != nil {
			return nil, err
		}
		b = b[n:]
	}
	return out, nil
}

func snappyBlock(out, b []byte) ([]byte, error) {
	n, err := snappy.DecodedLen(b)
	if err != nil {
		return nil, err
	}
	if n > maxUnzipped-len(out) {
		return nil, errUnzipped
	}
	block, err := snappy.Decode(nil, b)
	return append(out, block...), err
}
