package tcp

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

// sink is a node's end of a network in which only clients matter. It credits nothing by itself.
type sink struct {
	t      *testing.T
	net    *Net
	mu     sync.Mutex
	events []core.Event
	news   chan struct{}
}

func newSink(t *testing.T, o Options) *sink {
	t.Helper()
	s := &sink{t: t, news: make(chan struct{}, 1)}
	o.Post = s.post
	o.Listeners = []Listener{{Name: "PLAIN", Host: "127.0.0.1"}}
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.net = n
	t.Cleanup(n.Close)
	n.Do(0, &core.Effect{Kind: core.OpenGate}, nil)
	return s
}

func (s *sink) post(_ core.ShardID, events []core.Event) {
	s.mu.Lock()
	for _, e := range events {
		e.Body.Release()
		s.events = append(s.events, e)
	}
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *sink) seen(k core.EventKind, conn core.ConnID) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == k && (conn == 0 || e.Conn == conn) {
			n++
		}
	}
	return n
}

func (s *sink) until(what string, ok func() bool) {
	s.t.Helper()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-s.news:
		case <-late:
			s.t.Fatalf("in vain: %s", what)
		}
	}
}

func (s *sink) dial() *net.TCPConn {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.net.Addrs()[0].String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	return nc.(*net.TCPConn)
}

func (s *sink) send(nc net.Conn, b string) {
	s.t.Helper()
	if _, err := io.WriteString(nc, b); err != nil {
		s.t.Fatal(err)
	}
}

func TestHalfFrameThenSilence(t *testing.T) {
	for name, half := range map[string]string{"length": "\x00\x00", "body": "\x00\x00\x00\x05ab", "large": "\x00\x50\x00\x00" + strings.Repeat("x", 50_000)} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, Options{Patience: 30 * time.Millisecond})
			idle := s.dial()
			s.send(idle, "\x00\x00\x00\x01a")
			nc := s.dial()
			s.send(nc, half)
			s.until("the silent one to be closed", func() bool { return s.seen(core.ConnClosed, 0) == 1 })
			if got := s.net.Counters.Refused.Load(); got != 1 {
				t.Errorf("%d connections were refused, want 1", got)
			}
			s.send(idle, "\x00\x00\x00\x01b") // a connection between frames may be silent
			s.until("the idle one's second frame", func() bool { return s.seen(core.ConnFrame, 0) == 2 })
			if used := s.net.BudgetUsed(); used != 2 {
				t.Errorf("%d bytes of budget are used, want 2", used)
			}
		})
	}
}

// TestSilentHolderMakesRoom has one connection claim the whole budget and say no more. Another gets
// its frame through long before the first one's patience ends.
func TestSilentHolderMakesRoom(t *testing.T) {
	s := newSink(t, Options{Budget: 1 << 20, Patience: time.Hour})
	liar := s.dial()
	s.send(liar, "\x05\x00\x00\x00the first bytes of 80 MiB")
	for s.net.BudgetUsed() != 80<<20 {
		runtime.Gosched()
	}
	honest := s.dial()
	s.send(honest, "\x00\x00\x00\x05hello")
	s.until("the honest frame", func() bool { return s.seen(core.ConnFrame, 0) == 1 })
	s.until("the end of the liar", func() bool { return s.seen(core.ConnClosed, 0) == 1 })
}

func TestBudgetIsGivenBack(t *testing.T) {
	s := newSink(t, Options{Budget: 100})
	nc := s.dial()
	frame := "\x00\x00\x00\x3c" + strings.Repeat("x", 60)
	s.send(nc, frame+frame+frame)
	s.until("the first", func() bool { return s.seen(core.ConnFrame, 0) == 1 })
	if used := s.net.BudgetUsed(); used != 60 {
		t.Fatalf("%d bytes are used, want 60: two frames do not fit", used)
	}
	id := s.events[0].Conn
	s.net.Do(0, &core.Effect{Kind: core.CreditConn, Conn: id, N: 1}, nil)
	s.until("the second", func() bool { return s.seen(core.ConnFrame, 0) == 2 })
	s.net.Do(0, &core.Effect{Kind: core.CreditConn, Conn: id, N: 1}, nil)
	s.until("the third", func() bool { return s.seen(core.ConnFrame, 0) == 3 })
	_ = nc.Close()
	other := s.dial() // what its owner left behind is free again
	s.send(other, frame)
	s.until("a frame of the other", func() bool { return s.seen(core.ConnFrame, 0) == 4 })
}

func TestBudgetIsFairAndCancels(t *testing.T) {
	b := budget{total: 10}
	never := make(chan struct{})
	if err := b.take(8, never); err != nil {
		t.Fatal(err)
	}
	dead := make(chan struct{})
	result := make(chan error)
	go func() { result <- b.take(5, dead) }()
	for !b.short() {
		runtime.Gosched()
	}
	if b.try(1) {
		t.Error("one that came later passed one that waits")
	}
	close(dead)
	if err := <-result; !errors.Is(err, errClosing) {
		t.Errorf("the cancelled one got %v", err)
	}
	if !b.try(2) || b.try(1) {
		t.Error("the cancelled one left a trace")
	}
	go func() { result <- b.take(1000, never) }()
	for !b.short() {
		runtime.Gosched()
	}
	b.give(9)
	select {
	case <-result:
		t.Fatal("more than all was given beside others")
	default:
	}
	b.give(1)
	if err := <-result; err != nil || b.out() != 1000 {
		t.Errorf("alone, it got %v, %d are out", err, b.out())
	}
}

