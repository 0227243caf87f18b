package tcp

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/core"
)

// memory is a region that counts what is read of it.
type memory struct {
	*bytes.Reader
	read int64
}

func (*memory) Fd() (int, bool) { return 0, false }
func (*memory) Release()        {}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	n, err := m.Reader.ReadAt(b, off)
	m.read += int64(n)
	return n, err
}

// pair is a connection and a sender at its other end.
func pair(t *testing.T) (*net.TCPConn, *sender) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	out, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	s, err := newSender(out.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	return in.(*net.TCPConn), s
}

// A reader that does not read must not cost memory, and gets every byte once when it does.
func TestARegionForAReaderThatWaits(t *testing.T) {
	in, s := pair(t)
	file := make([]byte, 40<<20)
	rand.NewChaCha8([32]byte{1}).Read(file)
	m := &memory{Reader: bytes.NewReader(file)}
	live := core.Live.Load()

	s.add([]byte("head"))
	s.reg, s.off, s.left, s.wait, s.flags = m, 7, int64(len(file))-7, true, unix.MSG_NOSIGNAL
	full := false
	if err := s.raw.Control(func(fd uintptr) { full = !s.onRegion(fd) }); err != nil || !full {
		t.Fatalf("a socket took %d bytes that nobody read: %v", len(file), err)
	}
	if n := core.Live.Load() - live; n != 0 || large.Load() != 0 {
		t.Fatalf("%d buffers are held for a reader that waits, %d large ones", n, large.Load())
	}
	if s.pending() {
		t.Fatal("memory that was given back is still queued")
	}
	got := make(chan []byte)
	go func() {
		b := make([]byte, 4+len(file)-7+4)
		_, err := io.ReadFull(in, b)
		if err != nil {
			b = nil
		}
		got <- b
	}()
	r := core.Ref{File: 1, Off: s.off, Len: int32(s.left)}
	if err := s.region(m, r, true); err != nil {
		t.Fatal(err)
	}
	s.add([]byte("tail"))
	if _, err := s.send(true, false); err != nil {
		t.Fatal(err)
	}
	want := append(append([]byte("head"), file[7:]...), "tail"...)
	if !bytes.Equal(<-got, want) {
		t.Fatal("not the bytes of the file")
	}
	if m.read <= int64(len(file))-7 {
		t.Fatalf("read %d bytes: the socket was never full", m.read)
	}
	if large.Load() != 0 {
		t.Fatalf("%d large pieces are still out", large.Load())
	}
}

// A region that ends too early is an error, whatever was queued before it.
func TestARegionThatEndsEarly(t *testing.T) {
	_, s := pair(t)
	live := core.Live.Load()
	s.add([]byte("head"))
	m := &memory{Reader: bytes.NewReader(make([]byte, 300<<10))}
	if err := s.region(m, core.Ref{File: 1, Off: 100, Len: 300 << 10}, false); err != errShortFile {
		t.Fatalf("got %v", err)
	}
	if n := core.Live.Load() - live; n != 0 || large.Load() != 0 {
		t.Fatalf("%d buffers are held, %d large ones", n, large.Load())
	}
}

// When many hold large pieces, others get small ones and do not wait.
func TestManyPieces(t *testing.T) {
	var all []piece
	for range largePieces {
		all = append(all, takePiece(8<<20))
	}
	for _, p := range all {
		if p.Len != largePiece {
			t.Fatalf("a piece of %d bytes", p.Len)
		}
	}
	few := takePiece(8 << 20)
	if few.Len != smallPiece {
		t.Fatalf("one too many has %d bytes", few.Len)
	}
	few.give()
	for _, p := range all {
		p.give()
	}
	if large.Load() != 0 {
		t.Fatalf("%d are still out", large.Load())
	}
	for _, left := range []int64{1, smallPiece, smallPiece + 1, largePiece + 1} {
		p := takePiece(left)
		if int64(p.Len) != min(left, largePiece) {
			t.Fatalf("%d bytes for %d", p.Len, left)
		}
		p.give()
	}
}
