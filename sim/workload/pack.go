package workload

import (
	"errors"

	"github.com/karst-stream/karst/core/record"
)

// Packed batches: the simulator has a codec of its own, of which it is enough that nobody can read what is
// packed without unpacking it. Brokers know it as lz4 and store everything uncompressed, so that batches
// which a worker must look into first and batches that go straight in meet on one connection.

var errPacked = errors.New("workload: no such codec")

// Pack implements record.Zip.
func Pack(dst []byte, codec record.Codec, _ int, plain []byte, room int) ([]byte, error) {
	if codec != record.LZ4 {
		return dst, errPacked
	}
	if len(plain) > room {
		return dst, record.ErrNoRoom
	}
	for _, x := range plain {
		dst = append(dst, ^x)
	}
	return dst, nil
}

// Unpack implements record.Unzip.
func Unpack(codec record.Codec, payload []byte) ([]byte, error) {
	return Pack(nil, codec, 0, payload, record.PlainLimit(len(payload)))
}

// packed is b as a producer that compresses sends it.
func packed(b record.Batch) record.Batch {
	p := record.Press{Zip: Pack, Codec: record.LZ4, Room: 1 << 30, Terms: record.Terms{AppendTime: true}}
	return record.ReadPressed(p.Do(b)).Batch
}
