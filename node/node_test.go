package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/karst-stream/karst/core"
)

func TestMain(m *testing.M) {
	core.Poison = true
	os.Exit(m.Run())
}

// echo is a shard that answers each frame of a client with its body, after it has written the body to
// its file and synced it; with several shards the writing is done by the next one, by mail.
type echo struct {
	t     *testing.T
	id    core.ShardID
	count int
	file  core.FileID
	off   int64
	op    uint64
	owed  map[core.OpID]answer
	order []core.OpID
	begun bool
	last  core.Mono
	calm  bool // write nothing
}

type answer struct {
	home core.ShardID
	conn core.ConnID
	body core.Ref
}

type written struct{ answer }

func (s *echo) Step(now core.Now, events []core.Event, fx *core.Effects) core.Mono {
	if now.Mono < s.last {
		s.t.Error("time went back")
	}
	s.last = now.Mono
	if !s.begun {
		s.begun = true
		s.file = core.NewFileID(s.id, 1)
		fx.Add(core.Effect{Kind: core.Create, File: s.file, Path: fmt.Sprintf("journal/%d", s.id), Sync: true})
		if s.id == 0 {
			fx.Add(core.Effect{Kind: core.OpenGate})
			fx.Add(core.Effect{Kind: core.Note, N: int64(slog.LevelInfo), Text: `msg="gate open" reason="a test" n=3`})
		}
	}
	for i := range events {
		s.event(&events[i], fx)
	}
	return now.Mono + 100*core.Millisecond
}

func (s *echo) event(e *core.Event, fx *core.Effects) {
	switch e.Kind {
	case core.ConnFrame:
		fx.Add(core.Effect{Kind: core.CreditConn, Conn: e.Conn, N: 1})
		a := answer{s.id, e.Conn, e.Body}
		switch string(e.Body.Bytes()) {
		case "panic":
			e.Body.Release()
			panic("planted")
		case "fatal":
			e.Body.Release()
			fx.Add(core.Effect{Kind: core.Fatal, Text: "it is over: do something else"})
			return
		case "job":
			s.op++
			op := core.NewOpID(s.id, s.op)
			s.owed[op] = a
			fx.Add(core.Effect{Kind: core.Run, Op: op, Job: &core.Job{Name: "upper", In: []core.Ref{a.body.Retain()},
				Do: func(in [][]byte) ([]byte, core.Errno) { return bytes.ToUpper(in[0]), core.OK }}})
			return
		}
		if to := (s.id + 1) % core.ShardID(s.count); to != s.id {
			fx.Add(core.Effect{Kind: core.MailOut, Shard: to, Mail: a})
		} else {
			s.write(a, fx)
		}
	case core.MailIn:
		switch m := e.Mail.(type) {
		case answer:
			s.write(m, fx)
		case written:
			s.reply(m.answer, fx)
		}
	case core.DiskDone:
		if s.order[0] != e.Op || e.Err != core.OK {
			s.t.Errorf("completion of %d (%v), want %d", e.Op, e.Err, s.order[0])
		}
		s.order = s.order[1:]
		a := s.owed[e.Op]
		delete(s.owed, e.Op)
		s.answer(a, fx)
	case core.JobDone:
		a := s.owed[e.Op]
		delete(s.owed, e.Op)
		a.body.Release()
		a.body = e.Body
		s.reply(a, fx)
	case core.StopAsked:
		fx.Add(core.Effect{Kind: core.Stopped})
	default:
		e.Body.Release()
	}
}

func (s *echo) write(a answer, fx *core.Effects) {
	if s.calm {
		s.answer(a, fx)
		return
	}
	s.op++
	op := core.NewOpID(s.id, s.op)
	s.owed[op] = a
	s.order = append(s.order, op)
	fx.Add(core.Effect{Kind: core.Write, File: s.file, Off: s.off, Sync: true, Op: op}, a.body.Retain())
	s.off += int64(a.body.Len)
}

// answer replies, or has the home of the connection do so.
func (s *echo) answer(a answer, fx *core.Effects) {
	if a.home == s.id {
		s.reply(a, fx)
	} else {
		fx.Add(core.Effect{Kind: core.MailOut, Shard: a.home, Mail: written{a}})
	}
}

func (s *echo) reply(a answer, fx *core.Effects) {
	head := core.NewRef(4)
	binary.BigEndian.PutUint32(head.Bytes(), uint32(a.body.Len))
	fx.Add(core.Effect{Kind: core.SendConn, Conn: a.conn}, head, a.body)
}

func (s *echo) Abandon() {
	for _, a := range s.owed {
		a.body.Release()
	}
}

func (s *echo) Tell(visit func(string, int64)) { visit("echo_bytes", s.off) }

