package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn speaks the protocol by hand, so that nothing of an answer is touched that need not be.
type conn struct {
	net.Conn
	r      *bufio.Reader
	format *kmsg.RequestFormatter
	n      int32
}

func open(f *flags) (*conn, error) {
	c, err := net.Dial("tcp", f.broker)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 256<<10), format: kmsg.NewRequestFormatter()}, nil
}

// ask sends a request and gives the length of the answer that follows.
func (c *conn) ask(req kmsg.Request) (int, error) {
	c.n++
	if _, err := c.Write(c.format.AppendRequest(nil, req, c.n)); err != nil {
		return 0, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, err
	}
	return int(binary.BigEndian.Uint32(head[:])), nil
}

// got reads a small answer.
func (c *conn) got(req kmsg.Request) (kmsg.Response, error) {
	n, err := c.ask(req)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	b = b[4:]
	if resp.IsFlexible() && req.Key() != 18 {
		b = b[1:]
	}
	return resp, resp.ReadFrom(b)
}

func fetchOf(f *flags, offset int64, most int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MaxWaitMillis, q.MinBytes, q.MaxBytes = 11, 500, 1, most // the last version without compact fields
	q.ReplicaID, q.SessionEpoch = -1, -1
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic = f.topic
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = int32(f.partition), offset, most, -1
	t.Partitions = []kmsg.FetchRequestTopicPartition{p}
	q.Topics = []kmsg.FetchRequestTopic{t}
	return q
}

// records reads the answer to a fetch up to its record bytes: how many they are.
func (c *conn) records(n int, f *flags) (int, error) {
	fixed := 4 + 4 + 2 + 4 + 4 + 2 + len(f.topic) + 4 + 4 + 2 + 8 + 8 + 8 + 4 // up to the aborted transactions
	b := make([]byte, fixed)
	if n < fixed {
		return 0, fmt.Errorf("an answer of %d bytes", n)
	}
	if _, err := io.ReadFull(c.r, b); err != nil {
		return 0, err
	}
	p := kbin.Reader{Src: b[4+4:]}
	if code := p.Int16(); code != 0 {
		return 0, kerr.ErrorForCode(code)
	}
	if code := int16(binary.BigEndian.Uint16(b[4+4+2+4+4+2+len(f.topic)+4+4:])); code != 0 {
		return 0, kerr.ErrorForCode(code)
	}
	rest := make([]byte, 8) // preferred read replica, size; nobody aborts here
	if _, err := io.ReadFull(c.r, rest); err != nil {
		return 0, err
	}
	return int(binary.BigEndian.Uint32(rest[4:])), nil
}

// pass reads n bytes of batches and gives the offset behind the last whole one.
func (c *conn) pass(n int) (next int64, err error) {
	next = -1
	var head [61]byte
	for n > 0 {
		if n < len(head) {
			_, err = c.r.Discard(n)
			return next, err
		}
		if _, err = io.ReadFull(c.r, head[:]); err != nil {
			return 0, err
		}
		n -= len(head)
		body := int(binary.BigEndian.Uint32(head[8:])) + 12 - len(head)
		whole := body <= n
		body = min(body, n)
		if _, err = c.r.Discard(body); err != nil {
			return 0, err
		}
		n -= body
		if whole {
			next = int64(binary.BigEndian.Uint64(head[:])) + int64(binary.BigEndian.Uint32(head[23:])) + 1
		}
	}
	return next, nil
}

// offsets asks for the offset of a time.
func (c *conn) offsets(f *flags, ts int64) (int64, int64, error) {
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version = 7
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic = f.topic
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = int32(f.partition), ts, -1
	t.Partitions = []kmsg.ListOffsetsRequestTopicPartition{p}
	q.Topics, q.ReplicaID = []kmsg.ListOffsetsRequestTopic{t}, -1
	r, err := c.got(q)
	if err != nil {
		return 0, 0, err
	}
	x := r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return x.Offset, x.Timestamp, kerr.ErrorForCode(x.ErrorCode)
}

func fetch(_ context.Context, f *flags) (any, error) {
	c, err := open(f)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	next := f.from
	if next < 0 {
		if next, _, err = c.offsets(f, -1); err != nil {
			return nil, err
		}
	}
	began, got, lap := time.Now(), int64(0), int64(0)
	for got < f.bytes {
		if f.lap > 0 && lap >= f.lap {
			next, lap = f.from, 0
		}
		n, err := c.ask(fetchOf(f, next, 16<<20))
		if err != nil {
			return nil, err
		}
		size, err := c.records(n, f)
		if err != nil {
			return nil, err
		}
		if f.from < 0 && got == 0 { // nothing was written yet
			began = time.Now()
		}
		after, err := c.pass(size)
		if err != nil {
			return nil, err
		}
		if after < 0 && f.from >= 0 {
			break
		}
		next, got, lap = max(next, after), got+int64(size), lap+int64(size)
	}
	return rate{time.Since(began).Seconds(), got, next - f.from}, nil
}

