package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/karst-stream/karst/checker"
)

// tape is a history file while it is written. An operation ends when it is written: lines stand in
// the order of their ends, and no operation looks shorter than it was.
type tape struct {
	mu        sync.Mutex
	file      io.WriteCloser
	w         *bufio.Writer
	buf       []byte
	began     time.Time
	written   int64
	processes int64
	err       error
}

func newTape(path, recorder string) (*tape, error) {
	f, err := createHistory(path)
	if err != nil {
		return nil, err
	}
	t := &tape{file: f, w: bufio.NewWriterSize(f, 1<<20), began: time.Now()}
	_, t.err = t.w.Write(checker.AppendHeader(nil, recorder))
	return t, nil
}

// zipped is a compressed file, written or read.
type zipped struct {
	io.Writer
	io.Reader
	closers []io.Closer
}

func (z *zipped) Close() (err error) {
	for _, c := range z.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}

func createHistory(path string) (io.WriteCloser, error) {
	f, err := os.Create(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	return &zipped{Writer: z, closers: []io.Closer{z, f}}, err
}

func openHistory(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &zipped{Reader: z, closers: []io.Closer{z, f}}, nil
}

// now is nanoseconds since the recording began.
func (t *tape) now() int64 { return int64(time.Since(t.began)) }

// process is a number that no other client has.
func (t *tape) process() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.processes++
	return t.processes - 1
}

// write ends an operation.
func (t *tape) write(o *checker.Op) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil {
		return // the history is closed: what ends now is unknown and written already
	}
	o.Done = t.now()
	t.buf = checker.AppendOp(t.buf[:0], o)
	if _, err := t.w.Write(t.buf); err != nil && t.err == nil {
		t.err = err
	}
	t.written++
}

// failed says whether something could not be written.
func (t *tape) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err != nil
}

func (t *tape) operations() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.written
}

// close writes the last line if the recording is whole.
func (t *tape) close(whole bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if whole && t.err == nil {
		_, t.err = t.w.Write(checker.AppendEnd(nil, t.written))
	}
	if err := t.w.Flush(); t.err == nil {
		t.err = err
	}
	if err := t.file.Close(); t.err == nil {
		t.err = err
	}
	t.w = nil
	return t.err
}

// stamp marks the values of one recording.
type stamp [8]byte

const valueSize = 8 + 2 + 2 + 4 + 4 // the least

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// value is a record's value: stamp, producer, partition, counter, filler, checksum of all before.
func (s stamp) value(producer, partition, counter int64, size int) []byte {
	b := make([]byte, 0, size+valueSize)
	b = append(b, s[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(producer))
	b = binary.LittleEndian.AppendUint16(b, uint16(partition))
	b = binary.LittleEndian.AppendUint32(b, uint32(counter))
	x := uint32(counter)*2654435761 + uint32(producer) + 1
	for len(b) < size {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return binary.LittleEndian.AppendUint32(b, sum(b))
}

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ending is the checksum that a value ends with. A checksum of all of it, its own included, is the same
// for every value.
func ending(value []byte) int64 { return int64(binary.LittleEndian.Uint32(value[len(value)-4:])) }

// parse reads a value of this recording and of this partition.
func (s stamp) parse(b []byte, partition int32) (producer, counter int64, ok bool) {
	n := len(b) - 4
	if len(b) < valueSize || stamp(b) != s || binary.LittleEndian.Uint32(b[n:]) != sum(b[:n]) {
		return 0, 0, false
	}
	producer, counter = int64(binary.LittleEndian.Uint16(b[8:])), int64(binary.LittleEndian.Uint32(b[12:]))
	return producer, counter, int32(binary.LittleEndian.Uint16(b[10:])) == partition
}

// gather adds a record that was read to an operation.
func (s stamp) gather(o *checker.Op, partition int32, offset int64, value []byte) {
	producer, counter, ok := s.parse(value, partition)
	if !ok {
		o.Bad = append(o.Bad, offset)
		return
	}
	o.Sums = append(o.Sums, ending(value))
	if n := len(o.Runs); n > 0 {
		r := &o.Runs[n-1]
		if r[0]+r[3] == offset && r[1] == producer && r[2]+r[3] == counter {
			r[3]++
			return
		}
	}
	o.Runs = append(o.Runs, checker.Run{offset, producer, counter, 1})
}