// TestSlowReader does not read; what is queued stays uncounted, and the others are served.
func TestSlowReader(t *testing.T) {
	s := newSink(t, Options{Linger: 20 * time.Millisecond})
	slow := s.dial()
	s.until("ConnOpen", func() bool { return s.seen(core.ConnOpen, 0) == 1 })
	id := s.events[0].Conn
	const size = 64 << 20
	s.net.Do(0, &core.Effect{Kind: core.SendConn, Conn: id}, []core.Ref{core.NewRef(size)})
	s.net.Flush(0)
	quick := s.dial()
	s.send(quick, "\x00\x00\x00\x01a")
	s.until("a frame", func() bool { return s.seen(core.ConnFrame, 0) == 1 })
	if s.seen(core.ConnSent, id) != 0 {
		t.Error("64 MiB left through a socket that nobody reads")
	}
	s.net.Do(0, &core.Effect{Kind: core.CloseConn, Conn: id}, nil) // bounded by Linger
	s.net.Flush(0)
	s.until("the end", func() bool { return s.seen(core.ConnClosed, id) == 1 })
	_ = slow.Close()
}

func TestTakenPorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	_, err = New(Options{Listeners: []Listener{{Name: "PLAIN", Host: "127.0.0.1", Port: port}}})
	if err == nil || !strings.Contains(err.Error(), "listener PLAIN: port") || !strings.Contains(err.Error(), "taken") || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken client port: %v", err)
	}
	_, err = New(Options{PeerListen: ln.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "peer listener: port") || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken peer port: %v", err)
	}
	_, err = New(Options{Listeners: []Listener{{Name: "OUT", Host: "192.0.2.1"}}})
	if err == nil || !strings.Contains(err.Error(), "no address of this machine") {
		t.Errorf("a foreign address: %v", err)
	}
}

// TestGateTakenLate takes the port between bind and listen, which SO_REUSEADDR allows.
func TestGateTakenLate(t *testing.T) {
	first := newSink(t, Options{})
	port := first.net.Addrs()[0].Port
	_, err := New(Options{Listeners: []Listener{{Name: "PLAIN", Host: "127.0.0.1", Port: port}}})
	if err == nil {
		t.Fatal("two nodes have one port")
	}
	var failed error
	o := Options{Fail: func(err error) { failed = err }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Listeners: []Listener{{Name: "PLAIN", Host: "127.0.0.1"}}}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	o.Listeners = []Listener{{Name: "PLAIN", Host: "127.0.0.1", Port: a.Addrs()[0].Port}}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a.Do(0, &core.Effect{Kind: core.OpenGate}, nil)
	b.Do(0, &core.Effect{Kind: core.OpenGate}, nil)
	if failed == nil || !strings.Contains(failed.Error(), "taken") || !errors.Is(failed, syscall.EADDRINUSE) {
		t.Errorf("the second to open its gate was told %v", failed)
	}
}

func TestAllInterfaces(t *testing.T) {
	n, err := New(Options{Config: netsim.Config{Post: func(_ core.ShardID, es []core.Event) {
		for _, e := range es {
			e.Body.Release()
		}
	}}, Listeners: []Listener{{Name: "PLAIN"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.Do(0, &core.Effect{Kind: core.OpenGate}, nil)
	nc, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n.Addrs()[0].Port})
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
}

// FuzzFrames cuts a stream in pieces of drawn sizes and compares the splitter with the plain reading
// of the same bytes.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x03abc"), uint16(1))
	f.Add([]byte("\x00\x00\x00\x40"+strings.Repeat("x", 64)+"\xff\xff\xff\xff"), uint16(7))
	f.Add([]byte("\x00\x00\x10\x01"), uint16(3))
	f.Add([]byte("\x00\x00\x00"), uint16(0))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16) {
		const limit = 4096
		fr := frames{src: &pieces{stream, int(cut)}, limit: limit, in: make([]byte, 64)}
		fr.alloc = func(n int) (core.Ref, error) {
			if n < 0 || n > limit {
				t.Fatalf("memory for a frame of %d bytes", n)
			}
			return core.NewRef(n), nil
		}
		rest := stream
		for {
			wasReady := fr.ready()
			body, err := fr.next()
			want, left, wantErr := plain(rest, limit)
			if !errors.Is(err, wantErr) {
				t.Fatalf("%v, want %v", err, wantErr)
			}
			if err != nil {
				if wasReady && !errors.Is(err, errFrameSize) {
					t.Fatalf("ready, and then %v", err)
				}
				return
			}
			if !bytes.Equal(body.Bytes(), want) {
				t.Fatalf("%q, want %q", body.Bytes(), want)
			}
			body.Release()
			rest = left
		}
	})
}

// plain is the specification: the first frame of b and what follows.
func plain(b []byte, limit int) (body, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}
	if len(b) < 4 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	n := int64(b[0])<<24 | int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
	if n > int64(limit) {
		return nil, nil, errFrameSize
	}
	if int64(len(b)) < 4+n {
		return nil, nil, io.ErrUnexpectedEOF
	}
	return b[4 : 4+n], b[4+n:], nil
}

// pieces reads b in pieces of changing sizes.
type pieces struct {
	b   []byte
	cut int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	p.cut = p.cut*31 + 7
	n := copy(b[:min(len(b), 1+p.cut&127)], p.b)
	p.b = p.b[n:]
	return n, nil
}
