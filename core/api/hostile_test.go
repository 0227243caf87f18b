package api

import (
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

// drawn fills a message with values that a handler may stumble over.
type drawn struct {
	w    *world
	r    *det.Rand
	refs []core.Ref
}

func (d *drawn) fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *core.Ref:
		*x = d.records()
		return
	case *wire.UUID:
		if topics := d.w.View().Topics; len(topics) > 0 && d.r.Chance(1, 2) {
			*x = topics[d.r.N(int64(len(topics)))].ID
		} else if d.r.Chance(1, 2) {
			x[0] = 1
		}
		return
	}
	ints := []int64{0, 1, 2, -1, -2, 3, 4, 100, 0, math.MaxInt32, math.MinInt32, math.MaxInt64}
	switch v.Kind() {
	case reflect.Pointer:
		if d.r.Chance(2, 3) {
			v.Set(reflect.New(v.Type().Elem()))
			d.fill(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				d.fill(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.SetZero(); d.r.Chance(5, 6) {
			v.Set(reflect.MakeSlice(v.Type(), int(d.r.N(4)), 4))
		}
		for i := range v.Len() {
			d.fill(v.Index(i))
		}
	case reflect.String:
		v.SetString([]string{"t", "u", "g", "", "nope", "a b", "max.message.bytes", "5", "1", meta.OffsetsTopic, "\xff\x00"}[d.r.N(11)])
	case reflect.Bool:
		v.SetBool(d.r.Chance(1, 2))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if d.r.Chance(3, 4) {
			v.SetInt(ints[d.r.N(int64(len(ints)))])
		}
	case reflect.Uint8:
		v.SetUint(uint64(d.r.N(256)))
	}
}

func (d *drawn) records() core.Ref {
	var b record.Builder
	for range d.r.N(3) {
		b.Append(record.Record{Value: []byte("v"), Timestamp: 1_000_000})
	}
	ref := core.RefOf(b.Build())
	if d.r.Chance(1, 4) {
		ref.Bytes()[d.r.N(int64(ref.Len))] ^= byte(1 + d.r.N(255))
	}
	d.refs = append(d.refs, ref)
	return ref
}

// TestDrawnRequestsAreAnswered sends drawn requests of every key and version, whole and damaged. Each
// ends in one answer that can be read, in silence, or in a closed connection; no buffer is lost.
func TestDrawnRequestsAreAnswered(t *testing.T) {
	const seed, rounds = 7, 25
	before := core.Live.Load()
	w := newWorld(t)
	w.topic("t", 2, "")
	w.topic("u", 1, "")
	r := det.New(seed, "hostile")
	ends := map[string]int{}
	for i := range wire.APIs {
		a := &wire.APIs[i]
		if handlerOf(a.Key) == nil {
			continue
		}
		for v := a.Min; v <= a.Max; v++ {
			for round := range rounds {
				end := w.drawOne(a, v, r, round%3 == 2)
				ends[end]++
				if end == "answered" && round%3 != 2 {
					ends[fmt.Sprintf("%v v%d", a.Key, v)]++
				}
				if t.Failed() {
					t.Fatalf("seed %d: %v v%d, round %d", seed, a.Key, v, round)
				}
			}
			if ends[fmt.Sprintf("%v v%d", a.Key, v)] == 0 {
				t.Errorf("%v v%d was never answered", a.Key, v)
			}
		}
	}
	w.end()
	if live := core.Live.Load() - before; live != 0 {
		t.Errorf("%d buffers were not released", live)
	}
	t.Logf("answered %d, closed %d, silent %d, waiting %d", ends["answered"], ends["closed"], ends["silent"], ends["waiting"])
	if ends["answered"] < 500 || ends["closed"] < 100 {
		t.Errorf("too little happened: %v", ends)
	}
}

// drawOne plays one request on a connection of its own and says how it ended.
func (w *world) drawOne(a *wire.API, v int16, r *det.Rand, damage bool) string {
	w.out.Reset()
	w.names = append(w.names[:0], "c")
	c := w.desk.Open(1, "PLAINTEXT\x0010.0.0.1:9092\x0010.0.0.9:1")
	client := "test"
	h := wire.RequestHeader{ApiKey: a.Key, ApiVersion: v, CorrelationId: 5, ClientId: &client}
	w.asked["c5"] = h
	d := &drawn{w: w, r: r}
	m := a.NewRequest()
	d.fill(reflect.ValueOf(m).Elem())
	var e wire.Writer
	e.Request(h, m)
	var b []byte
	for _, ref := range e.Vec(nil) {
		b = append(b, ref.Bytes()...)
		ref.Release()
	}
	releaseAll(d.refs)
	b = b[4:]
	if damage {
		for range 1 + r.N(3) {
			at := 8 + r.N(int64(len(b)-7)) // key, version and correlation id stay: the answer must be readable
			if r.Chance(1, 3) {
				b = b[:at]
			} else if int(at) < len(b) {
				b[at] ^= byte(1 + r.N(255))
			}
			if len(b) <= 8 {
				break
			}
		}
	}
	frame := core.RefOf(b)
	c.Frame(w, frame, Intake(frame))
	w.now.Mono += 1 << 40 // beyond every timeout but those of int64
	w.timers.Run(int64(w.now.Mono))
	out := w.out.String()
	answers, closed := strings.Count(out, "c <- 5 "), strings.Contains(out, "c closed")
	if !closed && strings.Count(out, "c credit 1") != 1 && len(c.reqs) == 0 || answers > 1 {
		w.t.Errorf("credits and answers do not agree:\n%s", out)
	}
	waiting := len(c.reqs) > 0
	c.Closed()
	switch {
	case closed:
		return "closed"
	case answers == 1:
		return "answered"
	case waiting:
		return "waiting"
	}
	return "silent"
}

// TestIntakeAllocatesInProportion holds Intake to four times the body and 64 KiB, for frames that claim
// more than they have, and for honest ones that are all array.
func TestIntakeAllocatesInProportion(t *testing.T) {
	header := func(k wire.Key, v int16) []byte {
		var w wire.Writer
		h := wire.RequestHeader{ApiKey: k, ApiVersion: v, CorrelationId: 1}
		h.Encode(&w)
		return append([]byte(nil), w.Bytes()...)
	}
	for _, x := range []struct {
		name    string
		head    []byte
		body    []byte
		repeat  int
		refused bool
	}{
		{"an array of 2^31-1 topics in 4 bytes", header(wire.KeyMetadata, 1), []byte{0x7f, 0xff, 0xff, 0xff}, 1, true},
		{"2^32-1 tagged fields", header(wire.KeyApiVersions, 3), []byte{2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 0x0f}, 1, true},
		{"a produce of empty topics", append(header(wire.KeyProduce, 3), 0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0x80, 0), []byte{0, 0, 0, 0, 0, 0}, 0x8000, true},
		{"a metadata of empty names", append(header(wire.KeyMetadata, 1), 0, 0, 0x80, 0), []byte{0, 0}, 0x8000, true},
		{"half a batch", append(header(wire.KeyProduce, 3), 0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0),
			[]byte{0}, 0x10000, false},
	} {
		b := x.head
		for range x.repeat {
			b = append(b, x.body...)
		}
		frame := core.RefOf(b)
		var from, to runtime.MemStats
		runtime.ReadMemStats(&from)
		in := Intake(frame).(*intake)
		runtime.ReadMemStats(&to)
		if got, most := to.TotalAlloc-from.TotalAlloc, uint64(4*len(b)+64<<10); got > most {
			t.Errorf("%s: %d bytes allocated for %d", x.name, got, len(b))
		}
		if in.refused != x.refused {
			t.Errorf("%s: refused is %v", x.name, in.refused)
		}
		frame.Release()
	}
}

// TestFramesBeyondTheCreditsAreAnError: the driver stops reading before.
func TestFramesBeyondTheCreditsAreAnError(t *testing.T) {
	before := core.Live.Load()
	w := newWorld(t)
	w.topic("t", 1, "")
	w.hold["produce"] = true
	w.batches["b"] = record.Batch((&record.Builder{}).Build())
	w.names = []string{"c"}
	c := w.desk.Open(1, "PLAINTEXT\x0010.0.0.1:9092")
	w.conns["c"] = c
	frame := func() core.Ref {
		var b record.Builder
		b.Append(record.Record{Value: []byte("v"), Timestamp: 1_000_000})
		ref := core.RefOf(b.Build())
		defer ref.Release()
		m := &wire.ProduceRequest{Acks: -1, TimeoutMs: 1000, TopicData: []wire.ProduceRequestTopic{
			{Name: "t", PartitionData: []wire.ProduceRequestPartition{{Records: ref}}}}}
		var e wire.Writer
		e.Request(wire.RequestHeader{ApiKey: wire.KeyProduce, ApiVersion: 3}, m)
		vec := e.Vec(nil)
		out := core.RefOf(vec[0].Bytes()[4:])
		releaseAll(vec)
		return out
	}
	for range core.Credits {
		c.Frame(w, frame(), nil)
	}
	last := frame()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("one frame more than the credits was taken")
			}
		}()
		c.Frame(w, last, nil)
	}()
	last.Release()
	w.end()
	if live := core.Live.Load() - before; live != 0 {
		t.Errorf("%d buffers were not released", live)
	}
}

