package tcp

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/karst-stream/karst/core"
)

var (
	errFrameSize = errors.New("a frame has a negative length or one above the limit")
	errSilent    = errors.New("half a frame came, then silence")
)

// split says how long the body of the first frame of b is, once its length is there; ok is false
// while fewer than 4 bytes are.
func split(b []byte, limit int) (n int, ok bool, err error) {
	if len(b) < 4 {
		return 0, false, nil
	}
	size := int32(binary.BigEndian.Uint32(b))
	if size < 0 || int(size) > limit {
		return 0, false, errFrameSize
	}
	return int(size), true, nil
}

// frames cuts a stream into frames. Small ones are copied out of its buffer; of a large one only what
// the buffer happens to hold is copied, the rest is read where it stays.
type frames struct {
	src   io.Reader
	limit int
	alloc func(n int) (core.Ref, error) // may wait for memory; called when the length is known
	in    []byte
	r, w  int  // the unread part of in
	half  bool // some of a frame came, and not yet all

	copied int64 // bytes that were copied from buffer to buffer
}

// ready says whether next would not wait: a whole frame, or a broken one, is in the buffer.
func (f *frames) ready() bool {
	n, ok, err := split(f.in[f.r:f.w], f.limit)
	return err != nil || ok && f.w-f.r >= 4+n
}

// next gives the next frame, io.EOF at the end of the stream, io.ErrUnexpectedEOF inside a frame.
func (f *frames) next() (core.Ref, error) {
	for {
		n, ok, err := split(f.in[f.r:f.w], f.limit)
		if err != nil {
			return core.Ref{}, err
		}
		if ok {
			return f.body(n)
		}
		f.half = f.w > f.r
		if err := f.fill(); err != nil {
			return core.Ref{}, err
		}
	}
}

// fill reads once into the buffer.
func (f *frames) fill() error {
	if f.r > 0 {
		f.w = copy(f.in, f.in[f.r:f.w])
		f.r = 0
	}
	n, err := f.src.Read(f.in[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF && f.half {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (f *frames) body(n int) (core.Ref, error) {
	f.half = true
	ref, err := f.alloc(n)
	if err != nil {
		return core.Ref{}, err
	}
	f.r += 4
	have := copy(ref.Bytes(), f.in[f.r:f.w])
	f.r += have
	f.copied += int64(have)
	if have < n {
		if _, err := io.ReadFull(f.src, ref.Bytes()[have:]); err != nil {
			ref.Release()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return core.Ref{}, err
		}
	}
	f.half = false
	return ref, nil
}