// running is a node under test.
type running struct {
	t    testing.TB
	addr string
	n    *node
	stop context.CancelFunc
	done chan error
	log  *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// run starts a node of echo shards and waits until it lets clients in.
func run(t testing.TB, o Options, calm bool) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1), log: &safeBuffer{}}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Listeners = []Listener{{Name: "PLAIN", Host: "127.0.0.1"}}
	o.Shards = max(o.Shards, 1)
	o.Log = slog.New(slog.NewTextHandler(r.log, nil))
	o.build = func(o *Options, _ core.Boot) (*engine, error) {
		e := &engine{intake: func(core.Ref) any { return nil }, route: func([]byte) core.ShardID { return 0 }}
		tt, _ := t.(*testing.T)
		for s := range o.Shards {
			e.shards = append(e.shards, &echo{t: tt, id: core.ShardID(s), count: o.Shards, owed: map[core.OpID]answer{}, calm: calm})
		}
		return e, nil
	}
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	o.bound = func(n *node) { r.n, r.addr = n, n.net.Addrs()[0].String() }
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	t.Cleanup(stop)
	go func() { r.done <- Run(ctx, o) }()
	select {
	case <-ready:
	case err := <-r.done:
		t.Fatalf("the node ended: %v", err)
	}
	return r
}