// TestOutcomesHaveCodes: no outcome of a replica reaches a client as UNKNOWN_SERVER_ERROR.
func TestOutcomesHaveCodes(t *testing.T) {
	for o := replica.OK; o <= replica.Policy; o++ {
		if outcomeError(o) == wire.UnknownServerError {
			t.Errorf("outcome %d has no code", o)
		}
	}
	if len(outcomes) != int(replica.Policy)+1 {
		t.Error("the transcripts do not know every outcome")
	}
}

// TestTooManyPartitionsEndTheConnection: a Fetch or Produce within the codec's bounds that would cost
// many times its size to answer.
func TestTooManyPartitionsEndTheConnection(t *testing.T) {
	fetch := wire.NewFetchRequest()
	fetch.Topics = []wire.FetchRequestTopic{{Topic: "t", Partitions: make([]wire.FetchRequestPartition, maxPartitions)}}
	produce := &wire.ProduceRequest{TopicData: []wire.ProduceRequestTopic{
		{Name: "t", PartitionData: make([]wire.ProduceRequestPartition, maxPartitions)}}}
	ref := core.RefOf(make([]byte, 100))
	defer ref.Release()
	for i := range produce.TopicData[0].PartitionData {
		produce.TopicData[0].PartitionData[i].Records = ref
	}
	for _, x := range []struct {
		key  wire.Key
		v    int16
		body wire.Message
	}{{wire.KeyFetch, 12, &fetch}, {wire.KeyProduce, 9, produce}} {
		var e wire.Writer
		e.Request(wire.RequestHeader{ApiKey: x.key, ApiVersion: x.v}, x.body)
		vec := e.Vec(nil)
		frame := core.RefOf(vec[0].Bytes()[4:])
		releaseAll(vec)
		in := Intake(frame).(*intake)
		if in.body == nil {
			t.Fatalf("%v: the codec refused it before", x.key)
		}
		if !in.refused {
			t.Errorf("%v with %d partitions was taken", x.key, maxPartitions)
		}
		frame.Release()
	}
}

// TestInTurnKeepsFewUnderWay: the metadata machine remembers only so many outcomes of a node.
func TestInTurnKeepsFewUnderWay(t *testing.T) {
	var open []func()
	began, done := 0, 0
	inTurn(100, func(i int, one func()) {
		if i != began {
			t.Errorf("%d began after %d others", i, began)
		}
		began++
		if i%10 == 9 {
			one() // at once
		} else {
			open = append(open, one)
		}
		if len(open) > abreast {
			t.Errorf("%d are under way", len(open))
		}
	}, func() { done++ })
	for len(open) > 0 {
		if done > 0 {
			t.Error("done with some under way")
		}
		one := open[0]
		open = open[1:]
		one()
	}
	if began != 100 || done != 1 {
		t.Errorf("%d began, done %d times", began, done)
	}
	inTurn(0, nil, func() { done++ })
	if done != 2 {
		t.Error("nothing to do is done at once")
	}
}
