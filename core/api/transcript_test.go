package api

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// TestTranscripts plays testdata/*.txt against the handlers. If it fails, run it with -rewrite, look at
// the difference and commit it only when you understand what caused it. At the end of each file every
// buffer is back.
func TestTranscripts(t *testing.T) {
	files := 0
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		files++
		before := core.Live.Load()
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			w.out.Reset()
			w.run(d)
			return w.out.String()
		})
		w.end()
		if live := core.Live.Load() - before; live != 0 {
			t.Errorf("%d buffers were not released", live)
		}
	})
	if files == 0 {
		t.Fatal("no transcripts")
	}
}

func (w *world) end() {
	for _, name := range w.names {
		if c := w.conns[name]; c != nil {
			c.Closed()
		}
	}
	for kind := range w.held {
		w.hold[kind] = false
		for len(w.held[kind]) > 0 {
			w.settle(kind, "")
		}
	}
	if w.timers.Next(-1) != -1 {
		w.t.Error("a timer outlives its request")
	}
	for _, l := range w.logs {
		if len(l.watches) > 0 {
			w.t.Error("a watch outlives its connection")
		}
		for _, b := range l.refs {
			b.ref.Release()
		}
	}
}

func (w *world) run(d *datadriven.TestData) {
	first := firstKey(d)
	arg := func(key, otherwise string) string {
		for _, a := range d.CmdArgs {
			if a.Key == key && len(a.Vals) > 0 {
				return strings.Join(a.Vals, ",")
			}
		}
		return otherwise
	}
	number := func(key string, otherwise int64) int64 {
		n, err := strconv.ParseInt(arg(key, fmt.Sprint(otherwise)), 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		return n
	}
	has := func(key string) bool {
		return slices.ContainsFunc(d.CmdArgs, func(a datadriven.CmdArg) bool { return a.Key == key })
	}
	switch d.Cmd {
	case "topic":
		w.topic(first, int32(number("partitions", 1)), d.Input)
	case "alter":
		a := d.CmdArgs[1]
		c := &meta.AlterConfigs{Resource: meta.TopicResource, Name: first, Ops: []meta.ConfigOp{{Key: a.Key, Value: a.Vals[0]}}}
		if first == "cluster" {
			c.Resource, c.Name = meta.BrokerResource, ""
		}
		if res := w.apply(c); res.Code != meta.Done {
			w.t.Fatal(res.Message)
		}
	case "drop":
		w.apply(&meta.DeleteTopic{Name: first})
	case "lead":
		l := Leadership{Leader: core.NodeID(number("leader", 1)), Term: core.Term(number("term", 2)), Dead: has("dead"),
			ISR: []core.NodeID{1, 2}}
		w.lead(w.part(first).Group(), l)
	case "suspect":
		w.suspect[core.NodeID(number("node", 2))] = !has("no")
	case "set":
		for _, a := range d.CmdArgs {
			w.set[a.Key] = a.Vals[0]
		}
		w.desk.view = nil
	case "static":
		w.fix(d.CmdArgs)
	case "verbose":
		w.verbose = true
	case "batch":
		w.batches[first] = w.batch(number, has)
	case "append":
		w.fill(w.log(w.part(first).Group()), arg("batches", ""), has("cold"))
	case "trim":
		w.log(w.part(first).Group()).start = core.Offset(number("start", 0))
	case "fail":
		l := w.log(w.part(first).Group())
		l.fail = w.outcome(arg("with", "OK"))
		w.fire(l)
	case "hold":
		w.hold[first] = !has("no")
	case "settle":
		w.settle(first, arg("as", "")+strings.TrimSpace(d.Input))
	case "wait":
		w.now.Mono += core.Mono(number("ms", 0)) * core.Millisecond
		w.now.Wall += core.Wall(number("ms", 0))
		w.timers.Run(int64(w.now.Mono))
	default:
		w.runConn(d, first, arg, number)
	}
}

// fix sets keys of the configuration file.
func (w *world) fix(args []datadriven.CmdArg) {
	for _, a := range args {
		w.static = config.Sort(append(w.static, config.KV{Key: a.Key, Value: a.Vals[0]}))
	}
}

func firstKey(d *datadriven.TestData) string {
	if len(d.CmdArgs) == 0 {
		return ""
	}
	return d.CmdArgs[0].Key
}

// runConn plays the commands that act on a connection.
func (w *world) runConn(d *datadriven.TestData, first string, arg func(string, string) string, number func(string, int64) int64) {
	switch d.Cmd {
	case "open":
		w.names = append(w.names, first)
		w.conns[first] = w.desks[core.ShardID(number("shard", 3))].Open(core.ConnID(len(w.names)), arg("listener", "PLAINTEXT")+"\x00"+
			arg("local", "10.0.0.1:9092")+"\x00"+arg("remote", "10.0.0.9:5555"))
	case "close":
		w.conns[first].Closed()
		delete(w.conns, first)
	case "raw":
		w.raw(first, d.Input)
	case "ask":
		w.ask(first, d.CmdArgs[1].Key, int16(number("v", 0)), d.Input)
	default:
		w.t.Fatalf("no command %s", d.Cmd)
	}
}

// topic makes a topic with settings from the lines of input; node 1 leads all of it.
func (w *world) topic(name string, partitions int32, input string) {
	c := &meta.CreateTopic{Name: name, Partitions: partitions, Replication: 3, ID: drawID(w), Live: live(w)}
	for _, line := range strings.Fields(input) {
		k, v, _ := strings.Cut(line, "=")
		c.Configs = append(c.Configs, config.KV{Key: k, Value: v})
	}
	res := w.apply(c)
	if res.Code != meta.Done {
		w.t.Fatal(res.Message)
	}
	for i := range res.Added {
		w.leads[res.FirstGroup+core.GroupID(i)] = Leadership{Leader: 1, Term: 2, ISR: []core.NodeID{1, 2, 3}}
	}
}

func (w *world) batch(number func(string, int64) int64, has func(string) bool) []byte {
	var b record.Builder
	if pid := number("pid", -1); pid >= 0 {
		b.Producer(pid, 0, int32(number("seq", 0)))
	}
	if has("transactional") {
		b.Transactional()
	}
	for i := range number("records", 1) {
		r := record.Record{Key: []byte("k"), Value: make([]byte, number("size", 3)), Timestamp: core.Wall(number("time", 1_000_000) + i)}
		if has("keyless") {
			r.Key = nil
		}
		b.Append(r)
	}
	out := slices.Clone([]byte(b.Build()))
	w.pack(out, byte(number("codec", 0)), has)
	switch {
	case has("corrupt"):
		out[len(out)-1] ^= 1
	case has("magic"):
		out[16] = byte(number("magic", 1))
	case has("short"):
		out = out[:len(out)-2]
	}
	return out
}

// pack compresses a batch as Packers do, or claims to be stamped, or lies about its latest time.
func (w *world) pack(out []byte, codec byte, has func(string) bool) {
	_, zip := w.Packers()
	packed, _ := zip(nil, record.Codec(codec), 0, out[record.HeaderSize:], len(out))
	copy(out[record.HeaderSize:], packed)
	out[22] |= codec
	if has("bomb") {
		out[record.HeaderSize] = 0xff
	}
	if has("garbled") {
		out[record.HeaderSize] ^= 2
	}
	if has("claims") {
		out[22] |= 8
	}
	if has("lies") {
		clear(out[35:43])
	}
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[record.Unchecked:], crc32.MakeTable(crc32.Castagnoli)))
}