func (r *running) dial() net.Conn {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func frameOf(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func (r *running) ask(nc net.Conn, body string) string {
	r.t.Helper()
	if _, err := nc.Write(frameOf(body)); err != nil {
		r.t.Fatal(err)
	}
	got, err := readFrame(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func readFrame(r io.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(r, b)
	return string(b), err
}

// TestStopUnderLoad ends a node that is busy: nothing is posted twice, lost or left behind.
func TestStopUnderLoad(t *testing.T) {
	before := core.Live.Load()
	r := run(t, Options{Shards: 1}, false) // mail that nobody opens any more would keep its buffers
	flood := r.dial()
	go func() {
		for _, err := flood.Write(frameOf("more")); err == nil; _, err = flood.Write(frameOf("more")) {
		}
	}()
	if _, err := readFrame(flood); err != nil {
		t.Error(err)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if left := core.Live.Load() - before; left != 0 {
		t.Errorf("%d buffers were not released", left)
	}
}

// TestEcho has many clients pipeline requests through two shards, mail and disk, and wants every
// answer in order and no buffer left.
func TestEcho(t *testing.T) {
	before := core.Live.Load()
	r := run(t, Options{Shards: 2}, false)
	const clients, each = 8, 300
	var wg sync.WaitGroup
	for c := range clients {
		nc := r.dial()
		wg.Go(func() {
			for i := range each {
				if _, err := nc.Write(frameOf(fmt.Sprintf("client %d request %d %s", c, i, strings.Repeat("x", i*7)))); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			in := bufio.NewReader(nc)
			for i := range each {
				got, err := readFrame(in)
				if want := fmt.Sprintf("client %d request %d ", c, i); err != nil || !strings.HasPrefix(got, want) {
					t.Errorf("answer %d of client %d: %.40q %v", i, c, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("a stop that was asked for is no error: %v", err)
	}
	if left := core.Live.Load() - before; left != 0 {
		t.Errorf("%d buffers were not released", left)
	}
	if log := r.log.String(); !strings.Contains(log, `msg="gate open" reason="a test" n=3 shard=0`) {
		t.Errorf("the note is not in the log: %s", log)
	}
}

func TestJob(t *testing.T) {
	r := run(t, Options{}, false)
	nc := r.dial()
	if got := r.ask(nc, "job"); got != "JOB" {
		t.Errorf("the job made %q", got)
	}
	r.stop()
	<-r.done
}

func TestFatalAndPanicEndTheNode(t *testing.T) {
	for word, want := range map[string]string{"fatal": "it is over: do something else", "panic": "shard 0 panicked: planted"} {
		r := run(t, Options{}, false)
		if _, err := r.dial().Write(frameOf(word)); err != nil {
			t.Fatal(err)
		}
		if err := <-r.done; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the node ended with %v", word, err)
		}
	}
}

func TestTakenPortTouchesNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	dir := filepath.Join(t.TempDir(), "data")
	for _, o := range []Options{
		{Listeners: []Listener{{Name: "PLAIN", Host: "127.0.0.1", Port: port}}},
		{PeerListen: ln.Addr().String()},
		{Admin: ln.Addr().String()},
	} {
		o.Dir = dir
		err := Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) || !strings.Contains(err.Error(), "choose another") {
			t.Errorf("a taken port: %v", err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory was touched: %v", err)
	}
}

// The port is bound first and listened on when the cluster answers. Whoever takes it in between ends a node
// that has never said it was ready.
func TestAPortTakenLateIsNotReady(t *testing.T) {
	o := Options{Dir: t.TempDir(), Shards: 1, Listeners: []Listener{{Name: "PLAIN", Host: "127.0.0.1"}},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Ready: func() { t.Error("it is ready without its port") },
		build: func(*Options, core.Boot) (*engine, error) {
			return &engine{intake: func(core.Ref) any { return nil }, route: func([]byte) core.ShardID { return 0 },
				shards: []stepper{&echo{t: t, count: 1, owed: map[core.OpID]answer{}}}}, nil
		}}
	n, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", n.net.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	n.start()
	if err := <-n.failing; !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "is taken by another process") {
		t.Errorf("the node ends with %v", err)
	}
	n.loops[0].halt(true) // the step is over
	if err := n.isReady(); err == nil {
		t.Error("the node is ready")
	}
	n.close()
}

func TestAdmin(t *testing.T) {
	r := run(t, Options{Admin: "127.0.0.1:0"}, false)
	r.ask(r.dial(), "twelve bytes")
	base := "http://" + r.n.admin.ln.Addr().String()
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/healthz": "ok",
		"/metrics": `karst_echo_bytes{shard="0"} 12`, "/debug/pprof/": "goroutine"} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %v %.2000s", path, resp.StatusCode, err, b)
		}
		_ = resp.Body.Close()
		if path == "/metrics" {
			for _, m := range []string{"karst_fsync_seconds_count", "karst_connections 1", "karst_bytes_in_total 16", "process_resident_memory_bytes"} {
				if !strings.Contains(string(b), m) {
					t.Errorf("/metrics does not show %s", m)
				}
			}
		}
	}
	r.n.ready.Store(false)
	resp, err := http.Get(base + "/readyz")
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("not ready: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	r.stop()
	<-r.done
}

// TestPowerCut cuts the power in the middle of requests; every answered one is in the file.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	control, words := io.Pipe()
	killed := make(chan struct{})
	var once sync.Once
	r := run(t, Options{Dir: dir, PowerSwitch: true, Control: control,
		kill: func() { once.Do(func() { close(killed) }); select {} }}, false)
	nc := r.dial()
	go func() {
		for i := 0; ; i++ {
			if _, err := nc.Write(frameOf(fmt.Sprintf("%08d", i))); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReader(nc)
	answered := 0
	for ; answered < 500; answered++ {
		if _, err := readFrame(in); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(words, "powercut\n"); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := readFrame(in); err != nil {
			break
		}
		answered++
	}
	<-killed
	b, err := os.ReadFile(filepath.Join(dir, "journal", "0"))
	if err != nil || len(b) < 8*answered {
		t.Fatalf("%d answers, %d bytes: %v", answered, len(b), err)
	}
	for i := range answered {
		if got := string(b[8*i : 8*i+8]); got != fmt.Sprintf("%08d", i) {
			t.Fatalf("request %d is %q", i, got)
		}
	}
	r.stop()
}

func TestSupervisorsDeathEndsTheNode(t *testing.T) {
	control, words := io.Pipe()
	killed := make(chan struct{})
	r := run(t, Options{Control: control, kill: func() { close(killed) }}, true)
	if _, err := io.WriteString(words, "powercut\nwhat\n"); err != nil { // no power switch: refused
		t.Fatal(err)
	}
	_ = words.Close()
	<-killed
	if log := r.log.String(); !strings.Contains(log, "runs without the power switch") || !strings.Contains(log, "word=what") {
		t.Errorf("the log says %s", log)
	}
	r.stop()
	<-r.done
}

func TestNotes(t *testing.T) {
	for text, want := range map[string]string{
		`msg="two words" a=1 b="c d" e="x\"y"`: `two words [a=1 b=c d e=x"y]`,
		`plain words`:                          `plain words []`,
		`msg=x k= j=2`:                         `x [k= j=2]`,
		``:                                     ` []`,
		`a=b rest of it`:                       `rest of it [a=b]`,
	} {
		msg, attrs := parseNote(text)
		if got := fmt.Sprint(msg, " ", attrs); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestSlowStopIsCutShort is covered by time alone: a shard that never says Stopped.
func TestSlowStopIsCutShort(t *testing.T) {
	began := time.Now()
	o := Options{Dir: t.TempDir(), Shards: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		build: func(*Options, core.Boot) (*engine, error) { return &engine{shards: []stepper{deaf{}}}, nil }}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Run(ctx, o); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d < stopWithin || d > 5*stopWithin {
		t.Errorf("the stop took %v", d)
	}
}

type deaf struct{}

func (deaf) Step(core.Now, []core.Event, *core.Effects) core.Mono { return core.Never }

func BenchmarkRoundTrip(b *testing.B) {
	for _, calm := range []bool{true, false} {
		for _, shards := range []int{1, 2} {
			b.Run(fmt.Sprintf("disk=%v/shards=%d", !calm, shards), func(b *testing.B) {
				r := run(b, Options{Shards: shards}, calm)
				nc := r.dial()
				body := strings.Repeat("x", 200)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					r.ask(nc, body)
				}
				b.StopTimer()
				r.stop()
				<-r.done
			})
		}
	}
}