// cat is the reader of fetch at the other end of cat, or of tail -f.
func cat(ctx context.Context, f *flags) (any, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	in, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := l.Accept()
	if err != nil {
		return nil, err
	}
	sock, err := out.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	_ = out.Close()
	began, most := time.Now(), int64(math.MaxInt64)
	argv := []string{"cat", f.file}
	if f.from < 0 { // what is written from now on
		argv, most = []string{"tail", "-c", "0", "-f", f.file}, f.bytes
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = sock, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = sock.Close()
	got, r := int64(0), bufio.NewReaderSize(in, 256<<10)
	if f.from < 0 {
		if _, err := r.Peek(1); err != nil {
			return nil, err
		}
		began = time.Now()
	}
	for got < most {
		n, err := r.Discard(int(min(1<<20, most-got)))
		got += int64(n)
		if err != nil {
			break
		}
	}
	took := time.Since(began).Seconds()
	if f.from < 0 {
		stop() // it follows for ever
	}
	if err := cmd.Wait(); err != nil && f.from >= 0 {
		return nil, err
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return struct {
		rate
		CPU float64 `json:"cpu"`
	}{rate{took, got, 0}, cpu.Seconds()}, nil
}

func (c *conn) ends(f *flags) (from, to int64, err error) {
	if from, _, err = c.offsets(f, -2); err == nil {
		to, _, err = c.offsets(f, -1)
	}
	return from, to, err
}

func bounds(_ context.Context, f *flags) (any, error) {
	c, err := open(f)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	from, to, err := c.ends(f)
	return map[string]int64{"start": from, "end": to}, err
}

// once fetches one batch at an offset.
func (c *conn) once(f *flags, offset int64) error {
	n, err := c.ask(fetchOf(f, offset, 1))
	if err != nil {
		return err
	}
	size, err := c.records(n, f)
	if err != nil {
		return err
	}
	if size == 0 {
		return fmt.Errorf("nothing at offset %d", offset)
	}
	_, err = c.pass(size)
	return err
}

func random(_ context.Context, f *flags) (any, error) {
	c, err := open(f)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	from, to, err := c.ends(f)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range f.count {
		at := from + r.Int64N(to-from)
		began := time.Now()
		if err := c.once(f, at); err != nil {
			return nil, err
		}
		all = append(all, time.Since(began))
	}
	return spreadOf(all), nil
}

func times(_ context.Context, f *flags) (any, error) {
	c, err := open(f)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, last, err := c.offsets(f, -3)
	if err != nil {
		return nil, err
	}
	_, first, err := c.offsets(f, 0)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	drawn := make([]int64, f.count)
	for i := range drawn {
		drawn[i] = first + r.Int64N(max(last-first, 1))
	}
	if f.twice {
		drawn = append(drawn, drawn...)
	}
	var all []time.Duration
	for _, ts := range drawn {
		began := time.Now()
		at, found, err := c.offsets(f, ts)
		if err != nil {
			return nil, err
		}
		if at < 0 || found < ts {
			return nil, fmt.Errorf("time %d: offset %d of time %d", ts, at, found)
		}
		if err := c.once(f, at); err != nil {
			return nil, err
		}
		all = append(all, time.Since(began))
	}
	return spreadOf(all[len(all)-f.count:]), nil
}

// oneRecord is a batch of one record without a producer.
func oneRecord() []byte {
	rec := []byte{0, 0, 0, 1, 8, 'k', 'a', 'r', 's', 0} // attributes, deltas, no key, a value, no headers
	b := make([]byte, 61, 80)
	b = append(b, byte(len(rec)*2))
	b = append(b, rec...)
	now := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], 0xffffffff)
	b[16] = 2
	binary.BigEndian.PutUint64(b[27:], now)
	binary.BigEndian.PutUint64(b[35:], now)
	binary.BigEndian.PutUint64(b[43:], ^uint64(0))
	binary.BigEndian.PutUint16(b[51:], 0xffff)
	binary.BigEndian.PutUint32(b[53:], 0xffffffff)
	binary.BigEndian.PutUint32(b[57:], 1)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
