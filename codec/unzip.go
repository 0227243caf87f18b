// Package codec compresses and decompresses the records of batches: gzip, snappy, lz4 and zstd in the
// framings that Kafka's clients write and read. The core knows none of it; drivers hand these functions to
// it (record.Unzip, record.Zip).
//
// It promises that equal inputs give equal bytes in one build, that hostile bytes end in an error within
// the memory that record.PlainLimit allows, and that nothing here panics. It refuses to know what records
// are.
package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/karst-stream/karst/core/record"
)

var errCodec = errors.New("codec: a batch is compressed in an unknown way")

// Unzip implements record.Unzip. The result may be payload itself, when that is not compressed.
func Unzip(codec record.Codec, payload []byte) (plain []byte, err error) {
	defer func() { // the libraries are careful, but the bytes are anybody's
		if p := recover(); p != nil {
			plain, err = nil, fmt.Errorf("codec: %v could not be read: %v", codec, p)
		}
	}()
	limit := record.PlainLimit(len(payload))
	switch codec {
	case record.None:
		return payload, nil
	case record.Gzip:
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		return readBounded(r, len(payload), limit)
	case record.Snappy:
		return unsnappy(payload, limit)
	case record.LZ4:
		return readBounded(lz4.NewReader(bytes.NewReader(payload)), len(payload), limit)
	case record.Zstd:
		return unzstd(payload, limit)
	}
	return nil, errCodec
}

// unzstd refuses frames whose window is larger than what may come out, because the window is memory, too:
// what zstd's levels up to 21 write is below.
func unzstd(payload []byte, limit int) ([]byte, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := r.DecodeAll(payload, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = record.ErrBomb
	}
	return b, err
}

// readBounded reads all of r, which has some size bytes before it is decompressed. Its memory doubles as
// it fills, up to the limit: what it uses in all is less than three times what r gives.
func readBounded(r io.Reader, size, limit int) ([]byte, error) {
	b := make([]byte, 0, min(limit+1, 4*size+512))
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return nil, record.ErrBomb
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		}
		if len(b) == cap(b) {
			more := make([]byte, len(b), min(limit+1, 2*cap(b)))
			copy(more, b)
			b = more
		}
	}
}

// The Java client frames snappy in blocks behind a header of its own (SnappyOutputStream: magic,
// version, compatible version; then a length before each block); others send one bare block.
var xerialMagic = []byte("\x82SNAPPY\x00")

const (
	xerialHead  = 16
	xerialBlock = 32 << 10 // what SnappyOutputStream puts into a block
)

// snappyRatio is more than a snappy block can shrink: a copy of 64 bytes takes three.
const snappyRatio = 24

func unsnappy(b []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(b, xerialMagic) || len(b) < xerialHead {
		return snappyBlock(nil, b, limit)
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
		if out, err = snappyBlock(out, b[:n], limit); err != nil {
			return nil, err
		}
		b = b[n:]
	}
	return out, nil
}

// snappyBlock appends what b holds to out.
func snappyBlock(out, b []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(b)
	switch {
	case err != nil:
		return nil, err
	case n > snappyRatio*len(b):
		return nil, snappy.ErrCorrupt
	case n > limit-len(out):
		return nil, record.ErrBomb
	}
	at := len(out)
	if cap(out)-at < n {
		more := make([]byte, at, max(at+n, min(limit, 2*cap(out))))
		copy(more, out)
		out = more
	}
	if _, err = snappy.Decode(out[at:at+n], b); err != nil {
		return nil, err
	}
	return out[:at+n], nil
}