// fill appends batches to a partition: in memory, or in the file.
func (w *world) fill(l *log, names string, cold bool) {
	for _, name := range strings.Split(names, ",") {
		ref := core.RefOf(w.batches[name])
		b := record.Batch(ref.Bytes())
		b.Patch(l.high, 1)
		if cold {
			at := len(w.file)
			w.file = append(w.file, b...)
			n := core.Offset(b.Count())
			l.refs = append(l.refs, logged{l.high, l.high + n, core.Ref{File: 7, Off: int64(at), Len: int32(len(b))}})
			l.high += n
			ref.Release()
			w.fire(l)
			continue
		}
		w.append(l, ref)
	}
}

func (w *world) raw(conn, input string) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(input), ""))
	if err != nil {
		w.t.Fatal(err)
	}
	frame := core.RefOf(b)
	if in := read(frame); !in.refused {
		w.asked[fmt.Sprint(conn, in.header.CorrelationId)] = in.header
	}
	w.conns[conn].Frame(w, frame, nil)
}

func (w *world) ask(conn, key string, version int16, input string) {
	w.corr++
	for i := range wire.APIs {
		a := &wire.APIs[i]
		if a.Name != key {
			continue
		}
		client := "test"
		h := wire.RequestHeader{ApiKey: a.Key, ApiVersion: version, CorrelationId: w.corr, ClientId: &client}
		w.asked[fmt.Sprint(conn, w.corr)] = h
		m := a.NewRequest()
		if input != "" {
			w.parse(input, m)
		}
		frame := w.encode(h, m)
		w.conns[conn].Frame(w, frame, Intake(frame))
		return
	}
	w.t.Fatalf("no key %s", key)
}
